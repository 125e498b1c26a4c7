//! Events, and their buffers.

use std::time::{Duration, Instant};

use super::super::fault::{Anomaly, Fault};
use super::super::log::hex;
use super::super::queue::{Piece, Queue, SIZE, Used};
use super::super::v4l2::{
    Buffer, CAPTURE_MPLANE, EVENT, EVT_DQBUF, EVT_ERROR, EVT_EVENT, Fields, OUTPUT_MPLANE,
    V4L2_EVENT,
};
use super::{Driver, EVENT_SLOT, EVENT_START, Event, MOST, UNWRITTEN};

impl Driver {
    /// Posts a buffer for one event.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn post_event_buffer(&mut self) -> Result<(), Fault> {
        self.post_event_bytes(EVENT)
    }

    /// Posts a buffer of that size for an event.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn post_event_bytes(&mut self, len: usize) -> Result<(), Fault> {
        // Not from the heap, which goes round: these stay for long, each at the
        // slot of its descriptor.
        let slot = self.events.next_descriptor().map_or(0, u64::from);
        let slot = EVENT_START + slot * EVENT_SLOT;
        if self.events.next_descriptor().is_some() {
            self.memory.write(slot, &vec![UNWRITTEN; len]);
        }
        let piece = Piece {
            address: slot,
            len: len as u32,
            writable: true,
        };
        self.events
            .submit(&mut self.memory, &[piece], None)
            .map(drop)
    }

    /// Takes in whatever the device has given back so far.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn reap(&mut self) -> Result<(), Fault> {
        // No more than there can be: a device could go on for ever.
        for _ in 0..SIZE {
            let Some(used) = self.commands.take_used(&mut self.memory)? else {
                break;
            };
            self.take_answer(used);
        }
        for _ in 0..SIZE {
            let Some(used) = self.events.take_used(&mut self.memory)? else {
                break;
            };
            self.receive(used)?;
        }
        for queue in [&self.commands, &self.events] {
            let used = queue.used();
            self.memory.accept(used, Queue::USED_BYTES as usize);
        }
        Ok(())
    }

    fn receive(&mut self, used: Used) -> Result<(), Fault> {
        if used.by_hand {
            self.strays.push((used.head, used.len));
            return Ok(());
        }
        let bytes = self.reply(used).bytes;
        if self.options.event_buffers > 0 {
            self.post_event_buffer()?;
        }
        if self.received.len() >= MOST {
            return Err(Fault::Flood(self.received.len()));
        }
        let event = self.parse(bytes);
        self.log.note(|| format!("<* {event:?}"));
        self.received.push_back(event);
        Ok(())
    }

    fn parse(&mut self, bytes: Vec<u8>) -> Event {
        let (kind, session) = (bytes.le32(0), bytes.le32(4));
        match kind {
            EVT_ERROR => Event::Error {
                session,
                errno: self.whole("an error event", bytes, 16).le32(8),
            },
            EVT_DQBUF => {
                let bytes = self.whole("a DQBUF event", bytes, EVENT);
                let buffer = Buffer::parse(&bytes[8..]);
                let planes = match buffer.kind {
                    CAPTURE_MPLANE | OUTPUT_MPLANE => buffer.length as usize,
                    _ => 0,
                };
                let beyond = bytes.get(96 + 64 * planes.min(8)..).unwrap_or_default();
                if planes > 8 || beyond.iter().any(|&byte| byte != 0) {
                    let what = "a DQBUF event has planes that its buffer does not have";
                    self.note_anomaly(Anomaly::Event(what.into()));
                }
                Event::Dqbuf {
                    session,
                    buffer,
                    planes: bytes[96..].to_vec(),
                }
            }
            EVT_EVENT => Event::V4l2 {
                session,
                event: self.whole("a V4L2 event", bytes, V4L2_EVENT)[8..].to_vec(),
            },
            _ => {
                let what = format!("event {kind} is none that there is: {}", hex(&bytes));
                self.note_anomaly(Anomaly::Event(what));
                Event::Unknown(bytes)
            }
        }
    }

    /// Returns an event at its right length.
    fn whole(&mut self, what: &str, mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
        if bytes.len() != len {
            self.note_anomaly(Anomaly::Short {
                what: what.into(),
                bytes: bytes.len(),
                whole: len,
            });
            bytes.resize(len, 0);
        }
        bytes
    }

    /// The next event, or none if there is none for so long.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn event_within(&mut self, limit: Duration) -> Result<Option<Event>, Fault> {
        self.event_by(Instant::now() + limit)
    }

    /// The next event, or none if there is none until then. An event that is
    /// there already is returned also after that: whoever waits for one among
    /// others has to look at the time.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn event_by(&mut self, deadline: Instant) -> Result<Option<Event>, Fault> {
        while self.received.is_empty() {
            let relies = self.options.relies_on_calls;
            let used = self.events.wait_used(&mut self.memory, deadline, relies)?;
            match used {
                Some(used) => self.receive(used)?,
                None => return Ok(None),
            }
        }
        Ok(self.received.pop_front())
    }

    /// Events that have come and were not taken yet.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn pending_events(&mut self) -> Result<usize, Fault> {
        self.reap()?;
        Ok(self.received.len())
    }

    /// Forgets the events that have come so far.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn forget_events(&mut self) -> Result<(), Fault> {
        self.reap()?;
        self.received.clear();
        Ok(())
    }
}
