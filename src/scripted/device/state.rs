//! What the device knows, and what it makes of commands.

use std::collections::BTreeMap;
use std::time::Instant;

use vhost_user_backend::{VringMutex, VringT};
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use super::Config;
use super::chain::Chain;
use super::ioctl::{Answers, Delivery, ENOTTY, Ioctl};
use super::record::{Answer, Entry, Exchange, KEPT, What};
use crate::wire::protocol::{
    CMD_CLOSE, CMD_IOCTL, CMD_MMAP, CMD_MUNMAP, CMD_OPEN, COMMAND_QUEUE, EVENT_QUEUE,
};

/// `EINVAL`, `ENODEV`.
const EINVAL: u32 = 22;
const ENODEV: u32 = 19;

/// Bytes of `struct virtio_media_cmd_ioctl`, and of `virtio_media_resp_header`.
const IOCTL_HEADER: usize = 16;
const RESPONSE_HEADER: usize = 8;

/// Commands that are answered before others may look at the state.
const TURN: usize = 64;

/// Entries of a record, bytes of all of them, and faults that are kept. A driver that
/// sends more never ends.
const ENTRIES: usize = 100_000;
const BYTES: usize = 256 << 20;
const FAULTS: usize = 1000;

/// How OPEN is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// With a session.
    Session,
    /// With what is no answer.
    Garbage,
    /// With that error number.
    Refusal(u32),
}

/// Which commands are not answered until they are released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Each.
    All,
    /// Ioctls of that number.
    Ioctl(u32),
}

/// A command that is not answered yet.
pub struct Waiting {
    chain: Chain,
    /// Where it is in the record.
    entry: usize,
    answer: Answer,
}

/// What the device knows.
pub struct State {
    pub config: Config,
    pub answers: Answers,
    pub memory: GuestMemoryAtomic<GuestMemoryMmap>,
    pub vrings: Vec<VringMutex>,
    pub begun: Instant,
    pub record: Vec<Entry>,
    /// Bytes in the record.
    pub recorded: usize,
    /// Whether more came than the record has room for: the device has stopped.
    pub flooded: bool,
    pub faults: Vec<String>,
    /// How often the front end has started it.
    pub starts: u32,
    /// Sessions that were opened so far.
    pub sessions: u32,
    /// Sessions that are open, and whether they were given up.
    pub open: BTreeMap<u32, bool>,
    /// Whether it leaves commands unanswered, for ever.
    pub silent: bool,
    /// How the next OPEN is answered.
    pub opening: Opening,
    pub hold: Option<Held>,
    pub waiting: Vec<Waiting>,
    /// The ioctl that is given back next as a chain that was not given.
    pub wrong_chain: Option<u32>,
}

impl State {
    /// Returns the state of a device that nobody has spoken to.
    pub fn new(
        config: Config,
        answers: Answers,
        memory: GuestMemoryAtomic<GuestMemoryMmap>,
    ) -> Self {
        Self {
            config,
            answers,
            memory,
            vrings: Vec::new(),
            begun: Instant::now(),
            record: Vec::new(),
            recorded: 0,
            flooded: false,
            faults: Vec::new(),
            starts: 0,
            sessions: 0,
            open: BTreeMap::new(),
            silent: false,
            opening: Opening::Session,
            hold: None,
            waiting: Vec::new(),
            wrong_chain: None,
        }
    }

    /// Adds to the record, as long as it has room, and returns where it is.
    pub fn note(&mut self, what: What) -> usize {
        let at = self.begun.elapsed();
        let bytes = match &what {
            What::Command(exchange) => exchange.request.len() + 16 * exchange.descriptors.len(),
            What::Event { bytes, .. } => bytes.len(),
            _ => 0,
        };
        if self.record.len() >= ENTRIES || self.recorded + bytes > BYTES {
            self.flooded = true;
        } else {
            self.recorded += bytes;
            self.record.push(Entry { at, what });
        }
        self.record.len().saturating_sub(1)
    }

