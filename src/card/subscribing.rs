//! The ioctls of V4L2 events, and how the card raises one.

use super::controls::Controls;
use super::events::{Payload, QueuedEvent, Topic};
use super::refused::{Refused, invalid};
use super::{Card, Now};
use crate::wire::event::{
    EVENT_ALL, EVENT_CTRL, EVENT_CTRL_CH_FLAGS, EVENT_CTRL_CH_VALUE, EVENT_EOS, EVENT_FRAME_SYNC,
    EVENT_SOURCE_CHANGE, EVENT_SUB_FL_ALLOW_FEEDBACK, EVENT_SUB_FL_SEND_INITIAL, EventSubscription,
};

/// A subscription, as VIDIOC_SUBSCRIBE_EVENT asks for it.
#[derive(Debug, Clone, Copy)]
pub struct Subscribing {
    /// The subject.
    pub topic: Topic,
    /// The session wants to know of its own changes, too.
    pub feedback: bool,
    /// What the new subscriber is told at once, if anything.
    pub first: Option<Payload>,
}

impl Subscribing {
    /// Returns the subscription to `topic` that is asked for, on a card with those
    /// controls. Only controls have an initial state to report.
    pub fn new(asked: &EventSubscription, topic: Topic, controls: &Controls) -> Self {
        let flags = asked.flags.get();
        let wants = flags & EVENT_SUB_FL_SEND_INITIAL != 0;
        let first = match topic {
            Topic::Control(id) if wants => {
                let changes = EVENT_CTRL_CH_FLAGS | EVENT_CTRL_CH_VALUE;
                controls.initial_event(id, changes).map(Payload::Control)
            }
            _ => None,
        };
        Self {
            topic,
            feedback: flags & EVENT_SUB_FL_ALLOW_FEEDBACK != 0,
            first,
        }
    }
}

/// Returns which topics VIDIOC_UNSUBSCRIBE_EVENT is about.
pub fn is_meant(asked: &EventSubscription) -> impl Fn(Topic) -> bool {
    let wanted = (asked.type_.get(), asked.id.get());
    move |topic: Topic| wanted.0 == EVENT_ALL || topic.parts() == wanted
}

impl Card {
    /// VIDIOC_SUBSCRIBE_EVENT.
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        session: u32,
        asked: &EventSubscription,
    ) -> Result<(), Refused> {
        let asked = Subscribing::new(asked, self.topic(asked)?, &self.controls);
        let new = self
            .sessions
            .subscribe(session, asked.topic, asked.feedback);
        if let Some(first) = asked.first.filter(|_| new) {
            let event = self.queued_event(now, asked.topic, first);
            self.sessions.raise_for(session, event, false);
        }
        Ok(())
    }

    /// VIDIOC_UNSUBSCRIBE_EVENT. As in `v4l2_event_unsubscribe()`, it is no
    /// error if the session was not subscribed.
    pub(super) fn unsubscribe(&mut self, session: u32, asked: &EventSubscription) {
        self.sessions.unsubscribe(session, is_meant(asked));
    }

    fn topic(&self, asked: &EventSubscription) -> Result<Topic, Refused> {
        let id = asked.id.get();
        match asked.type_.get() {
            EVENT_EOS if id == 0 && self.endpoint.kind().is_capture() => Ok(Topic::Eos),
            EVENT_FRAME_SYNC if id == 0 => Ok(Topic::FrameSync),
            EVENT_CTRL if self.controls.has(id) => Ok(Topic::Control(id)),
            EVENT_SOURCE_CHANGE if (id as usize) < self.camera_inputs().len() => {
                Ok(Topic::SourceChange(id))
            }
            _ => Err(invalid("the card has no such event")),
        }
    }

    /// Queues an event for every subscriber. The session `by` that caused it
    /// gets the event only if it subscribed to feedback.
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

    /// Returns the position of the next event among all events of the card.
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        self.stamps
    }
}
