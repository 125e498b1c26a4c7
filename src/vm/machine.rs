//! A machine under QEMU, from its start to its end.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::channel::{Agent, AgentError};
use super::command_line::{Hardware, Sockets, Software, arguments};
use super::console::Console;
use super::overlay::{self, Overlay, OverlayError};
use super::process::{Process, ProcessError};
use super::qemu::Qemu;
use super::qmp::{Qmp, QmpError};
use super::wait::{WaitResult, readable};
use crate::agent::protocol::{Hello, PowerOff};

/// How long QEMU may take from its start to its connections.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How long QEMU may take to end when told to.
const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// Lines of the console that an error quotes.
const QUOTED: usize = 15;

/// Longest path that still fits a socket's address (unix(7)), its terminating
/// zero and the longest name of a socket taken off.
const DIR_MAX: usize = 108 - 1 - "/console".len();

/// What to boot.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The QEMU.
    pub qemu: Qemu,
    /// The kernel.
    pub kernel: PathBuf,
    /// Its base initramfs.
    pub initramfs: PathBuf,
    /// What is unpacked over it, besides the agent, which is its init.
    pub overlay: Overlay,
    /// What is added to the kernel's command line.
    pub append: String,
    /// The machine.
    pub hardware: Hardware,
    /// Where to keep what the console says.
    pub console_log: Option<PathBuf>,
    /// How long the guest may take until its agent speaks.
    pub boot_limit: Duration,
}

/// Default of [`Spec::boot_limit`]. Under TCG a boot takes 5 to 6 s on an idle
/// machine of two processors, and 17 s on one with five times the load; others
/// are slower still.
pub const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Something on the host could not be set up.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// What is unpacked over the initramfs could not be made.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// A process could not be started or followed.
    #[error(transparent)]
    Process(ProcessError),
    /// QEMU ended at once.
    #[error("QEMU did not start ({status}): {log}")]
    Start {
        /// Its exit status.
        status: String,
        /// What it said.
        log: String,
    },
    /// QEMU's monitor does not work.
    #[error(transparent)]
    Qmp(QmpError),
    /// The machine ended before its agent spoke.
    #[error("the guest ended while it booted (QEMU: {status}); the console's end:\n{console}")]
    Ended {
        /// QEMU's exit status and what it said.
        status: String,
        /// The last lines of the console.
        console: String,
    },
    /// The machine ended by itself after its agent had spoken.
    #[error("the guest {how} (QEMU: {status})")]
    Gone {
        /// What it did: the last that its kernel said of it.
        how: String,
        /// QEMU's exit status and what it said.
        status: String,
    },
    /// The machine has too little memory for its kernel and what belongs to it.
    #[error(
        "the guest ran out of memory while it booted: {memory_mib} MiB are too little for it \
         (--ram gives it more); the console says:\n{console}"
    )]
    Memory {
        /// What it has.
        memory_mib: u32,
        /// The lines of the console that tell of it.
        console: String,
    },
    /// The time was up before its agent spoke.
    #[error("the guest did not come up within {} s ({state}); the console's end:\n{console}", limit.as_secs())]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// What its processors were at.
        state: String,
        /// The last lines of the console.
        console: String,
    },
    /// Its agent does not work.
    #[error("{source}; the console's end:\n{console}")]
    Agent {
        /// What is wrong.
        source: AgentError,
        /// The last lines of the console.
        console: String,
    },
    /// SIGINT or SIGTERM came.
    #[error("interrupted")]
    Interrupted,
}

/// How a machine was turned off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    /// The guest turned itself off.
    ByGuest,
    /// QEMU was told to end.
    ByQuit,
    /// QEMU had to be killed.
    ByKill,
}

/// A running machine. Dropped, it is killed, reaped, and leaves nothing behind
/// but its console's log.
#[derive(Debug)]
pub struct Machine {
    // In the order in which they are dropped.
    process: Process,
    agent: Agent,
    qmp: Qmp,
    console: Console,
    hello: Hello,
    boot: Duration,
    dir: TempDir,
}