    /// Keeps what the driver did wrong.
    pub fn fault(&mut self, faults: impl IntoIterator<Item = String>) {
        let room = FAULTS.saturating_sub(self.faults.len());
        self.faults.extend(faults.into_iter().take(room));
    }

    /// Answers commands that have come; returns whether there may be more. A driver
    /// that adds one whenever one is taken would keep the state to itself otherwise.
    pub fn run(&mut self) -> bool {
        let guard = self.memory.memory();
        let memory: &GuestMemoryMmap = &guard;
        let Some(vring) = self.vrings.get(COMMAND_QUEUE).cloned() else {
            return false;
        };
        for _ in 0..TURN {
            let Some(chain) = next_chain(&vring, memory).filter(|_| !self.flooded) else {
                return false;
            };
            let mut chain = Chain::read(chain, memory, self.starts);
            chain.exchange.event_queue = self.has_event_queue();
            self.fault(chain.fault.take());
            let entry = self.note(What::Command(chain.exchange.kept()));
            if self.flooded {
                return false;
            }
            if self.silent {
                continue;
            }
            let answer = self.command(&chain.exchange, chain.room(), memory);
            let waiting = Waiting {
                chain,
                entry,
                answer,
            };
            if self.holds(&waiting.chain.exchange) {
                self.waiting.push(waiting);
            } else {
                self.give(&vring, memory, waiting);
            }
        }
        true
    }

    fn has_event_queue(&self) -> bool {
        let vring = self.vrings.get(EVENT_QUEUE);
        vring.is_some_and(|vring| vring.get_ref().get_queue().ready())
    }

    fn holds(&self, exchange: &Exchange) -> bool {
        match self.hold {
            None => false,
            Some(Held::All) => true,
            Some(Held::Ioctl(code)) => exchange.code() == Some(code),
        }
    }

    /// Writes an answer, and gives the chain back.
    fn give(&mut self, vring: &VringMutex, memory: &GuestMemoryMmap, waiting: Waiting) {
        let Waiting {
            chain,
            entry,
            answer,
        } = waiting;
        let fault = chain.write(memory, &answer.bytes);
        self.fault(fault);
        let used = answer.used;
        if let Some(What::Command(exchange)) = self.record.get_mut(entry).map(|one| &mut one.what) {
            let mut bytes = answer.bytes;
            bytes.truncate(KEPT);
            self.recorded += bytes.len();
            exchange.answer = Some(Answer { bytes, used });
        }
        let mut head = chain.head;
        let code = chain.exchange.code();
        if code.is_some() && self.wrong_chain == code {
            self.wrong_chain = None;
            // The last descriptor is the last to be used.
            head = vring.get_ref().get_queue().size().saturating_sub(1);
        }
        // The front end may have stopped the queue meanwhile.
        if vring.add_used(head, used).is_ok()
            && let Err(error) = vring.signal_used_queue()
        {
            log::debug!("no notification: {error}");
        }
    }

    /// Answers the commands that wait, and those that come from now on.
    pub fn release(&mut self) {
        self.hold = None;
        let guard = self.memory.memory();
        let memory: &GuestMemoryMmap = &guard;
        let Some(vring) = self.vrings.get(COMMAND_QUEUE).cloned() else {
            return;
        };
        for waiting in std::mem::take(&mut self.waiting) {
            self.give(&vring, memory, waiting);
        }
    }

    /// Returns the commands that wait and are no longer in memory what they were.
    pub fn changed(&self) -> Vec<Exchange> {
        let guard = self.memory.memory();
        let memory: &GuestMemoryMmap = &guard;
        let waiting = self.waiting.iter().map(|one| &one.chain);
        waiting
            .filter(|chain| !chain.is_unchanged(memory))
            .map(|chain| chain.exchange.clone())
            .collect()
    }

