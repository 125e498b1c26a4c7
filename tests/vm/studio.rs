//! A guest with the clients, and a way for what they capture to come out.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use pinhole::agent::protocol::{Run, RunAnswer, Sync};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::source::Layout;

use crate::test_guest::{LIMIT, TestGuest};

/// Where a client leaves its frames, and where they go from there.
pub const FILE: &str = "/tmp/frames";
const DISK: &str = "/dev/vda";

/// Room for the frames of one capture.
const ROOM: u64 = 64 << 20;

/// Pages that are pinned.
const PINNED: &str = "nr_foll_pin_acquired-nr_foll_pin_released";

/// A guest with the clients, and a disk that takes frames out of it.
pub struct Studio {
    pub guest: TestGuest,
    frames: PathBuf,
    _folder: tempfile::TempDir,
}

impl Studio {
    /// Boots a guest as `spec` says, whose disks come behind that for the frames.
    pub fn open(spec: TestbedSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let frames = folder.path().join("frames");
        File::create(&frames).unwrap().set_len(ROOM).unwrap();
        let guest = TestGuest::start(TestbedSpec {
            disks: [vec![frames.clone()], spec.disks].concat(),
            clients: true,
            ..spec
        });
        Self {
            guest,
            frames,
            _folder: folder,
        }
    }

    /// Runs a client to its end, which must leave `count` frames of `layout` in
    /// [`FILE`]; returns these, too.
    pub fn capture(&self, client: Run, layout: &Layout, count: u32) -> (RunAnswer, Vec<Vec<u8>>) {
        let line = client.argv.join(" ");
        let (answer, bytes) = self.record(client);
        let length = layout.sizeimage as usize;
        assert_eq!(bytes.len(), length * count as usize, "{line}");
        (answer, bytes.chunks(length).map(<[u8]>::to_vec).collect())
    }

    /// Runs a client to its end, which must leave something in [`FILE`]; returns
    /// that, too.
    pub fn record(&self, client: Run) -> (RunAnswer, Vec<u8>) {
        let line = client.argv.join(" ");
        let client = Run {
            timeout_ms: Some(LIMIT.as_millis() as u64),
            watch: vec![PINNED.into()],
            ..client
        };
        let agent = self.guest.testbed.machine.agent();
        let answer = agent.call(client, 2 * LIMIT).unwrap();
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(answer.status.success(), "{line}: {}\n{said}", answer.status);

        let size = self.guest.must(&format!("stat -c %s {FILE}"));
        let size = size.trim().parse().unwrap();
        assert!((1..=ROOM).contains(&size), "{line}: {size} bytes\n{said}");
        self.guest.must(&format!("cat {FILE} > {DISK}; rm {FILE}"));
        agent.call(Sync {}, LIMIT).unwrap();
        let mut bytes = Vec::new();
        let file = File::open(&self.frames).unwrap();
        file.take(size).read_to_end(&mut bytes).unwrap();
        (answer, bytes)
    }

    /// Ends the guest, in which nothing may be broken.
    pub fn close(self) {
        self.guest.no_splats();
        self.guest.testbed.finish().unwrap();
    }
}

/// Pages were pinned while the client ran, all of a buffer's at least, and are
/// not any more.
pub fn were_pinned(answer: &RunAnswer, layout: &Layout) {
    let pins = answer.watch[PINNED];
    let pages = u64::from(layout.sizeimage) / 4096;
    assert!(pins.max >= pins.first + pages, "{pins:?}");
    assert_eq!(pins.last, pins.first, "{pins:?}");
}
