//! What the guest's agent sees of a device that was not made for it: vivid.

use std::time::Duration;

use pinhole::agent::cell::evidence::{CanaryState, Ended, Moment};
use pinhole::agent::cell::{Cell, CellAnswer, Flow, Hazard, Kind, Point, Scope, Subject};
use pinhole::agent::survey::{Survey, SurveyAnswer};
use pinhole::card::{BufferApi, CardKind};
use pinhole::dma::Digest;
use pinhole::rig::testbed::{CardProcess, Testbed, TestbedSpec};
use pinhole::vm::progress::Progress;

use crate::test_guest::{LIMIT, shell};

/// Time limit of a survey and of a cell, in milliseconds.
const LIMIT_MS: u64 = 30_000;

/// A guest without a card, and vivid in it.
struct Guest {
    testbed: Testbed,
}

impl Guest {
    /// Boots the guest, and loads vivid with one input or output, HDMI.
    fn boot(module_args: &str) -> Self {
        let spec = TestbedSpec {
            card: CardProcess::Absent,
            append: "hugepages=4".into(),
            kernel: Some("trixie".into()),
            ..TestbedSpec::default()
        };
        let guest = Self {
            testbed: Testbed::start(&spec, &Progress::silent()).unwrap(),
        };
        guest.must(&format!("modprobe vivid n_devs=1 {module_args}"));
        guest
    }

    fn must(&self, line: &str) {
        let answer = shell(&self.testbed.machine, line);
        assert!(answer.status.success(), "{line}: {answer:?}");
    }

    fn survey(&self) -> SurveyAnswer {
        let survey = Survey {
            device: "/dev/video0".into(),
            limit_ms: LIMIT_MS,
            patience: 1,
        };
        let answer = self.testbed.machine.agent().call(survey, LIMIT).unwrap();
        assert_eq!((&*answer.driver, &*answer.card), ("vivid", "vivid"));
        assert_eq!(answer.bus, "platform:vivid-000");
        assert!(answer.version.starts_with("6.12."), "{}", answer.version);
        answer
    }

    fn cell(&self, cell: Cell) -> CellAnswer {
        let cell = Cell {
            limit_ms: LIMIT_MS,
            ..cell
        };
        let limit = Duration::from_millis(2 * LIMIT_MS);
        let answer = self.testbed.machine.agent().call(cell.clone(), limit);
        let answer = answer.unwrap_or_else(|error| panic!("{cell:?}: {error}"));
        assert_eq!(answer.failed, None, "{cell:?}: {answer:#?}");
        answer
    }
}

/// Returns that cell as the survey has found the device.
fn of(survey: &SurveyAnswer, kind: Kind) -> Cell {
    Cell {
        subject: survey.subject.clone(),
        ..Cell::new(kind)
    }
}

/// Returns the digests of what the device shows.
fn shown(survey: &SurveyAnswer) -> Vec<Option<Digest>> {
    let picture = survey.picture.as_ref().unwrap();
    picture.digests.iter().copied().map(Some).collect()
}

/// Checks what is seen of a buffer that a device has filled and given back.
fn filled(answer: &CellAnswer, survey: &SurveyAnswer) {
    assert_eq!(answer.impossible, None);
    assert_eq!(answer.ended, Ended::Finished);
    assert!(answer.is_held());
    let subject = survey.subject.as_ref().unwrap();
    let [frame] = &answer.frames[..] else {
        panic!("{:?}", answer.frames)
    };
    assert_eq!((frame.index, frame.bytesused), (0, subject.sizeimage));
    // Every byte was written.
    let touched = frame.touched.as_ref().unwrap();
    assert_eq!(*touched, Default::default());
    // It is what the device shows.
    assert_eq!(frame.digests, shown(survey));
    assert_eq!(answer.further.len() as u32, subject.buffers - 1);
    let further = answer.further.iter().flat_map(|seen| &seen.canaries);
    for canary in answer.canaries.iter().chain(further) {
        assert_eq!(canary.state, CanaryState::Intact);
    }
    pinned_while_queued(answer);
}

