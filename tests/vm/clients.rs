//! Applications that others wrote, GStreamer and FFmpeg: what they capture is
//! what the card wrote.
//!
//! They print no sequence numbers, so a frame says by its content which one it
//! is, and the witness whether it is that one in every byte.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pinhole::agent::protocol::{Run, RunAnswer, Sync};
use pinhole::rig::clients::{IoMode, ffmpeg, gstreamer};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::source::{Layout, PixelFormat};

use crate::bed::{Bed, LIMIT};

/// Frames of a capture.
const FRAMES: u32 = 8;

/// Frames a second.
const FPS: u32 = 30;

/// Where a client leaves its frames, and where they go from there.
const FILE: &str = "/tmp/frames";
const DISK: &str = "/dev/vda";

/// Room for the frames of one capture.
const ROOM: u64 = 64 << 20;

/// Pages that are pinned.
const PINNED: &str = "nr_foll_pin_acquired-nr_foll_pin_released";

/// A guest with the clients, and a disk that takes frames out of it.
struct Studio {
    bed: Bed,
    frames: PathBuf,
    _folder: tempfile::TempDir,
}

impl Studio {
    fn open(kernel: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let frames = folder.path().join("frames");
        File::create(&frames).unwrap().set_len(ROOM).unwrap();
        let bed = Bed::start(TestbedSpec {
            kernel: Some(kernel.into()),
            disks: vec![frames.clone()],
            clients: true,
            ..TestbedSpec::default()
        });
        Self {
            bed,
            frames,
            _folder: folder,
        }
    }

    /// Runs a client to its end; it must leave [`FRAMES`] frames of `layout`,
    /// each of them as the card wrote it, in order.
    fn verify(&self, client: Run, layout: &Layout) -> RunAnswer {
        let line = client.argv.join(" ");
        let client = Run {
            timeout_ms: Some(LIMIT.as_millis() as u64),
            watch: vec![PINNED.into()],
            ..client
        };
        let agent = self.bed.testbed.machine.agent();
        let answer = agent.call(client, 2 * LIMIT).unwrap();
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(answer.status.success(), "{line}: {}\n{said}", answer.status);

        let size = self.bed.must(&format!("stat -c %s {FILE}"));
        let expected = u64::from(layout.sizeimage) * u64::from(FRAMES);
        assert_eq!(size.trim(), expected.to_string(), "{line}\n{said}");
        self.bed.must(&format!("cat {FILE} > {DISK}; rm {FILE}"));
        agent.call(Sync {}, LIMIT).unwrap();
        self.judge(&self.frames, layout, &line);
        answer
    }

    fn judge(&self, frames: &Path, layout: &Layout, line: &str) {
        let testimony = self.bed.testimony();
        let mut file = File::open(frames).unwrap();
        let mut last = None;
        for frame in 0..FRAMES {
            let mut content = vec![0; layout.sizeimage as usize];
            file.read_exact(&mut content).unwrap();
            let verdict = testimony.judge(frame, None, &content);
            assert!(verdict.verified, "{line}: {verdict:?}");
            assert!(
                verdict.sequence > last,
                "{line}: {verdict:?} after {last:?}"
            );
            last = verdict.sequence;
        }
    }

    fn close(self) {
        self.bed.no_splats();
        self.bed.testbed.finish().unwrap();
    }
}

/// The raw formats that the card offers, each at a size at which no client pads
/// its lines.
fn layouts() -> impl Iterator<Item = Layout> {
    PixelFormat::ALL
        .into_iter()
        .filter(|format| !format.is_compressed() && !format.is_separate())
        .map(|format| Layout::new(format, 352, 288))
}

/// Pages were pinned while the client ran, all of a buffer's at least, and are
/// not any more.
fn were_pinned(answer: &RunAnswer, layout: &Layout) {
    let pins = answer.watch[PINNED];
    let pages = u64::from(layout.sizeimage) / 4096;
    assert!(pins.max >= pins.first + pages, "{pins:?}");
    assert_eq!(pins.last, pins.first, "{pins:?}");
}

#[test]
#[ignore = "boots a guest"]
fn gstreamer_captures_every_format_in_all_kinds_of_memory() {
    let studio = Studio::open("trixie");
    let mut captures = [0; IoMode::ALL.len()];
    for layout in layouts() {
        for (mode, captures) in IoMode::ALL.into_iter().zip(&mut captures) {
            let Some(client) = gstreamer(&layout, FPS, mode, FRAMES, FILE) else {
                continue;
            };
            *captures += 1;
            let answer = studio.verify(client, &layout);
            if mode == IoMode::Userptr {
                were_pinned(&answer, &layout);
            }
        }
    }
    // What it flips for user pointers is not every format.
    assert_eq!(captures, [16, 16, 13, 16]);
    studio.close();
}

#[test]
#[ignore = "boots a guest"]
fn ffmpeg_captures_every_format_that_it_has() {
    let studio = Studio::open("trixie");
    let mut captures = 0;
    for layout in layouts() {
        if let Some(client) = ffmpeg(&layout, FPS, FRAMES, FILE) {
            captures += 1;
            studio.verify(client, &layout);
        }
    }
    assert_eq!(captures, 13);
    studio.close();
}

/// The clients are of one Debian release; their kernels are not.
#[test]
#[ignore = "boots guests"]
fn the_clients_run_on_every_other_kernel() {
    for kernel in ["bullseye", "bookworm", "trixie-backports"] {
        let studio = Studio::open(kernel);
        let layout = Layout::new(PixelFormat::Yuyv, 640, 480);
        for mode in [IoMode::Userptr, IoMode::Dmabuf] {
            let client = gstreamer(&layout, FPS, mode, FRAMES, FILE).unwrap();
            let answer = studio.verify(client, &layout);
            if mode == IoMode::Userptr {
                were_pinned(&answer, &layout);
            }
        }
        studio.verify(ffmpeg(&layout, FPS, FRAMES, FILE).unwrap(), &layout);
        studio.close();
    }
}
