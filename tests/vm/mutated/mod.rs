//! A card with a fault, served by the library's own daemon in this process, so
//! that nothing but the fault tells it from the real one.

mod card;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use pinhole::card::witness::Background;
use pinhole::card::{BufferApi, Card, CardKind, Endpoint, Modes, Rate, Spec, Witness};
use pinhole::m2m::{self, M2mCard, Makes};
use pinhole::rig::testbed::CardProcess;
use pinhole::sink::{Display, Output};
use pinhole::source::{self, Camera};
use pinhole::vhost::{Daemon, Device, ListeningSocket, Stop};
use tempfile::TempDir;

use card::{Fault, MutatedCard};

pub use card::Mutation;

/// A running card, ended when dropped.
pub struct Served {
    folder: TempDir,
    fault: Fault,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// A card that is as the matrix wants it but for the fault.
    pub fn start(kind: CardKind, mutation: Option<Mutation>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fault: Fault = Arc::new(Mutex::new(mutation));
        let witness = File::create(folder.path().join("witness")).unwrap();
        let witness = Witness::new(Background::start(witness).unwrap());
        let endpoint = match kind {
            CardKind::Capture => {
                let source = source::open("pattern:integrity").unwrap();
                Endpoint::Camera(Box::new(Camera::with("Pinhole", source)))
            }
            CardKind::M2m => {
                let card = M2mCard::new(m2m::Spec {
                    planes: BufferApi::Single,
                    makes: Makes::All,
                    modes: Modes::default(),
                    most_fps: None,
                    error_injection: true,
                    witness,
                });
                let card = MutatedCard::new(card, fault.clone());
                return Self::serve(folder, fault, card);
            }
            CardKind::Output => Endpoint::Display(Display::new(vec![Output::digest()])),
        };
        let card = Card::new(Spec {
            witness,
            error_injection: true,
            ..Spec::with(endpoint, Rate::Max)
        });
        let card = MutatedCard::new(card, fault.clone());
        Self::serve(folder, fault, card)
    }

    fn serve(folder: TempDir, fault: Fault, card: impl Device) -> Self {
        let daemon = Daemon::new(card).unwrap();
        let socket = ListeningSocket::bind(&folder.path().join("card")).unwrap();
        let stop = daemon.stop();
        let thread = thread::spawn(move || daemon.serve(&socket).unwrap());
        Self {
            folder,
            fault,
            stop,
            thread: Some(thread),
        }
    }

    /// Gives the card another fault, or none.
    pub fn turn_to(&self, mutation: Option<Mutation>) {
        *self.fault.lock().unwrap() = mutation;
    }

    /// Where it is, for a testbed.
    pub fn process(&self) -> CardProcess {
        let path = |name: &str| -> PathBuf { self.folder.path().join(name) };
        CardProcess::Running {
            socket: path("card"),
            witness: path("witness"),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.request();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}
