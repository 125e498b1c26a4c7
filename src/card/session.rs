//! Sessions: the open files of the card.

use super::events::{EventQueue, QueuedEvent};
use super::refused::{Refused, invalid};
use crate::wire::Errno;
use crate::wire::event::V4l2Event;

/// Largest number of sessions open at once.
pub const MAX_SESSIONS: usize = 64;

#[derive(Debug)]
struct Session {
    id: u32,
    /// An error event has declared the session dead, and it is not closed yet.
    dead: bool,
    events: EventQueue,
}

/// The sessions that are open, and those that are dead and not closed.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: Vec<Session>,
    last: u32,
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
            if self.find(self.last).is_none() {
                break self.last;
            }
        };
        self.sessions.push(Session {
            id,
            dead: false,
            events: EventQueue::default(),
        });
        Ok(id)
    }

    /// Closes a session, dead or alive; its id may be used again.
    pub fn close(&mut self, id: u32) -> Result<(), Refused> {
        let index = self.find(id).ok_or(UNKNOWN)?;
        self.sessions.swap_remove(index);
        Ok(())
    }

    /// Refuses a session that does not exist or is dead.
    pub fn check(&self, id: u32) -> Result<(), Refused> {
        let index = self.find(id).ok_or(UNKNOWN)?;
        if self.sessions[index].dead {
            return Err(Refused::Because(Errno::ENODEV, "the session is dead"));
        }
        Ok(())
    }

    /// Declares a session dead: it can only be closed, and gets no more events.
    /// Returns whether it was alive.
    pub fn kill(&mut self, id: u32) -> bool {
        self.find(id).is_some_and(|index| {
            let session = &mut self.sessions[index];
            session.events = EventQueue::default();
            !std::mem::replace(&mut session.dead, true)
        })
    }

    /// Returns the sessions that are alive.
    pub fn alive(&self) -> impl Iterator<Item = u32> {
        let alive = self.sessions.iter().filter(|session| !session.dead);
        alive.map(|session| session.id)
    }

    /// Returns the event queue of a session.
    pub fn events(&mut self, id: u32) -> Option<&mut EventQueue> {
        let index = self.find(id)?;
        Some(&mut self.sessions[index].events)
    }

    /// Queues an event for every subscriber; the session `by` has caused it.
    pub fn raise(&mut self, event: QueuedEvent, by: Option<u32>) {
        for session in &mut self.sessions {
            session.events.raise(event, by == Some(session.id));
        }
    }

    /// Returns the stamp of the event that has waited longest.
    pub fn oldest_event(&self) -> Option<u64> {
        let oldest = self.sessions.iter().filter_map(|s| s.events.oldest());
        oldest.min()
    }

    /// Returns the event with that stamp, for the first session in which it
    /// waits.
    pub fn describe_event(&self, stamp: u64) -> Option<(u32, V4l2Event)> {
        let found = |session: &Session| Some((session.id, session.events.describe(stamp)?));
        self.sessions.iter().find_map(found)
    }

    /// Removes the event with that stamp, which has been sent to the session
    /// `id`.
    pub fn event_sent(&mut self, id: u32, stamp: u64) {
        if let Some(events) = self.events(id) {
            events.sent(stamp);
        }
    }

    /// Returns the number of waiting events of all sessions.
    pub fn waiting_events(&self) -> u64 {
        let waiting = self.sessions.iter().map(|s| u64::from(s.events.waiting()));
        waiting.sum()
    }

    /// Returns the number of sessions.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Removes all sessions.
    pub fn clear(&mut self) {
        self.sessions.clear();
    }

    fn find(&self, id: u32) -> Option<usize> {
        self.sessions.iter().position(|session| session.id == id)
    }
}

const UNKNOWN: Refused = invalid("there is no such session");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_given_twice_while_open_or_dead() {
        let mut sessions = Sessions {
            last: u32::MAX - 1,
            ..Sessions::default()
        };
        let ids: Vec<u32> = (0..3).map(|_| sessions.open().unwrap()).collect();
        assert_eq!(ids, [u32::MAX, 0, 1]);
        assert!(sessions.kill(0) && !sessions.kill(0));
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
}
