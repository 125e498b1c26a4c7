//! The health of a guest: whether it is usable for the next cell.
//!
//! A kernel that checks itself reports some errors only once. lockdep turns
//! itself off with its first report, and also when memory is damaged or a
//! process dies in the middle of the kernel. Later errors would not be seen, so
//! another guest is booted.

use std::time::Duration;

use crate::agent::checks::{Check, Checks, ChecksAnswer};
use crate::agent::protocol::{Read, Write};
use crate::vm::channel::{Agent, AgentError};

/// How long the guest may take to report its checks: searching the symbols of a
/// kernel that checks itself takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// How many times slower a kernel is that checks every memory access, or every
/// lock. A factor of five was measured.
const SLOWNESS: u32 = 6;

/// Taint flags of a damaged kernel: a bad page, which KASAN reports set as
/// well, or a process that died in the kernel
/// (Documentation/admin-guide/tainted-kernels.rst).
const DAMAGED: u64 = 1 << 5 | 1 << 7;

/// Level of the console at which it prints what is worse than an error
/// (Documentation/admin-guide/sysctl/kernel.rst, printk).
const CRITICAL: &str = "3";

/// The state of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestState {
    /// The guest is usable.
    Fit,
    /// The guest answers, but not all later errors would be seen; with the
    /// reason.
    Spoilt(String),
    /// The guest does not answer, or its kernel does not let go of a process; with
    /// the reason.
    Broken(String),
}

/// Returns what has gone wrong between two reports of a kernel's checks.
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

/// Returns what is wrong with a kernel that has just booted.
pub(super) fn unsound(checks: &ChecksAnswer) -> Option<String> {
    let sound = ChecksAnswer {
        on: checks.on.keys().map(|check| (*check, true)).collect(),
        ..ChecksAnswer::default()
    };
    lost(&sound, checks)
}

/// Returns the factor by which all limits are longer for such a kernel.
pub(super) fn patience(checks: &ChecksAnswer) -> u32 {
    let slow = [Check::Kasan, Check::Kcsan, Check::Lockdep];
    match slow.iter().any(|check| checks.on.contains_key(check)) {
        true => SLOWNESS,
        false => 1,
    }
}

/// Asks a guest for its kernel's checks.
///
/// # Errors
///
/// [`AgentError`] if the guest does not answer.
pub(super) fn ask(agent: &Agent) -> Result<ChecksAnswer, AgentError> {
    agent.call(Checks {}, LIMIT)
}

/// Makes a guest's kernel report every error, every time, in its log. A file that the
/// kernel does not have is skipped.
///
/// # Errors
///
/// [`AgentError`] if the guest does not answer.
pub(super) fn speak_up(agent: &Agent, checks: &ChecksAnswer) -> Result<(), AgentError> {
    // The kernel waits for the console to print errors, and a dump of a page takes
    // seconds there. They are read from its log; what ends the kernel is printed at
    // any level (console_verbose()).
    set(agent, "/proc/sys/kernel/printk", CRITICAL)?;
    if checks.on.contains_key(&Check::DmaApi) {
        // By default the check reports only one error per boot
        // (Documentation/core-api/dma-api.rst).
        set(agent, "/sys/kernel/debug/dma-api/all_errors", "1")?;
    }
    if patience(checks) > 1 {
        // The timeout is below the limit of a cell, which kills a hanging
        // process.
        set(agent, "/proc/sys/kernel/hung_task_timeout_secs", "40")?;
    }
    Ok(())
}

/// Lets the kernel report warnings again that it reports once per boot.
///
/// # Errors
///
/// [`AgentError`] if the guest does not answer.
pub(super) fn warn_again(agent: &Agent) -> Result<(), AgentError> {
    set(agent, "/sys/kernel/debug/clear_warn_once", "1")
}

/// Returns the kernel's taint flags.
///
/// # Errors
///
/// [`AgentError`] if they cannot be read.
pub(super) fn tainted(agent: &Agent) -> Result<u64, AgentError> {
    let read = Read {
        path: "/proc/sys/kernel/tainted".into(),
        limit: 64,
    };
    let text = agent.call(read, LIMIT)?.text;
    let flags = text.trim().parse();
    flags.map_err(|_| AgentError::Nonsense(format!("taint flags \"{}\"", text.trim())))
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
        // A warning does not count as damage.
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
