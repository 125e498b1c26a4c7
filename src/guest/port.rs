//! The virtio-serial port that leads to the host.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::agent::protocol::PORT_NAME;
use rustix::event::{PollFd, PollFlags, poll};

use crate::guest::hello::hello;
use crate::guest::kmsg;
use crate::guest::server::{End, Server};

const PORTS: &str = "/sys/class/virtio-ports";

/// Interval between two checks for the port, and for the host at its other end.
/// The kernel has no simpler way to wait for either.
const LOOK: Duration = Duration::from_millis(10);

/// Number of checks after which the kernel log reports that the port is
/// missing.
const PATIENCE: u32 = 1000;

/// Opens the port; waits until it exists and the host has opened its end.
pub fn open() -> File {
    let mut looks = 0;
    loop {
        if let Some(port) = find().and_then(|path| try_open(&path)) {
            return port;
        }
        looks += 1;
        if looks == PATIENCE {
            kmsg::say(&format!("no port {PORT_NAME} with a host behind it yet"));
        }
        std::thread::sleep(LOOK);
    }
}

/// Returns the device file of the port, which the driver names once the host
/// has sent the name.
fn find() -> Option<PathBuf> {
    fs::read_dir(PORTS).ok()?.flatten().find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == PORT_NAME).then(|| PathBuf::from("/dev").join(entry.file_name()))
    })
}

fn try_open(path: &PathBuf) -> Option<File> {
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .ok()?;
    let mut fds = [PollFd::new(&port, PollFlags::OUT)];
    let now = rustix::event::Timespec::default();
    poll(&mut fds, Some(&now)).ok()?;
    let gone = fds[0].revents().contains(PollFlags::HUP);
    (!gone).then_some(port)
}

/// Sends the introduction, and serves the host at the other end until it
/// leaves.
pub fn speak(server: &Server, port: &File, problems: &[String]) -> io::Result<End> {
    server.serve(hello(problems), port, port.try_clone()?)
}
