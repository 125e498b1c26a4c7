//! Each ioctl: its response, and what it refuses.

use super::*;
use crate::card::CardKind;
use crate::card::buffers::MAX_BUFFERS;
use crate::card::controls::table::cid;
use crate::source::PixelFormat;
use crate::wire::Errno;
use crate::wire::format::{FmtDesc, Fract, FrmIvalEnum, FrmSizeEnum};
use crate::wire::parm::StreamParm;

const EINVAL: u32 = Errno::EINVAL.0;
const EBUSY: u32 = Errno::EBUSY.0;
const ENOTTY: u32 = Errno::ENOTTY.0;
const ENODEV: u32 = Errno::ENODEV.0;
const EFAULT: u32 = Errno::EFAULT.0;
const ENOMEM: u32 = Errno::ENOMEM.0;

/// Returns a payload that the ioctl accepts, for a session with three dequeued
/// buffers.
fn payload(ioctl: Ioctl) -> Vec<u8> {
    let yuyv = PixelFormat::Yuyv.fourcc();
    match ioctl {
        Ioctl::EnumFmt => words(&[&[1, 1][..], &[0; 14]].concat()),
        Ioctl::GFmt | Ioctl::TryFmt | Ioctl::SFmt => format(b"NV12", 64, 32).as_bytes().to_vec(),
        Ioctl::ReqBufs => request(2).as_bytes().to_vec(),
        Ioctl::QueryBuf => qbuf(1, 0, &[]),
        Ioctl::QBuf => qbuf(1, FRAME, &[(0x8000, 500), (0x9000, 12)]),
        Ioctl::StreamOn | Ioctl::StreamOff => words(&[1]),
        Ioctl::GParm | Ioctl::SParm => StreamParm::of(1, Fract::new(1, 30)).as_bytes().to_vec(),
        Ioctl::EnumInput => vec![0; 80],
        Ioctl::EnumOutput => vec![0; 72],
        Ioctl::GInput | Ioctl::GOutput => vec![],
        Ioctl::SInput | Ioctl::SOutput => words(&[0]),
        Ioctl::GCtrl | Ioctl::SCtrl => words(&[cid::BRIGHTNESS, 128]),
        Ioctl::QueryCtrl => [words(&[cid::HUE]), vec![0; 64]].concat(),
        Ioctl::QueryExtCtrl => [words(&[cid::HUE]), vec![0; 228]].concat(),
        Ioctl::QueryMenu => [words(&[cid::MOTION, 1]), vec![0; 36]].concat(),
        Ioctl::GExtCtrls | Ioctl::SExtCtrls | Ioctl::TryExtCtrls => {
            // One control is a number, and one a text of three bytes and a NUL
            // in guest memory.
            let head = words(&[0, 2, 0, 0, 0, 0, 0, 0]);
            let list = words(&[cid::HUE, 0, 0, 0, 0, cid::TEXT, 4, 0, 0, 0]);
            [head, list, words(&[0x8000, 0, 4, 0])].concat()
        }
        Ioctl::SubscribeEvent | Ioctl::UnsubscribeEvent => words(&[2, 0, 0, 0, 0, 0, 0, 0]),
        Ioctl::GSelection | Ioctl::SSelection => [words(&[1]), vec![0; 60]].concat(),
        Ioctl::EncoderCmd | Ioctl::TryEncoderCmd => words(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Ioctl::EnumFrameSizes => words(&[&[0, yuyv][..], &[0; 9]].concat()),
        Ioctl::EnumFrameIntervals => words(&[&[0, yuyv, 64, 32][..], &[0; 9]].concat()),
    }
}

/// Returns the ioctls that a capture or an output card has.
fn of_streaming_cards() -> impl Iterator<Item = Ioctl> {
    let has = |ioctl: &Ioctl| CardKind::Capture.has(*ioctl) || CardKind::Output.has(*ioctl);
    Ioctl::ALL.into_iter().filter(has)
}

/// Returns the formats that lie in one piece of memory.
fn contiguous() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL
        .into_iter()
        .filter(|format| !format.is_separate())
}

