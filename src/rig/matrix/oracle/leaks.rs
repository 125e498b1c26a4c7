//! The leak oracle: no kernel memory leaks.

use super::evidence::CellEvidence;
use crate::agent::cell::instruments::LeakSeen;
use crate::rig::matrix::objection::{Objections, Severity};

/// Largest number of functions of a backtrace that an objection names.
const SHOWN: usize = 6;

/// Objects to memory that was allocated during the cell and to which nothing
/// refers any more, except what the kernel itself leaks when a call is made to
/// fail. Leaks with the same allocation backtrace get one objection.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let mut ways: Vec<(String, Vec<&LeakSeen>)> = Vec::new();
    let failing = &evidence.expectation.failing;
    let lost = evidence.answer.leaks.iter().flatten();
    for leak in lost.filter(|leak| !failing.loses(&evidence.answer.injected, &leak.trace)) {
        let way = way(leak);
        match ways.iter_mut().find(|(other, _)| *other == way) {
            Some((_, leaks)) => leaks.push(leak),
            None => ways.push((way, vec![leak])),
        }
    }
    for (way, leaks) in &ways {
        objections.push(Severity::Leaked, objection(way, leaks));
    }
}

fn objection(way: &str, leaks: &[&LeakSeen]) -> String {
    let bytes = leaks
        .iter()
        .fold(0, |sum: u64, leak| sum.saturating_add(leak.size));
    let again = if leaks.iter().any(|leak| leak.again == Some(true)) {
        ", and again when the cell was run once more"
    } else if leaks.iter().any(|leak| leak.again == Some(false)) {
        ", but not when the cell was run once more"
    } else {
        ""
    };
    let by = leaks.first().map_or("", |leak| &leak.comm);
    format!(
        "{} objects, {bytes} bytes, allocated by {by} are lost{again}: {way}",
        leaks.len()
    )
}

/// Returns the functions that allocated an object, without the allocators
/// themselves.
fn way(leak: &LeakSeen) -> String {
    let name = |place: &String| {
        let name = place.split(['+', ' ', '.']).next();
        name.unwrap_or_default().to_owned()
    };
    let names: Vec<_> = leak.trace.iter().map(name).collect();
    let callers = names.iter().skip_while(|name| allocates(name));
    let callers: Vec<_> = callers.take(SHOWN).map(String::as_str).collect();
    match callers.is_empty() {
        true => names.join(" < "),
        false => callers.join(" < "),
    }
}

/// Returns whether a function is one of the kernel's allocators.
fn allocates(name: &str) -> bool {
    let name = name.trim_start_matches('_');
    ["kmalloc", "kmem", "kvmalloc", "kzalloc", "vmalloc"]
        .iter()
        .any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;

    #[test]
    fn what_was_lost_is_told_with_who_asked_for_it() {
        let (mut answer, card_frames) = captured();
        // Either nobody searched, or nothing was found.
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.leaks = Some(Vec::new());
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        let leak = |size, trace: &[&str], again| LeakSeen {
            size,
            comm: "exe".into(),
            pid: 88,
            jiffies: 7,
            trace: trace.iter().map(ToString::to_string).collect(),
            again,
        };
        let command = [
            "kmemleak_alloc+1/2",
            "__kmalloc_noprof+0x2a0/0x3c0",
            "kzalloc_noprof.constprop.0+0xe/0x10 [pinhole]",
        ];
        let way = |place| [&command[..], &[place, "pinhole_call+1/2 [pinhole]"]].concat();
        answer.leaks = Some(vec![
            leak(
                192,
                &way("pinhole_cmd_alloc+0x40/0x1a0 [pinhole]"),
                Some(true),
            ),
            leak(5, &["kmem_cache_alloc+1/2"], None),
            leak(
                64,
                &way("pinhole_cmd_alloc+0x80/0x1a0 [pinhole]"),
                Some(false),
            ),
            leak(7, &["vb2_core_reqbufs+1/2"], Some(false)),
        ]);
        assert_eq!(
            objections(judge, &answer, &card_frames),
            [
                "2 objects, 256 bytes, allocated by exe are lost, and again when the cell was run once more: pinhole_cmd_alloc < pinhole_call",
                "1 objects, 5 bytes, allocated by exe are lost: kmem_cache_alloc",
                "1 objects, 7 bytes, allocated by exe are lost, but not when the cell was run once more: vb2_core_reqbufs",
            ]
        );
    }
}
