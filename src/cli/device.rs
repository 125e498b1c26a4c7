//! `pinhole device`.

use std::ffi::OsString;
use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::endpoint_args::{self, EndpointArgs};
use super::mode_args::ModeArgs;
use super::planes::PlanesArg;
use super::{activation, output, startup_code};
use crate::card::witness::Background;
use crate::card::{self, Card, CardKind, Endpoint, Rate, Spec, Witness};
use crate::control::{Operated, Server, Service};
use crate::m2m::{self, M2mCard};
use crate::sandbox::{Sandbox, SandboxError};
use crate::source::{self, Access};
use crate::vhost::{
    Daemon, Device, InheritedSocket, ListenError, ListeningSocket, SocketName, Stop,
};

/// Time limit for the card's end after a signal. The process does not wait
/// longer for a thread that blocks, for example on a log that nobody reads. The
/// limit and the steps after it take less than a second.
const END: Duration = Duration::from_millis(800);

/// Run the card as a vhost-user backend.
///
/// Serves one front end (a QEMU) after another until SIGTERM or SIGINT.
/// RUST_LOG=debug shows every command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Listen for front ends on this Unix socket. Without it and --fd, the
    /// socket that systemd passes on is used.
    #[arg(long, value_name = "PATH")]
    socket_path: Option<PathBuf>,

    /// Use the Unix socket with this file descriptor instead: a connected
    /// one, which is served until the front end is gone, or a listening one.
    #[arg(long, value_name = "FDNUM", conflicts_with = "socket_path")]
    #[arg(value_parser = clap::value_parser!(RawFd).range(0..))]
    fd: Option<RawFd>,

    /// Listen for `pinhole ctl` on this Unix socket.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    #[command(flatten)]
    endpoint: EndpointArgs,

    /// Which of V4L2's two APIs the card has.
    #[arg(long, value_enum, default_value_t = PlanesArg::Single)]
    planes: PlanesArg,

    /// Write what was written to guest memory or read from it, and where, as JSON lines to
    /// this file, or with `unix:PATH` to a listening Unix socket.
    #[arg(long, value_name = "PATH")]
    witness: Option<PathBuf>,

    /// How fast frames are made, or read; an m2m card converts them as they come.
    #[arg(long, value_enum, default_value_t = RateArg::Guest)]
    rate: RateArg,

    #[command(flatten)]
    modes: ModeArgs,

    /// The most frames a second that the guest may set, from 1 to 240, which is the default;
    /// an m2m card makes no more than that many, and by default as many as it can.
    #[arg(long, value_name = "FPS", value_parser = clap::value_parser!(u32).range(1..=240), conflicts_with = "rates")]
    max_fps: Option<u32>,

    /// Have controls that make errors happen: lost frames, stalls, a dead
    /// session. Programs in the guest that try every control try these, too.
    #[arg(long)]
    error_injection: bool,

    /// What the running card is restricted to.
    #[arg(long, value_enum, default_value_t = SandboxArg::Default)]
    sandbox: SandboxArg,

    /// Let the card read this file, or the files in this folder, for a source
    /// that it is switched to later; may be given several times.
    #[arg(long, value_name = "PATH")]
    allow_path: Vec<PathBuf>,

    /// Print what this backend is, as JSON, and exit; what else is given is
    /// ignored.
    #[arg(long)]
    print_capabilities: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SandboxArg {
    /// System calls by seccomp, files by landlock where the kernel has it.
    Default,
    /// Nothing.
    None,
}

/// The type of this backend. QEMU's list of types (`VHostUserBackendType` in
/// docs/interop/vhost-user.json) has no media device, so this is the device's
/// name in VIRTIO, as the types in the list are.
const BACKEND_TYPE: &str = "media";

/// Returns whether the arguments are `pinhole device` with
/// `--print-capabilities` and any others.
pub fn asks_for_capabilities(args: &[OsString]) -> bool {
    args.get(1).is_some_and(|name| name == "device")
        && args.iter().any(|arg| arg == "--print-capabilities")
}

