//! `pinhole capture`, the program, as a user runs it.

use std::process::Stdio;

use serde_json::Value;

use crate::program::{self, Program, WITH_A_GUEST};
use crate::streamed::{Streamed, pinhole, stream, tampered, write_film};

/// A capture that ended.
struct Captured(Streamed);

impl Captured {
    /// The object of a capture that must have been verified.
    fn verified(&self, frames: u64) -> Value {
        self.0.verified("captured", frames)
    }
}

fn capture(args: &[&str]) -> Captured {
    Captured(stream("capture", args))
}

#[test]
#[ignore = "boots a guest"]
fn user_pointers_on_trixie_at_full_rate() {
    let captured = capture(&["--frames", "300"]);
    let json = captured.verified(300);
    assert_eq!(json["kernel"]["id"], "trixie");
    assert_eq!(json["stream"]["memory"], "userptr");
    assert_eq!(json["dma"]["bytes"].as_u64().unwrap() % (1280 * 720 * 2), 0);
    // v4l2-ctl's buffers are pinned, all of them at once, and then no more.
    let pages_a_buffer = 1280 * 720 * 2 / 4096;
    assert!(json["dma"]["pinned_pages_max"].as_u64().unwrap() >= 3 * pages_a_buffer);
    assert_eq!(json["pins"]["before"], json["pins"]["after"]);
    let probe = &json["trace"]["get_vaddr_frames"];
    assert!(probe["calls"].as_u64().unwrap() >= 3, "{probe}");
    assert!(
        probe["pages"].as_u64().unwrap() >= 3 * pages_a_buffer,
        "{probe}"
    );

    let folder = captured.0.folder.path();
    let raw = folder.join("frames.raw").metadata().unwrap().len();
    assert_eq!(raw, 300 * 1280 * 720 * 2);
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap();
    assert_eq!(report, json);
    assert!(
        image::open(folder.join("contact-sheet.png"))
            .unwrap()
            .width()
            > 1000
    );
    assert!(
        std::fs::read_to_string(folder.join("kernel.log"))
            .unwrap()
            .contains("Linux version")
    );
    assert!(folder.join("witness.jsonl").exists());
}

#[test]
#[ignore = "boots a guest"]
fn mapped_buffers_on_trixie() {
    let json = capture(&["--memory", "mmap", "--size", "640x480", "--format", "NV12"]).verified(60);
    assert_eq!(json["stream"]["memory"], "mmap");
    assert_eq!(json["trace"]["get_vaddr_frames"]["calls"], 0);
}

#[test]
#[ignore = "boots a guest"]
fn read_on_trixie() {
    let json = capture(&["--memory", "read", "--size", "320x240", "--format", "RGB3"]).verified(60);
    assert_eq!(json["stream"]["memory"], "read");
}

#[test]
#[ignore = "boots a guest"]
fn buffers_imported_from_another_device_on_trixie() {
    let json = capture(&["--memory", "dmabuf", "--size", "640x480"]).verified(60);
    assert_eq!(json["stream"]["memory"], "dmabuf");
}

/// USERPTR on one of the kernels, and that get_vaddr_frames() did it.
fn user_pointers_on(kernel: &str, release: &str) {
    let json =
        capture(&["--kernel", kernel, "--format", "GREY", "--size", "1280x720"]).verified(60);
    assert_eq!(json["kernel"]["id"], kernel);
    assert!(
        json["kernel"]["release"]
            .as_str()
            .unwrap()
            .starts_with(release),
        "{}",
        json["kernel"]
    );
    assert!(json["trace"]["get_vaddr_frames"]["calls"].as_u64().unwrap() > 0);
    assert_eq!(json["stream"]["store"], "memory");
}

#[test]
#[ignore = "boots a guest"]
fn frames_on_the_disk_are_verified_too() {
    let json = capture(&["--store", "disk", "--size", "640x480"]).verified(60);
    assert_eq!(json["stream"]["store"], "disk");
}

