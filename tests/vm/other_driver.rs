//! A driver in place of Pinhole's own, as `--driver` gives it: one that is made of
//! Pinhole's and is not built like it (`lookalike/lookalike_seams.c`).

use std::path::{Path, PathBuf};

use pinhole::agent::cell::{Hazard, Kind, Point};
use pinhole::report::matrix as report;
use pinhole::rig::matrix::error::MatrixError;
use pinhole::rig::matrix::objection::Severity;
use pinhole::rig::matrix::oracle::Oracle;
use pinhole::rig::matrix::outcome::{CellOutcome, Verdict};
use pinhole::rig::matrix::run::{self, MatrixSpec};
use pinhole::rig::matrix::{CellName, Pinning};
use pinhole::rig::testbed::driver::{DriverModule, OtherDriver};
use pinhole::rig::testbed::{Testbed, TestbedError, TestbedSpec};
use pinhole::vm::progress::Progress;

use crate::judging;
use crate::seams::{Seams, stand_in};

const SEAMS: &[u8] = include_bytes!("lookalike/lookalike_seams.c");

/// What the seams are put between.
const WRAPPED: &str = "pinhole_mem_get_userptr pinhole_unpin pinhole_pinned_finish \
                       pinhole_buf_prepare vb2_queue_init";

/// What the operations of a parameter that is not there are.
const UNUSED: &str = "static const struct kernel_param_ops __maybe_unused pinhole_model_ops";

/// Builds the driver in `dir` under another name, with the seams and without the
/// parameter that has it pin as the kernel does.
fn build_lookalike(dir: &Path) -> PathBuf {
    let seams = Seams {
        name: "lookalike",
        file: "lookalike_seams",
        text: SEAMS,
        wrapped: WRAPPED,
        edit: |_, text| {
            text.replace(
                "module_param_cb(userptr, &pinhole_model_ops, NULL, 0644);\n",
                "",
            )
            .replace(
                "static const struct kernel_param_ops pinhole_model_ops",
                UNUSED,
            )
        },
    };
    seams.build("trixie", dir)
}

/// What runs cells with the lookalike, which is given further parameters.
fn spec(path: &Path, params: &str, cells: Vec<CellName>) -> MatrixSpec {
    let id = stand_in().map_or_else(String::new, |id| format!("standin_id={id}"));
    MatrixSpec {
        judged: None,
        testbed: TestbedSpec {
            kernel: Some("trixie".into()),
            driver: Some(OtherDriver::new(
                DriverModule::File(path.to_owned()),
                format!("{id} {params}").trim(),
            )),
            ..TestbedSpec::default()
        },
        cells,
        mutants: Vec::new(),
        jobs: 1,
    }
}

/// Memory of each way to be refused, and to be captured into while it is there and
/// while it is not.
fn cells() -> Vec<CellName> {
    let plain = CellName::plain;
    let hazard = |kind, hazard| CellName {
        hazard,
        ..plain(kind)
    };
    vec![
        plain(Kind::AnonTouched),
        CellName {
            offset: 2055,
            tail: 2056,
            ..plain(Kind::Heap)
        },
        plain(Kind::Thp),
        plain(Kind::Hugetlb),
        plain(Kind::MemfdShared),
        plain(Kind::ReadOnly),
        plain(Kind::Hole),
        plain(Kind::PciBar),
        plain(Kind::WrappingLength),
        hazard(Kind::Thp, Hazard::Munmap),
        hazard(Kind::Heap, Hazard::Munmap),
        hazard(Kind::AnonTouched, Hazard::Munmap),
        hazard(Kind::AnonTouched, Hazard::ForkParentWrites),
        CellName {
            point: Point::AfterDma,
            ..hazard(Kind::MemfdShared, Hazard::MovePages)
        },
        hazard(Kind::AnonTouched, Hazard::Streamoff),
        hazard(Kind::AnonTouched, Hazard::Sigkill),
        hazard(Kind::AnonTouched, Hazard::MmapContention),
    ]
}

#[test]
#[ignore = "boots a guest"]
fn a_driver_that_is_right_but_unlike_ours_has_no_finding() {
    let dir = tempfile::tempdir().unwrap();
    let path = build_lookalike(dir.path());
    let by_sg = CellName {
        pinning: Pinning::Sg,
        ..CellName::plain(Kind::Hugetlb)
    };
    let mut spec = spec(&path, "", [cells(), vec![by_sg]].concat());
    let mut outcome = judging::outcome(&spec);
    let by_sg = outcome.cells.pop().unwrap();
    for cell in &outcome.cells {
        assert_eq!(cell.verdict, Verdict::Expected, "{}: {cell:#?}", cell.cell);
    }
    assert_eq!(by_sg.verdict, Verdict::Impossible);
    assert_eq!(
        by_sg.reason.as_deref(),
        Some("the driver lookalike has no parameter userptr")
    );

    // Without its parameters it does not know the stand-in.
    if let Some(id) = stand_in() {
        spec.testbed.driver.as_mut().unwrap().params.clear();
        let error = Testbed::start(&spec.testbed, &Progress::silent()).unwrap_err();
        assert!(matches!(error, TestbedError::NoDevice { .. }), "{error}");
        let told = error.to_string();
        assert!(
            told.contains(&format!("make the driver bind {id}, ")),
            "{told}"
        );
    }
}

#[test]
#[ignore = "boots guests"]
fn the_bugs_of_a_driver_that_unpins_at_once_are_on_one_screen() {
    let dir = tempfile::tempdir().unwrap();
    let path = build_lookalike(dir.path());
    let outcome = judging::outcome(&spec(&path, "early=1", cells()));
    let pins = |cell: &CellOutcome| {
        let mut findings = cell.findings.iter();
        findings.any(|finding| {
            (finding.oracle, finding.severity) == (Oracle::Pins, Severity::MemoryWritten)
        })
    };
    for cell in &outcome.cells {
        // What is refused is not pinned by anybody.
        let refused = cell.cell.kind;
        let refused = [
            Kind::ReadOnly,
            Kind::Hole,
            Kind::PciBar,
            Kind::WrappingLength,
        ]
        .contains(&refused);
        assert_eq!(pins(cell), !refused, "{}: {:#?}", cell.cell, cell.findings);
    }
    // The card wrote to pages that were free. Which of them the kernel had given away
    // by then differs, but no cell is blamed in which none was freed.
    let poison = |cell: &&CellOutcome| {
        let mut findings = cell.findings.iter();
        findings.any(|finding| finding.what.contains("pagealloc: memory corruption"))
    };
    let poisoned: Vec<_> = outcome.cells.iter().filter(poison).collect();
    assert!(!poisoned.is_empty());
    let frees = [Hazard::Munmap, Hazard::ForkParentWrites, Hazard::MovePages];
    for cell in poisoned {
        assert!(frees.contains(&cell.cell.hazard), "{}", cell.cell);
    }

    let table = report::table(&[outcome]);
    let findings: Vec<_> = table
        .lines()
        .skip_while(|line| !line.starts_with("FINDING"))
        .collect();
    assert!(findings.len() < 40, "{}", findings.join("\n"));
    let first = findings[0];
    assert!(first.starts_with("FINDING memory-written"), "{first}");
    assert!(table.contains("data-lost       dirty"), "{table}");

    let mut outcomes = Vec::new();
    let refuses = spec(&path, "no_userptr=1", cells());
    let error = run::run(&refuses, &Progress::silent(), &mut outcomes).unwrap_err();
    assert!(
        matches!(error, MatrixError::NoUserPointers { .. }),
        "{error}"
    );
    assert!(outcomes.is_empty());
}
