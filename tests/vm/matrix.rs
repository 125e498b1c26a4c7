//! The matrix on a real kernel: each kind of memory, each hazard, each mutant.

use std::collections::BTreeSet;

use pinhole::agent::cell::{Given, Hazard, Kind, Point};
use pinhole::agent::checks::Check;
use pinhole::card::CardKind;
use pinhole::rig::matrix::cells;
use pinhole::rig::matrix::observation::{Observation, Reads, Sent};
use pinhole::rig::matrix::outcome::{CellOutcome, KernelOutcome, MutantVerdict, Verdict};
use pinhole::rig::matrix::run::MatrixSpec;
use pinhole::rig::matrix::{CellName, Mutant, Pinning};
use pinhole::rig::testbed::TestbedSpec;

use crate::checked::KERNEL;
use crate::judging;

/// What a guest of Linux 6.12 cannot have: guard regions came with 6.13, a userfaultfd that
/// takes away all access with 7.3, for a page of 1 GiB its memory is too small, and it does
/// not free in order what has HVO.
const NOT_ON_6_12: [(Kind, Hazard); 4] = [
    (Kind::HugetlbHvo, Hazard::None),
    (Kind::GuardRegion, Hazard::None),
    (Kind::UffdRwp, Hazard::None),
    (Kind::Hugetlb1g, Hazard::None),
];

/// What no kernel here has: a udmabuf that takes a memfd which is sealed against writing.
const NO_EXPORTER: (Kind, Hazard) = (Kind::DmabufUdmabufSealed, Hazard::None);

/// What Debian builds its kernel without: a DMA heap of memory in one piece, and the
/// kernel's test of memory that a device takes.
const NOT_STOCK: [(Kind, Hazard); 4] = [
    (Kind::DmabufCmaHeap, Hazard::None),
    (Kind::DevicePrivate, Hazard::None),
    (Kind::DeviceExclusive, Hazard::None),
    (Kind::AnonTouched, Hazard::DeviceTakes),
];

/// What the kernel that checks itself is built without (two file systems), and what it
/// warns of.
const NOT_BUILT: [(Kind, Hazard); 3] = [
    (Kind::XfsShared, Hazard::None),
    (Kind::BtrfsShared, Hazard::None),
    (Kind::DmabufOwn, Hazard::None),
];

/// Runs in one guest at a time: the suite has those of another test beside it, and more
/// than there are processors wait for each other's locks.
fn run(kernel: &str, cells: Vec<CellName>, mutants: &[Mutant]) -> KernelOutcome {
    run_in(guest_of(kernel), cells, mutants, 1)
}

fn guest_of(kernel: &str) -> TestbedSpec {
    TestbedSpec {
        kernel: Some(kernel.into()),
        ..TestbedSpec::default()
    }
}

fn run_in(
    testbed: TestbedSpec,
    cells: Vec<CellName>,
    mutants: &[Mutant],
    jobs: usize,
) -> KernelOutcome {
    let spec = MatrixSpec {
        judged: None,
        testbed,
        cells,
        mutants: mutants.to_vec(),
        jobs,
    };
    let outcome = judging::outcome(&spec);
    assert_eq!(outcome.cells.len(), spec.cells.len());
    outcome
}

/// Every kind at an offset that nothing is aligned to, pinned by the driver and by the
/// kernel's memory models in turn; dma-bufs are given from their first byte on, and
/// pinned by nobody.
fn every_kind() -> impl Iterator<Item = CellName> {
    let models = Pinning::MODELS.into_iter().cycle();
    let pinned = Kind::ALL.iter().zip(models).flat_map(|(kind, model)| {
        [Pinning::FrameVector, model].map(|pinning| CellName {
            offset: 2055,
            tail: 2056,
            pinning,
            ..CellName::plain(*kind)
        })
    });
    let dmabufs = Kind::ALL.iter().map(|kind| CellName {
        tail: 2056,
        ..CellName::plain(*kind)
    });
    let dmabufs = dmabufs.filter(|cell| cell.kind.given() == Given::Dmabuf);
    pinned.filter(|cell| cell.check().is_ok()).chain(dmabufs)
}

/// Calls that allocate so often that letting each fail takes minutes: `make
/// matrix-checked` does.
const LONG: [Point; 2] = [Point::Bind, Point::Insmod];

