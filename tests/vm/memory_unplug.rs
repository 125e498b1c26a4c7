//! Memory that the host takes away while a stream has buffers (QEMU's virtio-mem).
//!
//! The guest gives memory back in blocks of 2 MiB, which it empties first. Processes have
//! their pages there, as it is the guest's highest memory. Where it is in ZONE_MOVABLE a
//! long-term pin moves the pages out of it, and all of it can go; else the pinned pages
//! stay, and their blocks with them. Either way the application gets what the card wrote.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinhole::agent::protocol::Run;
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
const FRAMES: usize = 1200;

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
        file.set_len((FRAME * FRAMES) as u64).unwrap();
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
        let begun = Instant::now();
        while !is_so(self.size()) {
            assert!(begun.elapsed() < LIMIT, "{what}: {} bytes", self.size());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Takes all of the memory away that the guest gives back, while it captures into user
    /// pointers; returns how much is left meanwhile. Every byte is verified.
    fn shrink_meanwhile(&mut self, is_done: impl Fn(u64, &BTreeSet<u64>) -> bool) -> u64 {
        let count = format!("--stream-count={FRAMES}");
        let run = Run::new([
            "v4l2-ctl",
            "--device=/dev/video0",
            "--set-fmt-video=width=320,height=240,pixelformat=GREY",
            "--stream-user=4",
            &count,
            "--stream-to=/dev/vda",
        ]);
        let agent = self.guest.testbed.machine.agent();
        let stream = agent.start(run).unwrap();
        self.guest.wait_for_frames(30);
        let blocks = self.blocks();
        self.request(0);
        self.wait("the memory goes", |size| is_done(size, &blocks));
        let left = self.size();
        assert!(self.guest.frames() < FRAMES, "the stream was over before");
        // Frames are written after it has gone, too.
        let written = self.guest.frames();
        self.guest.wait_for_frames(written + 30);
        let answer = stream.wait(LIMIT).unwrap();
        assert!(answer.status.success(), "{answer:?}");
        self.guest.must("sync");
        self.verify();
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

    /// Each frame on the disk is what the card wrote.
    fn verify(&self) {
        let disk = std::fs::File::open(&self.disk).unwrap();
        let planes = self.planes();
        assert!(planes.len() >= FRAMES, "{}", planes.len());
        let mut frame = vec![0; FRAME];
        for (number, plane) in planes.iter().take(FRAMES).enumerate() {
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
    let left = unplugging.shrink_meanwhile(|size, blocks| {
        assert!(!blocks.is_empty(), "no buffer is there");
        let pinned = blocks.len() as u64 * BLOCK;
        assert!(size >= pinned, "{size} bytes are left, {pinned} are pinned");
        size < PLUGGED / 4
    });
    assert!(left >= BLOCK);
    // It tries again only when it is asked for another size.
    unplugging.request(BLOCK);
    unplugging.request(0);
    unplugging.wait("what was pinned goes", |size| size < left);
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
