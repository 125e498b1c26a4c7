//! The daemon that the front ends connect to.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pinhole::card::{Card, Rate, Spec};
use pinhole::source::{self, Camera};
use pinhole::vhost::{Daemon, ListeningSocket, Remote, Stop};

/// Time limit, longer than the card takes on a slow machine under a sanitizer.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Set by a panic in a thread of the daemon. Such a panic ends only a
/// connection, but must end the life.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Notes panics of the threads that serve.
pub fn notice_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Other threads belong to the caller of `drive`.
            if let None | Some("vhost-user" | "vring_worker") = thread::current().name() {
                PANICKED.store(true, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}

/// A daemon with a card, which serves its socket.
pub struct Server {
    path: PathBuf,
    remote: Remote<Card>,
    stop: Stop,
    serving: thread::JoinHandle<()>,
}

impl Server {
    /// Starts a daemon.
    pub fn open() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pinhole-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let socket = ListeningSocket::bind(&path).expect("a socket");
        let camera = Camera::with("Pinhole", source::open("pattern").expect("a pattern"));
        let daemon = Daemon::new(Card::new(Spec::new(camera, Rate::Max))).expect("a daemon");
        Self {
            path,
            remote: daemon.remote(),
            stop: daemon.stop(),
            serving: thread::spawn(move || daemon.serve(&socket).expect("it serves")),
        }
    }

    /// Waits until the card has done the work for which it was woken.
    pub fn settle(&self) {
        // This fails if the connection has just ended, or there is none.
        let _ = self.remote.run(|_, _| ());
        assert!(!PANICKED.load(Ordering::SeqCst), "a thread has panicked");
    }

    /// Connects a front end, as soon as the daemon listens.
    pub fn connect(&self) -> UnixStream {
        let begun = Instant::now();
        loop {
            if let Ok(socket) = UnixStream::connect(&self.path) {
                return socket;
            }
            assert!(begun.elapsed() < LIMIT, "nobody listens");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Ends the daemon, which must come to its end.
    pub fn close(self) {
        self.stop.request();
        let begun = Instant::now();
        while !self.serving.is_finished() {
            assert!(begun.elapsed() < LIMIT, "it does not end");
            thread::sleep(Duration::from_micros(100));
        }
        self.serving.join().expect("it served to the end");
        assert!(!PANICKED.load(Ordering::SeqCst), "a thread has panicked");
        let _ = std::fs::remove_file(&self.path);
    }
}
