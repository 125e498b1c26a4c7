//! Runs a program that builds something: logs and parses its output, and passes
//! Ctrl-C on to all its processes.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::cache::Workspace;
use super::{Context, Error, Result};
use crate::vm::interrupt;

/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Runs `command` to its end, appends its output to the workspace's log, and
/// passes each line of it to `on_line`.
///
/// The program gets its own process group, so that an interrupt ends all its
/// descendants, and the entry's lock as its standard input.
pub fn run(
    mut command: Command,
    workspace: &Workspace<'_>,
    mut on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let log = workspace.log;
    let watch = interrupt::watch().context("watch signals for", log)?;
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(log)
        .context("open", log)?;
    let program = command.get_program().to_owned();
    let start = |command: &mut Command| -> io::Result<(Child, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        command
            .stdin(workspace.lock.try_clone()?)
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        Ok((command.spawn()?, reader))
    };
    let (child, mut output) = start(&mut command).context("start", program.as_ref())?;
    // The command holds the pipe's other end until it is dropped.
    drop(command);
    let mut group = Group {
        leader: child,
        reaped: false,
    };
    let mut lines = Lines::default();
    let mut ask_again = None;
    loop {
        let ready = wait(&output, watch, ask_again).context("wait for", program.as_ref())?;
        if ready.interrupted && ask_again.is_none() {
            group.signal(Signal::TERM);
            ask_again = Some(Instant::now() + GRACE);
        }
        if ask_again.is_some_and(|at| Instant::now() >= at) {
            break;
        }
        if ready.output {
            let mut chunk = [0; 8192];
            let count = match output.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(error).context("read the output of", program.as_ref()),
            };
            file.write_all(&chunk[..count]).context("write", log)?;
            lines.feed(&chunk[..count], &mut on_line);
        }
    }
    if ask_again.is_some() {
        return Err(Error::Interrupted);
    }
    let status = group.leader.wait().context("wait for", program.as_ref())?;
    group.reaped = true;
    Ok(status)
}

/// A program and its descendants. However [`run`] returns, all of them are
/// killed.
struct Group {
    leader: Child,
    reaped: bool,
}

impl Group {
    fn signal(&self, signal: Signal) {
        // An error means that the group is gone already.
        let _ = kill_process_group(Pid::from_child(&self.leader), signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // As long as the leader is not reaped, no other group can have its
        // number.
        if !self.reaped {
            self.signal(Signal::KILL);
            let _ = self.leader.wait();
        }
    }
}

struct Ready {
    output: bool,
    interrupted: bool,
}

/// Waits for output, for a signal, or, once a signal was seen, until
/// `deadline`.
fn wait(
    output: &PipeReader,
    watch: std::os::fd::BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> io::Result<Ready> {
    let timeout = deadline.map(|at| {
        let left = at.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    let mut fds = [
        PollFd::new(output, PollFlags::IN),
        PollFd::new(&watch, PollFlags::IN),
    ];
    // The descriptor stays readable after the signal, so it is polled only
    // until then.
    let count = if deadline.is_some() { 1 } else { 2 };
    match poll(&mut fds[..count], timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Ready {
        output: !fds[0].revents().is_empty(),
        interrupted: count == 2 && !fds[1].revents().is_empty(),
    })
}

/// Splits a stream of bytes into lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], on_line: &mut impl FnMut(&str)) {
        while let Some(end) = bytes
            .iter()
            .position(|&byte| byte == b'\n' || byte == b'\r')
        {
            self.rest.extend_from_slice(&bytes[..end]);
            on_line(&String::from_utf8_lossy(&self.rest));
            self.rest.clear();
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Runs a shell script; returns its result, the lines passed on, and the
    /// log.
    fn shell(script: &str) -> (Result<ExitStatus>, Vec<String>, String) {
        let dir = tempfile::tempdir().unwrap();
        let (lock, log) = (dir.path().join("lock"), dir.path().join("log"));
        fs::write(&lock, "").unwrap();
        let workspace = Workspace {
            dir: dir.path(),
            log: &log,
            lock: &File::open(&lock).unwrap(),
        };
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let status = run(command, &workspace, |line| lines.push(line.to_owned()));
        (status, lines, fs::read_to_string(&log).unwrap())
    }

    #[test]
    fn output_of_both_kinds_is_shown_and_kept() {
        let (status, lines, log) =
            shell("echo one; echo two >&2; printf 'th'; printf 'ree\\n'; exit 3");
        assert_eq!(status.unwrap().code(), Some(3));
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(log, "one\ntwo\nthree\n");
    }

    #[test]
    fn standard_input_is_the_lock_and_empty() {
        let (status, lines, _) = shell("readlink /proc/self/fd/0; cat");
        assert!(status.unwrap().success());
        assert!(
            lines.len() == 1 && Path::new(&lines[0]).ends_with("lock"),
            "{lines:?}"
        );
    }

    #[test]
    fn what_cannot_start_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let lock = File::create(dir.path().join("lock")).unwrap();
        let workspace = Workspace {
            dir: dir.path(),
            log: &log,
            lock: &lock,
        };
        let error = run(Command::new("/no/such/program"), &workspace, |_| {}).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
