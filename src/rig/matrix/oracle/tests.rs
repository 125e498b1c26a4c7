//! What several oracles' tests share, and the tests of all oracles together.

use std::collections::BTreeMap;

use super::*;
use crate::agent::cell::answer::BufferSeen;
use crate::agent::cell::evidence::{
    CallSeen, ContentsSeen, CountersSeen, FrameSeen, HOLD, Memory, Moment, PagesSeen,
};
use crate::agent::cell::{CellAnswer, Ends, Flow, Point};
use crate::card::witness::PlaneRecord;
use crate::dma::Digest;
use crate::rig::kernel::Version;
use crate::rig::matrix::expectation::{Expectation, expect};
use crate::rig::matrix::name::Pinning;
use crate::rig::matrix::observation::Sent;
use crate::rig::matrix::witness::CardFrames;

/// Returns a cell that succeeded: two pages at the start of a page, one
/// frame.
pub fn captured() -> (CellAnswer, CardFrames) {
    let mut card_frames = CardFrames::default();
    let digests = vec![Digest(1), Digest(2)];
    card_frames.add(
        0,
        PlaneRecord {
            bytes: 8192,
            segments: vec![(0x3000, 4096), (0x8000, 4096)],
            digests: digests.clone(),
        },
    );
    let counters = |moment, acquired, released| CountersSeen {
        moment,
        values: BTreeMap::from([
            ("nr_foll_pin_acquired".to_owned(), acquired),
            ("nr_foll_pin_released".to_owned(), released),
        ]),
    };
    let answer = CellAnswer {
        calls: vec![CallSeen {
            name: HOLD.into(),
            errno: None,
            at_us: 1,
            took_us: 1,
            queue: 0,
        }],
        memory: Some(Memory {
            address: 0x7000_0000,
            length: 8192,
            width: 128,
            height: 64,
            is_dmabuf: false,
            is_hidden: false,
        }),
        pages: vec![PagesSeen {
            moment: Moment::Queued,
            buffer: 0,
            pagemap: vec![1 << 63 | 3, 1 << 63 | 8],
            flags: vec![0; 2],
            count: vec![1; 2],
        }],
        counters: vec![
            counters(Moment::LaidOut, 100, 100),
            counters(Moment::Queued, 102, 100),
            counters(Moment::Stopped, 102, 102),
        ],
        frames: vec![FrameSeen {
            index: 0,
            sequence: 0,
            flags: 0,
            bytesused: 8192,
            digests: digests.into_iter().map(Some).collect(),
            sent: Vec::new(),
            touched: None,
        }],
        ..CellAnswer::default()
    };
    (answer, card_frames)
}

/// Returns the same cell of an output: the card has read what the process
/// wrote, which is still there.
pub fn sent() -> (CellAnswer, CardFrames) {
    let (mut answer, card_frames) = captured();
    let frame = &mut answer.frames[0];
    frame.sent = frame.digests.clone();
    answer.contents.push(ContentsSeen {
        moment: Moment::Filled,
        digests: frame.sent.clone(),
        upside_down: Vec::new(),
        made: None,
    });
    (answer, card_frames)
}

/// Returns a cell of a mem-to-mem card that succeeded: what it read in page frames
/// 3 and 8 it wrote to 5 and 6.
pub fn converted() -> (CellAnswer, CardFrames) {
    let (mut answer, card_frames) = sent();
    let (other, _) = captured();
    answer.further.push(BufferSeen {
        memory: other.memory,
        pages: vec![PagesSeen {
            pagemap: vec![1 << 63 | 5, 1 << 63 | 6],
            ..other.pages[0].clone()
        }],
        frames: other.frames,
        ..BufferSeen::default()
    });
    let read = card_frames.frames()[0].1.clone();
    let mut made = CardFrames::default();
    made.add(
        0,
        PlaneRecord {
            segments: vec![(0x5000, 8192)],
            ..read
        },
    );
    // Both buffers are pinned.
    let queued = &mut answer.counters[1].values;
    queued.insert("nr_foll_pin_acquired".into(), 104);
    let stopped = &mut answer.counters[2].values;
    stopped.insert("nr_foll_pin_acquired".into(), 104);
    stopped.insert("nr_foll_pin_released".into(), 104);
    (answer, card_frames.with(vec![made]))
}

/// Returns all objections to a cell of that flow that is expected to end with data.
fn findings(flow: Flow, answer: &CellAnswer, card_frames: &CardFrames) -> Vec<String> {
    let expectation = Expectation::data(flow);
    let findings = judge(&evidence(flow, answer, card_frames, &expectation));
    let said = findings.into_iter();
    said.map(|one| format!("{}: {}", one.oracle, one.what))
        .collect()
}

