//! Whatever a capture started ends with it, however it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time in which everything must be gone; ending takes a fraction of it.
const LIMIT: Duration = Duration::from_secs(30);

/// A capture that would run for minutes, in a folder of its own.
fn long_capture(folder: &std::path::Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_pinhole"))
        .args(["capture", "--frames", "100000", "--size", "64x64", "--out"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Processes whose command line names something in `folder`.
fn processes_of(folder: &std::path::Path) -> Vec<String> {
    let needle = folder.to_str().unwrap().as_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let ours = name
            .parse::<u32>()
            .is_ok_and(|pid| pid != std::process::id());
        if ours && line.windows(needle.len()).any(|window| window == needle) {
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

/// Waits until card and QEMU run and frames come.
fn wait_for_frames(capture: &mut Child, folder: &std::path::Path) {
    let stderr = BufReader::new(capture.stderr.take().unwrap());
    let mut lines = stderr.lines();
    let said = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.starts_with("capturing "));
    assert!(said.is_some(), "the capture ended early");
    let begun = Instant::now();
    while std::fs::read_to_string(folder.join("witness.jsonl"))
        .unwrap_or_default()
        .lines()
        .count()
        < 3
    {
        assert!(begun.elapsed() < LIMIT, "no frame came");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The pipe is emptied to the end, so that the capture never waits for us.
    std::thread::spawn(move || lines.for_each(drop));
}

fn everything_ends_after(signal: &str, code: Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = long_capture(folder.path());
    wait_for_frames(&mut capture, folder.path());
    // The program itself, the card with its witness, and QEMU with its disk.
    assert!(
        processes_of(folder.path()).len() >= 3,
        "{:?}",
        processes_of(folder.path())
    );

    let begun = Instant::now();
    let killed = Command::new("kill")
        .args([signal, &capture.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(capture.wait().unwrap().code(), code);
    while !processes_of(folder.path()).is_empty() {
        assert!(
            begun.elapsed() < LIMIT,
            "still running: {:?}",
            processes_of(folder.path())
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "boots a guest"]
fn an_interrupted_capture_ends_what_it_started() {
    everything_ends_after("-INT", Some(2));
}

#[test]
#[ignore = "boots a guest"]
fn a_killed_capture_leaves_nothing_running() {
    everything_ends_after("-KILL", None);
}
