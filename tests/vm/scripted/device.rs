//! A media device whose answers a test writes.
//!
//! It knows the queues and the headers, and nothing of V4L2: every ioctl is
//! answered by the test's closure, and events are sent when the test says so.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pinhole::wire::protocol::{CMD_CLOSE, CMD_IOCTL, CMD_OPEN, COMMAND_QUEUE, EVENT_QUEUE, QUEUES};
use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex, VringT};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_queue::{DescriptorChain, QueueOwnedT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::test_guest::LIMIT;

/// `ENOTTY`: what a device says that does not know an ioctl.
pub const ENOTTY: u32 = 25;
/// `EINVAL`.
pub const EINVAL: u32 = 22;

/// An ioctl as it came, and the answer to it.
pub struct Ioctl<'a> {
    /// Its number.
    pub code: u32,
    /// Its payload, scatter entries included.
    pub request: &'a [u8],
    /// The answer's payload, as long as the driver has room for, and the
    /// request's up to there.
    pub reply: Vec<u8>,
    memory: &'a GuestMemoryMmap,
}

impl Ioctl<'_> {
    /// The little-endian number at an offset of the request.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.request[at..at + 4].try_into().unwrap())
    }

    /// Puts bytes into the answer.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.reply[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The memory that the scatter entry at an offset of the request describes.
    pub fn entry(&self, at: usize) -> (u64, u32) {
        let start = u64::from_le_bytes(self.request[at..at + 8].try_into().unwrap());
        (start, self.u32(at + 8))
    }

    /// Reads guest memory.
    pub fn read(&self, (start, length): (u64, u32)) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        self.memory
            .read_slice(&mut bytes, GuestAddress(start))
            .unwrap();
        bytes
    }

    /// Writes guest memory.
    pub fn write(&self, (start, _): (u64, u32), bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(start)).unwrap();
    }
}

/// Answers an ioctl: with its reply, or with an error number.
pub type Answers = Box<dyn FnMut(&mut Ioctl<'_>) -> Result<(), u32> + Send>;

struct State {
    config: [u8; 40],
    answers: Answers,
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    vrings: Vec<VringMutex>,
    sessions: u32,
    silent: bool,
    garbage: bool,
}

impl State {
    /// Answers a command, as far as it wants an answer.
    fn command(&mut self, readable: &[u8], room: usize, memory: &GuestMemoryMmap) -> Vec<u8> {
        let word = |at: usize| u32::from_le_bytes(readable[at..at + 4].try_into().unwrap());
        match word(0) {
            CMD_OPEN if std::mem::take(&mut self.garbage) => vec![0xff; room],
            CMD_OPEN => {
                self.sessions += 1;
                [0, 0, self.sessions, 0]
                    .into_iter()
                    .flat_map(u32::to_le_bytes)
                    .collect()
            }
            CMD_CLOSE => Vec::new(),
            CMD_IOCTL => {
                let request = &readable[16..];
                let mut reply = request.to_vec();
                reply.resize(room - 8, 0);
                let mut ioctl = Ioctl {
                    code: word(12),
                    request,
                    reply,
                    memory,
                };
                let status = (self.answers)(&mut ioctl).err().unwrap_or(0);
                let mut answer = u64::from(status).to_le_bytes().to_vec();
                answer.extend(ioctl.reply);
                answer
            }
            other => panic!("the driver sent command {other}"),
        }
    }

    fn run(&mut self) {
        let guard = self.memory.memory();
        let memory: &GuestMemoryMmap = &guard;
        let vring = self.vrings[COMMAND_QUEUE].clone();
        while let Some(chain) = next_chain(&vring, memory) {
            if self.silent {
                continue;
            }
            let head = chain.head_index();
            let mut readable = Vec::new();
            let mut writable = Vec::new();
            for descriptor in chain {
                let (addr, length) = (descriptor.addr(), descriptor.len() as usize);
                if descriptor.is_write_only() {
                    writable.push((addr, length));
                } else {
                    let start = readable.len();
                    readable.resize(start + length, 0);
                    memory.read_slice(&mut readable[start..], addr).unwrap();
                }
            }
            let room = writable.iter().map(|(_, length)| length).sum();
            let answer = self.command(&readable, room, memory);
            assert!(writable.len() <= 1, "an answer in pieces");
            if let Some((addr, _)) = writable.first() {
                memory.write_slice(&answer, *addr).unwrap();
            }
            // The front end may have stopped the queue meanwhile.
            if vring.add_used(head, answer.len() as u32).is_ok() {
                vring.signal_used_queue().unwrap();
            }
        }
    }
}

/// Returns the next chain; `None` if there is none, or if the front end has stopped
/// the queue since its kick.
fn next_chain<'m>(
    vring: &VringMutex,
    memory: &'m GuestMemoryMmap,
) -> Option<DescriptorChain<&'m GuestMemoryMmap>> {
    let mut state = vring.get_mut();
    state.get_queue_mut().iter(memory).ok()?.next()
}