#[test]
fn both_buffers_of_a_mem_to_mem_card_are_judged() {
    let flow = Flow::M2m(Ends::Read);
    let (answer, card_frames) = converted();
    assert_eq!(findings(flow, &answer, &card_frames), [""; 0]);
    let broken = |change: &dyn Fn(&mut CellAnswer)| {
        let (mut answer, card_frames) = converted();
        change(&mut answer);
        findings(flow, &answer, &card_frames)
    };
    let pages = broken(&|answer| answer.further[0].pages[0].pagemap[1] = 1 << 63 | 9);
    assert_eq!(
        pages,
        [
            "address: CAPTURE: frame 0: page 1 of the buffer is page frame 0x9 in the process's \
             pagemap, the card was given 0x6"
        ]
    );
    let read = broken(&|answer| answer.further[0].frames[0].digests[1] = None);
    assert_eq!(
        read,
        [
            "outcome: it came to \"part of the data\", expected was \"data\"",
            "data: CAPTURE: frame 0 differs from what the card wrote, first in the 4 KiB at \
             byte 4096",
        ]
    );
    let pins = broken(&|answer| {
        let queued = &mut answer.counters[1].values;
        queued.insert("nr_foll_pin_acquired".into(), 102);
    });
    assert_eq!(
        pins,
        ["pins: 2 pages were pinned while 2 buffers of 4 were queued"]
    );
}

#[test]
fn what_is_made_of_a_frame_is_that_frame() {
    let flow = Flow::M2m(Ends::Read);
    let (mut answer, card_frames) = converted();
    let mut made = card_frames.of_buffer(1).into_owned();
    // The card wrote something else, and the process reads just that.
    answer.further[0].frames[0].digests[0] = Some(Digest(9));
    made.add(0, {
        let (_, plane) = &made.frames()[0];
        PlaneRecord {
            digests: vec![Digest(9), plane.digests[1]],
            ..plane.clone()
        }
    });
    let other = CardFrames::default();
    let (_, plane) = made.frames()[1].clone();
    let mut one = other.clone();
    one.add(0, plane);
    let said = findings(flow, &answer, &card_frames.clone().with(vec![one]));
    assert_eq!(
        said,
        ["data: OUTPUT: the card made something else of frame 0 than it is"]
    );
    let said = findings(flow, &answer, &card_frames.with(vec![other]));
    assert!(
        said.contains(&"data: OUTPUT: the card read 1 frames, and wrote 0".to_owned()),
        "{said:?}"
    );
}

#[test]
fn a_frame_is_written_over_itself_upside_down() {
    let flow = Flow::M2m(Ends::InPlace);
    let judged = |turned: [u64; 2], made: [u64; 2]| {
        let (mut answer, card_frames) = converted();
        let blocks = |digests: [u64; 2]| digests.map(|digest| Some(Digest(digest))).to_vec();
        answer.contents[0].upside_down = blocks(turned);
        // The process finds in the one buffer what the card wrote.
        answer.frames[0].digests = blocks(made);
        answer.further[0].frames[0].digests = blocks(made);
        let (_, plane) = card_frames.of_buffer(1).frames()[0].clone();
        let mut written = CardFrames::default();
        written.add(
            0,
            PlaneRecord {
                digests: made.map(Digest).to_vec(),
                ..plane
            },
        );
        findings(flow, &answer, &card_frames.with(vec![written]))
    };
    assert_eq!(judged([9, 8], [9, 8]), [""; 0]);
    let what = "data: OUTPUT: the card made something else of frame 0 than it is";
    assert_eq!(judged([9, 8], [9, 7]), [what]);
    // What was read is not what is to be written.
    assert_eq!(judged([9, 8], [1, 2]), [what]);
    // Nobody has written what the card says it wrote.
    let (mut answer, card_frames) = converted();
    answer.contents[0].upside_down = vec![Some(Digest(9)), Some(Digest(8))];
    let (_, plane) = card_frames.of_buffer(1).frames()[0].clone();
    let mut written = CardFrames::default();
    written.add(
        0,
        PlaneRecord {
            digests: vec![Digest(9), Digest(8)],
            ..plane
        },
    );
    let lost = findings(flow, &answer, &card_frames.with(vec![written]));
    assert_eq!(
        lost,
        [
            "outcome: it came to \"other pages\", expected was \"data\"",
            "data: CAPTURE: frame 0 differs from what the card wrote, first in the 4 KiB at byte 0",
        ]
    );
}

