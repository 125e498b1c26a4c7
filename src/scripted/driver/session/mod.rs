//! A driver, and its life: it connects, starts its rings, and stops them.
//!
//! | file | what is in it |
//! |---|---|
//! | `options` | what a driver is made like |
//! | `said` | what a device says: answers and events |
//! | `commands` | commands, and their memory |
//! | `events` | events, and their buffers |

mod commands;
mod events;
mod options;
mod said;

use std::collections::{HashMap, VecDeque};
use std::os::unix::net::UnixStream;

use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

pub use self::commands::is_errno;
pub use self::options::{Chains, Options};
pub use self::said::{Event, Reply};
use super::fault::{Anomaly, Fault};
use super::front::{EVENT_IDX, Front, PROTOCOL_FEATURES};
use super::log::Log;
use super::memory::{LOW, LOW_SPARE, Memory, PAGE};
use super::queue::{Queue, SIZE};
use super::region::Region;

/// Most events, and most anomalies, that are kept: a device could go on.
const MOST: usize = 4096;

/// What a writable buffer holds before the device writes it.
pub const UNWRITTEN: u8 = 0xee;

// Guest memory of the driver: the commands' heap, then the buffers of events.
const HEAP_START: u64 = LOW + 0x1_0000;
const HEAP_END: u64 = EVENT_START;
const EVENT_START: u64 = LOW_SPARE.start - EVENT_SLOTS * EVENT_SLOT;
const EVENT_SLOT: u64 = PAGE;
const EVENT_SLOTS: u64 = 128;

/// A driver, connected to a device.
pub struct Driver {
    /// The connection.
    pub connection: Front,
    /// Guest memory.
    pub memory: Memory,
    /// Shared memory region 0, if there is one.
    pub region: Option<Region>,
    /// The command queue.
    pub commands: Queue,
    /// The event queue.
    pub events: Queue,
    /// What it was made like.
    pub options: Options,
    /// The exchange.
    pub log: Log,
    heap: u64,
    /// Where the device is to go on in each available ring.
    bases: [u32; 2],
    replies: HashMap<u16, Reply>,
    received: VecDeque<Event>,
    /// Chains written by hand that have come back: first descriptor, bytes.
    pub strays: Vec<(u16, u32)>,
    anomalies: Vec<Anomaly>,
}

impl Driver {
    /// Connects to a device, sets it up with that memory, and posts event
    /// buffers.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`start_rings`](Self::start_rings).
    pub fn attach(
        stream: UnixStream,
        memory: Memory,
        options: Options,
        log: Log,
    ) -> Result<Self, Fault> {
        let mut driver = Self::connect(stream, memory, options, log)?;
        driver.start()?;
        Ok(driver)
    }

    /// Connects to a device, and tells it of no memory and no ring yet.
    ///
    /// # Errors
    /// A message fails, or this system has no room.
    pub fn connect(
        stream: UnixStream,
        mut memory: Memory,
        options: Options,
        log: Log,
    ) -> Result<Self, Fault> {
        let connection = Front::new(stream, options.region, options.limit, log.clone())?;
        let event_idx = options.accepts(connection.features) & EVENT_IDX != 0;
        let commands = Queue::new(0, event_idx, &mut memory)?;
        let events = Queue::new(1, event_idx, &mut memory)?;
        let region = match connection.has_region() {
            true => {
                let open = |front: &mut _| Ok(Region::open(front, log.clone()));
                connection.message("GET_SHMEM_CONFIG", open)??
            }
            false => None,
        };
        Ok(Self {
            connection,
            memory,
            region,
            commands,
            events,
            options,
            log,
            heap: HEAP_START,
            bases: [0; 2],
            replies: HashMap::new(),
            received: VecDeque::new(),
            strays: Vec::new(),
            anomalies: Vec::new(),
        })
    }

    /// Returns the features that the driver accepts.
    pub fn features(&self) -> u64 {
        self.options.accepts(self.connection.features)
    }

    /// Accepts the features, hands over memory and rings, and enables them, as a
    /// VMM does when the guest's driver sets DRIVER_OK or a paused guest goes
    /// on.
    ///
    /// # Errors
    /// A message fails.
    pub fn start_rings(&mut self) -> Result<(), Fault> {
        self.start_some(usize::MAX)?;
        self.barrier()
    }

