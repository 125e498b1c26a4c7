use super::*;
use crate::conformance::clause::Side;
use crate::conformance::clauses::ClauseId;
use crate::conformance::verdict::{ClauseOutcome, Verdict};
use crate::report::matrix::tests::assert_well_formed;

fn outcome() -> SuiteOutcome {
    let clause = |id, verdict, evidence: &[&str]| ClauseOutcome {
        clause: ClauseId::known(id).clause(),
        verdict,
        evidence: evidence.iter().map(|&line| line.into()).collect(),
        elapsed_ms: 20,
    };
    let failed = Verdict::Failed {
        expected: "status 25".into(),
        seen: "status 22\nok 9 <hacked>\u{1b}[2J".into(),
    };
    let why = |why: &str| why.to_owned();
    SuiteOutcome {
        subject: "/run/card.sock".into(),
        side: Side::Device,
        properties: vec![(why("memory"), why("SHARED_PAGES"))],
        clauses: vec![
            clause("MD-1", Verdict::Passed, &["OPEN"]),
            clause("MD-5", failed, &["> 03 00", "< 16 00"]),
            clause(
                "MD-6",
                Verdict::NotOffered {
                    why: why("no region"),
                },
                &[],
            ),
            clause(
                "MD-8",
                Verdict::NotReached {
                    why: why("OPEN failed"),
                },
                &[],
            ),
            clause(
                "MP-17",
                Verdict::Failed {
                    expected: why("NULL"),
                    seen: why("0x1000"),
                },
                &["<* 01"],
            ),
        ],
        stopped: None,
        elapsed_ms: 1234,
    }
}

#[test]
fn people_see_every_clause_and_what_is_wrong() {
    let text = table(&[outcome()]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..2],
        ["/run/card.sock (device)", "  memory: SHARED_PAGES"]
    );
    let row = |id: &str| {
        let row = lines.iter().find(|line| line.contains(id)).unwrap();
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(
        row("MD-1").starts_with("✓ MD-1 MUST A successful OPEN"),
        "{text}"
    );
    assert!(row("MD-5").starts_with("✗ MD-5 MUST"), "{text}");
    assert_eq!(row("MD-6"), "– MD-6 MUST not offered: no region");
    assert!(row("MD-8").starts_with("? MD-8 MUST"), "{text}");
    assert!(row("MP-17").starts_with("! MP-17 SHOULD"), "{text}");
    let wrong = "
FAILED MD-5, VIRTIO 1.4, 5.22 Media Device: Unsupported ioctls (MUST)
  expected: status 25
  seen:     status 22 ok 9 <hacked> [2J
  | > 03 00
  | < 16 00

NOT REACHED MD-8, VIRTIO 1.4, 5.22 Media Device: Shared Pages
  because:  OPEN failed

NOT KEPT MP-17, VIRTIO 1.4, 5.22 Media Device: Dequeue buffer (SHOULD)
  expected: NULL
  seen:     0x1000
  | <* 01

Assumed, where the text is silent or at odds with itself:
  MD-5: ";
    assert!(text.contains(wrong), "{text}");
    let total = "5 clauses: 1 passed, 1 failed, 1 only advised and not so, 1 not offered, \
                 1 not reached; 1.2 s";
    assert!(text.contains(total), "{text}");
    let mut stopped = outcome();
    stopped.stopped = Some("the command ended".into());
    assert!(table(&[stopped]).contains("; STOPPED before the end: the command ended"));
}

#[test]
fn long_evidence_is_cut_at_its_beginning() {
    let mut outcome = outcome();
    outcome.clauses[1].evidence = (0..30).map(|n| format!("line {n}")).collect();
    let text = table(&[outcome]);
    assert!(
        text.contains("\n  | (6 lines before)\n  | line 6\n"),
        "{text}"
    );
    assert!(text.contains("\n  | line 29\n"), "{text}");
}

#[test]
fn frameworks_get_a_case_for_each_clause() {
    let mut outcome = outcome();
    outcome.stopped = Some("the command ended".into());
    let text = ktap(&[outcome.clone()]);
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
            "  1..6",
            "  ok 1 MD-1",
            "  not ok 2 MD-5",
            "  ok 3 MD-6 # SKIP not offered: no region",
            "  not ok 4 MD-8",
            "  ok 5 MP-17 # SKIP SHOULD that is not kept: expected NULL; seen: 0x1000",
            "  not ok 6 suite-to-the-end",
            "not ok 1 /run/card.sock",
        ]
    );
    assert!(text.contains("\n  # MD-5: FINDING expected status 25; seen: status 22 ok 9"));
    assert!(text.contains("\n  # MD-5: > 03 00\n") && !text.contains("MD-1: OPEN"));
    let xml = junit(&[outcome]);
    assert_well_formed(&xml);
    let all = "<testsuites name=\"pinhole conformance\" tests=\"6\" failures=\"1\" errors=\"2\" \
               skipped=\"2\" time=\"1.234\">";
    assert!(xml.contains(all), "{xml}");
    assert!(xml.contains("type=\"MUST\""), "{xml}");
}

#[test]
fn the_list_has_a_row_for_each_clause() {
    let one = ClauseId::known("MD-7").clause();
    let text = list([one]);
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words[..3], ["MD-7", "device", "MUST"]);
    assert!(words.len() > 10, "{text}");
}
