//! virtiofsd, which shares a directory of this machine with a guest: a vhost-user
//! backend, as the card is one.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command_line::VhostUser;
use super::process::{Process, ProcessError, pass_on};
use super::provision::bootstrap::find_in_path;
use super::provision::cache::Cache;
use super::provision::tree::Tree;
use super::qemu;
use crate::agent::protocol::SHARED_TAG;

/// Name of the program.
const PROGRAM: &str = "virtiofsd";
/// Where Debian has it, as it is no program for users.
const INSTALLED: &str = "/usr/libexec/virtiofsd";

/// Why no directory could be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// A file or a socket could not be created.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The process did not start.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A virtiofsd. If it is dropped, it is killed.
#[derive(Debug)]
pub struct Virtiofsd {
    /// Its process, which ends when the guest does.
    pub process: Process,
    /// The device for QEMU.
    pub device: VhostUser,
}

impl Virtiofsd {
    /// Shares `directory` with the guest that gets [`Self::device`]; `None` if this
    /// machine has no virtiofsd. `dir` is for its socket, and for the file `log`.
    ///
    /// # Errors
    ///
    /// [`ShareError`].
    pub fn start(directory: &Path, dir: &Path, log: &Path) -> Result<Option<Self>, ShareError> {
        let Some(mut command) = usable() else {
            return Ok(None);
        };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ShareError::Create { path, source }
        };
        let socket = dir.join(PROGRAM);
        // It listens before the process does: whoever connects then waits for that.
        let listener = UnixListener::bind(&socket).map_err(failed(&socket))?;
        let log = File::create(log).map_err(failed(log))?;
        let fd = pass_on(&listener, &mut command);
        command
            .args(["--fd", &fd.to_string(), "--shared-dir"])
            .arg(directory)
            // The guest is the rig's own, and another sandbox takes a namespace of users,
            // which not every system lets an ordinary user have.
            .args(["--sandbox", "none", "--rlimit-nofile", "0"])
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let device = VhostUser {
            socket,
            device: "vhost-user-fs-pci".to_owned(),
            properties: vec![format!("tag={SHARED_TAG}")],
        };
        let process = Process::spawn(command)?;
        Ok(Some(Self { process, device }))
    }
}

/// Returns the command that starts one that runs here, if there is one.
fn usable() -> Option<Command> {
    const WITHOUT: &str = "no guest has a directory of this machine";
    let Some(mut asked) = program() else {
        log::info!("{WITHOUT}: there is no {PROGRAM}");
        return None;
    };
    let answer = asked.arg("--version").stdin(Stdio::null()).output();
    let why = match answer {
        Ok(answer) if answer.status.success() => return program(),
        Ok(answer) => format!("it says {}", String::from_utf8_lossy(&answer.stderr).trim()),
        Err(error) => error.to_string(),
    };
    log::warn!("{WITHOUT}: {PROGRAM} does not run: {why}");
    None
}

/// Returns the command that starts the system's, or else that which was unpacked with a
/// QEMU.
fn program() -> Option<Command> {
    let installed = Path::new(INSTALLED);
    let installed = installed.is_file().then(|| installed.to_owned());
    if let Some(path) = find_in_path(PROGRAM).or(installed) {
        return Some(Command::new(path));
    }
    let unpacked = qemu::unpacked(&Cache::open().ok()?)?;
    let tree = Tree::new(unpacked.join("root").canonicalize().ok()?);
    tree.command(INSTALLED).ok()
}
