//! What QEMU's conventions for vhost-user backend programs and systemd's for
//! socket activation ask of the daemon.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use vhost::VhostBackend;
use vhost::vhost_user::Frontend;

use crate::harness::card::run_to_end;
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver};

#[test]
fn its_capabilities_are_printed_whatever_else_is_given() {
    for more in [
        &[][..],
        &["--socket-path", "/nowhere/card.sock"],
        &["--no-such-option", "argument"],
        &["--fd", "no number"],
        &["--source", "nonsense"],
    ] {
        let output = run_to_end(Card::command().args(more).arg("--print-capabilities"));
        assert_eq!(output.status.code(), Some(0), "{more:?}");
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(object, serde_json::json!({"type": "media"}), "{more:?}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn a_connection_is_taken_over_by_its_descriptor_and_served_to_its_end() {
    let (near, far) = UnixStream::pair().unwrap();
    let far = OwnedFd::from(far);
    rustix::io::fcntl_setfd(&far, rustix::io::FdFlags::empty()).unwrap();
    let mut command = Card::command();
    command.arg("--fd").arg(far.as_raw_fd().to_string());
    let card = &mut Card::spawn(command, tempfile::tempdir().unwrap());
    // Only the card is to hold it now.
    drop(far);
    let front = Frontend::from_stream(near, 2);
    front.set_owner().expect("SET_OWNER");
    let features = front.get_features().expect("GET_FEATURES");
    assert_ne!(features & 1 << 32, 0, "VIRTIO_F_VERSION_1");
    drop(front);
    assert_eq!(card.wait_exit().code(), Some(0), "{}", card.log());
}

/// `pinhole device` as systemd starts it, with those sockets from file
/// descriptor 3 on, for `pid` (in a shell's words).
fn activated(sockets: &[&OwnedFd], pid: &str) -> Command {
    let mut script = String::new();
    for (at, socket) in sockets.iter().enumerate() {
        script += &format!("exec {}<&{}; ", 3 + at, socket.as_raw_fd());
    }
    script += &format!(
        "export LISTEN_FDS={} LISTEN_PID={pid} LISTEN_FDNAMES=card; exec \"$0\" device \"$@\"",
        sockets.len()
    );
    for socket in sockets {
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).unwrap();
    }
    // Not sh, which may know file descriptors of one digit only.
    let mut command = Command::new("bash");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_pinhole")])
        .env_remove("RUST_LOG");
    command
}

fn listener(path: &Path) -> OwnedFd {
    UnixListener::bind(path).unwrap().into()
}

#[test]
fn the_socket_of_a_systemd_unit_is_served_and_left_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let socket = listener(&dir.path().join("card.sock"));
    let mut command = activated(&[&socket], "$$");
    command.args(["--rate", "max"]);
    let card = &mut Card::spawn(command, dir);
    drop(socket);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    driver.set_picture(session, YUYV, 128, 96);
    driver.capture_one(card, session);
    card.signal(Signal::TERM);
    assert_eq!(card.wait_exit().code(), Some(0), "{}", card.log());
    // It is systemd's, for the next time.
    assert!(card.socket().exists());
}

#[test]
fn sockets_for_another_process_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let socket = listener(&dir.path().join("card.sock"));
    let output = run_to_end(&mut activated(&[&socket], "1"));
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("there is nothing to listen on"), "{text}");
}

#[test]
fn several_sockets_are_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let sockets = ["a", "b"].map(|name| listener(&dir.path().join(name)));
    let output = run_to_end(&mut activated(&[&sockets[0], &sockets[1]], "$$"));
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("pinhole: systemd passes 2 sockets"),
        "{text}"
    );
}

#[test]
fn a_path_goes_before_a_socket_of_systemds() {
    let dir = tempfile::tempdir().unwrap();
    let socket = listener(&dir.path().join("activated.sock"));
    let path = dir.path().join("card.sock");
    let mut command = activated(&[&socket], "$$");
    command.arg("--socket-path").arg(&path);
    let card = &mut Card::spawn(command, dir);
    Driver::new(card).open();
}
