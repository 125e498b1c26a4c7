use std::path::Path;

use serde_json::Value;

use super::super::tests::{cell, finding, kernel};
use super::*;
use crate::agent::checks::Check;
use crate::rig::matrix::Mutant;
use crate::rig::matrix::objection::Severity;
use crate::rig::matrix::observation::{Observation, Reads};
use crate::rig::matrix::oracle::{Finding, Oracle};
use crate::rig::matrix::outcome::{CellOutcome, MutantOutcome, MutantVerdict, RunsAlike, Verdict};

fn run(cells: Vec<CellOutcome>) -> KernelOutcome {
    KernelOutcome {
        cells,
        mutants: Vec::new(),
        ..kernel("trixie")
    }
}

fn refused(name: &str, errno: i32, reason: &str) -> CellOutcome {
    CellOutcome {
        observation: Some(Observation::Refused(errno)),
        reason: Some(reason.into()),
        ..cell(name)
    }
}

fn wrong(name: &str, findings: &[Finding]) -> CellOutcome {
    CellOutcome {
        verdict: Verdict::Finding,
        observation: Some(Observation::Captured(Reads::Partly)),
        findings: findings.to_vec(),
        ..cell(name)
    }
}

fn impossible(name: &str, why: &str) -> CellOutcome {
    CellOutcome::impossible(cell(name).cell, why.into())
}

fn pins(pages: u32) -> Finding {
    let what = format!("0 pages were pinned while the buffer of {pages} was queued");
    finding(Severity::MemoryWritten, Oracle::Pins, &what)
}

fn data(frame: u32) -> Finding {
    let what = format!("frame {frame} differs");
    finding(Severity::DataLost, Oracle::Data, &what)
}

fn mutant(mutant: Mutant, verdict: MutantVerdict) -> MutantOutcome {
    MutantOutcome {
        verdict,
        reason: (verdict != MutantVerdict::Caught).then(|| "why".into()),
        ..MutantOutcome::unseen(mutant, String::new())
    }
}

fn paths() -> [&'static Path; 2] {
    ["before", "after.json"].map(Path::new)
}

/// The group and the change of each entry, with the names of its cells.
fn told(diff: &Diff<'_>) -> Vec<String> {
    let entries = diff.changes.iter().map(|entry| {
        let names = entry.names(diff.kernels.len()).join(" ");
        format!("{}: {}: {names}", entry.group.name(), entry.change())
    });
    entries.collect()
}

fn of_cell(a: CellOutcome, b: CellOutcome) -> (Option<Group>, bool) {
    let (a, b) = ([run(vec![a])], [run(vec![b])]);
    let diff = diff(&a, &b).unwrap();
    let group = diff.changes.first().map(|entry| entry.group);
    (group, diff.is_worse())
}