    /// Sends the first `most` of the messages that start the rings.
    ///
    /// # Errors
    /// A message fails.
    pub fn start_some(&self, most: usize) -> Result<(), Fault> {
        let mut left = most;
        let mut next = || {
            let go = left > 0;
            left = left.saturating_sub(1);
            go
        };
        let connection = &self.connection;
        if next() {
            connection.message("GET_FEATURES", |front| front.get_features())?;
        }
        if next() {
            let features = self.features();
            connection.message("SET_FEATURES", |front| front.set_features(features))?;
        }
        if next() {
            let regions = self.memory.regions(|_| true);
            connection.message("SET_MEM_TABLE", |front| {
                front.set_mem_table(&regions).map(drop)
            })?;
        }
        for queue in [&self.commands, &self.events] {
            let number = queue.number;
            let config = queue.config(&self.memory);
            let base = self.bases[number] as u16;
            if next() {
                connection.message("SET_VRING_NUM", |front| front.set_vring_num(number, SIZE))?;
            }
            if next() {
                connection.message("SET_VRING_ADDR", |front| {
                    front.set_vring_addr(number, &config)
                })?;
            }
            if next() {
                connection.message("SET_VRING_BASE", |front| front.set_vring_base(number, base))?;
            }
            if next() {
                connection.message("SET_VRING_CALL", |front| {
                    front.set_vring_call(number, &queue.call)
                })?;
            }
            if next() {
                connection.message("SET_VRING_KICK", |front| {
                    front.set_vring_kick(number, &queue.kick)
                })?;
            }
        }
        // Without the protocol features, rings are enabled from the beginning.
        if self.features() & PROTOCOL_FEATURES == 0 {
            return Ok(());
        }
        for number in [0, 1] {
            if next() {
                connection.message("SET_VRING_ENABLE", |front| {
                    front.set_vring_enable(number, true)
                })?;
            }
        }
        Ok(())
    }

    /// Stops both rings, as a VMM does for a guest that is paused, and returns
    /// what the device would look at next.
    ///
    /// # Errors
    /// A message fails.
    pub fn stop_rings(&mut self) -> Result<[u32; 2], Fault> {
        let base = |queue| {
            self.connection
                .message("GET_VRING_BASE", |front| front.get_vring_base(queue))
        };
        self.bases = [base(0)?, base(1)?];
        Ok(self.bases)
    }

    /// Starts the rings, and posts event buffers.
    ///
    /// # Errors
    /// As [`start_rings`](Self::start_rings).
    pub fn start(&mut self) -> Result<(), Fault> {
        self.start_rings()?;
        for _ in 0..self.options.event_buffers {
            self.post_event_buffer()?;
        }
        Ok(())
    }

    /// Starts with fresh rings, as another driver would.
    ///
    /// # Errors
    /// As [`start_rings`](Self::start_rings).
    pub fn restart(&mut self) -> Result<(), Fault> {
        self.begin_anew()?;
        self.start()
    }

    /// Makes fresh rings, which the device is not told of.
    ///
    /// # Errors
    /// This system has no eventfd.
    pub fn begin_anew(&mut self) -> Result<(), Fault> {
        let event_idx = self.features() & EVENT_IDX != 0;
        self.commands = Queue::new(0, event_idx, &mut self.memory)?;
        self.events = Queue::new(1, event_idx, &mut self.memory)?;
        self.bases = [0; 2];
        self.replies.clear();
        self.received.clear();
        Ok(())
    }

    /// Returns when the device has handled every vhost-user message so far:
    /// they are handled in order, and this one has a reply.
    ///
    /// # Errors
    /// There is none.
    pub fn barrier(&self) -> Result<(), Fault> {
        let features = self
            .connection
            .message("GET_FEATURES", |front| front.get_features());
        features.map(drop)
    }

    /// Disconnects; the memory stays.
    pub fn detach(self) -> Memory {
        self.memory
    }

    /// Takes what was not as it should be.
    pub fn take_anomalies(&mut self) -> Vec<Anomaly> {
        let mut anomalies = std::mem::take(&mut self.anomalies);
        anomalies.extend(self.region.iter().flat_map(Region::take_anomalies));
        anomalies
    }

    fn note_anomaly(&mut self, anomaly: Anomaly) {
        if self.anomalies.len() < MOST {
            self.anomalies.push(anomaly);
        }
    }
}
