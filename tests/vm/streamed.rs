//! A stream of `pinhole capture` or `pinhole play`, as a user runs them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{self, WITH_A_GUEST};

/// A stream that ended.
pub struct Streamed {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub folder: tempfile::TempDir,
}

pub fn pinhole() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pinhole"))
}

/// Writes a film of 64x48 pixels, whose frames are each of another colour.
pub fn write_film(film: &Path, frames: u8) {
    let mut bytes = b"YUV4MPEG2 W64 H48 F30:1 Ip A1:1 C420\n".to_vec();
    for frame in 0..frames {
        bytes.extend(b"FRAME\n");
        bytes.resize(bytes.len() + 64 * 48 * 3 / 2, 16 + 7 * frame);
    }
    std::fs::write(film, bytes).unwrap();
}

/// Runs a subcommand that streams, to its end.
pub fn stream(subcommand: &str, args: &[&str]) -> Streamed {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pinhole();
    command.args([subcommand, "--json", "--out"]);
    command.arg(folder.path()).args(args);
    let output = program::output(&mut command, WITH_A_GUEST);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Streamed {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        folder,
    }
}

impl Streamed {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "stdout is not one JSON object: {error}\n{}\n{}",
                self.stdout, self.stderr
            )
        })
    }

    /// The object of a stream that must have been verified, with its frames
    /// `done`: captured or played.
    pub fn verified(&self, done: &str, frames: u64) -> Value {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        let json = self.json();
        assert_eq!(json["verdict"], "verified");
        for (count, expected) in [
            ("requested", frames),
            (done, frames),
            ("verified", frames),
            ("mismatched", 0),
        ] {
            assert_eq!(json["frames"][count], expected, "{count}");
        }
        assert_eq!(json["kernel_log"]["warnings"], serde_json::json!([]));
        json
    }
}

/// The checker is checked: a QEMU that, once the guest is off, changes one byte
/// of one frame in the file that is held against the witness.
pub fn tampered(subcommand: &str) {
    let folder = tempfile::tempdir().unwrap();
    let qemu = QemuThatTampers::new(folder.path());
    let mut command = pinhole();
    command.args([subcommand, "--json", "--frames", "12", "--size", "64x64"]);
    command.args(["--format", "GREY", "--out"]);
    command.arg(folder.path()).arg("--qemu").arg(&qemu.script);
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
        program::executable::write(&script, text);
        Self { script }
    }
}