#[test]
fn what_a_change_means_is_a_matter_of_what_was_judged_before_and_after() {
    use Group::{Better, Different, Worse};
    let good = || cell("thp");
    let other = || refused("thp", libc::EFAULT, "why");
    let none = || impossible("thp", "why");
    let bad = |findings: &[Finding]| wrong("thp", findings);
    let hung = || CellOutcome {
        observation: Some(Observation::Hung),
        ..bad(&[data(0)])
    };
    let flaky = |findings: &[Finding]| {
        let what = "not the same each time";
        let at_times = finding(Severity::Flaky, Oracle::Outcome, what);
        bad(&[findings, &[at_times]].concat())
    };
    let no_memory = || finding(Severity::WrongError, Oracle::Outcome, "ENOMEM");
    let for_a_reason = || CellOutcome {
        reason: Some("why".into()),
        ..good()
    };
    for (a, b, group) in [
        (good(), good(), None),
        (none(), none(), None),
        (good(), other(), Some(Different)),
        (good(), none(), Some(Worse)),
        (none(), other(), Some(Better)),
        (good(), bad(&[data(0)]), Some(Worse)),
        (none(), bad(&[data(0)]), Some(Worse)),
        (bad(&[data(0)]), good(), Some(Better)),
        (bad(&[data(0)]), none(), Some(Worse)),
        // One objection or several.
        (bad(&[data(0)]), bad(&[data(0)]), None),
        (bad(&[data(0)]), bad(&[pins(16), data(0)]), Some(Worse)),
        (bad(&[pins(16), data(0)]), bad(&[data(0)]), Some(Better)),
        (bad(&[pins(16)]), bad(&[data(0)]), Some(Worse)),
        (bad(&[data(0)]), hung(), Some(Different)),
        // What fails at times, and then each time.
        (flaky(&[]), bad(&[no_memory()]), Some(Worse)),
        (bad(&[no_memory()]), flaky(&[]), Some(Better)),
        (flaky(&[data(0)]), bad(&[data(0)]), Some(Worse)),
        (bad(&[data(0)]), flaky(&[data(0)]), Some(Better)),
        (flaky(&[]), flaky(&[data(0)]), Some(Worse)),
        (flaky(&[data(0)]), flaky(&[]), Some(Better)),
        (flaky(&[]), flaky(&[]), None),
        // The same outcome, and a reason for it.
        (good(), for_a_reason(), Some(Different)),
        (for_a_reason(), good(), Some(Different)),
        (for_a_reason(), for_a_reason(), None),
    ] {
        let said = format!("{:?} -> {:?}", a.verdict, b.verdict);
        assert_eq!(of_cell(a, b), (group, group == Some(Worse)), "{said}");
    }
}

#[test]
fn what_flaps_anyway_is_no_change() {
    let slow = CellOutcome {
        elapsed_ms: 9999,
        answer: Some(super::super::tests::evidence().0),
        ..cell("thp")
    };
    assert_eq!(of_cell(cell("thp"), slow), (None, false));
    // Numbers, and how often an oracle objects.
    let one = wrong("thp", &[pins(16), data(0)]);
    let other = wrong("thp", &[pins(17), pins(18), data(5)]);
    assert_eq!(of_cell(one, other), (None, false));
    let why = |number: u32| impossible("thp", &format!("os error {number}"));
    assert_eq!(of_cell(why(1), why(2)), (None, false));
    // What came of how many runs of a flaky cell.
    let flaky = |what: &str| CellOutcome {
        runs: [1, 2]
            .map(|times| RunsAlike {
                times,
                verdict: Verdict::Expected,
                observation: None,
                findings: Vec::new(),
            })
            .into(),
        ..wrong("thp", &[finding(Severity::Flaky, Oracle::Outcome, what)])
    };
    let (one, other) = (flaky("EFAULT 1 time"), flaky("hung 2 times"));
    assert_eq!(of_cell(one.clone(), other), (None, false));
    let worse = (Some(Group::Worse), true);
    assert_eq!(of_cell(cell("thp"), one.clone()), worse);
    let mut both = one.clone();
    both.findings.insert(0, data(0));
    let (a, b) = ([run(vec![cell("thp")])], [run(vec![both])]);
    let causes = diff(&a, &b).unwrap().changes[0].causes();
    let now = |said: &str| ("now", said.to_owned());
    let causes_told = [
        now("data-lost, data: frame 0 differs"),
        now("flaky, outcome: EFAULT 1 time"),
        ("also", "outcome".to_owned()),
    ];
    assert_eq!(causes, causes_told);
    assert_eq!(of_cell(one, cell("thp")), (Some(Group::Better), false));
    let mut a = kernel("trixie");
    let b = a.clone();
    (a.boots, a.elapsed_ms, a.injected) = (99, 1, 0);
    a.mutants[0].cells.clear();
    let (a, b) = ([a], [b]);
    let diff = diff(&a, &b).unwrap();
    assert_eq!((told(&diff), diff.is_worse()), (vec![], false));
    assert_eq!((diff.cells.same, diff.mutants.same), (5, 3));
}

