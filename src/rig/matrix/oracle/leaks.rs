//! The leak oracle: no memory of the kernel's is lost.

use super::Case;
use crate::agent::cell::instruments::LeakSeen;

/// Most functions of a backtrace that an objection names.
const SHOWN: usize = 6;

/// Objects to memory that was allocated during the cell and that nothing refers
/// to any more.
pub fn judge(case: &Case<'_>, objections: &mut Vec<String>) {
    let leaks = case.answer.leaks.iter().flatten();
    objections.extend(leaks.map(objection));
}

fn objection(leak: &LeakSeen) -> String {
    let again = match leak.again {
        Some(true) => ", and again when the cell was run once more",
        Some(false) => ", but not when the cell was run once more",
        None => "",
    };
    // Those that allocate for others are no news.
    let trace: Vec<_> = leak.trace.iter().map(String::as_str).collect();
    let from = trace.iter().take_while(|name| allocates(name)).count();
    let callers = match &trace[from..] {
        [] => &trace[..],
        callers => callers,
    };
    let callers: Vec<_> = callers.iter().take(SHOWN).copied().collect();
    format!(
        "{} bytes allocated by {} (process {}) are lost{again}: {}",
        leak.size,
        leak.comm,
        leak.pid,
        callers.join(" < ")
    )
}

/// Whether a function is one of the kernel's allocators.
fn allocates(name: &str) -> bool {
    let name = name.trim_start_matches('_');
    ["kmalloc", "kmem_cache", "kvmalloc", "kzalloc", "vmalloc"]
        .iter()
        .any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;

    #[test]
    fn what_was_lost_is_told_with_who_asked_for_it() {
        let (mut answer, testified) = captured();
        // Nobody looked, or nothing was found.
        assert_eq!(objections(judge, &answer, &testified), [""; 0]);
        answer.leaks = Some(Vec::new());
        assert_eq!(objections(judge, &answer, &testified), [""; 0]);
        let leak = LeakSeen {
            size: 192,
            comm: "pinhole-agent".into(),
            pid: 88,
            jiffies: 7,
            trace: [
                "__kmalloc_noprof+0x2a0/0x3c0",
                "pinhole_cmd_alloc+0x40/0x1a0 [pinhole]",
            ]
            .map(str::to_owned)
            .into(),
            again: Some(true),
        };
        let mute = LeakSeen {
            trace: vec!["kmem_cache_alloc+1/2".into()],
            again: None,
            ..leak.clone()
        };
        answer.leaks = Some(vec![leak, mute]);
        assert_eq!(
            objections(judge, &answer, &testified),
            [
                "192 bytes allocated by pinhole-agent (process 88) are lost, and again when the cell was run once more: pinhole_cmd_alloc+0x40/0x1a0 [pinhole]",
                "192 bytes allocated by pinhole-agent (process 88) are lost: kmem_cache_alloc+1/2",
            ]
        );
    }
}