/// Returns a card on which every [`payload`] is accepted.
fn rig(ioctl: Ioctl) -> (Rig, u32) {
    if !CardKind::Capture.has(ioctl) {
        let mut rig = Rig::output(Rate::Guest, BufferApi::Single);
        let session = rig.open();
        return (rig, session);
    }
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 3);
    if ioctl == Ioctl::SFmt {
        rig.ok(session, Ioctl::ReqBufs, &request(0));
    }
    (rig, session)
}

#[test]
fn every_truncation_of_every_ioctl_is_refused_and_changes_nothing() {
    for ioctl in of_streaming_cards() {
        let (mut rig, session) = rig(ioctl);
        let before = rig.state(session);
        let whole = command(session, ioctl as u32, &payload(ioctl));
        for length in 0..whole.len() {
            let (result, reply) = rig.give(&whole[..length], 4096);
            assert!(result.is_err(), "{ioctl:?} cut to {length} bytes");
            let status = words(&[EINVAL, 0]);
            assert_eq!(reply[..8], status, "{ioctl:?} cut to {length} bytes");
        }
        let bytes_out = match ioctl {
            Ioctl::GExtCtrls | Ioctl::SExtCtrls | Ioctl::TryExtCtrls => 32 + 40,
            _ => ioctl.bytes_out(),
        };
        for capacity in 0..8 + bytes_out {
            let (result, reply) = rig.give(&whole, capacity);
            assert!(result.is_err(), "{ioctl:?} with room for {capacity}");
            let header = if capacity < 8 {
                vec![]
            } else {
                words(&[EINVAL, 0])
            };
            assert_eq!(reply, header, "{ioctl:?} with room for {capacity}");
        }
        assert_eq!(rig.state(session), before, "{ioctl:?}");
        let (result, _) = rig.give(&whole, 8 + bytes_out);
        assert_eq!(result, Ok(()), "{ioctl:?} whole");
    }
}

#[test]
fn open_and_close_are_refused_when_cut_short() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    for (command, room) in [(words(&[1, 0]), 16), (words(&[2, 0, session, 0]), 0)] {
        for length in 0..command.len() {
            assert!(rig.give(&command[..length], 16).0.is_err());
        }
        for capacity in 0..room {
            assert!(rig.give(&command, capacity).0.is_err());
        }
    }
    assert_eq!(rig.open(), session + 1, "no session was opened in between");
    rig.close(session);
    let (result, reply) = rig.give(&words(&[2, 0, session, 0]), 8);
    assert!(result.is_err());
    assert_eq!(reply, words(&[EINVAL, 0]), "closed twice");
}

#[test]
fn what_the_card_does_not_have_is_enotty_and_its_payload_not_looked_at() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    for cmd in [0, 4, 5, 6, u32::MAX] {
        assert_eq!(rig.give(&words(&[cmd, 0]), 8).1, words(&[ENOTTY, 0]));
    }
    for code in (0..=300).chain([u32::MAX]) {
        if Ioctl::from_code(code).is_none() {
            let (_, reply) = rig.give(&command(session, code, &[]), 8);
            assert_eq!(reply, words(&[ENOTTY, 0]), "ioctl {code}");
        }
    }
}

#[test]
fn sessions_that_are_not_open_get_nothing() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 1);
    for ioctl in of_streaming_cards() {
        for wrong in [0, session + 1, u32::MAX] {
            assert_eq!(rig.ioctl(wrong, ioctl, &payload(ioctl)), Err(EINVAL));
        }
    }
    rig.card.fail_session(session, Errno::EIO);
    for ioctl in of_streaming_cards() {
        assert_eq!(rig.ioctl(session, ioctl, &payload(ioctl)), Err(ENODEV));
    }
}