#[test]
fn changes_with_one_cause_are_one_entry_and_the_worst_comes_first() {
    let a = [run(vec![
        cell("thp"),
        cell("heap"),
        cell("stack"),
        cell("thp/munmap"),
        cell("hole"),
        cell("mlocked"),
        wrong("memfd-shared", &[data(0)]),
        cell("read-only"),
        cell("read-only@64"),
    ])];
    let b = [run(vec![
        wrong("thp", &[data(0)]),
        wrong("heap", &[data(1)]),
        wrong("stack", &[pins(16), data(1)]),
        wrong("thp/munmap", &[data(7)]),
        impossible("hole", "no memory"),
        cell("mlocked"),
        cell("memfd-shared"),
        refused("read-only", libc::EFAULT, "page 1 may not be written to"),
        refused("read-only@64", libc::EFAULT, "page 2 may not be written to"),
    ])];
    let diff = diff(&a, &b).unwrap();
    assert_eq!(
        told(&diff),
        [
            "worse: ✓ data → ✗ part of the data: stack",
            "worse: ✓ data → ✗ part of the data: thp heap thp/munmap",
            "worse: ✓ data → – impossible: hole",
            "better: ✗ part of the data → ✓ data: memfd-shared",
            "different: ✓ data → ◆ EFAULT: read-only read-only@64",
        ]
    );
    let numbers = Numbers {
        compared: 9,
        same: 1,
        worse: 5,
        better: 1,
        different: 2,
        new: 0,
        gone: 0,
    };
    assert_eq!((diff.cells, diff.mutants), (numbers, Numbers::default()));
    let text = text(&diff, paths()).replace(&format!("\n{}\n", super::super::table::LEGEND), "");
    let expected = "A: before
B: after.json

A  trixie (6.12.107+deb13-amd64)
B  trixie (6.12.107+deb13-amd64)

        compared  same  worse  better  different  new  gone
 cells         9     1      5       1          2    0     0

WORSE      ✓ data → ✗ part of the data
           in 1 cell: stack
           now: memory-written, pins: 0 pages were pinned while the buffer of 16 was queued
           also: data

WORSE      ✓ data → ✗ part of the data
           in 3 cells (no hazard 2, munmap 1): thp, heap, thp/munmap
           now: data-lost, data: frame 0 differs

WORSE      ✓ data → – impossible
           in 1 cell: hole
           B: no memory

BETTER     ✗ part of the data → ✓ data
           in 1 cell: memfd-shared
           no more: data-lost, data: frame 0 differs

DIFFERENT  ✓ data → ◆ EFAULT
           in 2 cells (no hazard 2): read-only, read-only@64
           B: page 1 may not be written to

WORSE: 5 cells got worse";
    assert_eq!(text, expected, "{text}");
}

#[test]
fn mutants_that_are_not_seen_any_more_are_worse() {
    use MutantVerdict::{Caught, Missed, Unseen};
    let with = |mutants: &[(Mutant, MutantVerdict)]| KernelOutcome {
        mutants: mutants.iter().map(|&(of, it)| mutant(of, it)).collect(),
        ..run(Vec::new())
    };
    let a = [with(&[
        (Mutant::LeakPin, Caught),
        (Mutant::RoundUp, Missed),
        (Mutant::SwapPages, Caught),
        (Mutant::StaleList, Unseen),
        (Mutant::UnpinTwice, Caught),
    ])];
    let b = [with(&[
        (Mutant::LeakPin, Missed),
        (Mutant::RoundUp, Caught),
        (Mutant::SwapPages, Unseen),
        (Mutant::StaleList, Unseen),
        (Mutant::LeaveClean, Missed),
    ])];
    let diff = diff(&a, &b).unwrap();
    assert_eq!(
        told(&diff),
        [
            "worse: ✓ caught → ✗ missed: mutant/leak-pin",
            "worse: ✓ caught → – no difference here: mutant/swap-pages",
            "better: ✗ missed → ✓ caught: mutant/round-up",
            "new: not run → ✗ missed: mutant/leave-clean",
            "gone: ✓ caught → not run: mutant/unpin-twice",
        ]
    );
    assert_eq!(
        diff.verdict(),
        "WORSE: 2 mutants got worse; 1 mutant missed that only B has"
    );
}

