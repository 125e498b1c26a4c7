//! Whatever a run started ends with it, however it ends, and what it has seen
//! by then is not lost.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pinhole::rig::matrix::cells;
use rustix::process::Signal;

use crate::program::{Program, WITH_A_GUEST};
use crate::test_guest::LIMIT;

/// A capture that would run for minutes, in a folder of its own.
fn long_capture(folder: &Path) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command
        .args(["capture", "--frames", "20000", "--size", "64x64", "--out"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Program::start(&mut command, WITH_A_GUEST)
}

/// Processes whose command line names something in `folder`.
fn processes_of(folder: &Path) -> Vec<String> {
    let needle = folder.to_str().unwrap().as_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let ours = name
            .parse::<u32>()
            .is_ok_and(|pid| pid != std::process::id());
        if ours && line.windows(needle.len()).any(|window| window == needle) {
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

/// Waits until it says that it is at the step that begins so, and then until the
/// witness, which `witness` finds, has that many lines.
fn wait_for_frames(run: &mut Program, step: &str, count: usize, witness: impl Fn() -> String) {
    run.stderr().until(&format!("\n{step}"));
    let begun = Instant::now();
    while witness().lines().count() < count {
        assert!(begun.elapsed() < LIMIT, "no frame came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait_until_all_are_gone(folder: &Path) {
    let begun = Instant::now();
    while !processes_of(folder).is_empty() {
        assert!(
            begun.elapsed() < LIMIT,
            "still running: {:?}",
            processes_of(folder)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn everything_ends_after(signal: Signal, code: Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = long_capture(folder.path());
    wait_for_frames(&mut capture, "capturing ", 3, || {
        fs::read_to_string(folder.path().join("witness.jsonl")).unwrap_or_default()
    });
    // The program itself, the card with its witness, and QEMU with its disk.
    assert!(
        processes_of(folder.path()).len() >= 3,
        "{:?}",
        processes_of(folder.path())
    );
    capture.signal(signal);
    assert_eq!(capture.wait().code(), code);
    wait_until_all_are_gone(folder.path());
}

#[test]
#[ignore = "boots a guest"]
fn an_interrupted_capture_ends_what_it_started() {
    everything_ends_after(Signal::INT, Some(130));
}

#[test]
#[ignore = "boots a guest"]
fn a_killed_capture_leaves_nothing_running() {
    everything_ends_after(Signal::KILL, None);
}

#[test]
#[ignore = "boots a guest"]
fn an_interrupted_matrix_tells_what_it_has_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (out, tmp) = (folder.path().join("out"), folder.path().join("tmp"));
    fs::create_dir(&tmp).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command
        .args(["matrix", "--json", "--kernel", "trixie", "--out"])
        .arg(&out)
        .env("TMPDIR", &tmp)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut matrix = Program::start(&mut command, WITH_A_GUEST);
    // A cell's stream is a few lines.
    wait_for_frames(&mut matrix, "running ", 30, || {
        let folders = fs::read_dir(&tmp).unwrap().flatten();
        let witnesses = folders.filter_map(|it| fs::read_to_string(it.path().join("witness")).ok());
        witnesses.collect()
    });
    matrix.signal(Signal::INT);
    let output = matrix.output();
    assert_eq!(output.status.code(), Some(130));
    wait_until_all_are_gone(folder.path());

    let outcomes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = outcomes[0]["cells"].as_array().unwrap().len();
    assert!((1..cells::all().len()).contains(&cells), "{cells}");
    assert_eq!(outcomes[0]["stopped"], "interrupted");
    let written: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("trixie.json")).unwrap()).unwrap();
    assert_eq!(written, outcomes[0]);
    assert!(out.join("index.html").is_file());
}