/// Every hazard at each of its points, on anonymous memory, or on a dma-buf if it is to
/// those.
fn every_hazard() -> impl Iterator<Item = CellName> {
    Hazard::ALL.iter().flat_map(|hazard| {
        let points = hazard.points().iter().filter(|point| !LONG.contains(point));
        points.map(|point| CellName {
            hazard: *hazard,
            point: *point,
            ..CellName::plain(kind_for(*hazard))
        })
    })
}

/// Returns the first kind of those that the hazards are tried with to which it can happen.
fn kind_for(hazard: Hazard) -> Kind {
    let kinds = [Kind::AnonTouched, Kind::DmabufUdmabuf, Kind::DmabufVivid];
    let mut suited = kinds.into_iter().filter(|kind| hazard.suits(*kind));
    suited.next().unwrap()
}

/// Runs cells, which are as expected on a kernel, in that many guests at once; gives what
/// came of them, and which kinds and hazards it cannot have.
fn as_expected(
    kernel: &str,
    cells: impl Iterator<Item = CellName>,
    jobs: usize,
) -> (KernelOutcome, BTreeSet<(Kind, Hazard)>) {
    let outcome = run_in(guest_of(kernel), cells.collect(), &[], jobs);
    let mut impossible = BTreeSet::new();
    for cell in &outcome.cells {
        assert_ne!(cell.verdict, Verdict::Finding, "{}: {cell:#?}", cell.cell);
        if cell.verdict == Verdict::Impossible {
            impossible.insert((cell.cell.kind, cell.cell.hazard));
        }
    }
    (outcome, impossible)
}

#[test]
#[ignore = "boots a guest"]
fn every_kind_and_every_hazard_is_as_expected() {
    let (_, impossible) = as_expected("trixie", every_kind().chain(every_hazard()), 2);
    // No allocation can be made to fail there.
    let failing = (Kind::AnonTouched, Hazard::FailNth);
    let lacks = [&NOT_STOCK[..], &NOT_ON_6_12, &[NO_EXPORTER, failing]].concat();
    assert_eq!(impossible, lacks.into_iter().collect());
}

/// The kernel's memory models are left to `make matrix-checked`, and to stock kernels.
#[test]
#[ignore = "boots a guest"]
fn every_kind_every_hazard_and_every_failure_is_as_expected_on_a_kernel_that_checks_itself() {
    let by_driver = every_kind().filter(|cell| cell.pinning == Pinning::FrameVector);
    let (outcome, impossible) = as_expected(KERNEL, by_driver.chain(every_hazard()), 1);
    let lacks = [&NOT_BUILT[..], &NOT_ON_6_12, &[NO_EXPORTER]].concat();
    assert_eq!(impossible, lacks.into_iter().collect());
    assert_eq!(outcome.blind, None);
    let failing = |cell: &&CellOutcome| cell.cell.hazard == Hazard::FailNth;
    for cell in outcome.cells.iter().filter(failing) {
        let injected = &cell.answer.as_ref().unwrap().injected;
        assert!(!injected.is_empty(), "{}", cell.cell);
    }
    assert!(outcome.injected >= 150, "{}", outcome.injected);
}

/// One piece for the device is what the DMA API makes one: a bounce buffer holds 256 KiB.
#[test]
#[ignore = "boots a guest"]
fn each_memory_model_comes_to_its_data_out_of_bounce_buffers() {
    let cells = [
        "anon-touched@2055+2056/sg",
        "anon-touched@2055+2056/vmalloc",
        "thp-part@2055+2056/contig",
        "output/anon-touched@2055+2056/sg",
        "output/anon-touched@2055+2056/vmalloc",
        "output/thp-part@2055+2056/contig",
    ];
    let testbed = TestbedSpec {
        bounce_buffers: true,
        ..guest_of("trixie")
    };
    let cells = cells.iter().map(|cell| cell.parse().unwrap()).collect();
    for cell in &run_in(testbed, cells, &[], 1).cells {
        assert_eq!(cell.verdict, Verdict::Expected, "{}: {cell:#?}", cell.cell);
        let data = Observation::data(cell.cell.flow.subject());
        assert_eq!(cell.observation, Some(data), "{}", cell.cell);
    }
}

/// The cells in which the card reads; no allocation can be made to fail on a stock
/// kernel.
fn every_output() -> Vec<CellName> {
    let mut cells = cells::all();
    cells.retain(|cell| cell.card() == CardKind::Output && cell.hazard != Hazard::FailNth);
    cells
}

