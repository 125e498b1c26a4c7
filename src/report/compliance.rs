//! The results of v4l2-compliance as a page of Markdown.

use std::fmt::Write;

use crate::card::BufferApi;
use crate::rig::compliance::{Comparison, Judgement, MAX_FPS, Peer, PeerJudgement, SIZE};

/// Returns the page.
pub fn page(comparisons: &[Comparison]) -> String {
    let version = comparisons.first().map(|one| one.card.version.as_str());
    let mut page = format!(
        "# v4l2-compliance\n\n\
         Made by `make compliance`: v4l2-compliance {} with `-s -f -a` (streaming, in\n\
         every format, or pair of them, on every input or output), on the card and on the\n\
         kernel's own virtual device of the same kind, where it has one, in the same boot.\n\n\
         | kernel | card | API | tests | failed | warnings | the kernel's own | tests | failed | warnings |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        version.unwrap_or_default()
    );
    for one in comparisons {
        let peer = match &one.peer {
            Some(peer) => match &peer.judgement {
                PeerJudgement::Judged(judgement) => {
                    format!("{} | {}", peer.module, counts(judgement))
                }
                PeerJudgement::Ended(_) => format!("{} | not through | |", peer.module),
            },
            None => "none | | |".to_owned(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "| {} ({}) | {} | {} | {} | {peer} |",
            one.release,
            one.guest,
            one.kind.name(),
            api(one.planes),
            counts(&one.card)
        );
    }
    if comparisons.iter().any(|one| one.accelerator == "tcg") {
        let _ = write!(
            page,
            "\nThe guests were emulated. v4l2-compliance streams at the highest rate of a\n\
             device and warns of frames that are missing (not of vivid's), so the card had\n\
             no more than {MAX_FPS} frames a second (`pinhole device --max-fps {MAX_FPS}`). It streams\n\
             every pair of a mem-to-mem device's formats, which would take hours at\n\
             3840x2160: that card had one size (`--sizes {SIZE}`), and so had all cards\n\
             on the kernels that check themselves.\n"
        );
    }
    for one in comparisons {
        write_complaints(&mut page, "Pinhole", one, &one.card);
        let Some(Peer { module, judgement }) = &one.peer else {
            continue;
        };
        match judgement {
            PeerJudgement::Judged(judgement) => {
                write_complaints(&mut page, module, one, judgement);
            }
            PeerJudgement::Ended(last) => {
                let _ = writeln!(
                    page,
                    "\nOf {module} on {}, v4l2-compliance did not come to its end; its last words: \
                     `{last}`",
                    subject(one)
                );
            }
        }
    }
    page
}

/// Writes what v4l2-compliance says is wrong with a device, if there is something.
fn write_complaints(page: &mut String, device: &str, of: &Comparison, judgement: &Judgement) {
    if judgement.complaints.is_empty() {
        return;
    }
    // Writing to a string does not fail.
    let _ = write!(page, "\nOf {device} on {}:\n\n", subject(of));
    for (line, times) in folded(&judgement.complaints) {
        let times = match times {
            1 => String::new(),
            times => format!(" ({times} times)"),
        };
        let _ = writeln!(page, "- `{line}`{times}");
    }
}

/// Returns what was judged where, such as `trixie, output, multi-planar`.
fn subject(of: &Comparison) -> String {
    format!("{}, {}, {}", of.guest, of.kind.name(), api(of.planes))
}

/// Returns each complaint once, in the order of their first occurrences, with
/// the number of occurrences.
fn folded(complaints: &[String]) -> Vec<(&str, usize)> {
    let mut folded: Vec<(&str, usize)> = Vec::new();
    for line in complaints {
        match folded.iter_mut().find(|(known, _)| known == line) {
            Some((_, times)) => *times += 1,
            None => folded.push((line, 1)),
        }
    }
    folded
}

fn api(planes: BufferApi) -> &'static str {
    match planes {
        BufferApi::Single => "single-planar",
        BufferApi::Multi => "multi-planar",
    }
}

fn counts(judgement: &Judgement) -> String {
    let Judgement {
        total,
        failed,
        warnings,
        ..
    } = judgement;
    format!("{total} | {failed} | {warnings}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::CardKind;

    fn judgement(failed: u32, complaints: &[&str]) -> Judgement {
        Judgement {
            version: "1.30.1".into(),
            total: 81,
            succeeded: 81 - failed,
            failed,
            warnings: 0,
            complaints: complaints.iter().map(|line| (*line).into()).collect(),
        }
    }

    #[test]
    fn a_kernel_is_a_row_and_what_is_wrong_is_quoted() {
        let page = page(&[Comparison {
            guest: "trixie".into(),
            release: "6.12".into(),
            accelerator: "tcg".into(),
            kind: CardKind::Output,
            planes: BufferApi::Multi,
            card: judgement(0, &[]),
            peer: Some(Peer {
                module: "vivid".into(),
                judgement: PeerJudgement::Judged(judgement(
                    2,
                    &["fail: x(1): y", "fail: x(2): z", "fail: x(1): y"],
                )),
            }),
        }]);
        assert!(
            page.contains(
                "\n| 6.12 (trixie) | output | multi-planar | 81 | 0 | 0 | vivid | 81 | 2 | 0 |\n"
            ),
            "{page}"
        );
        assert!(page.ends_with(
            "\nOf vivid on trixie, output, multi-planar:\n\n\
             - `fail: x(1): y` (2 times)\n- `fail: x(2): z`\n"
        ));
        assert!(page.contains("--max-fps 30") && !page.contains("Of Pinhole"));
    }

    #[test]
    fn a_device_of_the_kernels_own_that_is_not_judged_leaves_the_cards_results() {
        let page = page(&[Comparison {
            guest: "trixie".into(),
            release: "6.12".into(),
            accelerator: "kvm".into(),
            kind: CardKind::Output,
            planes: BufferApi::Single,
            card: judgement(0, &[]),
            peer: Some(Peer {
                module: "vivid".into(),
                judgement: PeerJudgement::Ended("Frame #009 (signal 9)".into()),
            }),
        }]);
        let row =
            "\n| 6.12 (trixie) | output | single-planar | 81 | 0 | 0 | vivid | not through | | |\n";
        assert!(page.contains(row), "{page}");
        assert!(page.ends_with(
            "\nOf vivid on trixie, output, single-planar, v4l2-compliance did not come to its end; \
             its last words: `Frame #009 (signal 9)`\n"
        ));
    }

    #[test]
    fn a_kernel_without_such_a_device_has_empty_cells() {
        let page = page(&[Comparison {
            guest: "trixie".into(),
            release: "6.12".into(),
            accelerator: "kvm".into(),
            kind: CardKind::M2m,
            planes: BufferApi::Single,
            card: judgement(0, &[]),
            peer: None,
        }]);
        let row = "\n| 6.12 (trixie) | m2m | single-planar | 81 | 0 | 0 | none | | | |\n";
        assert!(page.ends_with(row), "{page}");
    }
}