impl Machine {
    /// Starts a machine and waits until its agent speaks.
    pub fn boot(spec: &Spec) -> Result<Self, MachineError> {
        let begin = Instant::now();
        let dir = private_dir()?;
        let initramfs = dir.path().join("initramfs");
        overlay::compose(&spec.initramfs, &spec.overlay, &initramfs)?;
        let console = Listener::bind(dir.path().join("console"))?;
        let qmp = Listener::bind(dir.path().join("qmp"))?;
        let agent = Listener::bind(dir.path().join("agent"))?;
        let console_log = match &spec.console_log {
            Some(path) => Some(create(path)?),
            None => None,
        };

        let software = Software {
            kernel: &spec.kernel,
            initramfs: &initramfs,
            append: &spec.append,
        };
        let sockets = Sockets {
            console: &console.path,
            qmp: &qmp.path,
            agent: &agent.path,
        };
        let qemu_log = dir.path().join("qemu.log");
        let mut command = spec.qemu.command();
        command
            .args(arguments(&spec.hardware, &software, &sockets))
            .stdin(Stdio::null())
            .stdout(create(&qemu_log)?)
            .stderr(append(&qemu_log)?);
        log::debug!("{command:?}");
        let mut process = Process::spawn(command).map_err(MachineError::from_process)?;

        let deadline = begin + CONNECT_LIMIT;
        let accept = |listener: Listener, process: &mut Process| {
            listener.accept(process, &qemu_log, deadline)
        };
        // In the order in which the command line has them.
        let console = accept(console, &mut process)?;
        let mut console = Console::new(console, console_log).map_err(host("keep the console"))?;
        let qmp = accept(qmp, &mut process)?;
        let agent = accept(agent, &mut process)?;
        let agent = Agent::new(agent).map_err(host("follow the agent"))?;
        let limit = deadline.saturating_duration_since(Instant::now());
        let mut qmp = match Qmp::new(qmp, limit) {
            Ok(qmp) => qmp,
            Err(QmpError::Interrupted) => return Err(MachineError::Interrupted),
            // A device that does not work ends QEMU only now.
            Err(QmpError::Closed) => return Err(not_started(&mut process, &qemu_log)),
            Err(error) => return Err(MachineError::Qmp(error)),
        };

        // QEMU has read it. A machine that ends without a chance to clear up
        // is to leave little behind.
        let _ = fs::remove_file(&initramfs);

        let memory_mib = spec.hardware.memory_mib;
        let too_little = |console: &Console| {
            let console = out_of_memory(console)?;
            Some(MachineError::Memory {
                memory_mib,
                console,
            })
        };
        let limit = spec.boot_limit;
        let hello = agent.hello(limit).map_err(|error| match error {
            AgentError::Interrupted => MachineError::Interrupted,
            AgentError::TimedOut(_) => {
                too_little(&console).unwrap_or_else(|| MachineError::TimedOut {
                    limit,
                    state: processors(&mut qmp),
                    console: quote(&console),
                })
            }
            AgentError::Closed | AgentError::Io(_) => {
                let status = process.wait_or_kill(QUIT_LIMIT);
                console.finish();
                too_little(&console).unwrap_or_else(|| MachineError::Ended {
                    status: described(status, &qemu_log),
                    console: quote(&console),
                })
            }
            source => MachineError::Agent {
                source,
                console: quote(&console),
            },
        })?;
        Ok(Self {
            process,
            agent,
            qmp,
            console,
            hello,
            boot: begin.elapsed(),
            dir,
        })
    }

    /// The agent in the guest.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// QEMU's monitor.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// The console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// How the agent introduced itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Time from QEMU's start until the agent spoke.
    pub fn boot_time(&self) -> Duration {
        self.boot
    }

    /// A directory that only this user can enter and that ends with the
    /// machine.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// QEMU's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Turns the machine off: asks the guest, then QEMU, then the kernel. An
    /// interrupt does not stop this, nor does a guest that hangs.
    pub fn power_off(&mut self, limit: Duration) -> Off {
        // The guest may be off before its answer arrives, so none is awaited.
        let asked = self.agent.start(PowerOff {}).is_ok();
        if asked && self.ended_within(limit) {
            self.console.finish();
            return Off::ByGuest;
        }
        self.qmp.quit(QUIT_LIMIT);
        if self.ended_within(QUIT_LIMIT) {
            return Off::ByQuit;
        }
        self.process.wait_or_kill(Duration::ZERO);
        Off::ByKill
    }

    /// Why the machine has ended whose agent is gone.
    pub fn why_ended(&mut self) -> MachineError {
        let status = self.process.wait_or_kill(QUIT_LIMIT);
        self.console.finish();
        MachineError::Gone {
            how: last_act(&self.console.tail(usize::MAX)),
            status: described(status, &self.dir.path().join("qemu.log")),
        }
    }

    fn ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        matches!(
            super::wait::readable_regardless(&[self.process.as_fd()], Some(deadline)),
            Ok(WaitResult::Ready(_))
        )
    }
}

impl MachineError {
    fn from_process(error: ProcessError) -> Self {
        match error {
            ProcessError::Interrupted => Self::Interrupted,
            other => Self::Process(other),
        }
    }
}

/// A socket that QEMU is to connect to.
struct Listener {
    path: PathBuf,
    socket: UnixListener,
}

impl Listener {
    fn bind(path: PathBuf) -> Result<Self, MachineError> {
        let socket = UnixListener::bind(&path)
            .map_err(host(format_args!("make the socket {}", path.display())))?;
        Ok(Self { path, socket })
    }

