//! Cells of the matrix: every kind of memory, laid out in a guest and captured
//! into.

use std::time::Instant;

use pinhole::agent::cell::evidence::{CanarySeen, CanaryState, Ended, Moment};
use pinhole::agent::cell::{Cell, CellAnswer, Hazard, Kind, Point};
use pinhole::agent::protocol::Status;
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
const REFUSED: [Kind; 6] = [
    Kind::Hole,
    Kind::Secretmem,
    Kind::Null,
    Kind::KernelAddress,
    Kind::AddressSpaceEnd,
    Kind::WrappingLength,
];

fn boot() -> (Bed, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = TestbedSpec {
        kernel: Some("trixie".into()),
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
        "{:>5} ms {}@{}+{}/{}, {}: {:?} {} {} {:?} {:?}",
        answer.elapsed_ms,
        cell.kind,
        cell.offset,
        cell.tail,
        cell.hazard,
        cell.point,
        answer.ended,
        answer.impossible.as_deref().unwrap_or_default(),
        answer.failed.as_deref().unwrap_or_default(),
        calls,
        answer.notes,
    )
}

/// What is wrong with an answer, if no frame came, or one not as the card wrote
/// it, or something beside a buffer was touched.
fn flaw(bed: &Bed, answer: &CellAnswer) -> Option<String> {
    if answer.frames.is_empty() {
        return Some("no frame".into());
    }
    for frame in &answer.frames {
        if frame.digests != witnessed(bed, frame.sequence) {
            return Some(format!(
                "{} is not the frame that the card wrote",
                frame.sequence
            ));
        }
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
    match cell.kind {
        // Linux 6.1 pins it by force, and still nobody can read it.
        Kind::ProtNone | Kind::ProtNoneTail => None,
        _ => flaw(bed, answer),
    }
}

#[test]
#[ignore = "boots a guest"]
fn every_kind_of_memory_is_laid_out_and_verified_or_says_why_not() {
    let (bed, _dir) = boot();
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

/// Hazards after which the process still reads the frame in its place.
fn keeps_the_frame(hazard: Hazard) -> bool {
    !matches!(
        hazard,
        Hazard::Munmap | Hazard::MunmapMmap | Hazard::MadviseDontneed
    )
}

/// What is wrong with anonymous memory after a hazard, if anything is.
fn judge_hazard(bed: &Bed, cell: &Cell, answer: &CellAnswer) -> Option<String> {
    let ended = match cell.hazard {
        Hazard::Exit => Ended::Early(Status::Exit(3)),
        Hazard::Sigkill => Ended::Early(Status::Signal(9)),
        _ => Ended::Finished,
    };
    if answer.ended != ended {
        return Some(format!("it ended so: {:?}", answer.ended));
    }
    if let Some(why) = answer.failed.as_ref().or(answer.impossible.as_ref()) {
        return Some(why.clone());
    }
    let before = pins(answer, Moment::LaidOut);
    if pins(answer, Moment::Ended) != before {
        return Some("its pins are not all released".into());
    }
    if !cell.hazard.leaves_a_stream() {
        let [after, later] = answer.contents.as_slice() else {
            let gone = matches!(cell.hazard, Hazard::Exit | Hazard::Sigkill);
            return (!gone).then(|| "what the buffer held was not seen".into());
        };
        return (after.digests != later.digests).then(|| "it was written to later".into());
    }
    match keeps_the_frame(cell.hazard) {
        true => flaw(bed, answer),
        false => (answer.frames.len() != 1).then(|| "no frame".into()),
    }
}

#[test]
#[ignore = "boots a guest"]
fn every_hazard_comes_at_both_points_and_anonymous_memory_keeps_the_frame() {
    let (bed, _dir) = boot();
    let begin = Instant::now();
    let mut flaws = Vec::new();
    for hazard in Hazard::ALL {
        for point in Point::ALL {
            let cell = Cell {
                hazard: *hazard,
                point: *point,
                ..Cell::new(Kind::AnonTouched)
            };
            let answer = run(&bed, &cell);
            let told = told(&cell, &answer);
            println!("{told}");
            flaws.extend(judge_hazard(&bed, &cell, &answer).map(|flaw| format!("{told}: {flaw}")));
        }
    }
    let cells = 2 * Hazard::ALL.len();
    println!("{cells} cells in {} ms", begin.elapsed().as_millis());
    assert!(flaws.is_empty(), "{flaws:#?}");
    bed.no_splats();
    bed.testbed.finish().unwrap();
}
