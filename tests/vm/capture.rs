//! `pinhole capture`, the program, as a user runs it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{self, Program, WITH_A_GUEST};

/// A capture that ended.
struct Captured {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    folder: tempfile::TempDir,
}

impl Captured {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "stdout is not one JSON object: {error}\n{}\n{}",
                self.stdout, self.stderr
            )
        })
    }

    /// The object of a capture that must have been verified.
    fn verified(&self, frames: u64) -> Value {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        let json = self.json();
        assert_eq!(json["verdict"], "verified");
        for (count, expected) in [
            ("requested", frames),
            ("captured", frames),
            ("verified", frames),
            ("mismatched", 0),
        ] {
            assert_eq!(json["frames"][count], expected, "{count}");
        }
        assert_eq!(json["kernel_log"]["warnings"], serde_json::json!([]));
        json
    }
}

fn pinhole() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pinhole"))
}

fn capture(args: &[&str]) -> Captured {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pinhole();
    command.args(["capture", "--json", "--out"]);
    command.arg(folder.path()).args(args);
    let output = program::output(&mut command, WITH_A_GUEST);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Captured {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        folder,
    }
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

    let folder = captured.folder.path();
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

/// The checker is checked: a QEMU that, once the guest is off, changes one
/// byte of one frame on the frames' way out of it.
#[test]
#[ignore = "boots a guest"]
fn one_changed_byte_in_one_frame_fails_the_capture() {
    let folder = tempfile::tempdir().unwrap();
    let qemu = QemuThatTampers::new(folder.path());
    let mut command = pinhole();
    command
        .args([
            "capture", "--json", "--frames", "12", "--size", "64x64", "--format", "GREY", "--out",
        ])
        .arg(folder.path())
        .arg("--qemu")
        .arg(&qemu.script);
    let output = program::output(&mut command, WITH_A_GUEST);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stdout}\n{stderr}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["verdict"], "failed");
    assert_eq!(
        (&json["frames"]["verified"], &json["frames"]["mismatched"]),
        (&11.into(), &1.into())
    );
    assert_eq!(json["mismatches"][0]["frame"], 5);
    assert_eq!(json["mismatches"][0]["bad_blocks"], serde_json::json!([0]));
}

/// A stand-in for QEMU that runs the real one, and then flips a bit in byte
/// 100 of frame 5 of the 64x64 GREY frames in a folder.
struct QemuThatTampers {
    script: std::path::PathBuf,
}

impl QemuThatTampers {
    fn new(folder: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let real =
            pinhole::vm::qemu::ensure(None, &pinhole::vm::progress::Progress::silent()).unwrap();
        let command = real.command();
        let words: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let script = folder.join("qemu-that-tampers");
        let text = format!(
            "#!/bin/sh\n{} \"$@\"\ncode=$?\nframes='{}/frames.raw'\n[ -s \"$frames\" ] || exit $code\n\
             at=$((5 * 64 * 64 + 100))\n\
             byte=$(od -An -tu1 -j $at -N 1 \"$frames\")\n\
             printf \"\\\\$(printf %o $((byte ^ 16)))\" | dd of=\"$frames\" bs=1 seek=$at conv=notrunc status=none\n\
             exit $code\n",
            words.join(" "),
            folder.display(),
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { script }
    }
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
    let mut bytes = b"YUV4MPEG2 W64 H48 F30:1 Ip A1:1 C420\n".to_vec();
    for frame in 0..30u8 {
        bytes.extend(b"FRAME\n");
        bytes.resize(bytes.len() + 64 * 48 * 3 / 2, 16 + 7 * frame);
    }
    std::fs::write(&film, bytes).unwrap();
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