#[test]
fn other_buffer_types_are_refused() {
    for ioctl in [
        Ioctl::EnumFmt,
        Ioctl::GFmt,
        Ioctl::TryFmt,
        Ioctl::SFmt,
        Ioctl::ReqBufs,
        Ioctl::QueryBuf,
        Ioctl::QBuf,
        Ioctl::StreamOn,
        Ioctl::StreamOff,
        Ioctl::GParm,
        Ioctl::SParm,
    ] {
        let (mut rig, session) = rig(ioctl);
        let before = rig.state(session);
        let at = match ioctl {
            Ioctl::EnumFmt | Ioctl::ReqBufs | Ioctl::QueryBuf | Ioctl::QBuf => 4,
            _ => 0,
        };
        // The types are overlay, output, the multi-planar one, a private one,
        // and invalid ones.
        for wrong in [0u32, 2, 3, 9, 0x80, u32::MAX] {
            let mut payload = payload(ioctl);
            payload[at..at + 4].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(
                rig.ioctl(session, ioctl, &payload),
                Err(EINVAL),
                "{ioctl:?}"
            );
        }
        assert_eq!(rig.state(session), before, "{ioctl:?}");
    }
}

#[test]
fn formats_are_enumerated_to_the_end() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    let mut asked = FmtDesc::new_zeroed();
    asked.type_ = 1.into();
    for (index, format) in contiguous().enumerate() {
        asked.index = (index as u32).into();
        let answer = rig.get(session, Ioctl::EnumFmt, &asked);
        assert_eq!(answer.index, asked.index);
        assert_eq!(answer.pixelformat, format.fourcc());
        assert_eq!(answer.flags.get(), u32::from(format == PixelFormat::Mjpg));
        let name = format.description().as_bytes();
        assert_eq!(&answer.description[..name.len() + 1], [name, &[0]].concat());
    }
    for beyond in [contiguous().count() as u32, u32::MAX] {
        asked.index = beyond.into();
        assert_eq!(
            rig.ioctl(session, Ioctl::EnumFmt, asked.as_bytes()),
            Err(EINVAL)
        );
    }
}

#[test]
fn a_format_is_made_possible_and_kept_for_all_sessions() {
    let mut rig = Rig::new(Rate::Guest);
    let (one, other) = (rig.open(), rig.open());
    for (asked, got, bytesperline, sizeimage) in [
        ((b"YUYV", 640, 480), (b"YUYV", 640, 480), 1280, 614_400),
        (
            (b"NV12", 1920, 1080),
            (b"NV12", 1920, 1080),
            1920,
            3_110_400,
        ),
        (
            (b"RGB3", 3840, 2160),
            (b"RGB3", 3840, 2160),
            11520,
            24_883_200,
        ),
        ((b"GREY", 0, 0), (b"GREY", 16, 16), 16, 256),
        ((b"GREY", 17, 21), (b"GREY", 17, 21), 17, 357),
        ((b"Y16 ", 17, 21), (b"Y16 ", 17, 21), 34, 714),
        ((b"UYVY", 17, 21), (b"UYVY", 18, 21), 36, 756),
        ((b"YV12", 17, 21), (b"YV12", 18, 22), 18, 594),
        (
            (b"NV12", u32::MAX, u32::MAX),
            (b"NV12", 3840, 2160),
            3840,
            12_441_600,
        ),
        ((b"NM12", 320, 240), (b"YUYV", 320, 240), 640, 153_600),
        ((b"MJPG", 320, 240), (b"MJPG", 320, 240), 0, 157_696),
        ((b"H264", 320, 240), (b"YUYV", 320, 240), 640, 153_600),
        ((b"\0\0\0\0", 320, 240), (b"YUYV", 320, 240), 640, 153_600),
    ] {
        let (fourcc, width, height) = asked;
        let before = rig.state(one);
        let mut asked = format(fourcc, width, height);
        // The card decides these fields, whatever the guest asks for.
        asked.pix.field = 4.into();
        asked.pix.bytesperline = 1.into();
        asked.pix.sizeimage = u32::MAX.into();
        asked.pix.flags = 1.into();
        let tried = rig.get(one, Ioctl::TryFmt, &asked);
        assert_eq!(rig.state(one), before, "TRY_FMT sets nothing");
        let set = rig.get(one, Ioctl::SFmt, &asked);
        assert_eq!(set.as_bytes(), tried.as_bytes());
        let found = rig.get(other, Ioctl::GFmt, &asked);
        assert_eq!(found.as_bytes(), set.as_bytes());

        let pix = set.pix;
        assert_eq!(pix.pixelformat, u32::from_le_bytes(*got.0));
        assert_eq!((pix.width.get(), pix.height.get()), (got.1, got.2));
        assert_eq!(pix.bytesperline, bytesperline);
        assert_eq!(pix.sizeimage, sizeimage);
        assert_eq!(
            (pix.field.get(), pix.priv_.get(), pix.flags.get()),
            (1, 0xfeed_cafe, 0)
        );
        assert_ne!(pix.colorspace, 0);
        assert_eq!(set.rest, [0; 152]);
    }
}

