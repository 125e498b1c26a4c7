//! A media device whose answers are scripted.
//!
//! It knows the queues and the headers, and nothing of V4L2: every ioctl is
//! answered by a closure, such as that of a [`camera`], and events are sent when its
//! owner says so. All that went over its queues is in its record.

pub mod camera;
mod chain;
pub mod ioctl;
pub mod record;
mod state;

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{ShutdownHandle, VhostUserBackend, VhostUserDaemon, VringMutex, VringT};
use virtio_bindings::bindings::virtio_config::{VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use self::chain::Chain;
use self::ioctl::Answers;
use self::record::{Entry, Exchange, What};
pub use self::state::{Held, Opening};
use self::state::{State, next_chain};
use crate::wire::protocol::{EVENT_QUEUE, QUEUES};

/// `VIRTIO_MEDIA_EVT_*`: the session is given up; a buffer is done; a V4L2 event.
pub const EVENT_ERROR: u32 = 0;
/// See [`EVENT_ERROR`].
pub const EVENT_DQBUF: u32 = 1;
/// See [`EVENT_ERROR`].
pub const EVENT_V4L2: u32 = 2;

/// Bytes of the configuration space that have a meaning.
pub const CONFIG_SIZE: usize = 40;

/// Interval between two looks for an event buffer, and pause between two turns of a
/// queue that does not run dry, for whoever waits for the state.
const LOOK: Duration = Duration::from_micros(200);

/// Most bytes that are read at once: a length is what the driver says.
const READ_MAX: u32 = 16 << 20;

/// What the device says it is.
#[derive(Debug, Clone)]
pub struct Config {
    /// `V4L2_CAP_*`.
    pub device_caps: u32,
    /// Its name, of which 32 bytes are told.
    pub card: String,
    /// Whether it offers VIRTIO_F_ACCESS_PLATFORM.
    pub access_platform: bool,
    /// How long the driver may take to give an event buffer back.
    pub patience: Duration,
}

impl Config {
    /// Returns a device of these capabilities named "Script".
    pub fn new(device_caps: u32) -> Self {
        Self {
            device_caps,
            card: "Script".to_owned(),
            access_platform: false,
            patience: Duration::from_secs(10),
        }
    }

    /// Returns the configuration space. What a larger one has behind it is set, so
    /// that a driver which takes it for anything does not get zeroes.
    fn space(&self, size: usize) -> Vec<u8> {
        let mut space = self.device_caps.to_le_bytes().to_vec();
        space.extend([0; 4]);
        let card = &self.card.as_bytes()[..self.card.len().min(32)];
        space.extend(card);
        space.resize(CONFIG_SIZE, 0);
        space.resize(size.max(CONFIG_SIZE), 0x5a);
        space
    }
}

/// Why an event could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The driver has not set the queue up.
    #[error("the driver has set up no event queue")]
    NoQueue,
    /// The driver offers no buffer.
    #[error("the driver gave no event buffer back within {} s", limit.as_secs())]
    NoBuffer {
        /// The limit.
        limit: Duration,
    },
    /// The buffer is no buffer for an event.
    #[error("the driver's event buffer: {0}")]
    Buffer(String),
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Once the front end has connected.
    shutdown: OnceLock<ShutdownHandle>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Backend(Arc<Shared>);

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        1024
    }

    fn features(&self) -> u64 {
        let platform = u64::from(self.0.state().config.access_platform);
        1 << VIRTIO_F_VERSION_1
            | platform << VIRTIO_F_ACCESS_PLATFORM
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, features: u64) {
        let mut state = self.0.state();
        state.starts += 1;
        state.open.clear();
        state.note(What::Started { features });
        self.0.changed.notify_all();
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            // QEMU wants it of a device with VIRTIO_F_ACCESS_PLATFORM.
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut state = self.0.state();
        state.note(What::Config);
        let (offset, size) = (offset as usize, size as usize);
        let mut space = state.config.space(offset + size);
        space.truncate(offset + size);
        space.split_off(offset)
    }

    fn update_memory(&self, _memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        Ok(())
    }

    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        let mut state = self.0.state();
        // What has not been answered is the driver's again.
        state.waiting.clear();
        state.note(What::Stopped { queue });
        self.0.changed.notify_all();
        Ok(())
    }

    fn exit_event(&self, _thread_index: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn handle_event(
        &self,
        _event: u16,
        _events: EventSet,
        vrings: &[VringMutex],
        _thread_id: usize,
    ) -> io::Result<()> {
        self.0.state().vrings = vrings.to_vec();
        while self.0.state().run() {
            self.0.changed.notify_all();
            thread::sleep(LOOK);
        }
        self.0.changed.notify_all();
        Ok(())
    }
}

