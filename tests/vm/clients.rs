//! Applications that others wrote, GStreamer and FFmpeg: what they capture is
//! what the card wrote.
//!
//! They print no sequence numbers, so a frame says by its content which one it
//! is, and the witness whether it is that one in every byte.

use pinhole::agent::protocol::{Run, RunAnswer};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::rig::testbed::clients::{IoMode, ffmpeg, gstreamer};
use pinhole::source::{Layout, PixelFormat};

use crate::studio::{FILE, Studio, were_pinned};

/// Frames of a capture.
const FRAMES: u32 = 8;

/// Frames a second.
const FPS: u32 = 30;

/// Runs a client to its end; its frames must be as the card wrote them, in
/// order.
fn verify(studio: &Studio, client: Run, layout: &Layout) -> RunAnswer {
    let line = client.argv.join(" ");
    let (answer, frames) = studio.capture(client, layout, FRAMES);
    let witness = studio.guest.witness_log();
    let mut last = None;
    for (frame, content) in (0..).zip(&frames) {
        let verdict = witness.judge(frame, None, content);
        assert!(verdict.verified, "{line}: {verdict:?}");
        assert!(
            verdict.sequence > last,
            "{line}: {verdict:?} after {last:?}"
        );
        last = verdict.sequence;
    }
    answer
}

/// The raw formats that the card offers, each at a size at which no client pads
/// its lines.
fn layouts() -> impl Iterator<Item = Layout> {
    PixelFormat::ALL
        .into_iter()
        .filter(|format| !format.is_compressed() && !format.is_separate())
        .map(|format| Layout::new(format, 352, 288))
}

#[test]
#[ignore = "boots a guest"]
fn gstreamer_captures_every_format_in_all_kinds_of_memory() {
    let studio = Studio::open(TestbedSpec::default());
    let mut captures = [0; IoMode::ALL.len()];
    for layout in layouts() {
        for (mode, captures) in IoMode::ALL.into_iter().zip(&mut captures) {
            let Some(client) = gstreamer(&layout, FPS, mode, FRAMES, FILE) else {
                continue;
            };
            *captures += 1;
            let answer = verify(&studio, client, &layout);
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
    let studio = Studio::open(TestbedSpec::default());
    let mut captures = 0;
    for layout in layouts() {
        if let Some(client) = ffmpeg(&layout, FPS, FRAMES, FILE) {
            captures += 1;
            verify(&studio, client, &layout);
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
        let studio = Studio::open(TestbedSpec {
            kernel: Some(kernel.into()),
            ..TestbedSpec::default()
        });
        let layout = Layout::new(PixelFormat::Yuyv, 640, 480);
        for mode in [IoMode::Userptr, IoMode::Dmabuf] {
            let client = gstreamer(&layout, FPS, mode, FRAMES, FILE).unwrap();
            let answer = verify(&studio, client, &layout);
            if mode == IoMode::Userptr {
                were_pinned(&answer, &layout);
            }
        }
        verify(
            &studio,
            ffmpeg(&layout, FPS, FRAMES, FILE).unwrap(),
            &layout,
        );
        studio.close();
    }
}