#[test]
fn a_format_is_fixed_while_anybody_has_buffers() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 1);
    let other = rig.open();
    let asked = format(b"NV12", 64, 32);
    for session in [session, other] {
        assert_eq!(
            rig.ioctl(session, Ioctl::SFmt, asked.as_bytes()),
            Err(EBUSY)
        );
    }
    rig.ok(other, Ioctl::TryFmt, &asked);
    rig.ok(session, Ioctl::ReqBufs, &request(0));
    rig.ok(other, Ioctl::SFmt, &asked);
}

#[test]
fn sizes_and_intervals_are_one_range_of_every_format() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    for format in contiguous() {
        let (x, y) = format.steps();
        let mut asked = FrmSizeEnum::new_zeroed();
        asked.pixel_format = format.fourcc().into();
        let sizes = rig.get(session, Ioctl::EnumFrameSizes, &asked);
        let expected = [0, format.fourcc(), 3, 16, 3840, x, 16, 2160, y, 0, 0];
        assert_eq!(sizes.as_bytes(), words(&expected));
        asked.index = 1.into();
        assert_eq!(
            rig.ioctl(session, Ioctl::EnumFrameSizes, asked.as_bytes()),
            Err(EINVAL)
        );

        let mut asked = FrmIvalEnum::new_zeroed();
        asked.pixel_format = format.fourcc().into();
        for (width, height, fine) in [
            (16, 16, true),
            (3840, 2160, true),
            (0, 0, false),
            (17, 16, x == 1),
            (16, 17, y == 1),
            (3842, 2160, false),
            (3840, 2162, false),
        ] {
            asked.width = width.into();
            asked.height = height.into();
            let answer = rig.ioctl(session, Ioctl::EnumFrameIntervals, asked.as_bytes());
            let range = [
                0,
                format.fourcc(),
                width,
                height,
                2,
                1,
                240,
                1,
                1,
                1,
                1,
                0,
                0,
            ];
            let expected = if fine { Ok(words(&range)) } else { Err(EINVAL) };
            assert_eq!(answer, expected, "{width}x{height}");
        }
        (asked.width, asked.height, asked.index) = (16.into(), 16.into(), 1.into());
        assert_eq!(
            rig.ioctl(session, Ioctl::EnumFrameIntervals, asked.as_bytes()),
            Err(EINVAL)
        );
    }
    for ioctl in [Ioctl::EnumFrameSizes, Ioctl::EnumFrameIntervals] {
        let mut unknown = payload(ioctl);
        unknown[4..8].copy_from_slice(b"H264");
        assert_eq!(rig.ioctl(session, ioctl, &unknown), Err(EINVAL));
    }
}

#[test]
fn the_frame_interval_is_sixty_a_second_until_set() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    let get = |rig: &mut Rig| {
        let asked = StreamParm::of(1, Fract::new(0, 0));
        let parm = rig.get(session, Ioctl::GParm, &asked);
        assert_eq!((parm.capability.get(), parm.readbuffers.get()), (0x1000, 0));
        (
            parm.timeperframe.numerator.get(),
            parm.timeperframe.denominator.get(),
        )
    };
    assert_eq!(get(&mut rig), (1, 60));
    for (asked, got) in [
        ((1001, 30000), (1001, 30000)),
        ((1, 1000), (1, 240)),
        ((2, 1), (1, 1)),
        ((0, 25), (1, 60)),
    ] {
        let asked = StreamParm::of(1, Fract::new(asked.0, asked.1));
        let answer = rig.get(session, Ioctl::SParm, &asked);
        assert_eq!(answer.timeperframe, Fract::new(got.0, got.1));
        assert_eq!(get(&mut rig), got);
    }
}

