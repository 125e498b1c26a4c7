//! Inputs, sources of another size, and cropping.

use super::*;
use crate::card::{InputError, InputInfo};
use crate::wire::Errno;
use crate::wire::format::{Fract, FrmIvalEnum, FrmSizeEnum};
use crate::wire::input::Input as WireInput;
use crate::wire::parm::StreamParm;
use crate::wire::selection::{Rect, Selection};

const EINVAL: u32 = Errno::EINVAL.0;
const EBUSY: u32 = Errno::EBUSY.0;
const ERANGE: u32 = Errno::ERANGE.0;

const CROP: u32 = 0;
const COMPOSE: u32 = 0x100;

fn film(width: u32, height: u32) -> Native {
    Native {
        size: Some((width, height)),
        interval: Some((1, 24)),
        follow: false,
    }
}

/// Returns a film that dictates the card's size and rate.
fn dictating(width: u32, height: u32) -> Native {
    Native {
        follow: true,
        ..film(width, height)
    }
}

impl Rig {
    fn selected(&mut self, session: u32) -> u32 {
        let answer = self.ioctl(session, Ioctl::GInput, &[]).unwrap();
        u32::from_le_bytes(answer.try_into().unwrap())
    }

    fn size(&mut self, session: u32) -> (u32, u32) {
        let mut asked = Format::new_zeroed();
        asked.type_ = 1.into();
        let pix = self.get(session, Ioctl::GFmt, &asked).pix;
        (pix.width.get(), pix.height.get())
    }

    fn select(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        target: u32,
        flags: u32,
        rect: (i32, i32, u32, u32),
    ) -> Result<(i32, i32, u32, u32), u32> {
        let mut asked = Selection::new_zeroed();
        asked.type_ = 1.into();
        asked.target = target.into();
        asked.flags = flags.into();
        asked.r = Rect {
            left: rect.0.into(),
            top: rect.1.into(),
            width: rect.2.into(),
            height: rect.3.into(),
        };
        let answer = self.ioctl(session, ioctl, asked.as_bytes())?;
        let Selection { r, .. } = Selection::read_from_bytes(&answer).unwrap();
        Ok((r.left.get(), r.top.get(), r.width.get(), r.height.get()))
    }
}

#[test]
fn inputs_are_enumerated_and_switched_between_streams() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 1);
    for (index, name) in [(0, &b"Numbers\0"[..]), (1, b"Others\0")] {
        let mut asked = WireInput::new_zeroed();
        asked.index = u32::into(index);
        let input = rig.get(session, Ioctl::EnumInput, &asked);
        assert_eq!(&input.name[..name.len()], name);
        assert_eq!((input.type_.get(), input.status.get()), (2, 0));
    }
    for wrong in [2u32, u32::MAX] {
        let mut asked = WireInput::new_zeroed();
        asked.index = wrong.into();
        assert_eq!(
            rig.ioctl(session, Ioctl::EnumInput, asked.as_bytes()),
            Err(EINVAL)
        );
        assert_eq!(
            rig.ioctl(session, Ioctl::SInput, &words(&[wrong])),
            Err(EINVAL)
        );
        assert_eq!(
            rig.card.set_input(rig.now, wrong),
            Err(InputError::Unknown(wrong))
        );
    }
    assert_eq!(rig.selected(session), 0);
    rig.ok(session, Ioctl::SInput, &1u32.to_le_bytes());
    assert_eq!(rig.selected(session), 1);
    rig.stream_on(session);
    assert_eq!(rig.ioctl(session, Ioctl::SInput, &words(&[0])), Err(EBUSY));
    rig.ok(session, Ioctl::SInput, &1u32.to_le_bytes());
    assert_eq!(rig.card.set_input(rig.now, 0), Err(InputError::Busy));
    rig.stream_off(session);
    rig.subscribe(session, 5, 0);
    rig.card.set_input(rig.now, 0).unwrap();
    assert_eq!(rig.sent().len(), 1, "the guest is told");
    assert_eq!(rig.selected(session), 0);
    let numbers = InputInfo {
        index: 0,
        name: "Numbers".into(),
        selected: true,
        signal: true,
    };
    assert_eq!(rig.card.inputs()[0], numbers);
}

