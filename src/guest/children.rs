//! The processes that the agent started, and orphans.
//!
//! Process 1 becomes the parent of every orphan and must reap it. There one thread
//! reaps all children. In any other process each child has a thread that waits for
//! it alone, since the rest of the program may have children of its own. Either finds
//! a dead child without reaping it (WNOWAIT), looks up in the table whether the agent
//! started it, and only then reaps it. No other code waits for these children, so no
//! status is lost, and a process number in the table never belongs to another
//! process.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::agent::protocol::Status;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};

/// All children of the agent.
pub struct Children {
    table: Mutex<Table>,
    /// Whether one thread reaps all children, orphans as well.
    adopts: bool,
    started: Condvar,
}

#[derive(Default)]
struct Table {
    exits: HashMap<Pid, Arc<Exit>>,
    /// Number of children started so far. If the reaper found no child at all,
    /// this tells it whether one was started since.
    generation: u64,
}

/// The end of one child, with its status once it has ended.
pub struct Exit {
    status: OnceLock<Status>,
    event: OwnedFd,
}

impl Exit {
    /// Returns how the child ended, once it has.
    pub fn status(&self) -> Option<Status> {
        self.status.get().copied()
    }
}

impl AsFd for Exit {
    /// Returns a descriptor that is readable once the child has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// A child that the agent started.
pub struct Child {
    /// The process, with its pipes.
    pub process: std::process::Child,
    /// Its process number, which is also the number of its process group.
    pub pid: Pid,
    /// The end of the child.
    pub exit: Arc<Exit>,
}

impl Children {
    /// Returns the children of this process. The first call decides what becomes of
    /// orphans: process 1 reaps them, any other leaves them alone.
    pub fn start() -> &'static Self {
        Self::adopting(std::process::id() == 1)
    }

    fn adopting(adopts: bool) -> &'static Self {
        static CHILDREN: OnceLock<&'static Children> = OnceLock::new();
        CHILDREN.get_or_init(|| {
            let children: &'static Self = Box::leak(Box::new(Self {
                table: Mutex::default(),
                adopts,
                started: Condvar::new(),
            }));
            if adopts {
                std::thread::spawn(|| children.reap_forever());
            }
            children
        })
    }

    /// Starts `command`, which must make its process the leader of a process
    /// group.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let exit = Arc::new(Exit {
            status: OnceLock::new(),
            event: eventfd(0, EventfdFlags::CLOEXEC)?,
        });
        // The lock is held from before the start until the number is in the
        // table, so that the reaper cannot take a quick child for an orphan.
        let mut table = self.lock();
        let mut process = command.spawn()?;
        let pid = Pid::from_child(&process);
        table.exits.insert(pid, Arc::clone(&exit));
        table.generation += 1;
        if self.adopts {
            self.started.notify_one();
        } else {
            let wait = move || {
                if dead_child(libc::P_PID, pid.as_raw_nonzero().get() as u32).is_some() {
                    Self::start().reap(pid);
                }
            };
            if let Err(error) = std::thread::Builder::new().spawn(wait) {
                table.exits.remove(&pid);
                process.kill()?;
                process.wait()?;
                return Err(error);
            }
        }
        Ok(Child { process, pid, exit })
    }

    /// Sends a signal to the process group of a child that has not ended.
    pub fn signal(&self, pid: Pid, signal: Signal) -> io::Result<()> {
        let table = self.lock();
        if !table.exits.contains_key(&pid) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(kill_process_group(pid, signal)?)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap_forever(&self) {
        loop {
            let generation = self.lock().generation;
            match dead_child(libc::P_ALL, 0) {
                Some(pid) => self.reap(pid),
                None => {
                    let table = self.lock();
                    drop(
                        self.started
                            .wait_while(table, |table| table.generation == generation),
                    );
                }
            }
        }
    }

    fn reap(&self, pid: Pid) {
        let mut table = self.lock();
        let exit = table.exits.remove(&pid);
        if exit.is_some() {
            // While the leader is not reaped, no other group can have its
            // number. ESRCH and EPERM only mean that no process is left.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let status = match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => status,
            // The command could not be executed, and spawn() has reaped the
            // child itself.
            Ok(None) | Err(_) => return,
        };
        if let Some(exit) = exit {
            let status = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Status::Exit(code),
                (None, signal) => Status::Signal(signal.unwrap_or_default()),
            };
            let _ = exit.status.set(status);
            // The write cannot fail: the eventfd has room.
            let _ = rustix::io::write(&exit.event, &1u64.to_ne_bytes());
        }
    }
}

