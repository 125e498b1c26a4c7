//! A mutant, served on a socket in this process.

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use pinhole::card::{Card, Rate, Spec};
use pinhole::source::{self, Camera};
use pinhole::vhost::{Daemon, Device, ListeningSocket, Stop};

/// The card that the mutants are made of.
pub fn card() -> Card {
    let source = source::open("pattern").expect("a pattern");
    Card::new(Spec {
        error_injection: true,
        ..Spec::new(Camera::with("Pinhole", source), Rate::Max)
    })
}

/// A running device, ended when dropped.
pub struct Served {
    folder: tempfile::TempDir,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// A device behind the library's own daemon.
    pub fn start(device: impl Device) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let daemon = Daemon::new(device).expect("a daemon");
        let socket = ListeningSocket::bind(&path(&folder)).expect("a socket");
        let stop = daemon.stop();
        let thread = thread::spawn(move || daemon.serve(&socket).expect("it serves"));
        Self {
            folder,
            stop,
            thread: Some(thread),
        }
    }

    pub fn socket(&self) -> PathBuf {
        path(&self.folder)
    }
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    Path::join(folder.path(), "device.sock")
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.request();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("a thread").expect("no panic");
        }
    }
}