#[test]
fn what_only_one_run_has_is_worse_if_it_is_wrong_or_the_run_stopped() {
    let a = [run(vec![cell("thp"), cell("hole")])];
    let good = [run(vec![cell("thp"), cell("heap")])];
    let compared = diff(&a, &good).unwrap();
    assert_eq!(
        told(&compared),
        [
            "new: not run → ✓ data: heap",
            "gone: ✓ data → not run: hole"
        ]
    );
    assert!(!compared.is_worse());
    assert_eq!((compared.cells.compared, compared.cells.new), (1, 1));
    let bad = [run(vec![
        cell("thp"),
        cell("hole"),
        wrong("heap", &[data(0)]),
    ])];
    let compared = diff(&a, &bad).unwrap();
    let verdict = "WORSE: 1 cell with findings that only B has";
    assert_eq!(compared.verdict(), verdict);
    let stopped = [KernelOutcome {
        stopped: Some("interrupted".into()),
        ..run(vec![cell("thp")])
    }];
    let verdict = "WORSE: B stopped before it had run 1 of A's: interrupted";
    assert_eq!(diff(&a, &stopped).unwrap().verdict(), verdict);
    assert!(!diff(&stopped, &a).unwrap().is_worse());
}

#[test]
fn kernels_are_paired_by_name_or_because_there_is_one_each() {
    let named = |name: &str, cells| KernelOutcome {
        kernel: name.into(),
        ..run(cells)
    };
    let (x, y, z) = (
        named("x", vec![cell("thp"), cell("heap")]),
        named("y", vec![cell("thp"), wrong("heap", &[data(0)])]),
        named("z", vec![cell("thp")]),
    );
    let (a, b) = ([x.clone()], [y.clone()]);
    let two = diff(&a, &b).unwrap();
    assert_eq!(two.kernels[0].name(), "x → y");
    assert_eq!(two.cells.worse, 1);
    let worse = KernelOutcome {
        cells: y.cells.clone(),
        ..x.clone()
    };
    let (a, b) = ([x.clone(), y.clone()], [z.clone(), y.clone(), worse]);
    let three = diff(&a, &b).unwrap();
    let names: Vec<_> = three.kernels.iter().map(Pair::name).collect();
    assert_eq!(names, ["x", "y"]);
    assert_eq!(three.only_a.len(), 0);
    assert_eq!(three.only_b[0].kernel, "z");
    assert_eq!(three.verdict(), "WORSE: 1 cell got worse");
    assert_eq!(
        told(&three),
        ["worse: ✓ data → ✗ part of the data: heap on x"]
    );
    assert!(text(&three, paths()).contains("   not compared, only B has it: z (6.12"));
    // A kernel that B has not, and one that A has not.
    let (a, b) = ([x.clone(), z.clone()], [z.clone(), y.clone()]);
    let verdict = "WORSE: B has no results of x; B has findings on y, which only B has";
    let other = diff(&a, &b).unwrap();
    assert_eq!(
        (other.verdict().as_str(), other.is_worse()),
        (verdict, true)
    );
    let (a, b) = ([x.clone(), y], [z]);
    let nothing = diff(&a, &b).unwrap_err().to_string();
    let begin = "the runs have no kernel in common, A has x, y and B z: ";
    assert!(nothing.starts_with(begin), "{nothing}");
    let (a, b) = ([x], [named("x", vec![cell("hole")])]);
    assert_eq!(diff(&a, &b).unwrap_err(), DiffError::Cells);
    let stopped = KernelOutcome {
        stopped: Some("no guest boots".into()),
        ..named("x", Vec::new())
    };
    let nothing = diff(&a, &[stopped]).unwrap_err().to_string();
    let told = "B stopped before it had run anything that the other has: no guest boots";
    assert_eq!(nothing, told);
}

