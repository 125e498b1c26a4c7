//! Sessions: the open files of the card.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zerocopy::IntoBytes;

use super::events::{EventQueue, QueuedEvent, Raised, Topic};
use super::refused::{Refused, invalid};
use crate::wire::Errno;
use crate::wire::event::{ErrorEvent, SessionEvent, V4l2Event};

/// Largest number of sessions open at once. V4L2 knows no limit of open files;
/// this one protects the host's memory. A session takes a few bytes, and its
/// queue of events up to 8 KiB once it has subscribed to everything: a guest
/// that does so in all sessions takes 32 MiB.
pub const MAX_SESSIONS: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    /// An error event has declared the session dead, and it is not closed yet.
    Dead,
}

/// The sessions that are open, and those that are dead and not closed.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: BTreeMap<u32, State>,
    /// The event queues of the sessions that have subscribed to anything. Most
    /// sessions never do, and what an event costs depends on the others alone.
    queues: BTreeMap<u32, EventQueue>,
    /// Stamp and session of every waiting event, so that the oldest is found
    /// without a look at every queue.
    waiting: BTreeSet<(u64, u32)>,
    /// Dead sessions whose error events wait to be sent.
    deaths: VecDeque<(u32, Errno)>,
    last: u32,
}

/// The next thing to report to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oldest<B> {
    /// A session has died.
    Death(u32, Errno),
    /// The oldest finished buffer, of which the card knows more.
    Buffer(B),
    /// The V4L2 event with that stamp.
    Event(u64),
}

impl Sessions {
    /// Opens a session with an id that no other session has.
    pub fn open(&mut self) -> Result<u32, Refused> {
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(Refused::Because(
                Errno::EMFILE,
                "too many sessions are open",
            ));
        }
        let id = loop {
            self.last = self.last.wrapping_add(1);
            if !self.sessions.contains_key(&self.last) {
                break self.last;
            }
        };
        self.sessions.insert(id, State::Alive);
        Ok(id)
    }

    /// Closes a session, dead or alive; its id may be used again.
    pub fn close(&mut self, id: u32) -> Result<(), Refused> {
        self.sessions.remove(&id).ok_or(UNKNOWN)?;
        self.drop_queue(id);
        self.deaths.retain(|(dead, _)| *dead != id);
        Ok(())
    }

    /// Refuses a session that does not exist or is dead.
    pub fn check(&self, id: u32) -> Result<(), Refused> {
        match self.sessions.get(&id) {
            Some(State::Alive) => Ok(()),
            Some(State::Dead) => Err(Refused::Because(Errno::ENODEV, "the session is dead")),
            None => Err(UNKNOWN),
        }
    }

    /// Declares a session dead: it can only be closed, and gets no more events but
    /// the error. Returns whether it was alive.
    pub fn kill(&mut self, id: u32, errno: Errno) -> bool {
        let Some(state) = self.sessions.get_mut(&id) else {
            return false;
        };
        let before = std::mem::replace(state, State::Dead);
        self.drop_queue(id);
        let was_alive = before == State::Alive;
        if was_alive {
            self.deaths.push_back((id, errno));
        }
        was_alive
    }

    /// Returns the sessions that are alive.
    pub fn alive(&self) -> impl Iterator<Item = u32> {
        let alive = self.sessions.iter();
        alive.filter_map(|(id, state)| (*state == State::Alive).then_some(*id))
    }

    /// Subscribes a session to `topic`, and with `feedback` also to its own
    /// changes. Returns whether the subscription is new; subscribing again
    /// changes nothing.
    pub fn subscribe(&mut self, id: u32, topic: Topic, feedback: bool) -> bool {
        let queue = self.queues.entry(id).or_default();
        queue.subscribe(topic, feedback)
    }

    /// Ends a session's subscriptions to all topics that `chosen` accepts;
    /// their events are no longer sent.
    pub fn unsubscribe(&mut self, id: u32, chosen: impl Fn(Topic) -> bool) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.unsubscribe(chosen, |stamp| {
                self.waiting.remove(&(stamp, id));
            });
        }
    }

    fn drop_queue(&mut self, id: u32) {
        self.unsubscribe(id, |_| true);
        self.queues.remove(&id);
    }

    /// Queues an event for every subscriber; the session `by` has caused it.
    pub fn raise(&mut self, event: QueuedEvent, by: Option<u32>) {
        for (id, queue) in &mut self.queues {
            note(&mut self.waiting, *id, event.stamp, || {
                queue.raise(event, by == Some(*id))
            });
        }
    }

    /// Queues an event for one session, if it has subscribed to it; its `own`
    /// doing only if it subscribed with feedback.
    pub fn raise_for(&mut self, id: u32, event: QueuedEvent, own: bool) {
        if let Some(queue) = self.queues.get_mut(&id) {
            note(&mut self.waiting, id, event.stamp, || {
                queue.raise(event, own)
            });
        }
    }

    /// Returns the stamp of the event that has waited longest.
    pub fn oldest_event(&self) -> Option<u64> {
        self.waiting.first().map(|(stamp, _)| *stamp)
    }

    /// Returns the event with that stamp, for the first session in which it
    /// waits.
    pub fn describe_event(&self, stamp: u64) -> Option<(u32, V4l2Event)> {
        let (_, id) = *self.waiting.range((stamp, 0)..=(stamp, u32::MAX)).next()?;
        Some((id, self.queues.get(&id)?.describe(stamp)?))
    }

    /// Removes the event with that stamp, which has been sent to the session
    /// `id`.
    pub fn event_sent(&mut self, id: u32, stamp: u64) {
        self.waiting.remove(&(stamp, id));
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.sent(stamp);
        }
    }

    /// Returns the number of waiting events of all sessions.
    pub fn waiting_events(&self) -> u64 {
        (self.deaths.len() + self.waiting.len()) as u64
    }

    /// Returns what has waited longest to be reported, if `finished` is the oldest
    /// finished buffer with its stamp; the death of a session comes first.
    pub fn oldest<B>(&self, finished: Option<(u64, B)>) -> Option<Oldest<B>> {
        if let Some((session, errno)) = self.deaths.front() {
            return Some(Oldest::Death(*session, *errno));
        }
        match (finished, self.oldest_event()) {
            (Some((stamp, _)), Some(event)) if event < stamp => Some(Oldest::Event(event)),
            (Some((_, buffer)), _) => Some(Oldest::Buffer(buffer)),
            (None, event) => event.map(Oldest::Event),
        }
    }

    /// Adds what is to be reported to `event`, if it is not a buffer.
    pub fn put<B>(&self, oldest: &Oldest<B>, event: &mut Vec<u8>) {
        match oldest {
            Oldest::Death(session, errno) => {
                event.extend_from_slice(ErrorEvent::new(*session, *errno).as_bytes());
            }
            Oldest::Buffer(_) => (),
            Oldest::Event(stamp) => {
                if let Some((session, happened)) = self.describe_event(*stamp) {
                    event.extend_from_slice(SessionEvent::new(session, happened).as_bytes());
                }
            }
        }
    }

    /// Removes what was reported, if it was not a buffer.
    pub fn told<B>(&mut self, oldest: &Oldest<B>) {
        match oldest {
            Oldest::Death(..) => {
                self.deaths.pop_front();
            }
            Oldest::Buffer(_) => (),
            Oldest::Event(stamp) => {
                if let Some((session, _)) = self.describe_event(*stamp) {
                    self.event_sent(session, *stamp);
                }
            }
        }
    }

    /// Returns the number of sessions.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Removes all sessions.
    pub fn clear(&mut self) {
        let last = self.last;
        *self = Self {
            last,
            ..Self::default()
        };
    }
}