/// Checks that the first buffer's pages were pinned when it was queued, and no page is
/// after the cell.
fn pinned_while_queued(answer: &CellAnswer) {
    let pinned = |moment| answer.counters_at(moment).unwrap().pinned().unwrap();
    let pages = answer.queued().map(|seen| seen.pagemap.len() as i64);
    let before = pinned(Moment::LaidOut);
    assert_eq!(pinned(Moment::Queued) - before, pages.sum::<i64>());
    assert_eq!(pinned(Moment::Stopped), before);
    assert_eq!(pinned(Moment::Ended), before);
}

#[test]
#[ignore = "boots a guest"]
fn a_capture_device_is_surveyed_and_seen_in_cells() {
    let guest = Guest::boot("node_types=0x1 num_inputs=1 input_types=3");
    let survey = guest.survey();
    assert_eq!(survey.kind, Some(CardKind::Capture), "{survey:#?}");
    assert_eq!(survey.notes, [""; 0]);
    let subject = survey.subject.clone().unwrap();
    assert_eq!(subject.api, BufferApi::Single);
    assert!(
        (64 << 10..256 << 10).contains(&subject.sizeimage),
        "{subject:?}"
    );
    assert_eq!(subject.line, Some(2 * subject.width), "{subject:?}");
    assert!(subject.buffers > 1, "{subject:?}");
    // The agent is root.
    let powers = &survey.powers;
    assert_eq!(powers.no_frames, None);
    assert_eq!(powers.no_page_flags, None);
    assert_eq!(powers.no_pin_counters, None);
    assert_eq!(powers.no_log, None);
    let why = powers.no_mappings.as_ref().unwrap();
    assert!(why.contains("CONFIG_DMA_API_DEBUG"), "{why}");

    for (kind, offset) in [
        (Kind::AnonTouched, 0),
        (Kind::AnonTouched, 2055),
        (Kind::Hugetlb, 0),
        (Kind::UffdMissing, 100),
    ] {
        let answer = guest.cell(Cell {
            offset,
            ..of(&survey, kind)
        });
        filled(&answer, &survey);
        // After the first buffer, a few more.
        let mut returns = answer.returns.iter().peekable();
        assert!(returns.len() >= 4, "{:?}", answer.returns);
        while let (Some(one), Some(next)) = (returns.next(), returns.peek()) {
            // vivid may give two frames the same number if its thread wakes too early.
            assert!(one.sequence <= next.sequence, "{:?}", answer.returns);
            assert!(
                one.timestamp_us <= next.timestamp_us,
                "{:?}",
                answer.returns
            );
        }
    }
    // Memory that cannot be written to is refused; the device is free then.
    let answer = guest.cell(of(&survey, Kind::ReadOnly));
    let refused = answer.call("VIDIOC_QBUF").unwrap().errno;
    assert_eq!((refused, answer.frames.len()), (Some(libc::EFAULT), 0));
    // Of memory that held nothing but zeros nobody knows what was written.
    let answer = guest.cell(of(&survey, Kind::AnonUntouched));
    assert_eq!(answer.frames[0].touched, None);

    for (hazard, point) in [
        (Hazard::Munmap, Point::BeforeDma),
        (Hazard::Mremap, Point::BeforeDma),
        (Hazard::ForkParentWrites, Point::AfterDma),
        (Hazard::Close, Point::BeforeDma),
        (Hazard::Close, Point::AfterDma),
        (Hazard::Streamoff, Point::AfterDma),
        (Hazard::Sigkill, Point::AfterDma),
    ] {
        let cell = Cell {
            hazard,
            point,
            ..of(&survey, Kind::AnonTouched)
        };
        let answer = guest.cell(cell);
        let what = format!("{hazard} {point}: {answer:#?}");
        let came = usize::from(hazard.leaves_a_stream());
        assert_eq!(answer.frames.len(), came, "{what}");
        let at_queue = |moment| answer.counters_at(moment).unwrap().pinned();
        assert_eq!(at_queue(Moment::LaidOut), at_queue(Moment::Ended), "{what}");
        match hazard {
            Hazard::Munmap => assert!(answer.frames[0].digests.iter().all(Option::is_none)),
            Hazard::Mremap | Hazard::ForkParentWrites => {
                let touched = answer.frames[0].touched.as_ref();
                assert_eq!(touched, Some(&Default::default()), "{what}");
            }
            Hazard::Close | Hazard::Streamoff => {
                let after = answer.contents_at(Moment::AfterHazard);
                assert_eq!(after, answer.contents_at(Moment::Dequeued), "{what}");
            }
            _ => assert_ne!(answer.ended, Ended::Finished, "{what}"),
        }
    }

    // What takes Pinhole's own card is refused.
    let answer = guest.cell(Cell {
        hazard: Hazard::MmapContention,
        ..of(&survey, Kind::AnonTouched)
    });
    let why = answer.impossible.unwrap();
    assert!(why.contains("Pinhole's own card"), "{why}");

    // Frames of another length, which vivid does not fill by itself.
    guest.must(
        "v4l2-ctl --set-fmt-video=width=640,height=480 && \
         v4l2-ctl --set-selection=target=compose,left=0,top=0,width=640,height=480",
    );
    let large = Subject {
        width: 640,
        height: 480,
        bytesperline: 2 * 640,
        line: Some(2 * 640),
        sizeimage: 2 * 640 * 480,
        ..subject
    };
    let answer = guest.cell(Cell {
        subject: Some(large),
        ..of(&survey, Kind::Thp)
    });
    assert_eq!(answer.ended, Ended::Finished, "{:?}", answer.phases);
    let touched = answer.frames[0].touched.as_ref();
    assert_eq!(touched, Some(&Default::default()));
    pinned_while_queued(&answer);

    // What a machine must not have happen to it.
    for (kind, hazard) in [
        (Kind::Swapped, Hazard::None),
        (Kind::Ext4Shared, Hazard::None),
        (Kind::AnonTouched, Hazard::Compaction),
    ] {
        let answer = guest.cell(Cell {
            hazard,
            scope: Scope::Machine,
            ..of(&survey, kind)
        });
        let why = answer.impossible.unwrap();
        assert!(why.contains("would change this machine"), "{why}");
    }
    guest.must("! grep -q zram /proc/swaps && ! grep -q ext4 /proc/mounts");
    let answer = guest.cell(of(&survey, Kind::Vb2Mmap));
    assert!(answer.impossible.unwrap().contains("the device's own"));
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn a_multi_planar_device_is_used_likewise() {
    let guest = Guest::boot("node_types=0x1 num_inputs=1 input_types=3 multiplanar=2");
    // Somebody has left the picture in a corner of the frame.
    guest.must(
        "v4l2-ctl --set-fmt-video=width=256,height=192 && \
         v4l2-ctl --set-selection=target=compose,left=0,top=0,width=64,height=64",
    );
    let survey = guest.survey();
    let subject = survey.subject.as_ref().unwrap();
    assert_eq!(subject.api, BufferApi::Multi, "{survey:#?}");
    filled(&guest.cell(of(&survey, Kind::AnonTouched)), &survey);
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn an_output_device_is_surveyed_and_given_frames() {
    let guest = Guest::boot("node_types=0x100 num_outputs=1 output_types=1");
    let survey = guest.survey();
    assert_eq!(survey.kind, Some(CardKind::Output), "{survey:#?}");
    let answer = guest.cell(Cell {
        flow: Flow::Output,
        ..of(&survey, Kind::MemfdShared)
    });
    assert_eq!(answer.impossible, None);
    let [frame] = &answer.frames[..] else {
        panic!("{answer:#?}")
    };
    assert_eq!(frame.digests, frame.sent);
    assert!(frame.sent.iter().all(Option::is_some));
    assert!(answer.returns.len() >= 4, "{:?}", answer.returns);
    pinned_while_queued(&answer);
    guest.testbed.finish().unwrap();
}
