//! Memory that the host takes away while a stream has buffers (QEMU's virtio-mem).
//!
//! The guest gives memory back in blocks of 2 MiB, which it empties first. Processes have
//! their pages there, as it is the guest's highest memory. Where it is in ZONE_MOVABLE a
//! long-term pin moves the pages out of it, and all of it can go; else the pinned pages
//! stay, and their blocks with them. Either way the application gets what the card wrote.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinhole::agent::protocol::{Run, Status};
use pinhole::card::witness::{DIGEST_BLOCK, Digest, PlaneRecord, Record};
use pinhole::rig::testbed::TestbedSpec;
use serde_json::json;

use crate::recovery::PINS;
use crate::test_guest::{LIMIT, TestGuest};

/// First address of the memory that comes and goes; the guest's own is below.
const BEGINS: u64 = 4 << 30;
const MIB: u64 = 1 << 20;
/// The device's blocks (virtio-mem's `block_size`).
const BLOCK: u64 = 2 * MIB;
/// What the guest has of it first.
const PLUGGED: u64 = 256 * MIB;

/// Frames of 320x240 GREY: 18 blocks of a digest and a part of one.
const FRAME: usize = 320 * 240;
/// Buffers of the stream.
const BUFFERS: usize = 4;
/// Length of the disk in frames: more than a test waits for.
const ROOM: usize = 9000;

/// How long nothing happens before the guest is asked again.
const STILL: Duration = Duration::from_secs(5);

/// A guest whose stream goes to a disk, and that has memory which can be taken away.
struct Unplugging {
    guest: TestGuest,
    disk: PathBuf,
}

impl Unplugging {
    /// Boots a guest that gives the memory to a zone: `online_kernel` or
    /// `online_movable`.
    fn boot(zone: &str, folder: &Path) -> Self {
        let disk = folder.join("frames");
        let file = std::fs::File::create(&disk).unwrap();
        file.set_len((FRAME * ROOM) as u64).unwrap();
        let arguments = [
            "-m",
            "size=1024M,maxmem=2G",
            "-object",
            "memory-backend-memfd,id=plugged,size=512M,share=on",
            "-device",
            "virtio-mem-pci,id=plugged0,memdev=plugged",
        ];
        let guest = TestGuest::start(TestbedSpec {
            kernel: Some("trixie".into()),
            append: format!("memhp_default_state={zone}"),
            disks: vec![disk.clone()],
            qemu_arguments: arguments.map(Into::into).into(),
            ..TestbedSpec::default()
        });
        let mut unplugging = Self { guest, disk };
        unplugging.guest.must("modprobe virtio_mem");
        unplugging.request(PLUGGED);
        unplugging.wait("the memory is there", |size| size == PLUGGED);
        unplugging
    }

    /// Asks the guest to have so much of the memory.
    fn request(&mut self, size: u64) {
        let set = json!({
            "path": "/machine/peripheral/plugged0",
            "property": "requested-size",
            "value": size,
        });
        let qmp = self.guest.testbed.machine.qmp();
        qmp.execute("qom-set", set, LIMIT).unwrap();
    }

    /// How much of the memory the guest has.
    fn size(&mut self) -> u64 {
        let qmp = self.guest.testbed.machine.qmp();
        let devices = qmp.execute("query-memory-devices", json!({}), LIMIT);
        devices.unwrap()[0]["data"]["size"].as_u64().unwrap()
    }

    fn wait(&mut self, what: &str, is_so: impl Fn(u64) -> bool) {
        self.wait_while(what, |_| {}, is_so);
    }

    /// The same, but that the guest is asked again whenever nothing has come of it for
    /// some seconds: of itself it tries a block that was busy again after 50 s.
    fn wait_asking(&mut self, what: &str, is_so: impl Fn(u64) -> bool) {
        let (mut last, mut since) = (u64::MAX, Instant::now());
        let ask = |unplugging: &mut Self| {
            let size = unplugging.size();
            if size != last {
                (last, since) = (size, Instant::now());
            } else if since.elapsed() > STILL {
                unplugging.request(BLOCK);
                unplugging.request(0);
                since = Instant::now();
            }
        };
        self.wait_while(what, ask, is_so);
    }

    fn wait_while(
        &mut self,
        what: &str,
        mut meanwhile: impl FnMut(&mut Self),
        is_so: impl Fn(u64) -> bool,
    ) {
        let begun = Instant::now();
        while !is_so(self.size()) {
            assert!(begun.elapsed() < LIMIT, "{what}: {} bytes", self.size());
            std::thread::sleep(Duration::from_millis(50));
            meanwhile(self);
        }
    }

