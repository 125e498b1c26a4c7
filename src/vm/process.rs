//! Processes that end no later than the process that started them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal};

use super::wait::{WaitResult, readable, readable_regardless};

/// Why a process could not be started or waited for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The process did not start.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Name of the program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// Waiting for the process failed.
    #[error("cannot wait for {program}: {source}")]
    Wait {
        /// Name of the program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// SIGINT or SIGTERM arrived meanwhile.
    #[error("interrupted")]
    Interrupted,
}

/// Has the kernel kill the command's process when the thread that starts it ends, as it
/// does when its process dies (PR_SET_PDEATHSIG). That thread must live as long.
pub fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let die_with_parent = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the signal was set.
        match getppid() == Some(parent) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls and
    // nothing else.
    unsafe { command.pre_exec(die_with_parent) };
}

/// Lets the command's process, and the programs that it executes, inherit `file` under
/// the number that this returns. The file must not be closed before the process is
/// started.
pub fn pass_on(file: &impl AsRawFd, command: &mut Command) -> RawFd {
    let fd = file.as_raw_fd();
    let inherit = move || {
        // SAFETY: this process is a copy of one in which the descriptor was open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        Ok(fcntl_setfd(fd, FdFlags::empty())?)
    };
    // SAFETY: between fork and exec the closure makes one system call and nothing else.
    unsafe { command.pre_exec(inherit) };
    fd
}

/// A child process.
///
/// It leads its own process group, so that a Ctrl-C on the terminal reaches
/// only this program, which ends its children in order. When this value is
/// dropped, the child is killed and reaped; when this program dies without
/// that, the kernel kills the child (PR_SET_PDEATHSIG).
#[derive(Debug)]
pub struct Process {
    program: String,
    pidfd: OwnedFd,
    status: Arc<OnceLock<ExitStatus>>,
    /// The thread that started the process, waits for it, and ends after it:
    /// the kernel sends the parent-death signal when the starting *thread*
    /// ends.
    keeper: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`.
    pub fn spawn(mut command: Command) -> Result<Self, ProcessError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |source| ProcessError::Start {
            program: program.clone(),
            source,
        };
        end_with_parent(&mut command);
        command.process_group(0);

        let status = Arc::new(OnceLock::new());
        let (send, started) = mpsc::channel();
        let ended = Arc::clone(&status);
        let keeper = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                let child = command.spawn().and_then(|child| {
                    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
                    Ok((child, pidfd))
                });
                match child {
                    Ok((mut child, pidfd)) => {
                        let _ = send.send(Ok(pidfd));
                        if let Ok(status) = child.wait() {
                            let _ = ended.set(status);
                        }
                    }
                    Err(error) => drop(send.send(Err(error))),
                }
            })
            .map_err(failed)?;
        let gone = || io::Error::other("its keeper is gone");
        let pidfd = started
            .recv()
            .unwrap_or_else(|_| Err(gone()))
            .map_err(failed)?;
        Ok(Self {
            program,
            pidfd,
            status,
            keeper: Some(keeper),
        })
    }

    /// Returns the name of the program, as it was started.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Returns the exit status if the process has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        match readable_regardless(&[self.pidfd.as_fd()], Some(Instant::now())) {
            Ok(WaitResult::Ready(_)) => self.reap(),
            _ => None,
        }
    }

    /// Waits for the end of the process; returns `None` if the limit passed
    /// before.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        match readable(&[self.pidfd.as_fd()], Some(Instant::now() + limit)) {
            Ok(WaitResult::Ready(_)) => Ok(self.reap()),
            Ok(WaitResult::TimedOut) => Ok(None),
            Ok(WaitResult::Interrupted) => Err(ProcessError::Interrupted),
            Err(source) => Err(ProcessError::Wait {
                program: self.program.clone(),
                source,
            }),
        }
    }

    /// Sends a signal to the process. Has no effect if the process has ended.
    pub fn signal(&self, signal: Signal) {
        // A child process can always be signalled; ESRCH means that it has
        // ended.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Ends the process with SIGTERM, and after `limit` with SIGKILL. An
    /// interrupt does not stop this. Returns `None` only if the status is not
    /// available.
    pub fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait_or_kill(limit)
    }

    /// Waits for the end of the process, and kills it if `limit` passes before.
    /// An interrupt does not stop this.
    pub fn wait_or_kill(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        if !matches!(
            readable_regardless(&[self.pidfd.as_fd()], Some(deadline)),
            Ok(WaitResult::Ready(_))
        ) {
            self.signal(Signal::KILL);
        }
        self.reap()
    }

    fn reap(&mut self) -> Option<ExitStatus> {
        if let Some(keeper) = self.keeper.take() {
            // A keeper that panicked left no status.
            let _ = keeper.join();
        }
        self.status.get().copied()
    }
}

/// Returns the path of a program of this package: beside this program or, for a
/// test (target/release/deps), in the directory above.
pub fn companion(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let mut dirs = program.ancestors().skip(1).take(2);
    dirs.find_map(|dir| {
        let path = dir.join(name);
        path.is_file().then_some(path)
    })
}

impl AsFd for Process {
    /// Returns a descriptor that is readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.wait_or_kill(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    /// Starts `script` and waits for the first line of its output.
    fn started(script: &str) -> (Process, String) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = shell(script);
        command.stdout(OwnedFd::from(theirs));
        let process = Process::spawn(command).unwrap();
        let mut line = String::new();
        BufReader::new(ours).read_line(&mut line).unwrap();
        (process, line.trim().to_owned())
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn an_end_is_seen_and_what_cannot_start_is_named() {
        let mut process = Process::spawn(shell("exit 3")).unwrap();
        assert_eq!(process.wait(LIMIT).unwrap().unwrap().code(), Some(3));
        assert_eq!(process.terminate(LIMIT).unwrap().code(), Some(3));
        let error = Process::spawn(Command::new("/no/such/program")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }

    #[test]
    fn a_process_that_ignores_sigterm_is_killed() {
        let (mut process, _) = started("trap '' TERM; echo; while :; do sleep 1; done");
        let status = process.terminate(Duration::from_millis(50)).unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        let (mut process, _) = started("trap 'exit 4' TERM; echo; while :; do sleep 0.05; done");
        assert_eq!(process.terminate(LIMIT).unwrap().code(), Some(4));
    }

    #[test]
    fn a_command_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut command = shell("exec sleep 100");
            end_with_parent(&mut command);
            let child = command.spawn().unwrap();
            let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
            (child, pidfd.unwrap())
        };
        let (mut child, pidfd) = std::thread::spawn(start).join().unwrap();
        let ended = readable(&[pidfd.as_fd()], Some(Instant::now() + LIMIT));
        assert!(matches!(ended, Ok(WaitResult::Ready(_))), "it lives on");
        // Others in this process may wait for any child.
        let _ = child.wait();
    }

    #[test]
    fn dropped_it_is_dead_and_reaped() {
        let (process, pid) = started("echo $$; exec sleep 100");
        assert!(std::path::Path::new("/proc").join(&pid).exists());
        drop(process);
        assert!(!std::path::Path::new("/proc").join(&pid).exists());
    }

    #[test]
    fn it_outlives_the_thread_that_asked_for_it_and_leads_a_group() {
        let asked = std::thread::spawn(|| started("cut -d' ' -f5 /proc/$$/stat; exec sleep 100"));
        let (mut process, group) = asked.join().unwrap();
        assert_ne!(group.parse(), Ok(rustix::process::getpgrp().as_raw_pid()));
        assert!(process.wait(Duration::from_millis(100)).unwrap().is_none());
    }
}
