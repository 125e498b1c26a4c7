//! Mem-to-mem devices judged without a witness: what they have read is known by what they
//! made of it.

use std::collections::BTreeSet;

use pinhole::card::CardKind;
use pinhole::rig::matrix::observation::{Observation, Reads, Sent};
use pinhole::rig::matrix::oracle::Oracle;
use pinhole::rig::matrix::outcome::{KernelOutcome, MutantVerdict, Verdict};
use pinhole::rig::matrix::{CellName, Mutant};
use pinhole::rig::testbed::driver::{DriverModule, OtherDriver};
use pinhole::rig::testbed::{CardProcess, TestbedSpec};

use crate::checked::KERNEL;
use crate::judging::judge;

/// Checks that the cells came to these observations, and that this was expected.
fn came_to(outcome: &KernelOutcome, expected: &[(&str, Observation)]) {
    assert_eq!(outcome.cells.len(), expected.len());
    for (name, observation) in expected {
        let cell: CellName = name.parse().unwrap();
        let cell = outcome.cells.iter().find(|one| one.cell == cell).unwrap();
        assert_eq!(cell.verdict, Verdict::Expected, "{name}: {cell:#?}");
        assert_eq!(cell.observation, Some(*observation), "{name}: {cell:#?}");
    }
}

/// Returns the oracles that could not be asked.
fn missing(outcome: &KernelOutcome) -> BTreeSet<Oracle> {
    let missing = outcome.device.as_ref().unwrap().missing.iter();
    missing.map(|(oracle, _)| *oracle).collect()
}

const DATA: Observation = Observation::Converted(Sent::Written, Reads::Written);
const LATER: Observation = Observation::Converted(Sent::Later, Reads::Written);
const OTHER: Observation = Observation::Converted(Sent::Written, Reads::Other);
const EFAULT: Observation = Observation::Refused(14);

#[test]
#[ignore = "boots two guests"]
fn a_mem_to_mem_card_is_judged_by_what_it_makes() {
    let expected = [
        ("m2m/read/read-only@2055", DATA),
        ("m2m/written/hugetlb", DATA),
        ("m2m/written/read-only", EFAULT),
        ("m2m/adjacent/anon-touched@1234", DATA),
        ("m2m/turned/memfd-shared@1234", DATA),
        ("m2m/in-place/anon-touched", DATA),
        ("m2m/two-files/anon-touched/close", Observation::TakenBack),
        ("m2m/read/anon-touched/fork-parent-writes", LATER),
        ("m2m/read/anon-touched/fork-parent-writes:after-dma", DATA),
        ("m2m/written/anon-touched/munmap-mmap", OTHER),
        (
            "m2m/read/anon-touched/streamoff:after-dma",
            Observation::TakenBack,
        ),
    ];
    let names = expected.map(|(name, _)| name);
    let testbed = TestbedSpec {
        kernel: Some("trixie".into()),
        kind: CardKind::M2m,
        ..TestbedSpec::default()
    };
    let outcome = judge(testbed, &names, &[Mutant::M2mSwapped, Mutant::M2mMixedUp]);
    came_to(&outcome, &expected);
    let missing = missing(&outcome);
    assert!(missing.contains(&Oracle::Address), "{missing:?}");
    assert!(!missing.contains(&Oracle::Data), "{missing:?}");
    for mutant in &outcome.mutants {
        let (verdict, why) = (mutant.verdict, &mutant.reason);
        assert_eq!(verdict, MutantVerdict::Caught, "{}: {why:?}", mutant.mutant);
    }
    // What is written into another file's buffer is not what this one's was made of.
    let mixed = outcome
        .mutants
        .iter()
        .find(|one| one.mutant == Mutant::M2mMixedUp);
    let found = mixed.unwrap().cells.iter().flat_map(|cell| &cell.findings);
    let found: BTreeSet<_> = found.map(|finding| finding.oracle).collect();
    assert!(found.contains(&Oracle::Outcome), "{found:?}");
}

/// The kernel's own virtual device has buffers of videobuf2 and memory of vb2_vmalloc.
#[test]
#[ignore = "boots a guest"]
fn a_device_of_another_driver_is_judged_likewise() {
    let expected = [
        ("m2m/read/anon-touched@1234", DATA),
        ("m2m/written/memfd-shared", DATA),
        ("m2m/read/anon-touched/fork-parent-writes", LATER),
        ("m2m/two-files/anon-touched", DATA),
    ];
    let testbed = TestbedSpec {
        card: CardProcess::Absent,
        driver: Some(OtherDriver::new(DriverModule::OfKernel("vim2m".into()), "")),
        kernel: Some(KERNEL.into()),
        ..TestbedSpec::default()
    };
    let outcome = judge(testbed, &expected.map(|(name, _)| name), &[]);
    assert_eq!(outcome.driver.as_deref(), Some("vim2m"));
    came_to(&outcome, &expected);
    for cell in &outcome.cells {
        let answer = cell.answer.as_ref().unwrap();
        let made = answer.of_buffer(1);
        // Each result has the time of its frame.
        let times = |returns: &[pinhole::agent::cell::evidence::ReturnSeen]| {
            let times = returns.iter().map(|seen| seen.timestamp_us);
            times.collect::<BTreeSet<_>>()
        };
        assert_eq!(
            times(&answer.returns),
            times(&made.returns),
            "{}",
            cell.cell
        );
        assert!(times(&made.returns).iter().all(|time| *time > 1_000_000));
    }
}
