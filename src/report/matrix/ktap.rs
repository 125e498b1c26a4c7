//! KTAP, version 1: the format that the kernel's own test runners read
//! (Documentation/dev-tools/ktap.rst).
//!
//! Each kernel is a test whose subtests are the cells.

use std::fmt::Write as _;

use super::case::{Case, CaseResult, cases, passed};
use super::oracles;
use super::plain::plain;
use crate::rig::matrix::outcome::KernelOutcome;

/// Returns the results of all kernels as one KTAP document.
pub fn ktap(outcomes: &[KernelOutcome]) -> String {
    let mut text = format!("KTAP version 1\n1..{}\n", outcomes.len());
    for (number, outcome) in outcomes.iter().enumerate() {
        let cases = cases(outcome);
        let kernel = description(&outcome.kernel);
        text += "  KTAP version 1\n";
        line(&mut text, format_args!("  # Subtest: {kernel}"));
        line(&mut text, format_args!("  1..{}", cases.len()));
        // KUnit's parser requires the plan right after the name.
        let release = plain(&outcome.release);
        line(&mut text, format_args!("  # release: {release}"));
        for (name, said) in oracles::lines(outcome) {
            line(&mut text, format_args!("  # {name}: {}", plain(&said)));
        }
        for (number, case) in cases.iter().enumerate() {
            subtest(&mut text, number + 1, case);
        }
        let ok = if passed(&cases) { "ok" } else { "not ok" };
        line(&mut text, format_args!("{ok} {} {kernel}", number + 1));
    }
    text
}

fn subtest(text: &mut String, number: usize, case: &Case) {
    let name = description(&case.name);
    if let Some(remark) = &case.remark {
        line(text, format_args!("  # {name}: {}", plain(remark)));
    }
    match &case.result {
        CaseResult::Passed => line(text, format_args!("  ok {number} {name}")),
        CaseResult::Failed(findings) => {
            for finding in findings {
                line(text, format_args!("  # {name}: FINDING {}", plain(finding)));
            }
            line(text, format_args!("  not ok {number} {name}"));
        }
        CaseResult::Skipped(reason) => line(
            text,
            format_args!("  ok {number} {name} # SKIP {}", plain(reason)),
        ),
    }
}

/// Adds a line. Text from a guest must be [`plain`], so that it cannot begin
/// another line that reads as a result.
fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{}", what.to_string().trim_end());
}

/// Returns text as the description of a test. A # would begin a directive
/// there, and KTAP has no way to escape it.
fn description(text: &str) -> String {
    plain(text).replace('#', "%23")
}

#[cfg(test)]
mod tests {
    use super::super::tests::kernel;
    use super::*;

    #[test]
    fn cells_are_subtests_of_their_kernel() {
        let mut quiet = kernel("bookworm");
        quiet.cells.truncate(2);
        quiet.mutants.clear();
        let text = ktap(&[quiet, kernel("trixie")]);
        assert_eq!(
            text,
            "\
KTAP version 1
1..2
  KTAP version 1
  # Subtest: bookworm
  1..2
  # release: 6.12.107+deb13-amd64
  # silent: mappings (no DMA_API_DEBUG), idle (no IDLE_PAGE_TRACKING), leaks (no DEBUG_KMEMLEAK)
  # anon-touched@1234: data
  ok 1 anon-touched@1234
  # hole: EFAULT: a page of the range is not mapped
  ok 2 hole
ok 1 bookworm
  KTAP version 1
  # Subtest: trixie
  1..8
  # release: 6.12.107+deb13-amd64
  # silent: mappings (no DMA_API_DEBUG), idle (no IDLE_PAGE_TRACKING), leaks (no DEBUG_KMEMLEAK)
  # anon-touched@1234: data
  ok 1 anon-touched@1234
  # hole: EFAULT: a page of the range is not mapped
  ok 2 hole
  ok 3 guard-region # SKIP no MADV_GUARD_INSTALL here
  # thp/munmap: part of the data
  # thp/munmap: FINDING data-lost: data: frame 0 differs <script>alert(1)</script> & \"more\"
  # thp/munmap: FINDING memory-written: fences: 5 bytes after the buffer have changed
  not ok 4 thp/munmap
  # heap/native: FINDING kernel-broken: outcome: the guest broke: no answer
  not ok 5 heap/native
  # mutant/leak-pin: seen by pins
  ok 6 mutant/leak-pin
  # mutant/round-up: FINDING anon-touched+1000 was as expected with the bug
  not ok 7 mutant/round-up
  ok 8 mutant/pin-readonly # SKIP write access is always asked for
not ok 2 trixie
"
        );
    }

    #[test]
    fn no_text_of_a_guest_is_taken_for_a_result() {
        let mut hostile = kernel("a # SKIP b\nok 1 c");
        hostile.release = "6.1\nnot ok 9 x".into();
        hostile.cells[2].reason = Some("\r\nok 7 done # TODO".into());
        hostile.cells[3].findings[0].what = "x\nBail out!\u{1b}[2J".into();
        let text = ktap(&[hostile]);
        let results: Vec<_> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        assert_eq!(
            results,
            [
                "KTAP version 1",
                "1..1",
                "  KTAP version 1",
                "  1..8",
                "  ok 1 anon-touched@1234",
                "  ok 2 hole",
                "  ok 3 guard-region # SKIP   ok 7 done # TODO",
                "  not ok 4 thp/munmap",
                "  not ok 5 heap/native",
                "  ok 6 mutant/leak-pin",
                "  not ok 7 mutant/round-up",
                "  ok 8 mutant/pin-readonly # SKIP write access is always asked for",
                "not ok 1 a %23 SKIP b ok 1 c",
            ]
        );
        assert!(!text.contains('\u{1b}'));
    }
}