/// The device, served until its front end is gone.
pub struct Device {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    _listening: Listening,
}

/// A listener whose end nobody has to wait for: a front end that never connects
/// would leave the device's thread behind.
struct Listening(UnixListener);

impl Drop for Listening {
    fn drop(&mut self) {
        // SAFETY: the descriptor is the listener's, which is open; accept(2) returns.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_RDWR) };
    }
}

impl Device {
    /// Serves a device, which listens at `socket`.
    ///
    /// # Errors
    ///
    /// The system's error if it cannot listen there.
    pub fn serve(socket: &Path, config: Config, answers: Answers) -> io::Result<Self> {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(config, answers, memory.clone())),
            changed: Condvar::new(),
            shutdown: OnceLock::new(),
        });
        let backend = Arc::new(Backend(Arc::clone(&shared)));
        let listener = UnixListener::bind(socket)?;
        let listening = Listening(listener.try_clone()?);
        let mut daemon = VhostUserDaemon::new("scripted".into(), backend, memory)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let connected = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            if let Err(error) = daemon.start(&mut Listener::from(listener)) {
                log::error!("the scripted device: {error}");
                return;
            }
            if let Some(handle) = daemon.shutdown_handle() {
                let _ = connected.shutdown.set(handle);
            }
            // However the front end goes.
            let _ = daemon.wait();
        });
        Ok(Self {
            shared,
            thread,
            _listening: listening,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Sends an event of a session: what follows its header. Says that so many bytes
    /// were written, header included. A session whose error it is, is given up.
    ///
    /// # Errors
    ///
    /// [`EventError`] if the driver has no buffer for it.
    pub fn send(&self, session: u32, event: u32, body: &[u8], used: u32) -> Result<(), EventError> {
        let mut bytes = event.to_le_bytes().to_vec();
        bytes.extend(session.to_le_bytes());
        bytes.extend(body);
        let begun = Instant::now();
        // The driver gives each buffer back at once.
        loop {
            if self.try_send(session, event, &bytes, used)? {
                return Ok(());
            }
            let limit = self.state().config.patience;
            if begun.elapsed() > limit {
                return Err(EventError::NoBuffer { limit });
            }
            thread::sleep(LOOK);
        }
    }

    /// Sends an event; returns whether there was a buffer for it.
    fn try_send(
        &self,
        session: u32,
        event: u32,
        bytes: &[u8],
        used: u32,
    ) -> Result<bool, EventError> {
        let mut state = self.state();
        let guard = state.memory.memory();
        let vring = state.vrings.get(EVENT_QUEUE).cloned();
        let vring = vring.ok_or(EventError::NoQueue)?;
        let Some(chain) = next_chain(&vring, &guard) else {
            return Ok(false);
        };
        let chain = Chain::read(chain, &guard, state.starts);
        let Chain { head, .. } = chain;
        let fault = match chain.room() < bytes.len() {
            true => Some(format!(
                "{} bytes in {:x?} for an event of {}",
                chain.room(),
                chain.exchange.descriptors,
                bytes.len()
            )),
            false => chain.write(&guard, bytes),
        };
        if let Some(fault) = fault {
            // It is the driver's again, with nothing in it.
            if vring.add_used(head, 0).is_ok() {
                let _ = vring.signal_used_queue();
            }
            return Err(EventError::Buffer(fault));
        }
        // Eight bytes are an event's header.
        if event == EVENT_ERROR
            && used >= 8
            && let Some(given_up) = state.open.get_mut(&session)
        {
            *given_up = true;
        }
        let bytes = bytes.to_vec();
        state.note(What::Event {
            bytes,
            used,
            descriptors: chain.exchange.descriptors,
            endless: chain.exchange.endless,
        });
        // The front end may stop the queue at any time.
        if vring.add_used(head, used).is_ok() {
            let _ = vring.signal_used_queue();
        }
        self.shared.changed.notify_all();
        Ok(true)
    }

    /// Fills each event buffer as soon as the driver gives it back, until told
    /// to stop; `sent` is how many it filled. The driver is told once a thousand, and
    /// whenever it gave none back: it has the next one long before it has looked at
    /// one. Nothing of it is in the record.
    pub fn flood(&self, session: u32, event: u32, enough: &AtomicBool, sent: &AtomicU64) {
        let (memory, vring) = {
            let state = self.state();
            let vring = state.vrings.get(EVENT_QUEUE).cloned();
            (state.memory.clone(), vring)
        };
        let Some(vring) = vring else { return };
        let bytes = [event, session].map(u32::to_le_bytes).concat();
        let guard = memory.memory();
        let mut told = true;
        while !enough.load(Ordering::Relaxed) {
            let Some(chain) = next_chain(&vring, &guard) else {
                // The driver may sleep, and whoever drives it need this processor.
                if !std::mem::replace(&mut told, true) {
                    let _ = vring.signal_used_queue();
                }
                thread::yield_now();
                continue;
            };
            let chain = Chain::read(chain, &guard, 0);
            let _ = chain.write(&guard, &bytes);
            if vring.add_used(chain.head, 8).is_err() {
                break;
            }
            told = sent.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000);
            if told {
                let _ = vring.signal_used_queue();
            }
        }
        let _ = vring.signal_used_queue();
    }

    /// Reads guest memory; `None` if there is none, or more is asked for than a frame
    /// may have.
    pub fn read(&self, start: u64, length: u32) -> Option<Vec<u8>> {
        if length > READ_MAX {
            return None;
        }
        let guard = self.state().memory.memory();
        let mut bytes = vec![0; length as usize];
        let read = guard.read_slice(&mut bytes, GuestAddress(start));
        read.is_ok().then_some(bytes)
    }

    /// Writes guest memory; returns whether there is any.
    pub fn write(&self, start: u64, bytes: &[u8]) -> bool {
        let guard = self.state().memory.memory();
        guard.write_slice(bytes, GuestAddress(start)).is_ok()
    }

    /// Whether it leaves commands unanswered, for ever.
    pub fn be_silent(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// Sets how the next OPEN is answered.
    pub fn open_with(&self, opening: Opening) {
        self.state().opening = opening;
    }

    /// Answers no such command until [`Device::release`].
    pub fn hold(&self, held: Held) {
        self.state().hold = Some(held);
    }

    /// Answers what was held.
    pub fn release(&self) {
        self.state().release();
        self.shared.changed.notify_all();
    }

    /// Returns how many commands are held.
    pub fn held(&self) -> usize {
        self.state().waiting.len()
    }

    /// Returns the commands that are held and whose requests are no longer in memory
    /// as they came.
    pub fn changed(&self) -> Vec<Exchange> {
        self.state().changed()
    }

    /// Gives the next ioctl of that number back as a chain that it was not given.
    pub fn give_back_another(&self, code: u32) {
        self.state().wrong_chain = Some(code);
    }

    /// Sessions that were opened so far.
    pub fn sessions(&self) -> u32 {
        self.state().sessions
    }

    /// Returns the session that was opened last and is open.
    pub fn session(&self) -> Option<u32> {
        self.state().open.last_key_value().map(|(id, _)| *id)
    }

    /// Returns what the driver did wrong so far, as far as the device found out by
    /// itself.
    pub fn faults(&self) -> Vec<String> {
        self.state().faults.clone()
    }

    /// Adds to what the driver did wrong.
    pub fn fault(&self, what: String) {
        self.state().fault([what]);
    }

    /// Returns whether the driver sent more than the record has room for. The device
    /// takes nothing any more then.
    pub fn is_flooded(&self) -> bool {
        self.state().flooded
    }

    /// Returns the number of entries of the record.
    pub fn mark(&self) -> usize {
        self.state().record.len()
    }

    /// Returns the record from a mark on.
    pub fn record(&self, mark: usize) -> Vec<Entry> {
        let state = self.state();
        state.record.get(mark..).unwrap_or_default().to_vec()
    }

    /// Waits until something is in the record behind a mark, and returns the entry
    /// that it is; `None` if it is not within `limit`.
    pub fn wait_for(
        &self,
        mark: usize,
        limit: Duration,
        mut is: impl FnMut(&Entry) -> bool,
    ) -> Option<Entry> {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        let mut from = mark;
        loop {
            let fresh = state.record.get(from..).unwrap_or_default();
            if let Some(found) = fresh.iter().find(|entry| is(entry)) {
                return Some(found.clone());
            }
            from = state.record.len().max(mark);
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Dies: the connection to the front end is gone.
    pub fn die(&self) {
        if let Some(handle) = self.shared.shutdown.get() {
            handle.shutdown();
        }
    }

    /// Waits for the end, once the machine is gone; returns whether it came within
    /// `limit`.
    pub fn join(self, limit: Duration) -> bool {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            if begun.elapsed() > limit {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.thread.join().is_ok()
    }
}
