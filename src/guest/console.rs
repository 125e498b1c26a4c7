//! The interactive shell on the console.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::agent::protocol::{Shell, Status, Window};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use rustix::termios::Winsize;

use crate::guest::children::Children;
use crate::guest::failure::Failure;

/// File with the names of the terminals of the console; /dev/console stands for
/// the last.
const ACTIVE: &str = "/sys/class/tty/console/active";

/// Runs a shell on the console until it ends.
pub fn shell(
    children: &Children,
    request: &Shell,
    started: impl FnOnce(Pid),
) -> Result<Status, Failure> {
    let mut terminal = open()?;
    resize(&terminal, request.window)?;
    let failed = |error: io::Error| Failure::io("shell on the console", error);
    write!(terminal, "{}", request.greeting.replace('\n', "\r\n")).map_err(failed)?;
    let mut command = Command::new("/bin/sh");
    command
        .arg("-i")
        .env("TERM", &request.term)
        .env("PS1", "pinhole:\\w# ")
        .current_dir("/root")
        .stdin(terminal.try_clone().map_err(failed)?)
        .stdout(terminal.try_clone().map_err(failed)?)
        .stderr(terminal.try_clone().map_err(failed)?);
    // Job control needs a session whose controlling terminal is the console.
    let make_session = move || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and
    // nothing else.
    unsafe { command.pre_exec(make_session) };
    if !fs::exists("/root").unwrap_or(false) {
        command.current_dir("/");
    }
    let child = children.spawn(&mut command).map_err(failed)?;
    started(child.pid);
    loop {
        let mut fds = [PollFd::new(&*child.exit, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        if let Some(status) = child.exit.status() {
            return Ok(status);
        }
    }
}

/// Sets the size of the console's terminal.
pub fn set_window(window: Window) -> Result<(), Failure> {
    resize(&open()?, window)
}

fn resize(terminal: &File, window: Window) -> Result<(), Failure> {
    let size = Winsize {
        ws_row: window.rows,
        ws_col: window.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size)
        .map_err(|error| Failure::io("set the console's size", error))
}

/// Opens the console's terminal: /dev/console cannot be a controlling terminal.
fn open() -> Result<File, Failure> {
    let active = fs::read_to_string(ACTIVE)
        .map_err(|error| Failure::io(format_args!("read {ACTIVE}"), error))?;
    let Some(name) = active.split_whitespace().last() else {
        return Err(Failure::new("this guest has no console"));
    };
    let path = format!("/dev/{name}");
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| Failure::io(format_args!("open {path}"), error))
}