/// Keeps the list of waiting events when a session's queue takes the event with
/// that stamp, or does not.
fn note(
    waiting: &mut BTreeSet<(u64, u32)>,
    id: u32,
    stamp: u64,
    raise: impl FnOnce() -> Option<Raised>,
) {
    let Some(raised) = raise() else { return };
    if let Raised::InsteadOf(earlier) = raised {
        waiting.remove(&(earlier, id));
    }
    waiting.insert((stamp, id));
}

const UNKNOWN: Refused = invalid("there is no such session");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::events::Payload;
    use std::time::Duration;

    #[test]
    fn ids_are_not_given_twice_while_open_or_dead() {
        let mut sessions = Sessions {
            last: u32::MAX - 1,
            ..Sessions::default()
        };
        let ids: Vec<u32> = (0..3).map(|_| sessions.open().unwrap()).collect();
        assert_eq!(ids, [u32::MAX, 0, 1]);
        assert!(sessions.kill(0, Errno::EIO) && !sessions.kill(0, Errno::EIO));
        sessions.last = u32::MAX - 1;
        assert_eq!(sessions.open(), Ok(2));
        assert_eq!(
            sessions.check(0).unwrap_err().errno(),
            Errno::ENODEV,
            "dead, not unknown"
        );
        sessions.close(0).unwrap();
        assert_eq!(sessions.check(0).unwrap_err().errno(), Errno::EINVAL);
        assert_eq!(sessions.close(0).unwrap_err().errno(), Errno::EINVAL);
        sessions.last = u32::MAX;
        assert_eq!(sessions.open(), Ok(0));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut sessions = Sessions::default();
        for _ in 0..MAX_SESSIONS {
            sessions.open().unwrap();
        }
        assert_eq!(sessions.open().unwrap_err().errno(), Errno::EMFILE);
        sessions.close(7).unwrap();
        sessions.open().unwrap();
    }

    fn event(topic: Topic, stamp: u64) -> QueuedEvent {
        QueuedEvent {
            topic,
            payload: Payload::Nothing,
            time: Duration::ZERO,
            stamp,
        }
    }

    #[test]
    fn what_waits_is_what_the_queues_hold() {
        let mut sessions = Sessions::default();
        let [first, second, quiet] = [0; 3].map(|_| sessions.open().unwrap());
        for id in [first, second] {
            assert!(sessions.subscribe(id, Topic::Eos, false));
            assert!(sessions.subscribe(id, Topic::FrameSync, false));
        }
        assert_eq!(sessions.queues.len(), 2, "a session without has no queue");
        sessions.raise(event(Topic::Eos, 1), Some(first));
        sessions.raise(event(Topic::FrameSync, 2), None);
        sessions.raise(event(Topic::FrameSync, 3), None);
        sessions.raise_for(quiet, event(Topic::Eos, 4), false);
        // The third event has replaced the second, and is one for each.
        assert_eq!(sessions.waiting_events(), 3);
        assert_eq!(sessions.oldest_event(), Some(1));
        assert_eq!(sessions.describe_event(1).unwrap().0, second);
        sessions.event_sent(second, 1);
        assert_eq!(sessions.oldest_event(), Some(3));
        assert_eq!(sessions.describe_event(3).unwrap().0, first);
        sessions.unsubscribe(first, |topic| topic == Topic::FrameSync);
        assert_eq!(sessions.describe_event(3).unwrap().0, second);
        assert!(sessions.kill(second, Errno::EIO));
        assert_eq!(sessions.oldest_event(), None);
        sessions.close(first).unwrap();
        assert!(sessions.queues.is_empty() && sessions.waiting.is_empty());
    }
}