/// A q35 machine of this size has memory below and above 4 GiB, and the frames
/// are too many for either alone.
#[test]
#[ignore = "boots a guest"]
fn frames_above_4_gib_are_found_where_they_are() {
    let frames = ["--size", "3840x2160", "--format", "RGB3", "--frames", "90"];
    let json = capture(&[&frames[..], &["--fps", "max", "--store", "memory"]].concat());
    assert_eq!(json.verified(90)["stream"]["store"], "memory");
}

#[test]
#[ignore = "boots a guest"]
fn user_pointers_on_bullseye() {
    user_pointers_on("bullseye", "5.10");
}

#[test]
#[ignore = "boots a guest"]
fn user_pointers_on_bookworm() {
    user_pointers_on("bookworm", "6.1");
}

#[test]
#[ignore = "boots a guest"]
fn user_pointers_on_trixie() {
    user_pointers_on("trixie", "6.12");
}

#[test]
#[ignore = "boots a guest"]
fn user_pointers_on_trixie_backports() {
    user_pointers_on("trixie-backports", "");
}

#[test]
#[ignore = "boots a guest"]
fn the_smallest_and_the_largest_frame_and_a_free_running_card() {
    capture(&["--size", "16x16", "--format", "GREY", "--fps", "240"]).verified(60);
    capture(&[
        "--size",
        "3840x2160",
        "--format",
        "RGB3",
        "--frames",
        "8",
        "--fps",
        "max",
    ])
    .verified(8);
}

#[test]
#[ignore = "boots a guest"]
fn one_changed_byte_in_one_frame_fails_the_capture() {
    tampered("capture");
}

#[test]
#[ignore = "boots guests"]
fn two_captures_at_once_do_not_disturb_each_other() {
    std::thread::scope(|scope| {
        let one = scope.spawn(|| capture(&["--size", "320x240", "--fps", "30"]));
        let other =
            scope.spawn(|| capture(&["--size", "352x288", "--format", "NV12", "--fps", "30"]));
        assert_eq!(one.join().unwrap().verified(60)["stream"]["width"], 320);
        assert_eq!(other.join().unwrap().verified(60)["stream"]["width"], 352);
    });
}

#[test]
#[ignore = "builds a guest and a QEMU where they are not there"]
fn what_cannot_run_is_one_sentence_and_code_2() {
    for (args, word) in [
        (&["--kernel", "nonesuch"][..], "nonesuch"),
        (&["--qemu", "/nonexistent/qemu"], "/nonexistent/qemu"),
        (&["--out", "/proc/nowhere"], "/proc/nowhere"),
    ] {
        // Where its folder is not named, a capture makes one where it is run.
        let somewhere = tempfile::tempdir().unwrap();
        let mut command = pinhole();
        command
            .arg("capture")
            .args(args)
            .current_dir(somewhere.path());
        let output = program::output(&mut command, WITH_A_GUEST);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        let said: Vec<_> = stderr
            .lines()
            .filter(|line| line.starts_with("pinhole: "))
            .collect();
        assert!(
            said.len() == 1 && said[0].contains(word),
            "{args:?}: {stderr}"
        );
    }
}

#[test]
#[ignore = "boots a guest"]
fn a_film_on_standard_input_is_what_is_captured() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.y4m");
    write_film(&film, 30);
    let out = folder.path().join("out");
    let mut command = pinhole();
    command
        .args(["capture", "--json", "--source", "y4m:-", "--size", "64x48"])
        .args(["--format", "YU12", "--frames", "8", "--out"])
        .arg(&out)
        .stdin(std::fs::File::open(&film).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = Program::start(&mut command, WITH_A_GUEST).output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let frames = std::fs::read(out.join("frames.raw")).unwrap();
    let luma = frames.chunks(64 * 48 * 3 / 2).map(|frame| frame[0]);
    let luma: Vec<_> = luma.take(8).collect();
    assert!(luma.iter().all(|luma| luma % 7 == 2), "{luma:?}");
    assert!(luma.is_sorted() && luma[0] < luma[7], "{luma:?}");
}