struct Backend {
    state: Arc<Mutex<State>>,
}

impl Backend {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        1 << VIRTIO_F_VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut space = self.state().config.to_vec();
        let (offset, size) = (offset as usize, size as usize);
        space.resize(offset + size, 0);
        space.split_off(offset)
    }

    fn update_memory(&self, _memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
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
        let mut state = self.state();
        state.vrings = vrings.to_vec();
        state.run();
        Ok(())
    }
}

/// The device, served until its front end is gone.
pub struct Device {
    state: Arc<Mutex<State>>,
    thread: JoinHandle<()>,
}

impl Device {
    /// A device with these `device_caps`, which listens at `socket`.
    pub fn serve(socket: &Path, device_caps: u32, answers: Answers) -> Self {
        let mut config = [0; 40];
        config[..4].copy_from_slice(&device_caps.to_le_bytes());
        config[8..14].copy_from_slice(b"Script");
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let state = Arc::new(Mutex::new(State {
            config,
            answers,
            memory: memory.clone(),
            vrings: Vec::new(),
            sessions: 0,
            silent: false,
            garbage: false,
        }));
        let backend = Arc::new(Backend {
            state: Arc::clone(&state),
        });
        let listener = UnixListener::bind(socket).unwrap();
        let thread = thread::spawn(move || {
            let mut daemon = VhostUserDaemon::new("scripted".into(), backend, memory).unwrap();
            daemon.start(&mut Listener::from(listener)).unwrap();
            // However the front end goes.
            let _ = daemon.wait();
        });
        Self { state, thread }
    }

    /// Sends an event of the present session: what follows its header. Says
    /// that so many bytes were written, header included.
    pub fn send(&self, event: u32, body: &[u8], used: u32) {
        self.send_to(self.sessions(), event, body, used);
    }

    /// As [`Device::send`], of any session.
    pub fn send_to(&self, session: u32, event: u32, body: &[u8], used: u32) {
        let state = self.state();
        let mut bytes = event.to_le_bytes().to_vec();
        bytes.extend(session.to_le_bytes());
        bytes.extend(body);
        let guard = state.memory.memory();
        let vring = &state.vrings[EVENT_QUEUE];
        // The driver gives each buffer back at once.
        let begun = Instant::now();
        let chain = loop {
            match next_chain(vring, &guard) {
                Some(chain) => break chain,
                None => assert!(begun.elapsed() < LIMIT, "no buffer for an event"),
            }
            thread::yield_now();
        };
        let head = chain.head_index();
        let buffer = chain.last().unwrap();
        assert!(buffer.len() as usize >= bytes.len(), "{}", buffer.len());
        guard.write_slice(&bytes, buffer.addr()).unwrap();
        vring.add_used(head, used).unwrap();
        vring.signal_used_queue().unwrap();
    }

    /// Fills each event buffer as soon as the driver gives it back, until told
    /// to stop. The driver is told once a thousand: it has the next one long
    /// before it has looked at one.
    pub fn flood(&self, event: u32, enough: &AtomicBool) {
        let (memory, vring, session) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let vring = state.vrings[EVENT_QUEUE].clone();
            (state.memory.clone(), vring, state.sessions)
        };
        let bytes = [event, session].map(u32::to_le_bytes).concat();
        let guard = memory.memory();
        let mut sent = 0_u32;
        while !enough.load(Ordering::Relaxed) {
            let Some(chain) = next_chain(&vring, &guard) else {
                continue;
            };
            let head = chain.head_index();
            let buffer = chain.last().unwrap();
            guard.write_slice(&bytes, buffer.addr()).unwrap();
            vring.add_used(head, 8).unwrap();
            if sent.is_multiple_of(1000) {
                vring.signal_used_queue().unwrap();
            }
            sent = sent.wrapping_add(1);
        }
        vring.signal_used_queue().unwrap();
    }

    /// Writes guest memory.
    pub fn write(&self, start: u64, bytes: &[u8]) {
        let state = self.state();
        let guard = state.memory.memory();
        guard.write_slice(bytes, GuestAddress(start)).unwrap();
    }

    /// Whether it leaves commands unanswered, for ever.
    pub fn be_silent(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// Answers the next OPEN with what is no answer.
    pub fn open_with_garbage(&self) {
        self.state().garbage = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sessions that were opened so far.
    pub fn sessions(&self) -> u32 {
        self.state().sessions
    }

    /// Waits for the end, once the machine is gone.
    pub fn join(self) {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            assert!(begun.elapsed() < LIMIT, "the device does not end");
            thread::sleep(Duration::from_millis(20));
        }
        self.thread.join().unwrap();
    }
}
