//! Cells of the matrix: every kind of memory, laid out in a guest and captured
//! into.

use std::time::Instant;

use pinhole::agent::cell::evidence::{CanarySeen, CanaryState, Ended, Moment};
use pinhole::agent::cell::{Cell, CellAnswer, Kind};
use pinhole::card::witness::{Digest, Record};
use pinhole::rig::cell_guest;
use pinhole::rig::testbed::TestbedSpec;

use crate::bed::{Bed, LIMIT};

/// Kinds that no kernel refuses.
const ORDINARY: [Kind; 15] = [
    Kind::AnonTouched,
    Kind::AnonUntouched,
    Kind::AnonForked,
    Kind::Thp,
    Kind::ThpPart,
    Kind::Hugetlb,
    Kind::Stack,
    Kind::Heap,
    Kind::MemfdShared,
    Kind::MemfdHugetlb,
    Kind::TmpfsShared,
    Kind::TmpfsPrivate,
    Kind::Ext4Private,
    Kind::Mlocked,
    Kind::Swapped,
];

/// Kinds that no kernel takes.
const REFUSED: [Kind; 8] = [
    Kind::ProtNone,
    Kind::ProtNoneTail,
    Kind::Hole,
    Kind::Secretmem,
    Kind::Null,
    Kind::KernelAddress,
    Kind::AddressSpaceEnd,
    Kind::WrappingLength,
];

fn boot(kernel: &str) -> (Bed, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = TestbedSpec {
        kernel: Some(kernel.into()),
        free_running: true,
        ..TestbedSpec::default()
    };
    cell_guest::equip(&mut spec, dir.path()).unwrap();
    (Bed::start(spec), dir)
}

fn run(bed: &Bed, cell: &Cell) -> CellAnswer {
    let agent = bed.testbed.machine.agent();
    agent.call(cell.clone(), LIMIT).unwrap()
}

/// The digests of the frame that the card wrote last.
fn witnessed(bed: &Bed, sequence: u32) -> Vec<Option<Digest>> {
    let records = bed.witness();
    let frame = records.iter().rev().find_map(|record| match record {
        Record::Frame {
            sequence: number,
            planes,
            ..
        } if *number == sequence => Some(planes[0].digests.clone()),
        _ => None,
    });
    frame.unwrap().into_iter().map(Some).collect()
}

/// One line for a person who looks at the test's output.
fn told(cell: &Cell, answer: &CellAnswer) -> String {
    let calls: Vec<_> = answer
        .calls
        .iter()
        .filter_map(|call| Some(format!("{} errno {}", call.name, call.errno?)))
        .collect();
    format!(
        "{:>5} ms {}@{}+{}/{}: {:?} {} {} {:?}",
        answer.elapsed_ms,
        cell.kind,
        cell.offset,
        cell.tail,
        cell.hazard,
        answer.ended,
        answer.impossible.as_deref().unwrap_or_default(),
        answer.failed.as_deref().unwrap_or_default(),
        calls,
    )
}

/// What is wrong with an answer, if the frame did not come as the card wrote
/// it or something beside it was touched.
fn flaw(bed: &Bed, answer: &CellAnswer) -> Option<String> {
    let [frame] = answer.frames.as_slice() else {
        return Some(format!("{} frames", answer.frames.len()));
    };
    if frame.digests != witnessed(bed, frame.sequence) {
        return Some("not the frame that the card wrote".into());
    }
    let touched = |canary: &&CanarySeen| canary.state != CanaryState::Intact;
    answer
        .canaries
        .iter()
        .find(touched)
        .map(|canary| format!("{canary:?}"))
}

/// Pins that were acquired and not released at that moment.
fn pins(answer: &CellAnswer, moment: Moment) -> Option<u64> {
    let values = &answer.counters_at(moment)?.values;
    let released = values.get("nr_foll_pin_released")?;
    values.get("nr_foll_pin_acquired")?.checked_sub(*released)
}

/// What is wrong with a cell without hazard, if anything is.
fn judge(bed: &Bed, cell: &Cell, answer: &CellAnswer) -> Option<String> {
    if answer.ended != Ended::Finished {
        return Some(format!("it ended so: {:?}", answer.ended));
    }
    if let Some(why) = &answer.failed {
        return Some(why.clone());
    }
    let ordinary = ORDINARY.contains(&cell.kind);
    if let Some(why) = &answer.impossible {
        return (ordinary || why.is_empty()).then(|| format!("impossible: {why}"));
    }
    let queued = answer.call("VIDIOC_QBUF")?.errno;
    if queued.is_some() {
        return ordinary.then(|| format!("refused: {queued:?}"));
    }
    if REFUSED.contains(&cell.kind) {
        return Some("not refused".into());
    }
    let before = pins(answer, Moment::LaidOut);
    if pins(answer, Moment::Ended) != before {
        return Some("its pins are not all released".into());
    }
    flaw(bed, answer)
}

fn every_kind(kernel: &str) {
    let (bed, _dir) = boot(kernel);
    let begin = Instant::now();
    let mut flaws = Vec::new();
    for (offset, tail) in [(0, 0), (17, 55)] {
        for kind in Kind::ALL {
            let cell = Cell {
                offset,
                tail,
                ..Cell::new(*kind)
            };
            let answer = run(&bed, &cell);
            let told = told(&cell, &answer);
            println!("{told}");
            flaws.extend(judge(&bed, &cell, &answer).map(|flaw| format!("{told}: {flaw}")));
        }
    }
    let cells = 2 * Kind::ALL.len();
    println!("{cells} cells in {} ms", begin.elapsed().as_millis());
    assert!(flaws.is_empty(), "{flaws:#?}");
    bed.no_splats();
    bed.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn every_kind_of_memory_is_laid_out_and_verified_or_says_why_not() {
    let kernel = std::env::var("PINHOLE_KERNEL").unwrap_or("trixie".into());
    every_kind(&kernel);
}