#[test]
fn what_makes_results_hard_to_compare_is_told() {
    let a = [KernelOutcome {
        checks: [Check::Kasan, Check::Kmemleak].into(),
        blind: Some("lockdep has turned itself off".into()),
        ..run(vec![cell("thp")])
    }];
    let mut five = cell("thp");
    five.runs = vec![RunsAlike {
        times: 5,
        verdict: Verdict::Expected,
        observation: five.observation,
        findings: Vec::new(),
    }];
    let b = [run(vec![five])];
    assert_eq!(
        diff(&a, &b).unwrap().kernels[0].notes,
        [
            "of A not all was seen: lockdep has turned itself off",
            "only A's kernel has KASAN, DEBUG_KMEMLEAK",
            "A ran each cell 1 time",
            "only in B these oracles have nothing to judge: leaks",
            "B ran each cell 5 times",
        ]
    );
    // A file may have any number.
    let mut often = cell("thp");
    let many = RunsAlike {
        times: usize::MAX,
        verdict: Verdict::Expected,
        observation: None,
        findings: Vec::new(),
    };
    often.runs = vec![many.clone(), many];
    assert_eq!(run(vec![often]).rounds(), usize::MAX);
}

#[test]
fn programs_and_pages_have_every_cell() {
    let names = ["thp", "heap", "stack", "mlocked", "memfd-shared", "hole"];
    let evil = "<script>alert(1)</script>\n\u{1b}[31m";
    let bad = finding(Severity::DataLost, Oracle::Data, evil);
    let a = [run(names.map(cell).into())];
    let b = [run(names
        .map(|name| wrong(name, std::slice::from_ref(&bad)))
        .into())];
    let diff = diff(&a, &b).unwrap();
    let json: Value = serde_json::to_value(&diff).unwrap();
    assert_eq!(json["worse"][0], "6 cells got worse");
    assert_eq!(json["cells"]["compared"], 6);
    assert_eq!(json["kernels"][0]["a"]["kernel"], "trixie");
    let change = &json["changes"][0];
    assert_eq!(change["group"], "worse");
    assert_eq!(change["a"]["what"], "data");
    assert_eq!(change["b"]["standing"], "bad");
    let told = change["cells"].as_array().unwrap();
    let told: Vec<_> = told.iter().map(|cell| cell["name"].as_str()).collect();
    assert_eq!(told, names.map(Some));
    assert_eq!(change["cells"][5]["appeared"][0]["oracle"], "data");
    let text = text(&diff, paths());
    assert!(
        text.contains("): thp, heap, stack, mlocked and 2 more\n"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));
    let page = page(&diff, paths());
    assert!(!page.contains("<script"));
    for part in [
        "<span class=\"bad\">✗ WORSE: 6 cells got worse</span>",
        "<li><strong>B</strong>: <code>after.json</code></li>",
        "<div class=\"legend\">",
        "<h2>worse<small",
        "<td><span class=\"good\">✓ data</span></td><td><span class=\"bad\">✗ part of the data</span></td><td>6</td>",
        "<span class=\"n\">hole</span>",
        "<a class=\"n\" href=\"#change:0:thp\">thp</a>",
        "id=\"change:0:thp\"",
        "id=\"A:trixie:thp\"",
        "id=\"B:trixie:thp\"",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("id=\"change:0:heap\""));
}

#[test]
fn a_device_without_a_witness_is_named() {
    let judged = KernelOutcome {
        device: Some(super::super::tests::judged()),
        ..run(vec![cell("heap")])
    };
    let (a, b) = ([run(vec![cell("heap")])], [judged]);
    let said = text(&diff(&a, &b).unwrap(), paths());
    for part in [
        "A <b>camera (usb-1), driver cam 6.12.1\n",
        "only in B these oracles have nothing to judge: address\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
