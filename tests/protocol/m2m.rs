//! A mem-to-mem card: what it reads and writes, for whom, and what the host sees.

use std::process::Command;

use pinhole::card::Direction;
use pinhole::card::witness::{DIGEST_BLOCK, Digest, PlaneRecord, Record};

use crate::harness::card::run_to_end;
use crate::harness::memory::Segment;
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver};

const GREY: u32 = u32::from_le_bytes(*b"GREY");
const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;
const SIZE: u32 = WIDTH * HEIGHT;

/// V4L2_CID_VFLIP.
const VFLIP: u32 = 0x0098_0915;

/// A session that makes 96x64 GREY of 96x64 GREY, by one buffer in each queue.
struct Converter {
    session: u32,
    read: Vec<Segment>,
    written: Vec<Segment>,
}

impl Converter {
    /// Opens a session whose memory lies `at` bytes into the guest's high memory.
    fn new(driver: &mut Driver, at: u64) -> Self {
        let session = driver.open();
        for kind in [OUTPUT, CAPTURE] {
            let wanted = format(GREY, WIDTH, HEIGHT).with(0, kind);
            let set = driver.ioctl(session, S_FMT, &wanted).expect("S_FMT");
            assert_eq!((set.le32(0), set.le32(28)), (kind, SIZE));
            let request = request_buffers(1, kind, MEMORY_USERPTR);
            driver.ioctl(session, REQBUFS, &request).expect("REQBUFS");
            let kind = payload(STREAMON).with(0, kind);
            driver.ioctl(session, STREAMON, &kind).expect("STREAMON");
        }
        let high = driver.memory.high().start + at;
        let list = |at: u64| {
            vec![
                (at + 0x2fff, 1),
                (at + 0x1000, 4096),
                (at + 0x5000, SIZE - 4097),
            ]
        };
        Self {
            session,
            read: list(high),
            written: list(high + 0x8000),
        }
    }

    /// Gives the card a picture, whose bytes depend on `seed`, and a place for what
    /// it makes of it.
    fn give(&self, driver: &mut Driver, seed: u8) -> Vec<u8> {
        let byte = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed;
        let picture: Vec<u8> = (0..SIZE).map(byte).collect();
        let mut rest = &picture[..];
        for &(start, len) in &self.read {
            let (now, later) = rest.split_at(len as usize);
            driver.memory.write(start, now);
            rest = later;
        }
        for (kind, list) in [(OUTPUT, &self.read), (CAPTURE, &self.written)] {
            let mut given = buffer(0, 0, SIZE).with(4, kind).with(8, SIZE);
            given.extend(scatter_list(list));
            driver.ioctl_with(self.session, QBUF, &given).expect("QBUF");
        }
        picture
    }

    /// Waits until both buffers are back.
    fn take(&self, driver: &mut Driver) -> Vec<u8> {
        for kind in [OUTPUT, CAPTURE] {
            let done = driver.dqbuf(self.session);
            assert_eq!((done.kind, done.bytesused), (kind, SIZE));
            assert_eq!(done.flags & BUF_FLAG_ERROR, 0);
        }
        let pieces = self.written.iter();
        pieces
            .flat_map(|&(start, len)| driver.memory.read(start, len as usize))
            .collect()
    }
}

fn plane(segments: &[Segment], bytes: &[u8]) -> PlaneRecord {
    PlaneRecord {
        bytes: SIZE,
        segments: segments.to_vec(),
        digests: bytes.chunks(DIGEST_BLOCK).map(Digest::of).collect(),
    }
}

#[test]
fn what_is_made_of_a_frame_is_its_own_sessions() {
    let mut card = Card::start(&["--kind", "m2m"]);
    let driver = &mut Driver::new(&mut card);
    let one = Converter::new(driver, 0);
    let other = Converter::new(driver, 0x1_0000);
    let flip = payload(S_CTRL).with(0, VFLIP).with(4, 1);
    driver.ioctl(other.session, S_CTRL, &flip).expect("S_CTRL");

    let picture = one.give(driver, 1);
    assert!(one.take(driver) == picture);
    let picture = other.give(driver, 2);
    let turned: Vec<u8> = picture
        .chunks(WIDTH as usize)
        .rev()
        .flatten()
        .copied()
        .collect();
    assert!(other.take(driver) == turned);

    for (direction, wanted) in [
        (Direction::Output, plane(&other.read, &picture)),
        (Direction::Capture, plane(&other.written, &turned)),
    ] {
        card.wait_record("the frame of the other session", |record| match record {
            Record::Frame {
                session,
                direction: Some(of),
                planes,
                ..
            } if (*session, *of) == (other.session, direction) => {
                assert_eq!(planes[..], *std::slice::from_ref(&wanted));
                Some(())
            }
            _ => None,
        });
    }
}

#[test]
fn the_host_sees_its_counters_and_sets_nothing() {
    let dir = tempfile::tempdir().expect("a directory for the card");
    let control = dir.path().join("control.sock");
    let mut command = Card::command();
    command.args(["--kind", "m2m", "--socket-path"]);
    command.arg(dir.path().join("card.sock"));
    command.arg("--control").arg(&control);
    let mut card = Card::spawn(command, dir);
    let driver = &mut Driver::new(&mut card);
    let converter = Converter::new(driver, 0);
    converter.give(driver, 1);
    converter.take(driver);

    let ctl = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
        command.args(["ctl", "--control"]).arg(&control).args(args);
        run_to_end(&mut command)
    };
    let told = ctl(&["stats", "--json"]);
    assert!(told.status.success(), "{told:?}");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let told = &told["statistics"];
    assert_eq!(told["frames"], 1);
    assert_eq!(told["bytes"], 2 * SIZE);
    assert_eq!(
        (&told["sessions"], &told["streaming"]),
        (&1.into(), &true.into())
    );
    for refused in [
        &["set", "vertical_flip=1"][..],
        &["input", "1"],
        &["source", "pattern"],
    ] {
        let told = ctl(refused);
        assert!(!told.status.success(), "{refused:?}: {told:?}");
    }
}