#[test]
fn a_limit_on_the_rate_holds_from_the_start_and_after_a_reset() {
    let mut rig = Rig::new(Rate::Guest);
    rig.card = Card::new(Spec {
        most_fps: 25,
        ..Spec::new(
            Camera::new(vec![input("Numbers", Numbers::default())]),
            Rate::Guest,
        )
    });
    for _ in 0..2 {
        let session = rig.open();
        let unset = StreamParm::of(1, Fract::new(0, 0));
        let parm = rig.get(session, Ioctl::GParm, &unset);
        assert_eq!(parm.timeperframe, Fract::new(1, 25));
        for (asked, got) in [((1, 60), (1, 25)), ((1, 10), (1, 10)), ((0, 0), (1, 25))] {
            let asked = StreamParm::of(1, Fract::new(asked.0, asked.1));
            let answer = rig.get(session, Ioctl::SParm, &asked);
            assert_eq!(answer.timeperframe, Fract::new(got.0, got.1));
        }
        let asked = FrmIvalEnum {
            pixel_format: u32::from_le_bytes(*b"YUYV").into(),
            width: 64.into(),
            height: 32.into(),
            ..FromZeros::new_zeroed()
        };
        let range = rig.get(session, Ioctl::EnumFrameIntervals, &asked);
        assert_eq!(
            (range.min, range.max),
            (Fract::new(1, 25), Fract::new(1, 1))
        );
        rig.card.reset();
    }
}

#[test]
fn buffers_are_counted_and_of_shared_pages_only() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    for (asked, got) in [
        (0, 0),
        (1, 1),
        (32, 32),
        (33, MAX_BUFFERS),
        (u32::MAX, 32),
        (0, 0),
    ] {
        let answer = rig.get(session, Ioctl::ReqBufs, &request(asked));
        assert_eq!(answer.count, got);
        assert_eq!(answer.capabilities, 2);
    }
    for memory in [0u32, 1, 3, 4, u32::MAX] {
        let mut asked = request(1);
        asked.memory = memory.into();
        assert_eq!(
            rig.ioctl(session, Ioctl::ReqBufs, asked.as_bytes()),
            Err(EINVAL)
        );
    }
}

#[test]
fn a_buffer_is_described_as_it_comes_and_goes() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    let flags = |rig: &mut Rig| rig.get(session, Ioctl::QueryBuf, &buffer(1, 0)).flags.get();
    assert_eq!(flags(&mut rig), 0x2000);
    let asked = qbuf(1, 600, &[(0x8000, 600)]);
    let reply = rig.ioctl(session, Ioctl::QBuf, &asked).unwrap();
    let queued = Buffer::read_from_bytes(&reply).unwrap();
    assert_eq!((queued.index.get(), queued.length.get()), (1, 600));
    assert_eq!(
        queued.m, 0x7fff_dead_b000,
        "the driver's pointer comes back"
    );
    assert_eq!(queued.flags, 0x2002);
    assert_eq!(flags(&mut rig), 0x2002);
    rig.stream_on(session);
    rig.run(20_000);
    assert_eq!(flags(&mut rig), 0x2004, "done, and its event not sent");
    assert_eq!(rig.queue(session, 1, &[(0x8000, FRAME)]), Err(EINVAL));
    rig.dequeue();
    assert_eq!(flags(&mut rig), 0x2000);
    rig.queue(session, 1, &[(0x8000, FRAME)]).unwrap();
    for index in [2, 31, 32, u32::MAX] {
        assert_eq!(
            rig.ioctl(session, Ioctl::QueryBuf, &qbuf(index, 0, &[])),
            Err(EINVAL)
        );
    }
}