#[test]
fn a_second_file_is_not_disturbed() {
    let flow = Flow::M2m(Ends::TwoFiles);
    let (mut answer, frames) = converted();
    let [read, made] = [0, 1].map(|number| frames.of_buffer(number).into_owned());
    let of_second = BufferSeen {
        returns: Vec::new(),
        memory: answer.memory,
        pages: answer.pages.clone(),
        frames: answer.frames.clone(),
        contents: answer.contents.clone(),
        canaries: Vec::new(),
    };
    let made_too = answer.further[0].clone();
    answer.further.extend([of_second, made_too]);
    for (moment, released) in [(1, 100), (2, 108)] {
        let values = &mut answer.counters[moment].values;
        values.insert("nr_foll_pin_acquired".into(), 108);
        values.insert("nr_foll_pin_released".into(), released);
    }
    let frames = frames.with(vec![made.clone(), read.clone(), made]);
    assert_eq!(findings(flow, &answer, &frames), [""; 0]);
    answer.further[2].frames.clear();
    let said = findings(flow, &answer, &frames);
    assert_eq!(
        said,
        ["outcome: CAPTURE of the second file: it came to \"taken back\""]
    );
    // The first may be taken back, and the second is not.
    answer.further[2].frames = answer.further[0].frames.clone();
    answer.frames.clear();
    answer.further[0].frames.clear();
    let expectation = expect(
        &"m2m/two-files/heap/streamoff:after-dma".parse().unwrap(),
        Version(6, 12),
    );
    let evidence = CellEvidence {
        point: Point::AfterDma,
        ..evidence(flow, &answer, &frames, &expectation)
    };
    assert_eq!(judge(&evidence), []);
}

/// Returns the objections of one oracle to a capture that is expected to end
/// with data.
pub fn objections(judge: Judge, answer: &CellAnswer, card_frames: &CardFrames) -> Vec<String> {
    let objections = objections_of(Flow::Capture, judge, answer, card_frames);
    objections.into_iter().map(|(_, what)| what).collect()
}

/// Returns the objections of one oracle to a cell of that direction that is
/// expected to end with data.
pub fn objections_of(
    flow: Flow,
    judge: Judge,
    answer: &CellAnswer,
    card_frames: &CardFrames,
) -> Vec<(Severity, String)> {
    let expectation = Expectation::data(flow);
    said(judge, &evidence(flow, answer, card_frames, &expectation))
}

/// Returns the objections of one oracle to that evidence.
pub fn said(judge: Judge, evidence: &CellEvidence<'_>) -> Vec<(Severity, String)> {
    let mut objections = Objections::default();
    judge(evidence, &mut objections);
    objections.into_iter().collect()
}

/// Returns the evidence of a cell whose buffer Pinhole's own driver pinned, with
/// its hazard before the DMA.
pub fn evidence<'a>(
    flow: Flow,
    answer: &'a CellAnswer,
    card_frames: &'a CardFrames,
    expectation: &'a Expectation,
) -> CellEvidence<'a> {
    CellEvidence {
        flow,
        schedule: None,
        number: 0,
        point: Point::BeforeDma,
        cell: answer,
        answer,
        card_frames,
        observation: Observation::of(flow, answer, card_frames),
        expectation,
        bounced: false,
        pinning: Some(Pinning::FrameVector),
        names: &[],
    }
}

#[test]
fn the_second_buffer_of_a_schedule_is_expected_to_have_what_nothing_happened_to() {
    let flow = Flow::Capture;
    let (mut answer, frames) = captured();
    answer.further.push(BufferSeen {
        memory: answer.memory,
        pages: answer.pages.clone(),
        frames: answer.frames.clone(),
        contents: answer.contents.clone(),
        ..BufferSeen::default()
    });
    let frames = frames.clone().with(vec![frames]);
    // The first comes to data; whatever else may come of it, the second must.
    let unreadable = Expectation {
        outcomes: vec![
            Observation::data(Direction::Capture),
            Observation::Captured(Reads::Nothing),
        ],
        ..Expectation::data(flow)
    };
    let second = Expectation::data(flow);
    let judged = |answer: &CellAnswer| {
        let schedule = Scheduled {
            order: "qQ!dDrRxX".parse().unwrap(),
            second: &second,
        };
        let evidence = CellEvidence {
            schedule: Some(schedule),
            ..evidence(flow, answer, &frames, &unreadable)
        };
        let of_second = judge(&evidence).into_iter().map(|finding| finding.what);
        let of_second = of_second.filter(|what| what.contains("second buffer: it came"));
        of_second.collect::<Vec<_>>()
    };
    assert_eq!(judged(&answer), [""; 0]);
    answer.further[0].frames.clear();
    assert_eq!(
        judged(&answer),
        ["the second buffer: it came to \"taken back\""]
    );
}

#[test]
fn a_cell_that_went_well_has_no_findings() {
    let (answer, card_frames) = captured();
    assert_eq!(findings(Flow::Capture, &answer, &card_frames), [""; 0]);
    let (answer, card_frames) = sent();
    assert_eq!(findings(Flow::Output, &answer, &card_frames), [""; 0]);
}

