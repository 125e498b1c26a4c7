//! V4L2 events: what a session has subscribed to, and what waits to be sent.
//!
//! Each subscription has room for one event, as most of the kernel's have: the
//! next one takes its place and keeps its changes (`__v4l2_event_queue_fh()`
//! with `v4l2_ctrl_replace()` of Linux). So however slow a driver is, what
//! waits for it is bounded by what it has subscribed to.

use std::time::Duration;

use zerocopy::{FromZeros, IntoBytes};

use super::refused::{Refused, invalid};
use super::{Card, Now};
use crate::wire::event::{
    EVENT_ALL, EVENT_CTRL, EVENT_CTRL_CH_FLAGS, EVENT_CTRL_CH_VALUE, EVENT_EOS, EVENT_FRAME_SYNC,
    EVENT_SOURCE_CHANGE, EVENT_SUB_FL_ALLOW_FEEDBACK, EVENT_SUB_FL_SEND_INITIAL, EventCtrl,
    EventSubscription, V4l2Event,
};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The end of a stream.
    Eos,
    /// The control with that id.
    Control(u32),
    /// The beginning of frames.
    FrameSync,
    /// The input of that number.
    SourceChange(u32),
}

impl Topic {
    /// Its type and id in V4L2.
    fn parts(self) -> (u32, u32) {
        match self {
            Self::Eos => (EVENT_EOS, 0),
            Self::Control(id) => (EVENT_CTRL, id),
            Self::FrameSync => (EVENT_FRAME_SYNC, 0),
            Self::SourceChange(input) => (EVENT_SOURCE_CHANGE, input),
        }
    }
}

/// What an event says.
#[derive(Debug, Clone, Copy)]
pub enum Payload {
    /// Nothing beyond its topic.
    Nothing,
    /// A control as it is now, and what has changed.
    Control(EventCtrl),
    /// V4L2_EVENT_SRC_CH_*.
    SourceChange(u32),
    /// The sequence number of a frame.
    FrameSync(u32),
}

impl Payload {
    /// The same with the changes of an earlier event that was not sent.
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

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub struct QueuedEvent {
    /// What it is about.
    pub topic: Topic,
    /// What there is to say.
    pub payload: Payload,
    /// CLOCK_MONOTONIC.
    pub time: Duration,
    /// Its place among all events of the card.
    pub stamp: u64,
}

#[derive(Debug)]
struct Subscription {
    topic: Topic,
    feedback: bool,
    /// The event that is not sent yet, and its number in the session.
    waiting: Option<(QueuedEvent, u32)>,
}

/// The subscriptions of a session, and their events.
#[derive(Debug, Default)]
pub struct EventQueue {
    subscriptions: Vec<Subscription>,
    sequence: u32,
    waiting: u32,
}

impl EventQueue {
    /// Subscribes to `topic`; with `feedback` to the session's own changes as
    /// well. Says whether that is new: a second time changes nothing.
    fn subscribe(&mut self, topic: Topic, feedback: bool) -> bool {
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

    /// Unsubscribes from all topics that `chosen` takes; their events are not
    /// sent any more.
    fn unsubscribe(&mut self, chosen: impl Fn(Topic) -> bool) {
        self.subscriptions.retain(|s| !chosen(s.topic));
        let waiting = self.subscriptions.iter().filter(|s| s.waiting.is_some());
        self.waiting = waiting.count() as u32;
    }

    /// Queues an event if it is subscribed to; one of the session's `own`
    /// making only with feedback.
    pub fn raise(&mut self, event: QueuedEvent, own: bool) {
        let found = self
            .subscriptions
            .iter_mut()
            .find(|s| s.topic == event.topic && (s.feedback || !own));
        let Some(subscription) = found else {
            return;
        };
        self.sequence = self.sequence.wrapping_add(1);
        let payload = match subscription.waiting {
            Some((earlier, _)) => event.payload.after(earlier.payload),
            None => {
                self.waiting += 1;
                event.payload
            }
        };
        subscription.waiting = Some((QueuedEvent { payload, ..event }, self.sequence));
    }

    /// How many events wait.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// The stamp of the event that has waited longest.
    pub fn oldest(&self) -> Option<u64> {
        if self.waiting == 0 {
            return None;
        }
        self.stamps().min()
    }

    fn stamps(&self) -> impl Iterator<Item = u64> {
        let waiting = self.subscriptions.iter().filter_map(|s| s.waiting.as_ref());
        waiting.map(|(event, _)| event.stamp)
    }

    /// The event with that stamp, as VIDIOC_DQEVENT would give it.
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

    /// The event with that stamp has been sent.
    pub fn sent(&mut self, stamp: u64) {
        for subscription in &mut self.subscriptions {
            if matches!(&subscription.waiting, Some((event, _)) if event.stamp == stamp) {
                subscription.waiting = None;
                self.waiting -= 1;
            }
        }
    }
}

impl Card {
    /// VIDIOC_SUBSCRIBE_EVENT.
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        session: u32,
        asked: &EventSubscription,
    ) -> Result<(), Refused> {
        let topic = self.topic(asked)?;
        let flags = asked.flags.get();
        let Some(queue) = self.sessions.events(session) else {
            return Ok(());
        };
        let new = queue.subscribe(topic, flags & EVENT_SUB_FL_ALLOW_FEEDBACK != 0);
        // Of the others there is no state to tell.
        if let Topic::Control(id) = topic
            && new
            && flags & EVENT_SUB_FL_SEND_INITIAL != 0
        {
            let changes = EVENT_CTRL_CH_FLAGS | EVENT_CTRL_CH_VALUE;
            if let Some(payload) = self.controls.initial_event(id, changes) {
                let event = self.queued_event(now, topic, Payload::Control(payload));
                if let Some(queue) = self.sessions.events(session) {
                    queue.raise(event, false);
                }
            }
        }
        Ok(())
    }

    /// VIDIOC_UNSUBSCRIBE_EVENT. What was not subscribed to is no error, as in
    /// `v4l2_event_unsubscribe()`.
    pub(super) fn unsubscribe(&mut self, session: u32, asked: &EventSubscription) {
        let wanted = (asked.type_.get(), asked.id.get());
        if let Some(queue) = self.sessions.events(session) {
            queue.unsubscribe(|topic| wanted.0 == EVENT_ALL || topic.parts() == wanted);
        }
    }

    fn topic(&self, asked: &EventSubscription) -> Result<Topic, Refused> {
        let id = asked.id.get();
        match asked.type_.get() {
            EVENT_EOS if id == 0 => Ok(Topic::Eos),
            EVENT_FRAME_SYNC if id == 0 => Ok(Topic::FrameSync),
            EVENT_CTRL if self.controls.has(id) => Ok(Topic::Control(id)),
            EVENT_SOURCE_CHANGE if (id as usize) < self.camera.inputs().len() => {
                Ok(Topic::SourceChange(id))
            }
            _ => Err(invalid("the card has no such event")),
        }
    }

    /// Tells every subscriber; not the session that did it, unless it wants to
    /// hear of that, too.
    pub(super) fn raise(&mut self, now: Now, topic: Topic, payload: Payload, by: Option<u32>) {
        let event = self.queued_event(now, topic, payload);
        self.sessions.raise(event, by);
    }

    fn queued_event(&mut self, now: Now, topic: Topic, payload: Payload) -> QueuedEvent {
        QueuedEvent {
            topic,
            payload,
            time: now.monotonic,
            stamp: self.stamp(),
        }
    }

    /// The place of the next event among all events of the card.
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        self.stamps
    }
}
