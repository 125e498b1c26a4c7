//! A multi-planar card.

use pinhole::card::witness::{DIGEST_BLOCK, Digest, Record};
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserConfigFlags;

use crate::harness::memory::Segment;
use crate::harness::stream::pages;
use crate::harness::v4l2::*;
use crate::harness::{Card, Chains, Driver, Event, Options, guest_memory};

/// A plane: bytes of a line of it for two pixels, and the lines of the picture
/// that it covers.
type Plane = (u32, u32);

const PLANAR: [(&[u8; 4], &[Plane]); 5] = [
    (b"YUYV", &[(4, 1)]),
    (b"RGB3", &[(6, 1)]),
    (b"NM12", &[(2, 1), (2, 2)]),
    (b"NM16", &[(2, 1), (2, 1)]),
    (b"YM12", &[(2, 1), (1, 2), (1, 2)]),
];

fn card() -> Card {
    Card::start(&["--rate", "max", "--planes", "multi"])
}

#[test]
fn the_configuration_space_says_so() {
    let card = &mut card();
    let driver = &mut Driver::new(card);
    let flags = VhostUserConfigFlags::empty();
    let (_, config) = driver
        .front
        .get_config(0, 40, flags, &[0; 40])
        .expect("GET_CONFIG");
    assert_eq!(
        config.le32(0) & 0x1001,
        0x1000,
        "VIDEO_CAPTURE_MPLANE alone"
    );
}

#[test]
fn every_plane_is_written_to_memory_of_its_own() {
    for chains in [Chains::Plain, Chains::Indirect] {
        let card = &mut card();
        let options = Options {
            chains,
            ..Options::default()
        };
        let driver = &mut Driver::attach(card, guest_memory(4 << 20), options);
        let session = driver.open();
        for (fourcc, planes) in PLANAR {
            let (width, height) = (178, 98);
            let wanted = planar_format(u32::from_le_bytes(*fourcc), width, height);
            let format = driver.ioctl(session, S_FMT, &wanted).expect("S_FMT");
            assert_eq!((format.le32(8), format.le32(12)), (width, height));
            assert_eq!(usize::from(format[188]), planes.len(), "num_planes");
            let mut sizes = Vec::new();
            for (number, (line, lines)) in planes.iter().enumerate() {
                let at = 28 + 20 * number;
                let (sizeimage, bytesperline) = (format.le32(at), format.le32(at + 4));
                assert_eq!(bytesperline, width / 2 * line);
                assert_eq!(sizeimage, bytesperline * height / lines);
                sizes.push(sizeimage);
            }
            capture(card, driver, session, &sizes);
        }
    }
}

/// Captures a frame into planes that lie apart, the last one first, and holds
/// it against the witness.
fn capture(card: &mut Card, driver: &mut Driver, session: u32, sizes: &[u32]) {
    let request = request_buffers(1, CAPTURE_MPLANE, MEMORY_USERPTR);
    driver.ioctl(session, REQBUFS, &request).expect("REQBUFS");
    let start = driver.memory.high().start;
    let lists: Vec<Vec<Segment>> = (0..)
        .zip(sizes)
        .map(|(number, size)| pages(start + (3 - number) * 0x4_0000 + 40 * number, *size))
        .collect();
    let planes: Vec<_> = sizes.iter().map(|size| (*size, u64::from(*size))).collect();
    let mut given = planar_buffer(0, &planes);
    lists
        .iter()
        .for_each(|list| given.extend(scatter_list(list)));
    let command = ioctl_command(session, QBUF.code, &given);
    let reply = driver.command(&command, RESPONSE + 88 + 64 * planes.len());
    assert_eq!(reply.status(), Some(0), "QBUF");
    let answer = reply.payload().to_vec();
    assert_eq!(answer.len(), 88 + 64 * planes.len());
    assert_eq!(
        (answer.le64(64), answer.le32(72)),
        (0xfeed_f00d, planes.len() as u32)
    );
    for (number, (length, pointer)) in planes.iter().enumerate() {
        let plane = 88 + 64 * number;
        assert_eq!(answer.le32(plane + 4), *length);
        assert_eq!(answer.le64(plane + 8), *pointer, "it comes back");
    }
    let kind = payload(STREAMON).with(0, CAPTURE_MPLANE);
    driver.ioctl(session, STREAMON, &kind).expect("STREAMON");
    let Event::Dqbuf { buffer, planes, .. } = driver.event() else {
        panic!("no buffer")
    };
    assert_eq!(
        (buffer.kind, buffer.length),
        (CAPTURE_MPLANE, sizes.len() as u32)
    );
    for (number, size) in sizes.iter().enumerate() {
        assert_eq!(planes.le32(64 * number), *size, "bytesused");
        assert_eq!(planes.le64(64 * number + 8), 0, "no pointer");
    }
    driver.ioctl(session, STREAMOFF, &kind).expect("STREAMOFF");
    driver
        .ioctl(session, REQBUFS, &request.with(0, 0))
        .expect("REQBUFS");
    card.wait_streams_ended();
    let record = card.witness().iter().rev().find_map(|record| match record {
        Record::Frame { planes, .. } => Some(planes.clone()),
        _ => None,
    });
    let record = record.expect("a frame in the witness");
    assert_eq!(record.len(), sizes.len());
    for (plane, list) in record.iter().zip(&lists) {
        assert_eq!(&plane.segments, list);
        let bytes = driver.memory.gather(list);
        assert_eq!(plane.bytes as usize, bytes.len());
        let digests: Vec<_> = bytes.chunks(DIGEST_BLOCK).map(Digest::of).collect();
        assert_eq!(plane.digests, digests);
        driver.memory.accept_segments(list);
    }
    driver.assert_untouched();
}
