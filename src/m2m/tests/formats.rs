//! Formats, sizes, selections; and what the card is not.

use zerocopy::little_endian::U32;

use super::*;
use crate::source::PixelFormat;
use crate::wire::Errno;
use crate::wire::format::{FRMSIZE_TYPE_DISCRETE, FmtDesc, FrmSizeEnum};
use crate::wire::selection::{SEL_TGT_COMPOSE, SEL_TGT_CROP, Selection};

fn formats(rig: &mut Rig, session: u32, direction: Direction) -> Vec<u32> {
    let asked = |index: u32| FmtDesc {
        index: index.into(),
        type_: number(direction).into(),
        ..FromZeros::new_zeroed()
    };
    (0..)
        .map_while(|index| {
            let found = rig.ioctl(session, Ioctl::EnumFmt, asked(index).as_bytes());
            let found = FmtDesc::read_from_bytes(&found.ok()?).unwrap();
            Some(found.pixelformat.get())
        })
        .collect()
}

#[test]
fn it_writes_all_formats_and_reads_those_that_are_not_compressed() {
    let mut rig = Rig::new();
    let session = rig.open();
    let written = formats(&mut rig, session, Direction::Capture);
    let read = formats(&mut rig, session, Direction::Output);
    let single = BufferApi::Single.formats();
    assert_eq!(written, single.map(PixelFormat::fourcc).collect::<Vec<_>>());
    let compressed = PixelFormat::Mjpg.fourcc();
    assert!(!read.contains(&compressed));
    let raw = written
        .iter()
        .copied()
        .filter(|fourcc| *fourcc != compressed);
    assert_eq!(read, raw.collect::<Vec<_>>());
    for fourcc in written {
        let sizes = FrmSizeEnum {
            pixel_format: fourcc.into(),
            ..FromZeros::new_zeroed()
        };
        assert_eq!(
            rig.get(session, Ioctl::EnumFrameSizes, &sizes)
                .max_width
                .get(),
            3840
        );
    }
}

#[test]
fn a_card_that_converts_or_compresses_alone_has_no_other_format() {
    for (makes, wanted) in [(Makes::Raw, b"NV12"), (Makes::Jpeg, b"MJPG")] {
        let mut rig = Rig::making(makes);
        let session = rig.open();
        let read = formats(&mut rig, session, Direction::Output);
        let written = formats(&mut rig, session, Direction::Capture);
        match makes {
            Makes::Jpeg => assert_eq!(written, [PixelFormat::Mjpg.fourcc()]),
            _ => assert_eq!(written, read),
        }
        // A session begins with a format that the card has, and a format that it
        // has not becomes the first one.
        let now = rig.get(
            session,
            Ioctl::GFmt,
            &format(Direction::Capture, b"    ", 0, 0),
        );
        assert_eq!(now.pix.pixelformat.get(), written[0]);
        for (fourcc, got) in [(wanted, u32::from_le_bytes(*wanted)), (b"????", written[0])] {
            let asked = format(Direction::Capture, fourcc, 320, 240);
            let taken = rig.get(session, Ioctl::SFmt, &asked).pix;
            assert_eq!(taken.pixelformat.get(), got);
        }
    }
}

#[test]
fn what_is_read_decides_on_the_size_and_the_colours_of_what_is_written() {
    let mut rig = Rig::new();
    let session = rig.open();
    let mut asked = format(Direction::Output, b"NV12", 320, 240);
    asked.pix.colorspace = 3.into();
    asked.pix.quantization = 1.into();
    let taken = rig.get(session, Ioctl::SFmt, &asked).pix;
    assert_eq!((taken.colorspace.get(), taken.quantization.get()), (3, 1));
    let capture = format(Direction::Capture, b"YUYV", 0, 0);
    let given = rig.get(session, Ioctl::GFmt, &capture).pix;
    assert_eq!((given.width.get(), given.height.get()), (320, 240));
    assert_eq!((given.colorspace.get(), given.quantization.get()), (3, 1));
    assert_eq!(
        (given.ycbcr_enc, given.xfer_func),
        (taken.ycbcr_enc, taken.xfer_func)
    );

    // What a conversion changes is told of what is made.
    let rgb = format(Direction::Capture, b"RGB3", 320, 240);
    let made = rig.get(session, Ioctl::TryFmt, &rgb).pix;
    assert_eq!((made.colorspace.get(), made.ycbcr_enc.get()), (3, 0));
    assert_eq!(made.quantization.get(), 1, "full range");
    rig.ok(session, Ioctl::SFmt, &rgb);
    let read = format(Direction::Output, b"NV12", 320, 240);
    rig.ok(session, Ioctl::SFmt, &read);
    let made = rig.get(session, Ioctl::GFmt, &capture).pix;
    assert_eq!(made.quantization.get(), 1, "full range of what is not");

    // The new frame may have another size; buffers keep it.
    rig.ok(session, Ioctl::SFmt, &asked);
    let other = format(Direction::Capture, b"YUYV", 160, 120);
    let set = rig.get(session, Ioctl::SFmt, &other).pix;
    assert_eq!((set.width.get(), set.colorspace.get()), (160, 3));
    rig.ok(session, Ioctl::ReqBufs, &request(Direction::Capture, 1));
    assert_eq!(
        rig.ioctl(session, Ioctl::SFmt, other.as_bytes()),
        Err(Errno::EBUSY.0)
    );
    rig.ok(session, Ioctl::SFmt, &asked);
    assert_eq!(rig.get(session, Ioctl::GFmt, &capture).pix.width.get(), 160);
}