/// Waits for a dead child, one of those that waitid(2) selects so, and returns its
/// number without reaping it; `None` if there is no child to wait for.
fn dead_child(of: libc::idtype_t, id: libc::id_t) -> Option<Pid> {
    loop {
        // SAFETY: siginfo_t is a plain C structure, valid when all zero.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is valid for writes for the length of the call.
        let result = unsafe { libc::waitid(of, id, &mut info, libc::WEXITED | libc::WNOWAIT) };
        if result == 0 {
            // SAFETY: waitid(2) succeeded, so it has set the SIGCHLD fields.
            return Pid::from_raw(unsafe { info.si_pid() });
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0);
        command
    }

    fn wait(exit: &Exit) -> Status {
        let limit = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(exit, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "it never ended");
        exit.status().unwrap()
    }

    #[test]
    fn each_child_gets_its_own_status() {
        let children = Children::start();
        let started: Vec<_> = (0..40)
            .map(|code| {
                let child = children.spawn(&mut shell(&format!("exit {code}"))).unwrap();
                (code, child)
            })
            .collect();
        for (code, child) in started {
            assert_eq!(wait(&child.exit), Status::Exit(code));
        }
    }

    #[test]
    fn a_signal_reaches_the_whole_group_and_no_dead_child() {
        let children = Children::start();
        let child = children.spawn(&mut shell("sleep 100 & sleep 100")).unwrap();
        children.signal(child.pid, Signal::TERM).unwrap();
        assert_eq!(wait(&child.exit), Status::Signal(libc::SIGTERM));
        assert!(children.signal(child.pid, Signal::TERM).is_err());
    }

    #[test]
    fn what_cannot_be_executed_is_an_error_and_reaping_goes_on() {
        let children = Children::start();
        let mut missing = Command::new("/no/such/program");
        assert!(children.spawn(missing.process_group(0)).is_err());
        let child = children.spawn(&mut shell("exit 3")).unwrap();
        assert_eq!(wait(&child.exit), Status::Exit(3));
    }

    #[test]
    fn orphans_are_reaped() {
        // The other tests of this process wait for children of their own.
        let alone = concat!(module_path!(), "::in_a_process_of_its_own");
        let alone = alone.split_once("::").unwrap().1;
        let tests = std::env::current_exe().unwrap();
        let run = Command::new(tests)
            .args(["--exact", alone, "--ignored"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "adopts and reaps whatever the process has; orphans_are_reaped runs it"]
    fn in_a_process_of_its_own() {
        rustix::process::set_child_subreaper(Pid::from_raw(1)).unwrap();
        let children = Children::adopting(true);
        // setsid moves the orphan out of the group that ends with its leader.
        let mut command =
            shell("setsid sh -c 'exit 7' & echo $!; wait; setsid sleep 0.2 & echo $!");
        command.stdout(std::process::Stdio::piped());
        let mut child = children.spawn(&mut command).unwrap();
        assert_eq!(wait(&child.exit), Status::Exit(0));
        let output = io::read_to_string(child.process.stdout.take().unwrap()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        for pid in output.lines() {
            while std::path::Path::new("/proc").join(pid).exists() {
                assert!(Instant::now() < deadline, "{pid} was never reaped");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
