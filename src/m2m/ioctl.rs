//! Dispatch of the ioctls, and those of controls and events.

use super::M2mCard;
use super::context::Context;
use super::drain;
use crate::card::controls::table::cid;
use crate::card::controls::{Access, Change, Changed};
use crate::card::events::{Payload, Topic};
use crate::card::ioctl::{NO_IOCTL, admit, read};
use crate::card::queueing;
use crate::card::refused::{Refused, invalid};
use crate::card::subscribing::{Subscribing, is_meant};
use crate::card::{CardKind, Now};
use crate::dma::Bus;
use crate::wire::buffer::Buffer;
use crate::wire::event::{
    EVENT_CTRL, EVENT_EOS, EVENT_SOURCE_CHANGE, EVENT_SRC_CH_RESOLUTION, EventSubscription,
};
use crate::wire::request::Truncated;
use crate::wire::{Errno, Ioctl, Reply};
use zerocopy::FromBytes;

impl M2mCard {
    /// Executes an ioctl of a session that is open and alive.
    pub(super) fn ioctl(
        &mut self,
        now: Now,
        session: u32,
        code: u32,
        payload: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let ioctl = admit(CardKind::M2m, code, payload, reply)?;
        let context = self.context(session)?;
        match ioctl {
            Ioctl::EnumFmt => reply.succeed(&context.enum_format(read(payload)?)?),
            Ioctl::EnumFrameSizes => reply.succeed(&context.frame_sizes(read(payload)?)?),
            Ioctl::GFmt => context.get_format(payload, reply)?,
            Ioctl::TryFmt => context.try_format(payload, reply)?,
            Ioctl::SFmt => context.set_format(payload, reply)?,
            Ioctl::GSelection => reply.succeed(&context.get_selection(read(payload)?)?),
            Ioctl::SSelection => reply.succeed(&context.set_selection(read(payload)?)?),
            Ioctl::TryEncoderCmd => reply.succeed(&drain::taken(read(payload)?)?),
            Ioctl::EncoderCmd => {
                let waiting = context.output.buffers.queued();
                let waiting = context.is_at_work().then_some(waiting);
                reply.succeed(&context.drain.command(read(payload)?, waiting)?);
            }
            Ioctl::QueryCtrl => reply.succeed(&context.controls.query(read(payload)?)?),
            Ioctl::QueryExtCtrl => reply.succeed(&context.controls.query_ext(read(payload)?)?),
            Ioctl::QueryMenu => reply.succeed(&context.controls.query_menu(read(payload)?)?),
            Ioctl::GCtrl => {
                let Context {
                    controls,
                    injection,
                    ..
                } = context;
                reply.succeed(&controls.get(read(payload)?, injection)?);
            }
            Ioctl::SCtrl => {
                let (response, change) = context.controls.put(read(payload)?)?;
                self.set_controls(now, session, vec![change]);
                reply.succeed(&response);
            }
            Ioctl::GExtCtrls | Ioctl::TryExtCtrls | Ioctl::SExtCtrls => {
                let Context {
                    controls,
                    injection,
                    ..
                } = context;
                let access = Access::of(ioctl);
                let changes = controls.extended(access, payload, injection, bus, reply)?;
                self.set_controls(now, session, changes);
            }
            Ioctl::SubscribeEvent => {
                self.subscribe(now, session, read(payload)?)?;
                reply.succeed(&[0u8; 0]);
            }
            Ioctl::UnsubscribeEvent => {
                self.sessions.unsubscribe(session, is_meant(read(payload)?));
                reply.succeed(&[0u8; 0]);
            }
            Ioctl::ReqBufs => reply.succeed(&self.request_buffers(session, read(payload)?)?),
            Ioctl::QueryBuf => {
                let direction = context.direction(buffer_type(payload)?)?;
                queueing::query(&context.queue(direction).buffers, payload, reply)?;
            }
            Ioctl::QBuf => {
                let direction = context.direction(buffer_type(payload)?)?;
                let (queue, injection) = context.queue_and_faults(direction);
                let buffers = &mut queue.buffers;
                queueing::queue(buffers, session, payload, injection, bus, reply)?;
            }
            Ioctl::StreamOn => {
                self.stream_on(now, session, *read(payload)?)?;
                reply.succeed(&[0u8; 0]);
            }
            Ioctl::StreamOff => {
                self.stream_off(session, *read(payload)?)?;
                reply.succeed(&[0u8; 0]);
            }
            // CardKind::has() knows that they are another card's.
            Ioctl::EnumFrameIntervals
            | Ioctl::GParm
            | Ioctl::SParm
            | Ioctl::EnumInput
            | Ioctl::GInput
            | Ioctl::SInput
            | Ioctl::EnumOutput
            | Ioctl::GOutput
            | Ioctl::SOutput => return Err(NO_IOCTL),
        }
        Ok(())
    }

    /// VIDIOC_SUBSCRIBE_EVENT.
    fn subscribe(
        &mut self,
        now: Now,
        session: u32,
        asked: &EventSubscription,
    ) -> Result<(), Refused> {
        let controls = &self.context(session)?.controls;
        let id = asked.id.get();
        let topic = match asked.type_.get() {
            EVENT_EOS if id == 0 => Topic::Eos,
            EVENT_CTRL if controls.has(id) => Topic::Control(id),
            EVENT_SOURCE_CHANGE if id == 0 => Topic::SourceChange(id),
            _ => return Err(invalid("the card has no such event")),
        };
        let asked = Subscribing::new(asked, topic, controls);
        let new = self
            .sessions
            .subscribe(session, asked.topic, asked.feedback);
        if let Some(first) = asked.first.filter(|_| new) {
            self.raise(now, session, asked.topic, first, false);
        }
        Ok(())
    }

    /// Sets controls of a session to values that they take.
    fn set_controls(&mut self, now: Now, session: u32, changes: Vec<Change>) {
        for change in changes {
            let Ok(context) = self.context(session) else {
                return;
            };
            let Some(Changed { id, number, event }) = context.controls.change(change) else {
                continue;
            };
            context.injection.set(id, number);
            if let Some(event) = event {
                self.raise(
                    now,
                    session,
                    Topic::Control(id),
                    Payload::Control(event),
                    true,
                );
            }
            match id {
                cid::KILL_SESSION => self.fail_session(session, Errno::EIO),
                cid::SOURCE_CHANGE => {
                    let payload = Payload::SourceChange(EVENT_SRC_CH_RESOLUTION);
                    self.raise(now, session, Topic::SourceChange(0), payload, false);
                }
                _ => (),
            }
        }
    }
}

/// Returns V4L2_BUF_TYPE_* of the `v4l2_buffer` at the start of a payload.
fn buffer_type(payload: &[u8]) -> Result<u32, Refused> {
    let (buffer, _) = Buffer::ref_from_prefix(payload).map_err(|_| Truncated)?;
    Ok(buffer.type_.get())
}