    /// Takes memory away until `is_done`, while the guest captures into user pointers;
    /// returns how much is left. Every byte is verified.
    fn shrink_meanwhile(&mut self, is_done: impl Fn(u64, &BTreeSet<u64>) -> bool) -> u64 {
        let run = Run::new([
            "v4l2-ctl",
            "--device=/dev/video0",
            "--set-fmt-video=width=320,height=240,pixelformat=GREY",
            "--stream-user=4",
            "--stream-to=/dev/vda",
        ]);
        let agent = self.guest.testbed.machine.agent();
        let stream = agent.start(run).unwrap();
        self.guest.wait_for_frames(30);
        let blocks = self.blocks();
        self.request(0);
        self.wait_asking("the memory goes", |size| is_done(size, &blocks));
        let left = self.size();
        // Frames are written after it has gone, too.
        let written = self.guest.frames();
        self.guest.wait_for_frames(written + 30);
        let answer = self.guest.interrupt(stream);
        assert_eq!(answer.status, Status::Signal(2), "{answer:?}");
        self.guest.must("sync");
        self.verify(written);
        assert_eq!(self.guest.must(PINS).trim(), "0");
        left
    }

    /// The planes that the card has written so far.
    fn planes(&self) -> Vec<PlaneRecord> {
        let records = self.guest.records().into_iter();
        let planes = records.filter_map(|record| match record {
            Record::Frame { planes, .. } => planes.into_iter().next(),
            _ => None,
        });
        planes.collect()
    }

    /// The device's blocks in which buffers are.
    fn blocks(&self) -> BTreeSet<u64> {
        let planes = self.planes();
        let segments = planes.iter().flat_map(|plane| &plane.segments);
        let pages = segments.flat_map(|(start, length)| {
            let end = start + u64::from(*length);
            (start / BLOCK..end.div_ceil(BLOCK)).map(|block| block * BLOCK)
        });
        pages.filter(|block| *block >= BEGINS).collect()
    }

    /// Each frame on the disk is what the card wrote; there is more of them than `least`.
    fn verify(&self, least: usize) {
        let disk = std::fs::File::open(&self.disk).unwrap();
        let planes = self.planes();
        // The last ones may have been in buffers still when the program was ended, and two
        // on their way to the disk.
        let taken = planes.len() - BUFFERS - 2;
        assert!(taken > least, "{taken} frames were taken, of {least}");
        let mut frame = vec![0; FRAME];
        for (number, plane) in planes.iter().take(taken).enumerate() {
            let at = (number * FRAME) as u64;
            disk.read_exact_at(&mut frame, at).unwrap();
            let digests: Vec<_> = frame.chunks(DIGEST_BLOCK).map(Digest::of).collect();
            assert_eq!(digests, plane.digests, "frame {number}");
        }
    }
}

#[test]
#[ignore = "boots a guest"]
fn memory_in_which_buffers_are_pinned_stays_until_they_are_freed() {
    let folder = tempfile::tempdir().unwrap();
    let mut unplugging = Unplugging::boot("online_kernel", folder.path());
    // The guest has other memory there as well that it cannot move.
    // It is done when nothing more goes, though the guest was asked once more.
    let (last, since) = (Cell::new(u64::MAX), Cell::new(Instant::now()));
    let left = unplugging.shrink_meanwhile(|size, blocks| {
        assert!(!blocks.is_empty(), "no buffer is there");
        let pinned = blocks.len() as u64 * BLOCK;
        assert!(size >= pinned, "{size} bytes are left, {pinned} are pinned");
        if last.replace(size) != size {
            since.set(Instant::now());
        }
        size < PLUGGED && since.get().elapsed() > 2 * STILL
    });
    unplugging.wait_asking("what was pinned goes", |size| size < left);
    unplugging.guest.still_works();
    unplugging.guest.no_splats();
    unplugging.guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn pinned_pages_move_out_of_memory_that_is_there_to_be_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut unplugging = Unplugging::boot("online_movable", folder.path());
    unplugging.shrink_meanwhile(|size, blocks| {
        assert!(blocks.is_empty(), "{blocks:x?}");
        size == 0
    });
    unplugging.guest.still_works();
    unplugging.guest.no_splats();
    unplugging.guest.testbed.finish().unwrap();
}
