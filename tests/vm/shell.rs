//! `pinhole shell`, the program, as a user runs it: a guest on the real card.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::program::{Program, WITH_A_GUEST};
use crate::test_guest::LIMIT;

/// What the guest's shell waits for a command with.
const PROMPT: &str = "pinhole:~# ";

/// Runs what says 42 once it is in the foreground of its terminal, and not
/// before (proc(5), stat: pgrp and tpgid): a Ctrl-C that comes between the
/// shell's fork and then is for the shell, which ignores it.
const IN_FRONT: &str = "sh -c 'until read _ _ _ _ group _ _ front _ </proc/self/stat && \
                        [ $group = $front ]; do :; done; echo $((6 * 7)); exec sleep 1000'\n";

/// Starts a shell whose temporary files are in `dir`.
fn start(dir: &Path) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command
        .arg("shell")
        .env("TMPDIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Program::start(&mut command, WITH_A_GUEST)
}

fn type_in(shell: &mut Program, script: &str) -> ChildStdin {
    let mut stdin = shell.stdin();
    stdin.write_all(script.as_bytes()).unwrap();
    stdin
}

/// The children of a process, by their command lines.
fn children(parent: &Program) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<_> = match stat.rsplit_once(')') {
            Some((_, rest)) => rest.split_whitespace().collect(),
            None => continue,
        };
        if fields[1] == parent.id().to_string() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            found.push((entry.path(), line));
        }
    }
    found
}

/// Waits until `done`.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until card and QEMU run; returns their directories in /proc.
fn card_and_qemu(shell: &Program) -> Vec<PathBuf> {
    let mut found = Vec::new();
    until("card and QEMU did not start", || {
        found = children(shell);
        let runs = |word: &str| found.iter().any(|(_, line)| line.contains(word));
        runs(" device ") && runs("memory-backend-file")
    });
    found.into_iter().map(|(path, _)| path).collect()
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
#[ignore = "boots a guest"]
fn a_script_runs_on_the_card_and_its_exit_code_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = start(dir.path());
    drop(type_in(
        &mut shell,
        "v4l2-ctl --all; echo to stderr >&2; exit 7\n",
    ));
    let output = shell.output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.starts_with("Driver Info:"), "{stdout}");
    assert!(stdout.contains("Driver name      : pinhole"), "{stdout}");
    assert!(stderr.contains("to stderr\n"), "{stderr}");
    assert!(is_empty(dir.path()), "something is left behind");
}

/// Shells read scripts by the buffer, and so does what they run: of a script that
/// is longer, a program would take what the shell has not read yet.
#[test]
#[ignore = "boots a guest"]
fn a_script_and_its_output_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = start(dir.path());
    let padding = format!(": {}\n", "x".repeat(70)).repeat(300);
    drop(type_in(
        &mut shell,
        &format!(
            "echo BEGIN\n{padding}cat >/dev/null\necho MIDDLE\n{padding}\
             printf '\\377\\000\\303'; echo END; exit 7\n"
        ),
    ));
    let output = shell.output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert_eq!(output.stdout, b"BEGIN\nMIDDLE\n\xff\0\xc3END\n");
}

#[test]
#[ignore = "boots a guest"]
fn a_guest_that_ends_before_its_script_is_an_error_that_says_why() {
    for (script, said) in [
        (
            "echo up; echo c >/proc/sysrq-trigger; sleep 1000\n",
            "the script has not ended: the guest panicked: Kernel panic - ",
        ),
        (
            "echo up; echo o >/proc/sysrq-trigger; sleep 1000\n",
            "the script has not ended: the guest turned itself off",
        ),
        (
            "echo up; reboot -f; sleep 1000\n",
            "the script has not ended: the guest restarted",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = start(dir.path());
        drop(type_in(&mut shell, script));
        let output = shell.output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(output.stdout, b"up\n");
        assert!(stderr.contains(said), "{stderr}");
        assert!(is_empty(dir.path()), "something is left behind");
    }
}

#[test]
#[ignore = "boots a guest"]
fn an_interrupt_ends_it_and_everything_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = start(dir.path());
    drop(type_in(&mut shell, "sleep 1000\n"));
    let started = card_and_qemu(&shell);
    shell.signal(Signal::INT);
    let output = shell.output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.ends_with("pinhole: interrupted\n"), "{stderr}");
    assert!(started.iter().all(|process| !process.exists()));
    assert!(is_empty(dir.path()), "something is left behind");
}

#[test]
#[ignore = "boots a guest"]
fn killed_it_takes_card_and_qemu_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = start(dir.path());
    drop(type_in(&mut shell, "echo up; sleep 1000\n"));
    assert_eq!(shell.stdout().until("\n"), "up\n");
    let started = card_and_qemu(&shell);
    shell.signal(Signal::KILL);
    shell.wait();
    until("card or QEMU outlive it", || {
        started.iter().all(|process| ended(process))
    });
}

#[test]
#[ignore = "boots a guest"]
fn on_a_terminal_it_is_the_guests_console() {
    let dir = tempfile::tempdir().unwrap();
    // script(1) gives it a terminal.
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command"])
        .arg(concat!(env!("CARGO_BIN_EXE_pinhole"), " shell"))
        .arg("/dev/null")
        .env("TMPDIR", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut shell = Program::start(&mut script, LIMIT);
    let mut screen = shell.stdout();
    screen.until(PROMPT);
    // Ctrl-C is the guest's: it ends what runs there, and nothing else.
    let mut keyboard = type_in(&mut shell, IN_FRONT);
    screen.until("42\r\n");
    keyboard.write_all(b"\x03").unwrap();
    screen.until(PROMPT);
    keyboard.write_all(b"exit\n").unwrap();
    screen.until("Power down");
    assert!(shell.wait().success());
    assert!(is_empty(dir.path()), "something is left behind");
}

/// Whether a process has ended; it may be left to be reaped by another.
fn ended(process: &Path) -> bool {
    match fs::read_to_string(process.join("stat")) {
        Ok(stat) => stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" Z")),
        Err(_) => true,
    }
}