#[test]
#[ignore = "boots a guest"]
fn every_cell_in_which_the_card_reads_is_as_expected() {
    let outcome = run("trixie", every_output(), &[]);
    let frames = |cell: &CellOutcome| cell.card_frames.frames().len();
    let mut read = 0;
    for cell in &outcome.cells {
        let expected = match (cell.cell.kind, cell.cell.hazard) {
            NO_EXPORTER | (_, Hazard::DeviceTakes) => Verdict::Impossible,
            lacks if NOT_ON_6_12.contains(&lacks) => Verdict::Impossible,
            lacks if NOT_STOCK.contains(&lacks) => Verdict::Impossible,
            _ => Verdict::Expected,
        };
        assert_eq!(cell.verdict, expected, "{}: {cell:#?}", cell.cell);
        read += usize::from(frames(cell) > 0);
    }
    assert!(read > 150, "the card has read in {read} cells only");
}

/// Some of the kinds are refused at one end, and none of the cells is impossible.
#[test]
#[ignore = "boots a guest"]
fn every_cell_of_a_mem_to_mem_card_is_as_expected() {
    let mut cells = cells::all();
    cells.retain(|cell| cell.card() == CardKind::M2m);
    let outcome = run("trixie", cells, &[]);
    let mut converted = 0;
    for cell in &outcome.cells {
        assert_eq!(cell.verdict, Verdict::Expected, "{}: {cell:#?}", cell.cell);
        let is_data = matches!(cell.observation, Some(Observation::Converted(..)));
        let frames = |number| cell.card_frames.of_buffer(number).frames().len();
        converted += usize::from(is_data && (frames(0), frames(1)) == (1, 1));
    }
    assert!(converted > 40, "a frame was made in {converted} cells only");
}

/// The first guest has the capture card, and the second the other.
#[test]
#[ignore = "boots two guests"]
fn cells_of_both_directions_are_run_with_a_card_each() {
    let plain = CellName::plain(Kind::AnonTouched);
    let outcome = run("trixie", vec![plain.of_output(), plain], &[]);
    let told: Vec<_> = outcome
        .cells
        .iter()
        .map(|cell| (cell.cell, cell.observation.unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (plain, Observation::Captured(Reads::Written)),
            (plain.of_output(), Observation::Sent(Sent::Written)),
        ]
    );
    assert_eq!(outcome.boots, 2);
}

#[test]
#[ignore = "boots a guest"]
fn a_mutant_by_itself_takes_one_guest() {
    let outcome = run("trixie", Vec::new(), &[Mutant::OutputDirty]);
    let mutant = &outcome.mutants[0];
    assert_eq!(mutant.verdict, MutantVerdict::Caught, "{:?}", mutant.reason);
    assert_eq!(outcome.boots, 1);
}

/// Runs mutants: the oracle that is there for one sees it in each cell, unless it takes a
/// check that the kernel is known to lack.
fn mutants_are_seen(kernel: &str, mutants: &[Mutant], lacks: impl Fn(Check) -> bool) {
    let outcome = run(kernel, Vec::new(), mutants);
    for mutant in mutants {
        let outcome = outcome.mutants.iter().find(|one| one.mutant == *mutant);
        let outcome = outcome.unwrap();
        let expected = match mutant.check().is_some_and(&lacks) {
            true => MutantVerdict::Unseen,
            false => MutantVerdict::Caught,
        };
        assert_eq!(outcome.verdict, expected, "{mutant}: {:?}", outcome.reason);
        let unseen: Vec<_> = outcome.unseen_as_meant().map(|cell| cell.cell).collect();
        assert_eq!(unseen, [], "{mutant}");
        let caught = expected == MutantVerdict::Caught;
        assert_eq!(outcome.cells.is_empty(), !caught, "{mutant}");
    }
}

#[test]
#[ignore = "boots guests"]
fn every_mutant_that_a_stock_kernel_can_show_is_seen_by_its_oracle() {
    mutants_are_seen("trixie", Mutant::ALL, |_| true);
}

/// The others have the oracles that a stock kernel has, too; `make matrix-checked` runs
/// them all.
#[test]
#[ignore = "boots guests"]
fn every_mutant_that_takes_a_check_is_seen_by_it_on_a_kernel_that_checks_itself() {
    let mutants = Mutant::ALL.iter().copied();
    let mutants: Vec<_> = mutants.filter(|one| one.check().is_some()).collect();
    mutants_are_seen(KERNEL, &mutants, |_| false);
}