#[test]
fn a_source_that_is_scaled_dictates_nothing() {
    let mut rig = Rig::with(Rate::Guest, BufferApi::Single, film(320, 240));
    let session = rig.open();
    assert_eq!(rig.size(session), (640, 480));
    rig.ok(session, Ioctl::SFmt, &format(b"GREY", 32, 16));
    assert_eq!(rig.size(session), (32, 16));
}

#[test]
fn a_source_that_is_not_scaled_dictates_size_and_rate() {
    let mut rig = Rig::with(Rate::Guest, BufferApi::Single, dictating(320, 240));
    let session = rig.open();
    assert_eq!(rig.size(session), (320, 240));
    let set = rig.get(session, Ioctl::SFmt, &format(b"GREY", 32, 16));
    assert_eq!((set.pix.width.get(), set.pix.height.get()), (320, 240));
    let parm = StreamParm::of(1, Fract::new(1, 60));
    let parm = rig.get(session, Ioctl::SParm, &parm);
    assert_eq!(parm.timeperframe, Fract::new(1, 24));
    let mut asked = FrmSizeEnum::new_zeroed();
    asked.pixel_format = u32::from_le_bytes(*b"GREY").into();
    let sizes = rig.get(session, Ioctl::EnumFrameSizes, &asked);
    let size = (
        sizes.type_.get(),
        sizes.min_width.get(),
        sizes.max_width.get(),
    );
    assert_eq!(size, (1, 320, 240), "a discrete size");
    let mut asked = FrmIvalEnum::new_zeroed();
    asked.pixel_format = u32::from_le_bytes(*b"GREY").into();
    assert_eq!(
        rig.ioctl(session, Ioctl::EnumFrameIntervals, asked.as_bytes()),
        Err(EINVAL)
    );
    (asked.width, asked.height) = (320.into(), 240.into());
    let intervals = rig.get(session, Ioctl::EnumFrameIntervals, &asked);
    assert_eq!(
        (intervals.type_.get(), intervals.min),
        (1, Fract::new(1, 24))
    );
    // The other input draws in any size; the current size is kept.
    rig.ok(session, Ioctl::SInput, &1u32.to_le_bytes());
    assert_eq!(rig.size(session), (320, 240));
    rig.ok(session, Ioctl::SFmt, &format(b"GREY", 32, 16));
    assert_eq!(rig.size(session), (32, 16));
    rig.ok(session, Ioctl::ReqBufs, &request(1));
    assert_eq!(rig.ioctl(session, Ioctl::SInput, &words(&[0])), Err(EBUSY));
    rig.card.reset();
    let session = rig.open();
    assert_eq!(rig.size(session), (320, 240));
}

#[test]
fn a_source_of_another_size_stops_the_stream_until_it_is_begun_again() {
    let native = dictating(32, 16);
    let mut rig = Rig::with(Rate::Guest, BufferApi::Single, native);
    let session = rig.open();
    rig.ok(session, Ioctl::SFmt, &format(b"GREY", 32, 16));
    rig.ok(session, Ioctl::ReqBufs, &request(2));
    rig.subscribe(session, 5, 0);
    for index in 0..2 {
        rig.queue(session, index, &[(0x8000, FRAME)]).unwrap();
    }
    rig.stream_on(session);
    rig.run(41_667);
    assert_eq!(rig.dequeue().len(), 1);
    let plug = |rig: &mut Rig, native| {
        let numbers = Numbers::default();
        numbers.stage.lock().unwrap().native = native;
        rig.card
            .replace_source(rig.now, input("Another", numbers))
            .unwrap();
    };
    // The source has the same size, so the stream continues with it.
    plug(&mut rig, native);
    rig.run(41_667);
    let sent = rig.sent();
    assert!(
        matches!(sent[..], [Sent::Event(_), Sent::Buffer(_)]),
        "{sent:?}"
    );
    rig.queue(session, 0, &[(0x8000, FRAME)]).unwrap();
    plug(&mut rig, dictating(48, 16));
    rig.run(100_000);
    assert!(matches!(rig.sent()[..], [Sent::Event(_)]));
    assert_eq!(rig.card.next_deadline(), None);
    assert_eq!(rig.size(session), (32, 16), "that of the buffers there are");
    rig.stream_off(session);
    rig.ok(session, Ioctl::ReqBufs, &request(0));
    assert_eq!(rig.size(session), (48, 16));
    assert_eq!(rig.card.inputs()[0].name, "Another");
}