    fn accept(
        self,
        process: &mut Process,
        log: &Path,
        deadline: Instant,
    ) -> Result<UnixStream, MachineError> {
        let failed = host("wait for QEMU");
        match readable(&[self.socket.as_fd(), process.as_fd()], Some(deadline)) {
            Ok(WaitResult::Ready(0)) => Ok(self.socket.accept().map_err(failed)?.0),
            Ok(WaitResult::Ready(_)) => Err(not_started(process, log)),
            Ok(WaitResult::TimedOut) => Err(failed(io::ErrorKind::TimedOut.into())),
            Ok(WaitResult::Interrupted) => Err(MachineError::Interrupted),
            Err(error) => Err(failed(error)),
        }
    }
}

/// A temporary directory that only this user can enter, and whose path is short
/// enough for sockets.
pub fn private_dir() -> Result<TempDir, MachineError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("pinhole-");
    let dir = builder
        .tempdir()
        .and_then(|dir| match dir.path().as_os_str().len() <= DIR_MAX {
            true => Ok(dir),
            false => builder.tempdir_in("/tmp"),
        });
    dir.map_err(host("make a temporary directory"))
}

fn host(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> MachineError {
    move |source| MachineError::Host {
        what: what.to_string(),
        source,
    }
}

fn create(path: &Path) -> Result<File, MachineError> {
    File::create(path).map_err(host(format_args!("create {}", path.display())))
}

fn append(path: &Path) -> Result<File, MachineError> {
    let file = File::options().append(true).open(path);
    file.map_err(host(format_args!("open {}", path.display())))
}

fn quote(console: &Console) -> String {
    let lines = console.tail(QUOTED);
    match lines.is_empty() {
        true => "  (nothing)".into(),
        false => indented(&lines),
    }
}

fn indented(lines: &[impl std::fmt::Display]) -> String {
    let lines = lines.iter().map(|line| format!("  {line}\n"));
    lines.collect::<String>().trim_end().into()
}

/// What a kernel's last words on the console tell that it did. They come at its
/// highest level, so that they are there on a quiet console too.
fn last_act(console: &[String]) -> String {
    // kernel/panic.c and kernel/reboot.c.
    const WORDS: [(&str, &str); 4] = [
        ("Kernel panic - ", "panicked"),
        ("reboot: Power down", "turned itself off"),
        ("reboot: Restarting system", "restarted"),
        ("reboot: machine restart", "restarted"),
    ];
    // A panic is followed by the restart that it leads to.
    for (words, act) in WORDS {
        if let Some(line) = console.iter().rev().find(|line| line.contains(words)) {
            return match act {
                "panicked" => format!("{act}: {}", &line[line.find(words).unwrap_or(0)..]),
                act => act.to_owned(),
            };
        }
    }
    "ended".to_owned()
}

/// The lines of the console that tell of too little memory.
fn out_of_memory(console: &Console) -> Option<String> {
    // init/initramfs.c, mm/oom_kill.c and mm/page_alloc.c; SeaBIOS and QEMU's
    // loader.
    const WORDS: [&str; 7] = [
        "Initramfs unpacking failed: write error",
        "rootfs image is not initramfs (write error)",
        "Out of memory",
        "deadlocked on memory",
        "page allocation failure",
        "Failed to allocate",
        "Cannot allocate memory",
    ];
    let lines: Vec<_> = console.tail(usize::MAX);
    let tells = |line: &&String| WORDS.iter().any(|words| line.contains(words));
    let told: Vec<_> = lines.iter().filter(tells).take(QUOTED).collect();
    (!told.is_empty()).then(|| indented(&told))
}

/// Where the machine's processors are: their program counters (to be looked up
/// in the kernel's System.map), and whether they wait for an interrupt.
fn processors(qmp: &mut Qmp) -> String {
    let command = json!({ "command-line": "info registers -a" });
    let registers = qmp.execute("human-monitor-command", command, QUIT_LIMIT);
    let registers = match &registers {
        Ok(text) => text.as_str().unwrap_or_default(),
        Err(error) => return error.to_string(),
    };
    let words: Vec<_> = registers
        .split_whitespace()
        .filter(|word| word.starts_with("RIP=") || word.starts_with("HLT="))
        .collect();
    format!("its processors are at {}", words.join(" "))
}

fn not_started(process: &mut Process, log: &Path) -> MachineError {
    let status = process.wait_or_kill(QUIT_LIMIT);
    let text = fs::read_to_string(log).unwrap_or_default();
    MachineError::Start {
        status: status.map_or("no status".into(), |status| status.to_string()),
        log: match text.trim() {
            "" => "it said nothing".into(),
            text => text.into(),
        },
    }
}

fn described(status: Option<ExitStatus>, log: &Path) -> String {
    let status = status.map_or("no status".into(), |status| status.to_string());
    match fs::read_to_string(log).unwrap_or_default().trim() {
        "" => status,
        text => format!("{status}, {text}"),
    }
}

#[cfg(test)]
mod tests;
