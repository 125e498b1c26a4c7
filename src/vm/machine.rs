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
use super::memory::GuestMemory;
use super::overlay::{self, Overlay, OverlayError};
use super::process::{Process, ProcessError};
use super::qemu::Qemu;
use super::qmp::{Qmp, QmpError};
use super::wait::{WaitResult, readable};
use crate::agent::protocol::{Hello, PowerOff};

/// How long QEMU may take from its start until it has connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How long QEMU may take to end when told to.
const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// Number of console lines that an error quotes.
const QUOTED: usize = 15;

/// Longest directory whose sockets fit a socket address (unix(7)): without the
/// terminating zero and the longest name of a socket.
const DIR_MAX: usize = 108 - 1 - "/console".len();

/// The specification of a machine to boot.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The QEMU to run it.
    pub qemu: Qemu,
    /// Path of the kernel.
    pub kernel: PathBuf,
    /// Path of the base initramfs.
    pub initramfs: PathBuf,
    /// Files that are unpacked over it, besides the agent, which is the init.
    pub overlay: Overlay,
    /// Text to append to the kernel's command line.
    pub append: String,
    /// The machine's hardware.
    pub hardware: Hardware,
    /// File in which to keep the console output.
    pub console_log: Option<PathBuf>,
    /// How long the guest may take until its agent introduces itself.
    pub boot_limit: Duration,
}

/// Default of [`Spec::boot_limit`]. Under TCG a boot takes 5 to 6 s on an idle
/// machine of two processors, and 17 s if that has five times the load; other
/// machines are slower still.
pub const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// Why a machine could not be started, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A resource of the host could not be set up.
    #[error("cannot {what}: {source}")]
    Host {
        /// The attempted action.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The archive that is unpacked over the initramfs could not be made.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// A process could not be started or waited for.
    #[error(transparent)]
    Process(ProcessError),
    /// QEMU ended at once.
    #[error("QEMU did not start ({status}): {log}")]
    Start {
        /// QEMU's exit status.
        status: String,
        /// QEMU's output.
        log: String,
    },
    /// QEMU's monitor does not work.
    #[error(transparent)]
    Qmp(QmpError),
    /// The machine ended before its agent introduced itself.
    #[error("the guest ended while it booted (QEMU: {status}); the console's end:\n{console}")]
    Ended {
        /// QEMU's exit status and output.
        status: String,
        /// The last lines of the console.
        console: String,
    },
    /// The machine ended by itself after its agent had introduced itself.
    #[error("the guest {how} (QEMU: {status})")]
    Gone {
        /// What happened, according to its kernel's last message.
        how: String,
        /// QEMU's exit status and output.
        status: String,
    },
    /// The machine has too little memory for its kernel and initramfs.
    #[error(
        "the guest ran out of memory while it booted: {memory_mib} MiB are too little for it \
         (--ram gives it more); the console says:\n{console}"
    )]
    Memory {
        /// The machine's memory in MiB.
        memory_mib: u32,
        /// The lines of the console that report it.
        console: String,
    },
    /// The time was up before the agent introduced itself.
    #[error("the guest did not come up within {} s ({state}); the console's end:\n{console}", limit.as_secs())]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// State of the machine's processors.
        state: String,
        /// The last lines of the console.
        console: String,
    },
    /// The machine's agent does not work.
    #[error("{source}; the console's end:\n{console}")]
    Agent {
        /// The agent's error.
        source: AgentError,
        /// The last lines of the console.
        console: String,
    },
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

/// How a machine was turned off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    /// The guest powered itself off.
    ByGuest,
    /// QEMU ended on request.
    ByQuit,
    /// QEMU had to be killed.
    ByKill,
}

/// A running machine. If it is dropped, it is killed and reaped, and leaves
/// only its console's log.
#[derive(Debug)]
pub struct Machine {
    // The fields are dropped in this order.
    process: Process,
    agent: Agent,
    qmp: Qmp,
    console: Console,
    memory: GuestMemory,
    hello: Hello,
    boot: Duration,
    dir: TempDir,
}

impl Machine {
    /// Starts a machine and waits until its agent introduces itself.
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
        let memory = GuestMemory::make(spec.hardware.memory_mib);
        let memory = memory.map_err(host("make the guest's memory"))?;
        let mut command = spec.qemu.command();
        let memory_path = memory.pass_to(&mut command);
        command
            .args(arguments(&spec.hardware, &memory_path, &software, &sockets))
            .stdin(Stdio::null())
            .stdout(create(&qemu_log)?)
            .stderr(append(&qemu_log)?);
        log::debug!("{command:?}");
        let mut process = Process::spawn(command).map_err(MachineError::from_process)?;

        let deadline = begin + CONNECT_LIMIT;
        let accept = |listener: Listener, process: &mut Process| {
            listener.accept(process, &qemu_log, deadline)
        };
        // The sockets are accepted in the order of the command line.
        let console = accept(console, &mut process)?;
        let mut console = Console::new(console, console_log).map_err(host("keep the console"))?;
        let qmp = accept(qmp, &mut process)?;
        let agent = accept(agent, &mut process)?;
        let agent = Agent::new(agent).map_err(host("follow the agent"))?;
        let limit = deadline.saturating_duration_since(Instant::now());
        let mut qmp = match Qmp::new(qmp, limit) {
            Ok(qmp) => qmp,
            Err(QmpError::Interrupted) => return Err(MachineError::Interrupted),
            // A device that does not work ends QEMU only at this point.
            Err(QmpError::Closed) => return Err(not_started(&mut process, &qemu_log)),
            Err(error) => return Err(MachineError::Qmp(error)),
        };

        // QEMU has read the file. It is removed now, so that a machine that
        // ends without cleaning up leaves little behind.
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
            memory,
            hello,
            boot: begin.elapsed(),
            dir,
        })
    }

    /// Returns the agent in the guest.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Returns QEMU's monitor.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Returns the console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Returns the guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Returns the agent's introduction.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Returns the time from QEMU's start until the agent introduced itself.
    pub fn boot_time(&self) -> Duration {
        self.boot
    }

    /// Returns a directory that only this user can enter and that is removed
    /// with the machine.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns QEMU's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Turns the machine off: asks the guest, then QEMU, then kills QEMU.
    /// Neither an interrupt nor a hanging guest stops this.
    pub fn power_off(&mut self, limit: Duration) -> Off {
        // The guest may be off before its answer arrives, so the answer is not
        // awaited.
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

    /// Returns why the machine has ended; its agent is gone.
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

/// A socket to which QEMU will connect.
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

/// Creates a temporary directory that only this user can enter, and whose path
/// is short enough for sockets.
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

/// Returns what the last kernel messages on the console report. They have the
/// kernel's highest level, so that a quiet console shows them too.
fn last_act(console: &[String]) -> String {
    // The messages are from kernel/panic.c and kernel/reboot.c.
    const WORDS: [(&str, &str); 4] = [
        ("Kernel panic - ", "panicked"),
        ("reboot: Power down", "turned itself off"),
        ("reboot: Restarting system", "restarted"),
        ("reboot: machine restart", "restarted"),
    ];
    // A panic comes first, because the restart that it causes follows it.
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

/// Returns the lines of the console that report too little memory.
fn out_of_memory(console: &Console) -> Option<String> {
    // The messages are from init/initramfs.c, mm/oom_kill.c and
    // mm/page_alloc.c, and from SeaBIOS and QEMU's loader.
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

/// Returns the state of the machine's processors: their program counters (to be
/// looked up in the kernel's System.map), and whether they wait for an
/// interrupt.
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
