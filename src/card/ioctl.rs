//! Dispatch of the ioctls, and the ioctls of formats and rates.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::clock::{Interval, Now};
use super::controls::Access;
use super::format::AskedFormat;
use super::refused::{Refused, busy};
use super::{Card, CardKind, format, queueing};
use crate::dma::Bus;
use crate::source::Layout;
use crate::wire::parm::StreamParm;
use crate::wire::request::Truncated;
use crate::wire::{Errno, Ioctl, Reply};
use zerocopy::little_endian::U32;

impl Card {
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
        let ioctl = admit(self.endpoint.kind(), code, payload, reply)?;
        match ioctl {
            Ioctl::EnumFmt => reply.succeed(&self.enum_format(read(payload)?)?),
            Ioctl::EnumFrameSizes => reply.succeed(&self.frame_sizes(read(payload)?)?),
            Ioctl::EnumFrameIntervals => reply.succeed(&self.frame_intervals(read(payload)?)?),
            Ioctl::GFmt => {
                self.wanted_format(payload)?;
                self.describe_format(&self.layout, reply);
            }
            Ioctl::TryFmt => self.describe_format(&self.wanted_format(payload)?, reply),
            Ioctl::SFmt => self.set_format(payload, reply)?,
            Ioctl::GParm => reply.succeed(&self.get_parm(read(payload)?)?),
            Ioctl::SParm => reply.succeed(&self.set_parm(read(payload)?)?),
            Ioctl::EnumInput => reply.succeed(&self.enum_input(read(payload)?)?),
            // The number fits: there are at most as many inputs or outputs as
            // command line arguments.
            Ioctl::GInput | Ioctl::GOutput => {
                reply.succeed(&U32::new(self.endpoint.selected() as u32));
            }
            Ioctl::SInput => {
                let input: &U32 = read(payload)?;
                self.select_input(now, input.get())?;
                reply.succeed(input);
            }
            Ioctl::EnumOutput => reply.succeed(&self.enum_output(read(payload)?)?),
            Ioctl::SOutput => {
                let output: &U32 = read(payload)?;
                self.select_output(output.get())?;
                reply.succeed(output);
            }
            Ioctl::QueryCtrl => reply.succeed(&self.controls.query(read(payload)?)?),
            Ioctl::QueryExtCtrl => reply.succeed(&self.controls.query_ext(read(payload)?)?),
            Ioctl::QueryMenu => reply.succeed(&self.controls.query_menu(read(payload)?)?),
            Ioctl::GCtrl => reply.succeed(&self.controls.get(read(payload)?, &self.injection)?),
            Ioctl::SCtrl => {
                let (response, change) = self.controls.put(read(payload)?)?;
                self.set_controls(now, vec![change], Some(session));
                reply.succeed(&response);
            }
            Ioctl::GExtCtrls | Ioctl::TryExtCtrls | Ioctl::SExtCtrls => {
                let access = Access::of(ioctl);
                let injection = &self.injection;
                let changes = self
                    .controls
                    .extended(access, payload, injection, bus, reply)?;
                self.set_controls(now, changes, Some(session));
            }
            Ioctl::SubscribeEvent => {
                self.subscribe(now, session, read(payload)?)?;
                reply.succeed(&[0u8; 0]);
            }
            Ioctl::UnsubscribeEvent => {
                self.unsubscribe(session, read(payload)?);
                reply.succeed(&[0u8; 0]);
            }
            Ioctl::GSelection => reply.succeed(&self.get_selection(read(payload)?)?),
            Ioctl::SSelection => reply.succeed(&self.set_selection(read(payload)?)?),
            // CardKind::has() knows that they are an m2m card's.
            Ioctl::EncoderCmd | Ioctl::TryEncoderCmd => return Err(NO_IOCTL),
            Ioctl::ReqBufs => reply.succeed(&self.request_buffers(session, read(payload)?)?),
            Ioctl::QueryBuf => queueing::query(&self.buffers, payload, reply)?,
            Ioctl::QBuf => {
                let (buffers, injection) = (&mut self.buffers, &mut self.injection);
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
        }
        Ok(())
    }

    /// Returns the layout nearest to the request in a `v4l2_format`: the card's
    /// first format if it does not support that one, and the nearest size that
    /// it supports.
    fn wanted_format(&self, payload: &[u8]) -> Result<Layout, Refused> {
        let asked = AskedFormat::read(self.planes, payload)?;
        self.buffer_type().check(asked.type_)?;
        let format = self.format(asked.fourcc);
        let format = format.unwrap_or_else(|| self.first_format());
        Ok(self.layout_for(format, asked.width, asked.height))
    }

    fn describe_format(&self, layout: &Layout, reply: &mut Reply) {
        let colors = format::colorimetry(layout.format);
        format::answer(self.buffer_type(), layout, colors, reply);
    }

    fn set_format(&mut self, payload: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let layout = self.wanted_format(payload)?;
        if !self.buffers.is_empty() {
            return Err(busy("the format is fixed while there are buffers"));
        }
        self.layout = layout;
        self.describe_format(&layout, reply);
        Ok(())
    }

    fn get_parm(&self, asked: &StreamParm) -> Result<StreamParm, Refused> {
        self.buffer_type().check(asked.type_.get())?;
        Ok(StreamParm::of(
            asked.type_.get(),
            format::fraction(self.interval),
        ))
    }

    fn set_parm(&mut self, asked: &StreamParm) -> Result<StreamParm, Refused> {
        self.buffer_type().check(asked.type_.get())?;
        if self.stream.is_some() {
            return Err(busy("the frame interval is fixed while streaming"));
        }
        let (numerator, denominator) = (
            asked.timeperframe.numerator.get(),
            asked.timeperframe.denominator.get(),
        );
        let wanted = match (numerator, denominator) {
            // By a zero, V4L2 leaves the choice to the driver.
            (0, _) | (_, 0) => self.first_interval(),
            _ => Interval::nearest(numerator, denominator, self.shortest),
        };
        self.interval = self.interval_for(wanted);
        self.get_parm(asked)
    }
}

/// The refusal of an ioctl that the card does not have.
pub(crate) const NO_IOCTL: Refused = Refused::Because(Errno::ENOTTY, "the card has no such ioctl");

/// Returns the ioctl with that number, which a card of that kind has, if its payload
/// is whole and the response has room.
pub(crate) fn admit(
    kind: CardKind,
    code: u32,
    payload: &[u8],
    reply: &Reply,
) -> Result<Ioctl, Refused> {
    let known = Ioctl::from_code(code).filter(|ioctl| kind.has(*ioctl));
    let ioctl = known.ok_or(NO_IOCTL)?;
    if payload.len() < ioctl.bytes_in() {
        return Err(Truncated.into());
    }
    if !reply.has_room_for(ioctl.bytes_out()) {
        return Err(Refused::NoRoom);
    }
    Ok(ioctl)
}

/// Reads the structure `T` from the start of the payload.
pub(crate) fn read<T>(payload: &[u8]) -> Result<&T, Refused>
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned,
{
    T::ref_from_prefix(payload)
        .map(|(value, _)| value)
        .map_err(|_| Truncated.into())
}