#[test]
fn a_scaled_stream_goes_on_with_another_source() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 1);
    rig.queue(session, 0, &[(0x8000, FRAME)]).unwrap();
    rig.stream_on(session);
    let numbers = Numbers::default();
    numbers.stage.lock().unwrap().native = film(1000, 17);
    rig.card
        .replace_source(rig.now, input("Another", numbers))
        .unwrap();
    rig.run(16_667);
    assert_eq!(rig.dequeue().len(), 1);
    assert!(rig.read(&[(0x8000, FRAME)]) == frame(0));
}

#[test]
fn a_picture_is_cropped_within_its_bounds() {
    let mut rig = Rig::with(Rate::Guest, BufferApi::Single, film(320, 240));
    let session = rig.open();
    let all = (0, 0, 320, 240);
    for target in [0, 1, 2] {
        assert_eq!(
            rig.select(session, Ioctl::GSelection, target, 0, all),
            Ok(all)
        );
    }
    for target in [0x100, 0x101, 0x102, 0x103] {
        let frame = (0, 0, 640, 480);
        assert_eq!(
            rig.select(session, Ioctl::GSelection, target, 0, all),
            Ok(frame)
        );
    }
    for (asked, got) in [
        ((10, 20, 100, 50), (10, 20, 100, 50)),
        ((-5, -5, 1, 1), (0, 0, 16, 16)),
        ((300, 230, 100, 50), (220, 190, 100, 50)),
        ((i32::MAX, i32::MIN, u32::MAX, 0), (0, 0, 320, 16)),
    ] {
        assert_eq!(
            rig.select(session, Ioctl::SSelection, CROP, 0, asked),
            Ok(got)
        );
        assert_eq!(
            rig.select(session, Ioctl::GSelection, CROP, 0, all),
            Ok(got)
        );
        let crop = rig.stage.lock().unwrap().settings.crop.unwrap();
        assert_eq!((crop.width, crop.height), (got.2, got.3));
    }
    assert_eq!(
        rig.select(session, Ioctl::SSelection, CROP, 0, all),
        Ok(all)
    );
    assert_eq!(rig.stage.lock().unwrap().settings.crop, None);
    for (flags, asked, answer) in [
        (1, (0, 0, 8, 8), Ok((0, 0, 16, 16))),
        (2, (0, 0, 8, 8), Err(ERANGE)),
        (1, (0, 0, 400, 8), Err(ERANGE)),
        (2, (0, 0, 400, 20), Ok((0, 0, 320, 20))),
        (3, (0, 0, 100, 20), Ok((0, 0, 100, 20))),
    ] {
        assert_eq!(
            rig.select(session, Ioctl::SSelection, CROP, flags, asked),
            answer
        );
    }
    // Composing is not supported: the picture fills the frame.
    let part = (0, 0, 64, 64);
    let frame = (0, 0, 640, 480);
    assert_eq!(
        rig.select(session, Ioctl::SSelection, COMPOSE, 0, part),
        Ok(frame)
    );
    for target in [1, 2, 3, 0x101, 0x103, 0x104, u32::MAX] {
        let answer = rig.select(session, Ioctl::SSelection, target, 0, part);
        assert_eq!(answer, Err(EINVAL), "{target:#x}");
    }
    rig.ok(session, Ioctl::SInput, &1u32.to_le_bytes());
    let crop = rig.select(session, Ioctl::SSelection, CROP, 0, part);
    assert_eq!(crop, Ok(frame), "what draws in any size is not cropped");
}