#[test]
fn a_part_of_what_is_read_can_be_chosen() {
    let mut rig = Rig::new();
    let session = rig.open();
    for direction in [Direction::Output, Direction::Capture] {
        rig.ok(session, Ioctl::SFmt, &format(direction, b"GREY", 32, 32));
    }
    let selection =
        |direction, target: u32, (left, top): (i32, i32), (width, height): (u32, u32)| {
            let mut selection = Selection::new_zeroed();
            selection.type_ = number(direction).into();
            selection.target = target.into();
            selection.r.left = left.into();
            selection.r.top = top.into();
            selection.r.width = width.into();
            selection.r.height = height.into();
            selection
        };
    let crop = selection(Direction::Output, SEL_TGT_CROP, (16, 0), (16, 16));
    let taken = rig.get(session, Ioctl::SSelection, &crop);
    assert_eq!(taken.r.as_bytes(), crop.r.as_bytes());
    let got = rig.get(session, Ioctl::GSelection, &crop);
    assert_eq!(got.r.as_bytes(), crop.r.as_bytes());
    let compose = selection(Direction::Capture, SEL_TGT_COMPOSE, (4, 4), (16, 16));
    let whole = rig.get(session, Ioctl::SSelection, &compose).r;
    assert_eq!((whole.left.get(), whole.width.get()), (0, 32));
    for (direction, target) in [
        (Direction::Output, SEL_TGT_COMPOSE),
        (Direction::Capture, SEL_TGT_CROP),
    ] {
        let wrong = selection(direction, target, (0, 0), (16, 16));
        assert_eq!(
            rig.ioctl(session, Ioctl::SSelection, wrong.as_bytes()),
            Err(Errno::EINVAL.0)
        );
    }
    rig.ok(
        session,
        Ioctl::SFmt,
        &format(Direction::Capture, b"GREY", 16, 16),
    );
    for direction in [Direction::Output, Direction::Capture] {
        rig.ok(session, Ioctl::ReqBufs, &request(direction, 1));
        rig.ok(session, Ioctl::StreamOn, &number(direction).to_le_bytes());
    }
    let picture: Vec<u8> = (0..1024u32).map(|byte| (byte % 251) as u8).collect();
    rig.write(0x8000, &picture);
    rig.try_queue(session, Direction::Output, 0, 0x8000, 1024)
        .unwrap();
    rig.try_queue(session, Direction::Capture, 0, 0x2_0000, 256)
        .unwrap();
    assert_eq!(rig.run(), 1);
    let lines = picture.chunks(32).take(16);
    let part: Vec<u8> = lines.flat_map(|line| line[16..].to_vec()).collect();
    assert_eq!(rig.read(0x2_0000, 256), part);
}

#[test]
fn it_has_no_inputs_outputs_rates_or_memory_of_its_own() {
    let mut rig = Rig::new();
    let session = rig.open();
    for ioctl in Ioctl::ALL {
        if crate::card::CardKind::M2m.has(ioctl) {
            continue;
        }
        let answer = rig.ioctl(session, ioctl, &[0; 256]);
        assert_eq!(answer, Err(Errno::ENOTTY.0), "{ioctl:?}");
    }
    let mmap = RequestBuffers {
        memory: 1.into(),
        ..request(Direction::Output, 2)
    };
    assert_eq!(
        rig.ioctl(session, Ioctl::ReqBufs, mmap.as_bytes()),
        Err(Errno::EINVAL.0)
    );
}

#[test]
fn no_ioctl_that_is_cut_short_is_executed() {
    let (mut rig, session) = Rig::streaming();
    for ioctl in Ioctl::ALL
        .into_iter()
        .filter(|ioctl| crate::card::CardKind::M2m.has(*ioctl))
    {
        for length in 0..ioctl.bytes_in() {
            let answer = rig.ioctl(session, ioctl, &vec![0; length]);
            assert_eq!(answer, Err(Errno::EINVAL.0), "{ioctl:?} of {length} bytes");
        }
    }
}

#[test]
fn a_list_of_sizes_is_both_queues() {
    const SIZES: [(u32, u32); 2] = [(320, 240), (640, 480)];
    let mut rig = Rig::of_sizes(&SIZES);
    let session = rig.open();
    for (index, (width, height)) in (0..).zip(SIZES) {
        let asked = FrmSizeEnum {
            index: U32::new(index),
            pixel_format: u32::from_le_bytes(*b"NV12").into(),
            ..FromZeros::new_zeroed()
        };
        let size = rig.get(session, Ioctl::EnumFrameSizes, &asked);
        let told = (size.type_.get(), size.min_width.get(), size.max_width.get());
        assert_eq!(told, (FRMSIZE_TYPE_DISCRETE, width, height));
    }
    let beyond = FrmSizeEnum {
        index: 2.into(),
        pixel_format: u32::from_le_bytes(*b"NV12").into(),
        ..FromZeros::new_zeroed()
    };
    let refused = rig.ioctl(session, Ioctl::EnumFrameSizes, beyond.as_bytes());
    assert_eq!(refused, Err(Errno::EINVAL.0));
    for direction in [Direction::Output, Direction::Capture] {
        let first = rig.get(session, Ioctl::GFmt, &format(direction, b"GREY", 0, 0));
        assert_eq!((first.pix.width.get(), first.pix.height.get()), SIZES[0]);
        for (asked, nearest) in [((4000, 4000), SIZES[1]), ((16, 16), SIZES[0])] {
            let wanted = format(direction, b"GREY", asked.0, asked.1);
            let given = rig.get(session, Ioctl::SFmt, &wanted).pix;
            assert_eq!((given.width.get(), given.height.get()), nearest);
        }
    }
}
