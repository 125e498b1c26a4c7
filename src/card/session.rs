//! Sessions: the card's open files.

use super::refused::{Refused, invalid};
use crate::wire::Errno;

/// Sessions that can be open at once.
pub const MAX_SESSIONS: usize = 64;

#[derive(Debug)]
struct Session {
    id: u32,
    /// It was declared dead by an error event, and is not closed yet.
    dead: bool,
}

/// The sessions that are open, or dead and not closed.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: Vec<Session>,
    last: u32,
}

impl Sessions {
    /// Opens a session, under an id that no session has.
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
        self.sessions.push(Session { id, dead: false });
        Ok(id)
    }

    /// Closes a session, dead or alive; its id may be used again.
    pub fn close(&mut self, id: u32) -> Result<(), Refused> {
        let index = self.find(id).ok_or(UNKNOWN)?;
        self.sessions.swap_remove(index);
        Ok(())
    }

    /// Whether commands may be given to a session.
    pub fn check(&self, id: u32) -> Result<(), Refused> {
        let index = self.find(id).ok_or(UNKNOWN)?;
        if self.sessions[index].dead {
            return Err(Refused::Because(Errno::ENODEV, "the session is dead"));
        }
        Ok(())
    }

    /// Declares a session dead: it can only be closed now. Says whether it
    /// was alive.
    pub fn kill(&mut self, id: u32) -> bool {
        self.find(id)
            .is_some_and(|index| !std::mem::replace(&mut self.sessions[index].dead, true))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Forgets all sessions.
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
