//! Programs that a test starts: no wait for one is without a limit, and none
//! outlives its test.

// Each of the tests' programs has a part of this in use.
#![allow(dead_code)]

pub mod executable;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Longer than a program takes that boots nothing, on a slow machine.
pub const BRIEF: Duration = Duration::from_secs(120);

/// Longer than a program takes that boots a guest, and builds it first where it
/// is not there.
pub const WITH_A_GUEST: Duration = Duration::from_secs(30 * 60);

/// Time in which a program that is asked to end may do so.
const GRACE: Duration = Duration::from_secs(10);

/// A program that runs.
pub struct Program {
    child: Child,
    exited: OwnedFd,
    limit: Duration,
}

impl Program {
    /// Starts a program, none of whose waits is to take longer than `limit`.
    pub fn start(command: &mut Command, limit: Duration) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let exited = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("pidfd");
        Self {
            child,
            exited,
            limit,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal");
    }

    /// The pipe to its standard input.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe")
    }

    /// What it says on standard output, which is a pipe.
    pub fn stdout(&mut self) -> Said {
        Said::on(self.child.stdout.take().expect("a pipe"), self.limit)
    }

    /// What it says on standard error, which is a pipe.
    pub fn stderr(&mut self) -> Said {
        Said::on(self.child.stderr.take().expect("a pipe"), self.limit)
    }

    /// How it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.ends_within(self.limit);
        assert!(ended, "it did not end within {:?}", self.limit);
        self.child.wait().expect("wait")
    }

    /// How it ends by itself, and what it has said on those pipes that nobody
    /// else has taken.
    pub fn output(mut self) -> Output {
        let limit = self.limit;
        let stdout = self.child.stdout.take().map(|it| Said::on(it, limit));
        let stderr = self.child.stderr.take().map(|it| Said::on(it, limit));
        if !self.ends_within(limit) {
            let said = [stdout, stderr].map(|said| said.map(|it| it.so_far()));
            panic!("it did not end within {limit:?}: {said:#?}");
        }
        Output {
            status: self.child.wait().expect("wait"),
            stdout: stdout.map(Said::rest).unwrap_or_default(),
            stderr: stderr.map(Said::rest).unwrap_or_default(),
        }
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("a time limit");
        let mut fds = [PollFd::new(&self.exited, PollFlags::IN)];
        poll(&mut fds, Some(&limit)).expect("poll") == 1
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.child.try_wait().expect("wait").is_some() {
            return;
        }
        // So that it ends what it has started itself.
        self.signal(Signal::TERM);
        if !self.ends_within(GRACE) {
            self.signal(Signal::KILL);
        }
        self.child.wait().expect("wait");
    }
}

/// Runs a program to its end.
pub fn output(command: &mut Command, limit: Duration) -> Output {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Program::start(command, limit).output()
}

/// What a program says. It is read at once, so that nobody who speaks waits.
pub struct Said {
    chunks: Receiver<Vec<u8>>,
    /// What nobody has asked for yet.
    kept: Vec<u8>,
    limit: Duration,
}

impl Said {
    fn on(mut stream: impl Read + Send + 'static, limit: Duration) -> Self {
        let (sender, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // A terminal whose other side is gone is an error.
            while let Ok(length @ 1..) = stream.read(&mut chunk) {
                // To the end, whether anybody still wants to know or not.
                let _ = sender.send(chunk[..length].to_vec());
            }
        });
        Self {
            chunks,
            kept: Vec::new(),
            limit,
        }
    }

    /// Waits until it has said `text`; what it has said up to there.
    pub fn until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + self.limit;
        loop {
            let mut windows = self.kept.windows(text.len());
            if let Some(at) = windows.position(|window| window == text.as_bytes()) {
                let rest = self.kept.split_off(at + text.len());
                let said = std::mem::replace(&mut self.kept, rest);
                return String::from_utf8_lossy(&said).into_owned();
            }
            match self.more(deadline) {
                Ok(()) => {}
                Err(why) => panic!("no {text:?} ({why}) in {}", self.so_far()),
            }
        }
    }

    /// All that it says from here to its end.
    pub fn rest(mut self) -> Vec<u8> {
        let deadline = Instant::now() + self.limit;
        loop {
            match self.more(deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return self.kept,
                Err(why) => panic!("it says no end ({why}): {}", self.so_far()),
            }
        }
    }

    fn more(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.kept.extend(self.chunks.recv_timeout(left)?);
        Ok(())
    }

    fn so_far(&self) -> String {
        let new = self.chunks.try_iter().flatten();
        let said: Vec<_> = self.kept.iter().copied().chain(new).collect();
        String::from_utf8_lossy(&said).into_owned()
    }
}