/// Prints the `VHostUserBackendCapabilities` of QEMU's
/// docs/interop/vhost-user.json.
///
/// # Errors
///
/// An error if it cannot be written.
pub fn print_capabilities() -> anyhow::Result<u8> {
    output::line(json!({ "type": BACKEND_TYPE }))?;
    Ok(super::exit::SUCCESS)
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RateArg {
    /// At the rate the guest sets, 1 to 240 frames a second, 60 at first.
    Guest,
    /// As soon as there is a buffer.
    Max,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    if args.print_capabilities {
        return print_capabilities();
    }
    let sources = args.endpoint.sources()?;
    check_paths(&args, &sources)?;
    let modes = args.modes.modes(args.planes.into())?;
    if args.endpoint.kind() == CardKind::M2m && !modes.intervals().is_empty() {
        anyhow::bail!("an m2m card has no rates: --rates is not for it");
    }
    // SAFETY: the process has not opened anything yet.
    let descriptors = unsafe { source::descriptors_of(&sources)? };
    // SAFETY: the process has not started a thread, and has opened nothing but
    // copies of descriptors that were open.
    let socket = unsafe { SocketArg::of(&args)? };
    let witness = args.witness.as_deref().map(|path| {
        WitnessFile::open(path)
            .with_context(|| format!("cannot open the witness {}", path.display()))
    });
    let witness = witness.transpose()?;
    // This may wait for the reader of a pipe. A signal ends the process until
    // its handlers are there.
    let mut outputs = args.endpoint.open_outputs()?;
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).context("cannot prepare for signals that end the card")?;
    let control = args.control.as_deref().map(ListeningSocket::bind_private);
    let control = control.transpose()?;
    let socket = socket.open()?;
    for output in outputs.iter_mut().flatten() {
        let emptied = output.empty();
        emptied.with_context(|| format!("cannot empty the file of {}", output.name))?;
    }
    // Everything that has to be opened or bound is, and nobody can connect yet.
    // The contents of a source's file are as untrusted as the guest.
    let in_force = enter_sandbox(&args, &sources)?;
    let witness = match witness {
        Some(file) => Witness::new(file.start().context("cannot write the witness")?),
        None => Witness::off(),
    };
    // Opening the inputs may take long, because a pipe is silent until somebody
    // writes to it. A signal ends the card even then.
    let (sender, events) = mpsc::channel();
    let opener = sender.clone();
    let access = Access {
        descriptors,
        patience: None,
    };
    thread::spawn(move || {
        let endpoint = endpoint_args::open(&sources, &access, outputs);
        opener.send(StartupEvent::Opened(endpoint))
    });
    let stop_of = Arc::new(OnceLock::<Stop>::new());
    let stopped = Arc::clone(&stop_of);
    let names = [socket.listening(), control.as_ref()];
    let names: Vec<_> = names
        .into_iter()
        .flatten()
        .filter_map(|socket| socket.name())
        .cloned()
        .collect();
    thread::spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        // The main thread sets `stop_of` first and looks for the event then;
        // this order is the reverse, so that one of the two always sees the
        // signal.
        let _ = sender.send(StartupEvent::End);
        if let Some(stop) = stopped.get() {
            stop.request();
        }
        thread::sleep(END);
        abandon(&names)
    });
    let StartupEvent::Opened(endpoint) = events.recv()? else {
        return Ok(super::exit::SUCCESS);
    };
    let rate = match args.rate {
        RateArg::Guest => Rate::Guest,
        RateArg::Max => Rate::Max,
    };
    let startup = Startup {
        in_force,
        socket_path: args.socket_path.clone(),
        socket,
        control,
        stop_of,
        events,
    };
    let planes = args.planes.into();
    match endpoint? {
        Some(endpoint) => startup.serve(Card::new(Spec {
            endpoint,
            planes,
            rate,
            most_fps: args.max_fps.unwrap_or(card::MAX_FPS),
            modes,
            error_injection: args.error_injection,
            witness,
        })),
        None => startup.serve(M2mCard::new(m2m::Spec {
            planes,
            makes: args.endpoint.makes(),
            modes,
            most_fps: args.max_fps.and_then(NonZeroU32::new),
            error_injection: args.error_injection,
            witness,
        })),
    }
}

/// What there is when the card can begin.
struct Startup {
    /// What restricts the process, for the log.
    in_force: String,
    socket_path: Option<PathBuf>,
    socket: InheritedSocket,
    control: Option<ListeningSocket>,
    /// Where the thread that waits for signals looks for what ends the daemon.
    stop_of: Arc<OnceLock<Stop>>,
    events: mpsc::Receiver<StartupEvent>,
}

impl Startup {
    /// Serves front ends and clients until the card is to end.
    fn serve<D: Device + Operated>(self, card: D) -> anyhow::Result<u8> {
        let daemon = Daemon::new(card)?;
        log::info!("sandbox: {}", self.in_force);
        if let Some(path) = &self.socket_path {
            log::info!("listening on {}", path.display());
        }

        let stop = self.stop_of.get_or_init(|| daemon.stop());
        if self.events.try_recv().is_ok() {
            stop.request();
        }
        let control = self.control.map(|socket| {
            let service = Service::new(daemon.remote());
            Server::start(socket, service, stop.clone())
        });
        let control = control.transpose()?;
        startup_code::drop_it();
        let served = match self.socket {
            InheritedSocket::Listening(socket) => daemon.serve(&socket),
            InheritedSocket::Connected(socket) => daemon.serve_connected(socket),
        };
        stop.request();
        // This ends waiting requests, so that the control server can end.
        drop(daemon);
        if let Some(control) = control {
            control.join();
        }
        served?;
        Ok(super::exit::SUCCESS)
    }
}

/// Ends the process, whatever its other threads wait for.
fn abandon(names: &[SocketName]) -> ! {
    names.iter().for_each(SocketName::remove);
    // A thread of its own logs, because the other threads may all wait for the
    // log.
    thread::spawn(|| log::warn!("the card does not end by itself, and is ended"));
    thread::sleep(Duration::from_millis(50));
    // SAFETY: _exit(2) only ends the process.
    unsafe { libc::_exit(super::exit::SUCCESS.into()) }
}

