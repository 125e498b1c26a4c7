//! `pinhole shell`, with commands from a pipe.

use std::io::Write as _;
use std::process::{Command, Stdio};

#[test]
#[ignore = "boots a guest"]
fn commands_from_a_pipe_run_in_the_guest_with_the_card_attached() {
    let mut shell = Command::new(env!("CARGO_BIN_EXE_pinhole"))
        .arg("shell")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let commands = "v4l2-ctl --device /dev/video0 --info\nuname -r\nexit\n";
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(commands.as_bytes())
        .unwrap();
    let output = shell.wait_with_output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("Driver name      : pinhole"),
        "{stdout}\n{stderr}"
    );
    assert!(stdout.contains("Card type        : Pinhole"), "{stdout}");
}