#[test]
fn a_buffer_that_cannot_be_filled_is_not_queued() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    rig.queue(session, 0, &[(0x8000, FRAME)]).unwrap();
    let before = rig.state(session);
    let good = (0x9000, FRAME);
    let edit = |change: fn(&mut Buffer)| {
        let mut asked = buffer(1, FRAME);
        change(&mut asked);
        [asked.as_bytes(), &qbuf(1, FRAME, &[good])[88..]].concat()
    };
    let tiny: Vec<_> = (0..8193).map(|_| (0x9000, 1)).collect();
    for (payload, errno) in [
        (edit(|b| b.index = 0.into()), EINVAL),
        (edit(|b| b.index = 2.into()), EINVAL),
        (edit(|b| b.index = u32::MAX.into()), EINVAL),
        (edit(|b| b.memory = 1.into()), EINVAL),
        (edit(|b| b.memory = 4.into()), EINVAL),
        (edit(|b| b.flags = 0x0080_0000.into()), EINVAL),
        (edit(|b| b.length = 0.into()), EINVAL),
        (edit(|b| b.length = (FRAME - 1).into()), EINVAL),
        (edit(|b| b.length = (FRAME + 1).into()), EINVAL),
        (edit(|b| b.length = u32::MAX.into()), EINVAL),
        (qbuf(1, FRAME, &[]), EINVAL),
        (qbuf(1, FRAME, &[(0x9000, 511)]), EINVAL),
        (qbuf(1, FRAME, &[(0x9000, 0), good]), EINVAL),
        (qbuf(1, FRAME, &[(0x9000, 256), (0x9100, 0), good]), EINVAL),
        (qbuf(1, FRAME, &[(u64::MAX - 255, 512)]), EINVAL),
        (qbuf(1, FRAME, &[(u64::MAX, 1), good]), EINVAL),
        (qbuf(1, FRAME, &[(MEMORY as u64, 512)]), EFAULT),
        (qbuf(1, FRAME, &[(MEMORY as u64 - 511, 512)]), EFAULT),
        (qbuf(1, FRAME, &[(1 << 40, u32::MAX)]), EFAULT),
        (qbuf(1, FRAME, &[(RING.start - 511, 512)]), EINVAL),
        (qbuf(1, FRAME, &[(RING.end - 1, 512)]), EINVAL),
        (qbuf(1, FRAME, &[(RING.start, 512)]), EINVAL),
        // The segments behind the frame must be valid as well.
        (qbuf(1, FRAME + 1, &[good, (RING.start, 1)]), EINVAL),
        (qbuf(1, FRAME + 1, &[good, (1 << 40, 1)]), EFAULT),
    ] {
        let answer = rig.ioctl(session, Ioctl::QBuf, &payload);
        assert_eq!(answer, Err(errno), "{:x?}", &payload[..]);
        assert_eq!(rig.state(session), before);
    }
    // The scatter list has a segment per byte, and the frame needs more
    // segments than the card keeps.
    rig.ok(session, Ioctl::ReqBufs, &request(0));
    rig.ok(session, Ioctl::SFmt, &format(b"GREY", 128, 128));
    rig.ok(session, Ioctl::ReqBufs, &request(1));
    let segments = [&tiny[..], &[(0x9000, 8191)]].concat();
    assert_eq!(rig.queue(session, 0, &segments), Err(ENOMEM));
}

#[test]
fn streaming_needs_buffers_and_fixes_what_it_depends_on() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    assert_eq!(
        rig.ioctl(session, Ioctl::StreamOn, &words(&[1])),
        Err(EINVAL)
    );
    rig.stream_off(session);
    rig.ok(session, Ioctl::ReqBufs, &request(2));
    rig.stream_on(session);
    rig.stream_on(session);
    let parm = StreamParm::of(1, Fract::new(1, 30));
    assert_eq!(
        rig.ioctl(session, Ioctl::SParm, parm.as_bytes()),
        Err(EBUSY)
    );
    assert_eq!(
        rig.ioctl(session, Ioctl::ReqBufs, request(3).as_bytes()),
        Err(EBUSY)
    );
    rig.stream_off(session);
    rig.stream_off(session);
    rig.ok(session, Ioctl::SParm, &parm);
    rig.ok(session, Ioctl::ReqBufs, &request(3));
}