/// Refuses paths that name the same file, and paths of --allow-path that do not
/// exist.
fn check_paths(args: &Args, sources: &[String]) -> anyhow::Result<()> {
    for path in &args.allow_path {
        path.metadata()
            .with_context(|| format!("cannot allow {}", path.display()))?;
    }
    // A file that does not exist yet is compared by its folder and its name.
    let same = |one: &Path, other: &Path| {
        let whole = |path: &Path| {
            path.canonicalize().ok().or_else(|| {
                let folder = folder_of(path).canonicalize().ok()?;
                Some(folder.join(path.file_name()?))
            })
        };
        whole(one).is_some_and(|one| whole(other) == Some(one))
    };
    let written = [
        ("--socket-path", &args.socket_path),
        ("--control", &args.control),
        ("--witness", &args.witness),
    ];
    let written = written.map(|(name, path)| Some((name, path.clone()?)));
    let sinks = args.endpoint.written().map(|path| ("--sink", path));
    let mut taken: Vec<(&str, PathBuf)> = Vec::new();
    for (name, path) in written.into_iter().flatten().chain(sinks) {
        if let Some((other, _)) = taken.iter().find(|(_, other)| same(&path, other)) {
            anyhow::bail!("{other} and {name} are both {}", path.display());
        }
        taken.push((name, path));
    }
    for file in sources.iter().filter_map(|spec| source::file_of(spec)) {
        if let Some((name, _)) = taken.iter().find(|(_, path)| same(&file, path)) {
            anyhow::bail!(
                "{name} would take the place of the source {}",
                file.display()
            );
        }
    }
    Ok(())
}

/// The events that the daemon waits for before it serves.
enum StartupEvent {
    /// The inputs or outputs are open, or could not be opened.
    Opened(anyhow::Result<Option<Endpoint>>),
    /// A signal has arrived.
    End,
}

/// The socket from which front ends come.
enum SocketArg<'a> {
    /// The path at which a socket is to be bound.
    Path(&'a Path),
    /// A socket that exists already.
    Inherited(InheritedSocket),
}

impl<'a> SocketArg<'a> {
    /// Returns the socket that the arguments, or else systemd, name.
    ///
    /// # Safety
    /// This process has not opened anything yet, except copies of descriptors
    /// that were open, and it has one thread.
    unsafe fn of(args: &'a Args) -> anyhow::Result<Self> {
        // SAFETY: the caller's promise covers this call.
        let activated = unsafe { activation::socket()? };
        if let Some(path) = &args.socket_path {
            return Ok(Self::Path(path));
        }
        let Some(fd) = args.fd.or(activated) else {
            anyhow::bail!(
                "there is nothing to listen on; pass --socket-path or --fd, or start the card \
                 from a systemd socket unit"
            );
        };
        // SAFETY: by the caller's promise, the descriptor is the one that the
        // user names by the argument, or that systemd passes on, for this use
        // alone.
        Ok(Self::Inherited(unsafe { InheritedSocket::take(fd)? }))
    }

    /// Binds the socket if it does not exist yet.
    fn open(self) -> Result<InheritedSocket, ListenError> {
        match self {
            Self::Path(path) => ListeningSocket::bind(path).map(InheritedSocket::Listening),
            Self::Inherited(socket) => Ok(socket),
        }
    }
}

/// Enters the sandbox; returns a description of what is in force.
fn enter_sandbox(args: &Args, sources: &[String]) -> anyhow::Result<String> {
    if args.sandbox == SandboxArg::None {
        return Ok("none".to_owned());
    }
    let sockets = [&args.socket_path, &args.control].into_iter().flatten();
    let mut readable = args.allow_path.clone();
    let files = sources.iter().filter_map(|spec| source::file_of(spec));
    readable.extend(files.filter(|path| path.exists()));
    let sandbox = Sandbox {
        readable,
        removable: sockets.map(|path| folder_of(path)).collect(),
    };
    match sandbox.enter() {
        Ok(in_force) => Ok(in_force.to_string()),
        // A missing path is not a fault of the sandbox.
        Err(error @ SandboxError::Path { .. }) => Err(error.into()),
        Err(error) => {
            Err(error).context("cannot enter the sandbox (--sandbox none does without it)")
        }
    }
}

/// Returns the folder of a path.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The destination of the witness.
enum WitnessFile {
    Socket(UnixStream),
    File(File),
}

impl WitnessFile {
    fn open(path: &Path) -> std::io::Result<Self> {
        match path.to_str().and_then(|path| path.strip_prefix("unix:")) {
            Some(socket) => UnixStream::connect(socket).map(Self::Socket),
            None => File::create(path).map(Self::File),
        }
    }

    /// Starts the thread that writes the witness. The thread has to be in the
    /// sandbox.
    fn start(self) -> std::io::Result<Background> {
        match self {
            Self::Socket(socket) => Background::start(socket),
            Self::File(file) => Background::start(file),
        }
    }
}
