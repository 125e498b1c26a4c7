//! Formats whose planes have memory of their own, in memory of each kind: what
//! lies in a plane is what the card wrote there.

use pinhole::agent::protocol::Run;
use pinhole::card::BufferApi;
use pinhole::rig::testbed::TestbedSpec;
use pinhole::source::{Layout, PixelFormat};

use crate::studio::{FILE, Studio, were_pinned};

/// Frames of a capture.
const FRAMES: u32 = 4;

/// Captures some frames of each such format in each kind of memory, and compares
/// every byte with the witness.
fn every_plane_on(kernel: &str, memories: &[&str]) {
    let studio = Studio::open(TestbedSpec {
        kernel: Some(kernel.into()),
        planes: BufferApi::Multi,
        ..TestbedSpec::default()
    });
    let separate = PixelFormat::ALL
        .into_iter()
        .filter(|format| format.is_separate());
    for format in separate {
        let layout = Layout::new(format, 324, 242);
        for memory in memories {
            let client = Run::new([
                "v4l2-ctl".to_owned(),
                "--device=/dev/video0".to_owned(),
                format!("--set-fmt-video=width=324,height=242,pixelformat={format:<4}"),
                format!("--stream-{memory}=3"),
                format!("--stream-count={FRAMES}"),
                format!("--stream-to={FILE}"),
            ]);
            let (answer, frames) = studio.capture(client, &layout, FRAMES);
            let witness = studio.guest.witness_log();
            for (frame, content) in (0..).zip(&frames) {
                let verdict = witness.judge(frame, None, content);
                assert!(verdict.verified, "{format} {memory}: {verdict:?}");
            }
            if *memory == "user" {
                were_pinned(&answer, &layout);
            }
        }
    }
    studio.close();
}

#[test]
#[ignore = "boots a guest"]
fn every_plane_has_its_memory_on_trixie() {
    every_plane_on("trixie", &["user", "mmap"]);
}

#[test]
#[ignore = "boots a guest"]
fn every_plane_has_its_memory_on_bullseye() {
    every_plane_on("bullseye", &["user", "mmap"]);
}
