//! `pinhole device`.

use std::fs::File;
use std::io::Write;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::card::{Card, Rate, Witness};
use crate::control::{Server, Service};
use crate::source::{self, Camera};
use crate::vhost::{Daemon, InheritedSocket, ListeningSocket};

/// How long a reader of the witness may keep the card waiting before it is
/// given up.
const WITNESS_PATIENCE: Duration = Duration::from_secs(1);

/// Run the capture card as a vhost-user backend.
///
/// Serves one front end (a QEMU) after another until SIGTERM or SIGINT.
/// RUST_LOG=debug shows every command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Listen for front ends on this Unix socket.
    #[arg(long, value_name = "PATH", required_unless_present = "fd")]
    socket_path: Option<PathBuf>,

    /// Use the Unix socket with this file descriptor instead: a connected
    /// one, which is served until the front end is gone, or a listening one.
    #[arg(long, value_name = "FDNUM", conflicts_with = "socket_path")]
    #[arg(value_parser = clap::value_parser!(RawFd).range(0..))]
    fd: Option<RawFd>,

    /// Listen for `pinhole ctl` on this Unix socket.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// What the camera sees.
    #[arg(long, value_name = "SPEC", default_value = "pattern")]
    source: String,

    /// Write what was written to guest memory, and where, as JSON lines to
    /// this file, or with `unix:PATH` to a listening Unix socket.
    #[arg(long, value_name = "PATH")]
    witness: Option<PathBuf>,

    /// How fast frames are made.
    #[arg(long, value_enum, default_value_t = RateArg::Guest)]
    rate: RateArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RateArg {
    /// At the rate the guest sets, 1 to 240 frames a second, 60 at first.
    Guest,
    /// As soon as there is a buffer to fill.
    Max,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let inherited = args.fd.map(|fd| {
        // SAFETY: nothing has been opened by this process yet, so it is what
        // the user names by the argument, to be used for this alone.
        unsafe { InheritedSocket::take(fd) }
    });
    let inherited = inherited.transpose()?;
    let source = source::open(&args.source)?;
    let rate = match args.rate {
        RateArg::Guest => Rate::Guest,
        RateArg::Max => Rate::Max,
    };
    let witness = match &args.witness {
        Some(path) => Witness::new(
            open_witness(path)
                .with_context(|| format!("cannot open the witness {}", path.display()))?,
        ),
        None => Witness::off(),
    };
    let daemon = Daemon::new(Card::new(Camera::with("Camera", source), rate, witness))?;
    let stop = daemon.stop();
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).context("cannot prepare for signals that end the card")?;
    let control = args.control.as_deref().map(|path| {
        let socket = ListeningSocket::bind_private(path)?;
        let service = Service::new(daemon.remote());
        anyhow::Ok(Server::start(socket, service, stop.clone())?)
    });
    let control = control.transpose()?;
    let signalled = stop.clone();
    thread::spawn(move || {
        for _ in signals.forever() {
            signalled.request();
        }
    });
    let served = serve(&daemon, inherited, args.socket_path.as_deref());
    stop.request();
    // Requests that still wait are not waited for.
    drop(daemon);
    if let Some(control) = control {
        control.join();
    }
    served?;
    Ok(super::SUCCESS)
}

/// Serves front ends until the end.
fn serve(
    daemon: &Daemon,
    inherited: Option<InheritedSocket>,
    path: Option<&Path>,
) -> anyhow::Result<()> {
    match (inherited, path) {
        (Some(InheritedSocket::Listening(socket)), _) => daemon.serve(socket.listener())?,
        (Some(InheritedSocket::Connected(socket)), _) => daemon.serve_connected(socket)?,
        (None, Some(path)) => {
            let socket = ListeningSocket::bind(path)?;
            log::info!("listening on {}", path.display());
            daemon.serve(socket.listener())?;
        }
        (None, None) => anyhow::bail!("there is nothing to listen on; pass --socket-path or --fd"),
    }
    Ok(())
}

fn open_witness(path: &Path) -> std::io::Result<Box<dyn Write + Send>> {
    match path.to_str().and_then(|path| path.strip_prefix("unix:")) {
        Some(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_write_timeout(Some(WITNESS_PATIENCE))?;
            Ok(Box::new(stream))
        }
        None => Ok(Box::new(File::create(path)?)),
    }
}
