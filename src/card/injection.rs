//! Error injection: faults that the card produces on request.
//!
//! Each of the controls of the class "Error Injection" has one effect, which
//! docs/controls.md describes as the application sees it. A card has them only
//! if it was asked for them.

use std::time::Duration;

use super::Card;
use super::clock::Now;
use super::controls::table::cid;
use super::events::{Payload, Topic};
use super::refused::Refused;
use crate::wire::Errno;
use crate::wire::event::EVENT_SRC_CH_RESOLUTION;

/// A fault, or an exception to what is held, that happens a given number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A frame is lost before it reaches its buffer.
    Drop,
    /// A transfer breaks off half-way, and the buffer reports the error.
    Error,
    /// A frame has half its bytes, and the buffer reports no error.
    Short,
    /// QBUF fails.
    RefuseQbuf,
    /// STREAMON fails.
    FailStreamOn,
    /// A frame is made although frames are held.
    PassFrame,
    /// A finished buffer is reported although events are held.
    PassEvent,
}

impl Fault {
    const COUNT: usize = Self::PassEvent as usize + 1;

    /// Returns the fault that a control counts down.
    fn of(id: u32) -> Option<Self> {
        match id {
            cid::DROP_FRAMES => Some(Self::Drop),
            cid::ERROR_FRAMES => Some(Self::Error),
            cid::SHORT_FRAMES => Some(Self::Short),
            cid::REFUSE_QBUF => Some(Self::RefuseQbuf),
            cid::FAIL_STREAMON => Some(Self::FailStreamOn),
            cid::FRAMES_TO_PASS => Some(Self::PassFrame),
            cid::EVENTS_TO_PASS => Some(Self::PassEvent),
            _ => None,
        }
    }
}

/// The faults that are still to happen, and the states that are held.
#[derive(Debug, Default)]
pub struct Injection {
    left: [u32; Fault::COUNT],
    /// Length in milliseconds of a stall that has not begun.
    stall: u32,
    /// No signal reaches the selected input.
    pub signal_lost: bool,
    /// The card makes no frame, whatever buffers are queued, but those to pass.
    hold_frames: bool,
    /// The card reports no finished buffer to the driver, but those to pass.
    hold_events: bool,
}

impl Injection {
    /// Returns the remaining count of the control `id`, if it counts down.
    pub fn left(&self, id: u32) -> Option<i64> {
        match Fault::of(id) {
            Some(fault) => Some(self.left[fault as usize].into()),
            None if id == cid::STALL => Some(self.stall.into()),
            None => None,
        }
    }

    /// Takes the value of the control `id`, if it is about faults to come or a
    /// state that is held.
    pub fn set(&mut self, id: u32, value: i64) {
        let number = u32::try_from(value).unwrap_or(0);
        match id {
            cid::STALL => self.stall = number,
            cid::SIGNAL_LOST => self.signal_lost = value != 0,
            // Nothing that was to pass an earlier hold passes a later one.
            cid::HOLD_FRAMES => {
                self.hold_frames = value != 0;
                self.left[Fault::PassFrame as usize] = 0;
            }
            cid::HOLD_EVENTS => {
                self.hold_events = value != 0;
                self.left[Fault::PassEvent as usize] = 0;
            }
            _ => {
                if let Some(fault) = Fault::of(id) {
                    self.left[fault as usize] = number;
                }
            }
        }
    }

    /// Returns whether the fault happens now; if so, its count goes down by
    /// one.
    pub fn happens(&mut self, fault: Fault) -> bool {
        let left = &mut self.left[fault as usize];
        let happens = *left > 0;
        *left = left.saturating_sub(1);
        happens
    }

    /// Returns whether no frame may be made now.
    pub fn holds_frames(&self) -> bool {
        self.hold_frames && self.left[Fault::PassFrame as usize] == 0
    }

    /// Returns whether no finished buffer may be reported now.
    pub fn holds_events(&self) -> bool {
        self.hold_events && self.left[Fault::PassEvent as usize] == 0
    }

    /// Counts a frame that was made, with its buffer finished: whoever reads 0 left
    /// knows that the frame is there.
    pub fn frame_made(&mut self) {
        if self.hold_frames {
            self.happens(Fault::PassFrame);
        }
    }

    /// Counts a finished buffer that was reported.
    pub fn event_sent(&mut self) {
        if self.hold_events {
            self.happens(Fault::PassEvent);
        }
    }

    /// Fails with EIO if the fault happens now.
    pub fn fail(&mut self, fault: Fault) -> Result<(), Refused> {
        match self.happens(fault) {
            true => Err(Refused::Because(Errno::EIO, "an error is injected")),
            false => Ok(()),
        }
    }

    /// Returns the stall that must begin now, if one is requested.
    pub fn begin_stall(&mut self) -> Option<Duration> {
        let stall = std::mem::take(&mut self.stall);
        (stall > 0).then(|| Duration::from_millis(stall.into()))
    }
}

impl Card {
    /// Performs the effect of a control beyond its value. The value has been
    /// validated.
    pub(super) fn inject(&mut self, now: Now, id: u32, value: i64, by: Option<u32>) {
        match id {
            cid::SIGNAL_LOST => {
                self.pass_missed(now);
                self.injection.set(id, value);
                self.raise_source_change(now);
            }
            cid::HOLD_FRAMES | cid::FRAMES_TO_PASS => {
                self.pass_missed(now);
                self.injection.set(id, value);
            }
            cid::KILL_SESSION => self.kill_session(by),
            cid::END_OF_STREAM => {
                if let Some(stream) = &mut self.stream {
                    stream.ending = true;
                }
            }
            cid::SOURCE_CHANGE => self.raise_source_change(now),
            _ => self.injection.set(id, value),
        }
    }

    /// Reports that the picture of the selected input has changed or is lost.
    pub(super) fn raise_source_change(&mut self, now: Now) {
        // The number fits: there are at most as many inputs as command line
        // arguments.
        let topic = Topic::SourceChange(self.endpoint.selected() as u32);
        let payload = Payload::SourceChange(EVENT_SRC_CH_RESOLUTION);
        self.raise(now, topic, payload, None);
    }

    /// Kills the session that owns the buffers. If there is none, kills the
    /// session `by` that asks, or, for the host, all sessions.
    fn kill_session(&mut self, by: Option<u32>) {
        let doomed = match self.buffers.owner().or(by) {
            Some(session) => vec![session],
            None => self.sessions.alive().collect(),
        };
        for session in doomed {
            self.fail_session(session, Errno::EIO);
        }
    }
}
