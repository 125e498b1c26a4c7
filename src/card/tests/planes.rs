//! The multi-planar card.

use super::*;
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::source::PixelFormat;
use crate::wire::Errno;
use crate::wire::buffer::Plane;
use crate::wire::format::{FmtDesc, FormatMplane};

const EINVAL: u32 = Errno::EINVAL.0;
const EFAULT: u32 = Errno::EFAULT.0;
const MPLANE: u32 = 9;

/// Sizes of the planes of 64x66 YM12: the last block of the first plane is
/// short.
const SIZES: [u32; 3] = [4224, 1056, 1056];

/// Returns a multi-planar card that has set that format.
fn rig(fourcc: &[u8; 4], width: u32, height: u32, buffers: u32) -> (Rig, u32) {
    let mut rig = Rig::with(Rate::Guest, BufferApi::Multi, Native::default());
    let session = rig.open();
    rig.get(session, Ioctl::SFmt, &mplane(fourcc, width, height));
    let mut asked = request(buffers);
    asked.type_ = MPLANE.into();
    rig.ok(session, Ioctl::ReqBufs, &asked);
    (rig, session)
}

fn mplane(fourcc: &[u8; 4], width: u32, height: u32) -> FormatMplane {
    let mut format = FormatMplane::new_zeroed();
    format.type_ = MPLANE.into();
    format.pix_mp.pixelformat = u32::from_le_bytes(*fourcc).into();
    format.pix_mp.width = width.into();
    format.pix_mp.height = height.into();
    format
}

fn plane(length: u32, userptr: u64) -> Plane {
    Plane {
        length: length.into(),
        m: userptr.into(),
        bytesused: 77.into(),
        data_offset: 5.into(),
        ..FromZeros::new_zeroed()
    }
}

/// Returns a buffer, its planes, and the scatter entries of all of them.
fn qbuf(index: u32, count: u32, planes: &[Plane], segments: &[(u64, u32)]) -> Vec<u8> {
    let mut asked = buffer(index, count);
    asked.type_ = MPLANE.into();
    let mut payload = [asked.as_bytes(), planes.as_bytes()].concat();
    for (start, len) in segments {
        payload.extend_from_slice(&words(&[*start as u32, (*start >> 32) as u32, *len, 0]));
    }
    payload
}

fn planes_of(answer: &[u8]) -> (Buffer, Vec<Plane>) {
    let (buffer, rest) = Buffer::read_from_prefix(answer).unwrap();
    let count = rest.len() / size_of::<Plane>();
    let (planes, _) = <[Plane]>::ref_from_prefix_with_elems(rest, count).unwrap();
    (buffer, planes.to_vec())
}

#[test]
fn the_card_says_that_it_is_multi_planar() {
    for (planes, capability) in [(BufferApi::Single, 1), (BufferApi::Multi, 0x1000)] {
        let rig = Rig::with(Rate::Guest, planes, Native::default());
        let caps = rig.card.config().device_caps.get();
        assert_eq!(caps & 0x1001, capability);
        assert_eq!(caps & 0x0420_0000, 0x0420_0000);
    }
}

#[test]
fn every_format_has_its_planes() {
    let mut rig = Rig::with(Rate::Guest, BufferApi::Multi, Native::default());
    let session = rig.open();
    let mut found = Vec::new();
    loop {
        let mut asked = FmtDesc::new_zeroed();
        (asked.index, asked.type_) = ((found.len() as u32).into(), MPLANE.into());
        match rig.ioctl(session, Ioctl::EnumFmt, asked.as_bytes()) {
            Ok(answer) => found.push(FmtDesc::read_from_bytes(&answer).unwrap()),
            Err(errno) => break assert_eq!(errno, EINVAL),
        }
    }
    let formats: Vec<_> = found.iter().map(|f| f.pixelformat.get()).collect();
    let expected: Vec<_> = BufferApi::Multi
        .formats()
        .map(PixelFormat::fourcc)
        .collect();
    assert_eq!(formats, expected);
    for (fourcc, planes) in [
        (b"YUYV", &[(38, 722)][..]),
        (b"YU12", &[(18, 540)]),
        (b"NM12", &[(18, 360), (18, 180)]),
        (b"NM16", &[(18, 342), (18, 342)]),
        (b"YM12", &[(18, 360), (9, 90), (9, 90)]),
    ] {
        let asked = match fourcc {
            b"YUYV" => mplane(fourcc, 19, 19),
            _ => mplane(fourcc, 17, 19),
        };
        let pix = rig.get(session, Ioctl::SFmt, &asked).pix_mp;
        let got: Vec<_> = pix.plane_fmt[..usize::from(pix.num_planes)]
            .iter()
            .map(|plane| (plane.bytesperline.get(), plane.sizeimage.get()))
            .collect();
        let expected = match fourcc {
            b"YUYV" => vec![(40, 760)],
            _ => planes.to_vec(),
        };
        assert_eq!(got, expected, "{fourcc:?}");
        assert_eq!((pix.field.get(), pix.colorspace.get()), (1, 1));
        assert_eq!((pix.ycbcr_enc, pix.quantization, pix.xfer_func), (1, 2, 1));
        assert!(
            pix.plane_fmt[got.len()..]
                .as_bytes()
                .iter()
                .all(|byte| *byte == 0)
        );
        let same = rig.get(session, Ioctl::GFmt, &asked);
        assert_eq!(same.pix_mp.as_bytes(), pix.as_bytes());
    }
}