    /// Makes the answer to a command.
    fn command(&mut self, exchange: &Exchange, room: usize, memory: &GuestMemoryMmap) -> Answer {
        let words = |words: [u32; 4]| words.into_iter().flat_map(u32::to_le_bytes).collect();
        let status = |status: u32| u64::from(status).to_le_bytes().to_vec();
        let bytes: Vec<u8> = match exchange.command() {
            Some(CMD_OPEN) => match std::mem::replace(&mut self.opening, Opening::Session) {
                Opening::Garbage => vec![0xff; room],
                Opening::Refusal(error) => status(error),
                Opening::Session => {
                    self.sessions += 1;
                    self.open.insert(self.sessions, false);
                    words([0, 0, self.sessions, 0])
                }
            },
            Some(CMD_CLOSE) => {
                if let Some(session) = exchange.session() {
                    self.open.remove(&session);
                }
                match room {
                    0 => Vec::new(),
                    _ => status(0),
                }
            }
            Some(CMD_IOCTL) if exchange.request.len() >= IOCTL_HEADER => {
                return self.ioctl(exchange, room, memory);
            }
            // There is no shared memory region.
            Some(CMD_MMAP | CMD_MUNMAP) => status(ENOTTY),
            _ => {
                self.fault([format!("no command: {exchange}")]);
                status(EINVAL)
            }
        };
        if bytes.len() > room {
            let fault = format!("has no room for {} bytes of answer", bytes.len());
            self.fault([format!("{exchange}: {fault}")]);
        }
        let used = bytes.len().min(room) as u32;
        Answer { bytes, used }
    }

    fn ioctl(&mut self, exchange: &Exchange, room: usize, memory: &GuestMemoryMmap) -> Answer {
        let request = &exchange.request[IOCTL_HEADER..];
        let mut reply = request.to_vec();
        if room < RESPONSE_HEADER {
            self.fault([format!("{exchange}: has no room")]);
        }
        reply.resize(room.saturating_sub(RESPONSE_HEADER), 0);
        let session = exchange.session().unwrap_or(0);
        let mut ioctl = Ioctl {
            code: exchange.code().unwrap_or(0),
            session,
            request,
            reply,
            delivery: Delivery::Whole,
            memory,
            faults: Default::default(),
        };
        let given_up = self.open.get(&session) == Some(&true);
        let status = match given_up {
            true => ENODEV,
            false => (self.answers)(&mut ioctl).err().unwrap_or(0),
        };
        let mut bytes = u64::from(status).to_le_bytes().to_vec();
        bytes.append(&mut ioctl.reply);
        let used = match ioctl.delivery {
            Delivery::Whole => bytes.len() as u32,
            Delivery::Header => {
                bytes.truncate(RESPONSE_HEADER);
                RESPONSE_HEADER as u32
            }
            Delivery::Used(used) => used,
        };
        let faults = ioctl.faults.take();
        self.fault(faults);
        Answer { bytes, used }
    }
}

/// Returns the next chain; `None` if there is none, or if the front end has stopped
/// the queue since its kick.
pub fn next_chain<'m>(
    vring: &VringMutex,
    memory: &'m GuestMemoryMmap,
) -> Option<DescriptorChain<&'m GuestMemoryMmap>> {
    let mut state = vring.get_mut();
    state.get_queue_mut().iter(memory).ok()?.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        State::new(Config::new(0), Box::new(|_| Ok(())), memory)
    }

    fn event(length: usize) -> What {
        What::Event {
            bytes: vec![0; length],
            used: 0,
            descriptors: Vec::new(),
            endless: false,
        }
    }

    #[test]
    fn a_record_ends_at_its_entries() {
        let mut state = state();
        for _ in 0..ENTRIES {
            state.note(What::Config);
        }
        assert!(!state.flooded);
        state.note(What::Config);
        assert!(state.flooded);
        assert_eq!(state.record.len(), ENTRIES);
    }

    #[test]
    fn a_record_ends_at_its_bytes() {
        let mut state = state();
        for _ in 0..BYTES / KEPT {
            state.note(event(KEPT));
        }
        assert!(!state.flooded);
        state.note(event(1));
        assert!(state.flooded);
        assert_eq!(state.record.len(), BYTES / KEPT);
    }

    #[test]
    fn faults_end() {
        let mut state = state();
        for _ in 0..FAULTS {
            state.fault([String::new(), String::new()]);
        }
        assert_eq!(state.faults.len(), FAULTS);
    }
}
