//! The ioctls of formats and frame sizes.

use super::context::Context;
use crate::card::format::{self, AskedFormat, Colorimetry, every_size, one_size};
use crate::card::refused::{Refused, busy, invalid};
use crate::card::{BufferApi, Direction};
use crate::source::{Layout, PixelFormat};
use crate::wire::Reply;
use crate::wire::format::{FmtDesc, FrmSizeEnum};

/// A format that was asked for, as a queue can have it.
struct Wanted {
    direction: Direction,
    layout: Layout,
    colors: Colorimetry,
}

impl Context {
    /// VIDIOC_ENUM_FMT.
    pub fn enum_format(&self, asked: &FmtDesc) -> Result<FmtDesc, Refused> {
        let direction = self.direction(asked.type_.get())?;
        format::enumerated(asked, self.queue(direction).formats())
    }

    /// VIDIOC_ENUM_FRAMESIZES: one range of sizes for every format of either queue, or
    /// the sizes of the card's list.
    pub fn frame_sizes(&self, asked: &FrmSizeEnum) -> Result<FrmSizeEnum, Refused> {
        let mut formats = self.queues().flat_map(|queue| queue.formats());
        let format = formats.find(|format| format.fourcc() == asked.pixel_format.get());
        let format = format.ok_or(invalid("the card has no such format"))?;
        let sizes = self.modes.sizes();
        match (sizes.get(asked.index.get() as usize), asked.index.get()) {
            (Some(size), _) => Ok(one_size(asked, format, *size)),
            (None, 0) => Ok(every_size(asked, format)),
            (None, _) => Err(invalid("there are no more of them")),
        }
    }

    /// VIDIOC_G_FMT.
    pub fn get_format(&self, payload: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let asked = AskedFormat::read(self.api(), payload)?;
        let queue = self.queue(self.direction(asked.type_)?);
        let colors = match queue.direction() {
            Direction::Output => self.colors,
            Direction::Capture => self.made_colors(queue.layout.format),
        };
        format::answer(queue.buffers.type_(), &queue.layout, colors, reply);
        Ok(())
    }

    /// VIDIOC_TRY_FMT.
    pub fn try_format(&self, payload: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let wanted = self.wanted_format(payload)?;
        self.describe(&wanted, reply);
        Ok(())
    }

    /// VIDIOC_S_FMT. The frames that are written get the size of those that are
    /// read whenever that is set, until they are given one: v4l2-ctl sets theirs first.
    pub fn set_format(&mut self, payload: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let wanted = self.wanted_format(payload)?;
        let queue = self.queue_mut(wanted.direction);
        if !queue.buffers.is_empty() {
            return Err(busy("the format is fixed while there are buffers"));
        }
        queue.layout = wanted.layout;
        queue.is_chosen = true;
        if wanted.direction == Direction::Output {
            self.colors = wanted.colors;
            self.crop = None;
            if self.capture.buffers.is_empty() && !self.capture.is_chosen {
                let Layout { width, height, .. } = wanted.layout;
                self.capture.layout = Layout::new(self.capture.layout.format, width, height);
            }
        }
        self.describe(&wanted, reply);
        Ok(())
    }

    /// Returns what is nearest to the request: the queue's first format if it has
    /// not that one, and the nearest size. The colorimetry is the application's if
    /// it tells any of what it gives; what the card makes has the same.
    fn wanted_format(&self, payload: &[u8]) -> Result<Wanted, Refused> {
        let asked = AskedFormat::read(self.api(), payload)?;
        let direction = self.direction(asked.type_)?;
        let queue = self.queue(direction);
        let format = queue.formats().find(|it| it.fourcc() == asked.fourcc);
        let format = format.unwrap_or_else(|| queue.first_format());
        let own = format::colorimetry(format);
        let (width, height) = self.modes.size_for(asked.width, asked.height);
        Ok(Wanted {
            direction,
            layout: Layout::new(format, width, height),
            colors: match (direction, asked.colors.colorspace) {
                (Direction::Capture, _) => self.made_colors(format),
                // V4L2_COLORSPACE_DEFAULT
                (Direction::Output, 0) => own,
                (Direction::Output, _) => asked.colors.or(own),
            },
        })
    }

    /// Returns the colorimetry of frames that are made in that format: that of the
    /// frames that are read; but where the two formats have another range or encoding
    /// by nature, those of the new format, which the conversion gives them.
    fn made_colors(&self, made: PixelFormat) -> Colorimetry {
        let (read, made) = (self.output.layout.format, format::colorimetry(made));
        let read = format::colorimetry(read);
        match (read.quantization, read.encoding) == (made.quantization, made.encoding) {
            true => self.colors,
            false => Colorimetry {
                quantization: made.quantization,
                encoding: made.encoding,
                ..self.colors
            },
        }
    }

    fn describe(&self, wanted: &Wanted, reply: &mut Reply) {
        let type_ = self.queue(wanted.direction).buffers.type_();
        format::answer(type_, &wanted.layout, wanted.colors, reply);
    }

    fn api(&self) -> BufferApi {
        self.output.buffers.type_().api
    }
}
