//! The card's process: this program, started as `pinhole device`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::error::TestbedError;
use super::spec::TestbedSpec;
use crate::card::BufferApi;
use crate::vm::command_line::VhostUser;
use crate::vm::process::{Process, ProcessError, companion};
use crate::vm::qemu::Qemu;

/// Number of queues of a media device: commands and events (VIRTIO 1.4, Media
/// Device).
const QUEUES: u32 = 2;

/// Size in bytes of its configuration space (`struct
/// virtio_v4l2_media_config`).
const CONFIG_SIZE: u32 = 40;

/// How long the card may take to start listening, and to end.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Interval between two checks whether the card listens.
const LOOK: Duration = Duration::from_millis(5);

/// Returns the card as a device for QEMU.
pub fn device(qemu: &Qemu, socket: PathBuf, bounce_buffers: bool) -> VhostUser {
    let mut properties = match qemu.device_is_generic() {
        true => vec![
            format!("virtio-id={}", qemu.virtio_id),
            format!("num_vqs={QUEUES}"),
            format!("config_size={CONFIG_SIZE}"),
        ],
        false => Vec::new(),
    };
    if bounce_buffers {
        properties.push("iommu_platform=on".to_owned());
    }
    VhostUser {
        socket,
        device: qemu.device.to_owned(),
        properties,
    }
}

/// Starts the card and waits until it listens.
pub fn start(spec: &TestbedSpec, socket: &Path, log: &Path) -> Result<Process, TestbedError> {
    let program = companion("pinhole").ok_or(TestbedError::NoCard)?;
    let file = File::create(log).map_err(|source| TestbedError::Create {
        path: log.to_owned(),
        source,
    })?;
    let mut command = Command::new(program);
    command.arg("device").arg("--socket-path").arg(socket);
    if !spec.harmless {
        command.arg("--error-injection");
    }
    if let Some(source) = &spec.source {
        command.arg("--source").arg(source);
    }
    if let Some(witness) = &spec.witness {
        command.arg("--witness").arg(witness);
    }
    if let Some(fps) = spec.max_fps {
        command.arg("--max-fps").arg(fps.to_string());
    }
    if !spec.kind.is_capture() {
        command.args(["--kind", spec.kind.name()]);
    }
    if spec.planes == BufferApi::Multi {
        command.args(["--planes", "multi"]);
    }
    if spec.free_running {
        command.args(["--rate", "max"]);
    }
    command.args(&spec.card_arguments);
    let input = match &spec.card_input {
        Some(input) => Stdio::from(input.try_clone().map_err(TestbedError::Input)?),
        None => Stdio::null(),
    };
    command.stdin(input).stdout(Stdio::null()).stderr(file);
    let mut card = Process::spawn(command)?;
    let deadline = Instant::now() + LIMIT;
    while !listens(socket) {
        match card.wait(LOOK) {
            Ok(None) => {}
            Ok(Some(status)) => {
                return Err(TestbedError::CardEnded {
                    status: status.to_string(),
                    log: last_words(log),
                });
            }
            Err(ProcessError::Interrupted) => return Err(TestbedError::Interrupted),
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Err(TestbedError::CardSilent {
                limit: LIMIT,
                log: last_words(log),
            });
        }
    }
    Ok(card)
}

/// Returns whether a process listens on a Unix socket, according to the
/// kernel's list; a test connection would count as a front end.
fn listens(socket: &Path) -> bool {
    fs::read_to_string("/proc/net/unix").is_ok_and(|list| is_listening(&list, socket))
}

/// Searches the text of /proc/net/unix, whose fields are number, references,
/// protocol, flags, type, state, inode, path.
fn is_listening(list: &str, socket: &Path) -> bool {
    /// `__SO_ACCEPTCON` of linux/net.h.
    const LISTENING: u32 = 1 << 16;
    list.lines().any(|line| {
        let mut fields = line.split_whitespace();
        let flags = fields
            .nth(3)
            .and_then(|flags| u32::from_str_radix(flags, 16).ok());
        let path = fields.nth(3);
        path.map(Path::new) == Some(socket) && flags.is_some_and(|flags| flags & LISTENING != 0)
    })
}

/// Returns the last non-empty line of the log.
pub fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("it said nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_listens_from_its_listen_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        assert!(!listens(&path));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(listens(&path));
        drop(listener);
        assert!(!listens(&path));
    }

    #[test]
    fn a_socket_that_is_only_bound_does_not_listen() {
        let line = "0000000000000000: 00000002 00000000 00000000 0001 01 31337 /run/card\n";
        assert!(!is_listening(line, Path::new("/run/card")));
        let line = line.replacen(" 00000000 0001", " 00010000 0001", 1);
        assert!(is_listening(&line, Path::new("/run/card")));
        assert!(!is_listening(&line, Path::new("/run/car")));
    }
}
