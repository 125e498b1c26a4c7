//! V4L2 events: the sessions' subscriptions, and the events that wait to be
//! sent.
//!
//! Each subscription has room for one event, as most of the kernel's have. A
//! new event replaces the waiting one and keeps its changes
//! (`__v4l2_event_queue_fh()` with `v4l2_ctrl_replace()` of Linux). So however
//! slow a driver is, the number of its waiting events is bounded by the number
//! of its subscriptions.

use std::time::Duration;

use zerocopy::{FromZeros, IntoBytes};

use crate::wire::event::{
    EVENT_CTRL, EVENT_EOS, EVENT_FRAME_SYNC, EVENT_SOURCE_CHANGE, EventCtrl, V4l2Event,
};

/// The subject of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The end of a stream.
    Eos,
    /// A change of the control with that id.
    Control(u32),
    /// The start of a frame.
    FrameSync,
    /// A change of the source at the input with that index.
    SourceChange(u32),
}

impl Topic {
    /// Returns the V4L2 event type and id.
    pub fn parts(self) -> (u32, u32) {
        match self {
            Self::Eos => (EVENT_EOS, 0),
            Self::Control(id) => (EVENT_CTRL, id),
            Self::FrameSync => (EVENT_FRAME_SYNC, 0),
            Self::SourceChange(input) => (EVENT_SOURCE_CHANGE, input),
        }
    }
}

/// The content of an event.
#[derive(Debug, Clone, Copy)]
pub enum Payload {
    /// Nothing beyond the topic.
    Nothing,
    /// The current state of a control, and what has changed.
    Control(EventCtrl),
    /// V4L2_EVENT_SRC_CH_*.
    SourceChange(u32),
    /// The sequence number of a frame.
    FrameSync(u32),
}

impl Payload {
    /// Returns the payload with the changes of an earlier, unsent event added.
    fn after(mut self, earlier: Self) -> Self {
        match (&mut self, earlier) {
            (Self::Control(new), Self::Control(old)) => new.changes |= old.changes,
            (Self::SourceChange(new), Self::SourceChange(old)) => *new |= old,
            _ => (),
        }
        self
    }

    fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let word: [u8; 4];
        let payload = match &self {
            Self::Nothing => &[][..],
            Self::Control(control) => control.as_bytes(),
            Self::SourceChange(value) | Self::FrameSync(value) => {
                word = value.to_le_bytes();
                &word
            }
        };
        bytes[..payload.len()].copy_from_slice(payload);
        bytes
    }
}

/// An event that waits to be sent.
#[derive(Debug, Clone, Copy)]
pub struct QueuedEvent {
    /// Subject of the event.
    pub topic: Topic,
    /// Content of the event.
    pub payload: Payload,
    /// Time on CLOCK_MONOTONIC.
    pub time: Duration,
    /// Position among all events of the card.
    pub stamp: u64,
}

/// How a session's queue took an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    /// It waits besides the others.
    Besides,
    /// It has taken the place of the event with that stamp.
    InsteadOf(u64),
}

#[derive(Debug)]
struct Subscription {
    topic: Topic,
    feedback: bool,
    /// The event that is not sent yet, and its sequence number in the session.
    waiting: Option<(QueuedEvent, u32)>,
}

/// The subscriptions of a session, and its waiting events.
#[derive(Debug, Default)]
pub struct EventQueue {
    subscriptions: Vec<Subscription>,
    sequence: u32,
    waiting: u32,
}

impl EventQueue {
    /// Subscribes to `topic`, and with `feedback` also to the session's own
    /// changes. Returns whether the subscription is new; subscribing again
    /// changes nothing.
    pub fn subscribe(&mut self, topic: Topic, feedback: bool) -> bool {
        if self.subscriptions.iter().any(|s| s.topic == topic) {
            return false;
        }
        self.subscriptions.push(Subscription {
            topic,
            feedback,
            waiting: None,
        });
        true
    }

    /// Unsubscribes from all topics that `chosen` accepts. Their events are no
    /// longer sent; `dropped` gets the stamp of each.
    pub fn unsubscribe(&mut self, chosen: impl Fn(Topic) -> bool, mut dropped: impl FnMut(u64)) {
        self.subscriptions.retain(|subscription| {
            let ends = chosen(subscription.topic);
            if ends && let Some((event, _)) = &subscription.waiting {
                dropped(event.stamp);
            }
            !ends
        });
        let waiting = self.subscriptions.iter().filter(|s| s.waiting.is_some());
        self.waiting = waiting.count() as u32;
    }

    /// Queues an event if the session has subscribed to it. The session gets
    /// its `own` events only if it subscribed with feedback.
    /// Returns `None` if the event is not for the session.
    pub fn raise(&mut self, event: QueuedEvent, own: bool) -> Option<Raised> {
        let subscription = self
            .subscriptions
            .iter_mut()
            .find(|s| s.topic == event.topic && (s.feedback || !own))?;
        self.sequence = self.sequence.wrapping_add(1);
        let (payload, raised) = match subscription.waiting {
            Some((earlier, _)) => (
                event.payload.after(earlier.payload),
                Raised::InsteadOf(earlier.stamp),
            ),
            None => {
                self.waiting += 1;
                (event.payload, Raised::Besides)
            }
        };
        subscription.waiting = Some((QueuedEvent { payload, ..event }, self.sequence));
        Some(raised)
    }

    /// Returns the event with that stamp, as VIDIOC_DQEVENT would return it.
    pub fn describe(&self, stamp: u64) -> Option<V4l2Event> {
        let waiting = self.subscriptions.iter().filter_map(|s| s.waiting.as_ref());
        let (event, sequence) = waiting.into_iter().find(|(e, _)| e.stamp == stamp)?;
        let (type_, id) = event.topic.parts();
        Some(V4l2Event {
            type_: type_.into(),
            u: event.payload.to_bytes(),
            pending: (self.waiting - 1).into(),
            sequence: (*sequence).into(),
            timestamp_sec: i64::try_from(event.time.as_secs())
                .unwrap_or(i64::MAX)
                .into(),
            timestamp_nsec: i64::from(event.time.subsec_nanos()).into(),
            id: id.into(),
            ..FromZeros::new_zeroed()
        })
    }

    /// Removes the event with that stamp, which has been sent.
    pub fn sent(&mut self, stamp: u64) {
        for subscription in &mut self.subscriptions {
            if matches!(&subscription.waiting, Some((event, _)) if event.stamp == stamp) {
                subscription.waiting = None;
                self.waiting -= 1;
            }
        }
    }
}