#[test]
fn every_plane_lies_in_its_own_memory_and_the_witness_says_so() {
    let (mut rig, session) = rig(b"YM12", 64, 66, 1);
    let total: u32 = SIZES.iter().sum();
    rig.write_all(0xee);
    // Each plane is in two segments, and the second plane is longer than
    // needed.
    let segments = [
        (0x1_0001, 4000),
        (0x2_0000, 224),
        (0x3_0000, 1000),
        (0x4_0000, 100),
        (0x5_0007, 1000),
        (0x6_0000, 56),
    ];
    let planes = [plane(SIZES[0], 11), plane(1100, 12), plane(SIZES[2], 13)];
    let payload = qbuf(0, 3, &planes, &segments);
    let answer = rig.ioctl(session, Ioctl::QBuf, &payload).unwrap();
    let (buffer, given) = planes_of(&answer);
    assert_eq!((buffer.length.get(), buffer.m.get()), (3, 0x7fff_dead_b000));
    let pointers: Vec<_> = given.iter().map(|p| (p.m.get(), p.length.get())).collect();
    assert_eq!(pointers, [(11, SIZES[0]), (12, 1100), (13, SIZES[2])]);
    rig.ok(session, Ioctl::StreamOn, &MPLANE.to_le_bytes());
    rig.run(20_000);

    let sent = rig.sent();
    let [Sent::Buffer(event)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (event.buffer.type_.get(), event.buffer.length.get()),
        (MPLANE, 3)
    );
    assert_eq!((event.buffer.bytesused.get(), event.buffer.m.get()), (0, 0));
    for (plane, size) in event.planes.iter().zip([SIZES[0], SIZES[1], SIZES[2], 0]) {
        assert_eq!(
            (
                plane.bytesused.get(),
                plane.m.get(),
                plane.data_offset.get()
            ),
            (size, 0, 0)
        );
    }
    assert_eq!(event.planes[1].length, 1100);

    let bytes: Vec<u8> = (0..total as usize).map(|i| pixel(0, i)).collect();
    let mut expected = vec![0xee; MEMORY];
    let mut at = 0;
    for (start, len) in [
        (0x1_0001, 4000),
        (0x2_0000, 224),
        (0x3_0000, 1000),
        (0x4_0000, 56),
        (0x5_0007, 1000),
        (0x6_0000, 56),
    ] {
        expected[start..start + len].copy_from_slice(&bytes[at..at + len]);
        at += len;
    }
    assert!(rig.everything() == expected);

    let records = rig.records();
    let [
        Record::StreamOn {
            bytesperline,
            sizeimage,
            ..
        },
        Record::Frame { planes, .. },
    ] = &records[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!(
        (&bytesperline[..], &sizeimage[..]),
        (&[64, 32, 32][..], &SIZES[..])
    );
    let mut rest = &bytes[..];
    for (number, plane) in planes.iter().enumerate() {
        let (here, later) = rest.split_at(SIZES[number] as usize);
        assert_eq!(plane.bytes, SIZES[number]);
        assert_eq!(plane.segments, segments[2 * number..2 * number + 2]);
        let digests: Vec<_> = here.chunks(DIGEST_BLOCK).map(Digest::of).collect();
        assert_eq!(plane.digests, digests, "plane {number}");
        rest = later;
    }
}

#[test]
fn as_many_planes_are_answered_as_there_is_room_for() {
    let (mut rig, session) = rig(b"NM12", 64, 32, 1);
    for (room, got) in [(1, 1), (2, 2), (3, 2), (8, 2)] {
        let planes = vec![plane(1, 9); room as usize];
        let payload = qbuf(0, room, &planes, &[]);
        let answer = rig.ioctl(session, Ioctl::QueryBuf, &payload).unwrap();
        let (buffer, given) = planes_of(&answer);
        assert_eq!((buffer.length.get(), given.len()), (got, got as usize));
        assert_eq!(given[0].length, 64 * 32);
        assert_eq!(buffer.m, 0x7fff_dead_b000);
    }
    for count in [0, 9, 1000, u32::MAX] {
        let payload = qbuf(0, count, &[plane(1, 9); 8], &[]);
        for ioctl in [Ioctl::QueryBuf, Ioctl::QBuf] {
            assert_eq!(rig.ioctl(session, ioctl, &payload), Err(EINVAL), "{count}");
        }
    }
}

#[test]
fn planes_that_cannot_be_filled_are_not_queued() {
    let (mut rig, session) = rig(b"NM12", 64, 32, 1);
    let whole = [plane(2048, 1), plane(1024, 2)];
    let (luma, chroma) = ((0x8000, 2048), (0x9000, 1024));
    let high = MEMORY as u64;
    let good = qbuf(0, 2, &whole, &[luma, chroma]);
    for (payload, errno) in [
        (qbuf(0, 1, &whole[..1], &[luma, chroma]), EINVAL),
        (
            qbuf(0, 2, &[plane(2047, 1), whole[1]], &[luma, chroma]),
            EINVAL,
        ),
        (
            qbuf(0, 2, &[whole[0], plane(1023, 1)], &[luma, chroma]),
            EINVAL,
        ),
        (qbuf(0, 2, &whole, &[luma]), EINVAL),
        (qbuf(0, 2, &whole, &[luma, (0x9000, 1023)]), EINVAL),
        (qbuf(0, 2, &whole, &[(0x8000, 3071)]), EINVAL),
        (qbuf(0, 2, &whole, &[luma, (high - 1023, 1024)]), EFAULT),
        (qbuf(0, 2, &whole, &[luma, (RING.start, 1024)]), EINVAL),
        (qbuf(0, 2, &whole, &[luma, (0x9000, 0), chroma]), EINVAL),
    ] {
        let region = rig.memory.find_region(GuestAddress(0)).unwrap();
        let held = Arc::strong_count(&region.get_mmap());
        assert_eq!(rig.ioctl(session, Ioctl::QBuf, &payload), Err(errno));
        let region = rig.memory.find_region(GuestAddress(0)).unwrap();
        assert_eq!(
            Arc::strong_count(&region.get_mmap()),
            held,
            "no memory is held"
        );
    }
    for length in 88..good.len() {
        let cut = &good[..length];
        assert_eq!(
            rig.ioctl(session, Ioctl::QBuf, cut),
            Err(EINVAL),
            "cut to {length}"
        );
    }
    for room in 0..8 + 88 + 128 {
        let request = command(session, Ioctl::QBuf as u32, &good);
        assert!(rig.give(&request, room).0.is_err(), "room for {room}");
    }
    // The card leaves planes alone that the format does not have.
    let more = [whole[0], whole[1], plane(0, 3)];
    let payload = qbuf(0, 3, &more, &[luma, chroma]);
    let answer = rig.ioctl(session, Ioctl::QBuf, &payload).unwrap();
    assert_eq!(planes_of(&answer).1.len(), 2);
}

#[test]
fn half_a_frame_ends_within_its_planes() {
    let (mut rig, session) = rig(b"NM16", 64, 32, 1);
    rig.set(session, crate::card::controls::table::cid::SHORT_FRAMES, 1)
        .unwrap();
    let whole = [plane(2048, 1), plane(2048, 2)];
    let payload = qbuf(0, 2, &whole, &[(0x8000, 2048), (0x9000, 2048)]);
    rig.ioctl(session, Ioctl::QBuf, &payload).unwrap();
    rig.ok(session, Ioctl::StreamOn, &MPLANE.to_le_bytes());
    rig.run(20_000);
    let sent = rig.sent();
    let [Sent::Buffer(event)] = &sent[..] else {
        panic!("{sent:?}")
    };
    let used = [
        event.planes[0].bytesused.get(),
        event.planes[1].bytesused.get(),
    ];
    assert_eq!(used, [2048, 0]);
}

impl Rig {
    fn write_all(&mut self, byte: u8) {
        self.memory
            .write_slice(&[byte; MEMORY], GuestAddress(0))
            .unwrap();
    }
}