#[test]
fn of_what_could_not_be_set_up_the_kernel_alone_is_judged() {
    let (mut answer, card_frames) = captured();
    answer.frames.clear();
    answer.impossible = Some("no such memory".into());
    let judged = |answer: &CellAnswer| {
        let expectation = Expectation::data(Flow::Capture);
        judge(&evidence(Flow::Capture, answer, &card_frames, &expectation))
    };
    assert_eq!(judged(&answer), []);
    answer.log_lost = true;
    assert_eq!(judged(&answer)[0].oracle, Oracle::Log);
}

#[test]
fn without_a_witness_nobody_is_asked_what_it_alone_tells() {
    let (answer, _) = captured();
    let inferred = CardFrames::without_witness(Flow::Capture, &answer, None);
    assert_eq!(findings(Flow::Capture, &answer, &inferred), [""; 0]);
    // A witness that tells of no memory is one thing, and no witness is another.
    assert_eq!(objections(address::judge, &answer, &inferred).len(), 1);
    let (answer, _) = sent();
    let inferred = CardFrames::without_witness(Flow::Capture, &answer, None);
    assert_eq!(findings(Flow::Output, &answer, &inferred), [""; 0]);
}

#[test]
fn a_process_that_cannot_be_killed_is_the_kernels_fault() {
    let (mut answer, card_frames) = captured();
    answer.ended = Ended::Stuck;
    let said = findings(Flow::Capture, &answer, &card_frames);
    assert_eq!(
        said,
        [
            "outcome: the cell's process was killed, and the kernel does not let it go",
            "outcome: it came to \"hung\", expected was \"data\"",
        ]
    );
}

#[test]
fn a_driver_maps_what_the_card_is_to_have_addresses_of() {
    let (answer, card_frames) = captured();
    let expectation = Expectation::data(Flow::Capture);
    let mapped = |pinning, translated| {
        let evidence = CellEvidence {
            pinning,
            ..evidence(Flow::Capture, &answer, &card_frames, &expectation)
        };
        evidence.mapped(translated)
    };
    let own = Some(Pinning::FrameVector);
    assert_eq!(mapped(own, Some(true)), Some(true));
    assert_eq!(mapped(own, Some(false)), Some(false));
    assert_eq!(mapped(Some(Pinning::Sg), Some(false)), Some(true));
    assert_eq!(mapped(Some(Pinning::Contig), Some(false)), Some(true));
    assert_eq!(mapped(Some(Pinning::Vmalloc), Some(false)), Some(false));
    assert_eq!(mapped(Some(Pinning::Vmalloc), Some(true)), Some(true));
    assert_eq!(mapped(None, Some(false)), None);
    assert_eq!(mapped(None, Some(true)), Some(true));
    assert_eq!(mapped(own, None), None);
}

#[test]
fn what_came_of_a_cell_is_as_bad_as_what_was_expected_makes_it() {
    let refused = Observation::Refused;
    let captured = Observation::Captured;
    let written = captured(Reads::Written);
    for (observation, expected, severity) in [
        (
            refused(libc::EOVERFLOW),
            refused(libc::EFAULT),
            Severity::WrongError,
        ),
        (refused(libc::EINVAL), written, Severity::WrongError),
        (Observation::TakenBack, written, Severity::DataLost),
        (captured(Reads::Other), written, Severity::DataLost),
        (written, captured(Reads::Other), Severity::MemoryWritten),
        (written, refused(libc::EFAULT), Severity::MemoryWritten),
        (Observation::Hung, written, Severity::Slow),
        (
            Observation::Sent(Sent::Other),
            Observation::Sent(Sent::Written),
            Severity::DataLost,
        ),
        (
            Observation::Sent(Sent::Written),
            refused(libc::EFAULT),
            Severity::MemoryRead,
        ),
        (
            Observation::Converted(Sent::Other, Reads::Written),
            Observation::Converted(Sent::Written, Reads::Written),
            Severity::DataLost,
        ),
        (
            Observation::Converted(Sent::Written, Reads::Written),
            Observation::Converted(Sent::Written, Reads::Other),
            Severity::MemoryWritten,
        ),
        (
            Observation::Converted(Sent::Written, Reads::Written),
            refused(libc::EFAULT),
            Severity::MemoryWritten,
        ),
    ] {
        assert_eq!(super::severity(observation, &[expected]), severity);
    }
}

#[test]
fn an_outcome_that_was_not_expected_is_a_finding() {
    let (mut answer, card_frames) = captured();
    answer.frames.clear();
    assert_eq!(
        objections(outcome, &answer, &card_frames),
        ["it came to \"taken back\", expected was \"data\""]
    );
    answer.failed = Some("no device".into());
    let said = objections(outcome, &answer, &card_frames);
    assert_eq!(said[0], "the cell could not be run to its end: no device");
}
