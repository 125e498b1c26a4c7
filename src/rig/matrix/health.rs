//! Whether a guest is still good for what follows.
//!
//! A kernel that checks itself says some things once: lockdep turns itself off
//! with its first report, and so does whatever damages memory or ends a process
//! in the middle of the kernel. What comes afterwards would go unseen, so that
//! the guest is booted anew for it.

use std::time::Duration;

use crate::agent::checks::{Check, Checks, ChecksAnswer};
use crate::agent::protocol::{LogRecord, News, Write};
use crate::vm::channel::{Agent, AgentError};

/// How long the guest may take to tell of its checks: to look through the
/// symbols of a kernel that checks itself takes it seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// How many times as slow a kernel is whose every access to memory, or every
/// lock, is checked. Five times was measured.
const SLOWNESS: u32 = 6;

/// What the kernel says of itself when it is damaged: a bad page, which is what
/// KASAN reports, too, or a process that died within it
/// (Documentation/admin-guide/tainted-kernels.rst).
const DAMAGED: u64 = 1 << 5 | 1 << 7;

/// What a guest is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GuestState {
    /// For anything.
    Fit,
    /// It answers, but what follows would not all be seen, and why.
    Spoilt(String),
    /// It does not answer.
    Broken,
}

/// What has gone wrong between two looks at a kernel's checks.
pub(super) fn lost(before: &ChecksAnswer, now: &ChecksAnswer) -> Option<String> {
    let worked = before.on.iter().filter(|(_, works)| **works);
    let works = |check| now.on.get(check) == Some(&true);
    let mut off = worked.map(|(check, _)| check).filter(|check| !works(check));
    if let Some(check) = off.next() {
        return Some(format!("{check} has turned itself off"));
    }
    let tainted = now.tainted & !before.tainted;
    (tainted & DAMAGED != 0).then(|| {
        format!(
            "the kernel calls itself damaged (tainted {:#x})",
            now.tainted
        )
    })
}

/// What is wrong with a kernel that has just booted.
pub(super) fn unsound(checks: &ChecksAnswer) -> Option<String> {
    let sound = ChecksAnswer {
        on: checks.on.keys().map(|check| (*check, true)).collect(),
        ..ChecksAnswer::default()
    };
    lost(&sound, checks)
}

/// How many times as long as usual such a kernel may take for anything.
pub(super) fn patience(checks: &ChecksAnswer) -> u32 {
    let slow = [Check::Kasan, Check::Kcsan, Check::Lockdep];
    match slow.iter().any(|check| checks.on.contains_key(check)) {
        true => SLOWNESS,
        false => 1,
    }
}

/// Which checks a guest's kernel has.
///
/// # Errors
///
/// [`AgentError`] where it cannot be asked.
pub(super) fn ask(agent: &Agent) -> Result<ChecksAnswer, AgentError> {
    agent.call(Checks {}, LIMIT)
}

/// Has a guest's kernel say all that it has to say, each time. Where it has no
/// such file there is nothing to be said.
///
/// # Errors
///
/// [`AgentError`] where it cannot be told.
pub(super) fn speak_up(agent: &Agent, checks: &ChecksAnswer) -> Result<(), AgentError> {
    if checks.on.contains_key(&Check::DmaApi) {
        // One complaint a boot is the default
        // (Documentation/core-api/dma-api.rst).
        set(agent, "/sys/kernel/debug/dma-api/all_errors", "1")?;
    }
    if patience(checks) > 1 {
        // Before the limit of a cell, which kills what hangs.
        set(agent, "/proc/sys/kernel/hung_task_timeout_secs", "40")?;
    }
    Ok(())
}

/// Lets the kernel say again what it says once a boot.
///
/// # Errors
///
/// [`AgentError`] where it cannot be told.
pub(super) fn warn_again(agent: &Agent) -> Result<(), AgentError> {
    set(agent, "/sys/kernel/debug/clear_warn_once", "1")
}

/// What came to the kernel's log since somebody last asked.
///
/// # Errors
///
/// [`AgentError`] where it cannot be asked.
pub(super) fn new_records(agent: &Agent) -> Result<Vec<LogRecord>, AgentError> {
    Ok(agent.call(News {}, LIMIT)?.records)
}

fn set(agent: &Agent, path: &str, text: &str) -> Result<(), AgentError> {
    let write = Write {
        path: path.into(),
        text: text.into(),
        append: false,
    };
    match agent.call(write, LIMIT) {
        Err(AgentError::Failed { .. }) => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(on: &[(Check, bool)], tainted: u64) -> ChecksAnswer {
        ChecksAnswer {
            on: on.iter().copied().collect(),
            tainted,
            jiffies: None,
        }
    }

    #[test]
    fn a_check_that_was_on_and_is_off_is_lost() {
        let before = checks(&[(Check::Lockdep, true), (Check::Kmemleak, false)], 4096);
        assert_eq!(lost(&before, &before), None);
        let now = checks(&[(Check::Lockdep, false), (Check::Kmemleak, false)], 4096);
        assert_eq!(
            lost(&before, &now).as_deref(),
            Some("PROVE_LOCKING has turned itself off")
        );
        assert_eq!(lost(&now, &now), None);
        assert!(unsound(&now).is_some());
        assert_eq!(unsound(&checks(&[(Check::Lockdep, true)], 4096)), None);
    }

    #[test]
    fn a_kernel_is_damaged_by_what_it_calls_so() {
        let before = checks(&[], 4096);
        // A warning is none.
        assert_eq!(lost(&before, &checks(&[], 4096 | 1 << 9)), None);
        for bit in [5, 7] {
            let now = checks(&[], 4096 | 1 << bit);
            assert!(lost(&before, &now).unwrap().contains("damaged"), "{bit}");
            assert_eq!(lost(&now, &now), None);
        }
    }

    #[test]
    fn a_kernel_is_slow_by_what_it_checks() {
        assert_eq!(patience(&checks(&[], 0)), 1);
        assert_eq!(patience(&checks(&[(Check::IdlePages, true)], 0)), 1);
        assert_eq!(patience(&checks(&[(Check::Kasan, true)], 0)), SLOWNESS);
    }
}
