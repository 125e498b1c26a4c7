//! Cropping: the selection of the part of the source's picture that is
//! captured.
//!
//! The part is scaled to the frame and always fills it, so there is nothing to
//! compose. A source that draws in any size has no picture to crop; its crop
//! rectangle is the frame and cannot be changed.

use zerocopy::FromZeros;

use super::Card;
use super::refused::{Refused, invalid};
use crate::source::settings::Rect;
use crate::wire::Errno;
use crate::wire::format::BUF_TYPE_VIDEO_CAPTURE;
use crate::wire::selection::{
    Rect as WireRect, SEL_FLAG_GE, SEL_FLAG_LE, SEL_TGT_COMPOSE, SEL_TGT_COMPOSE_BOUNDS,
    SEL_TGT_COMPOSE_DEFAULT, SEL_TGT_COMPOSE_PADDED, SEL_TGT_CROP, SEL_TGT_CROP_BOUNDS,
    SEL_TGT_CROP_DEFAULT, Selection,
};

/// Least width and height of the crop rectangle, in pixels and lines.
const LEAST: u32 = 16;

impl Card {
    /// VIDIOC_G_SELECTION.
    pub(super) fn get_selection(&self, asked: &Selection) -> Result<Selection, Refused> {
        self.check_selection(asked)?;
        let rect = match asked.target.get() {
            SEL_TGT_CROP => self.crop_rect(),
            SEL_TGT_CROP_BOUNDS | SEL_TGT_CROP_DEFAULT => self.crop_bounds(),
            SEL_TGT_COMPOSE
            | SEL_TGT_COMPOSE_BOUNDS
            | SEL_TGT_COMPOSE_DEFAULT
            | SEL_TGT_COMPOSE_PADDED => self.frame(),
            _ => return Err(invalid("the card has no such selection")),
        };
        Ok(answer(asked, rect))
    }

    /// VIDIOC_S_SELECTION.
    pub(super) fn set_selection(&mut self, asked: &Selection) -> Result<Selection, Refused> {
        self.check_selection(asked)?;
        let rect = match asked.target.get() {
            SEL_TGT_CROP if self.native().size.is_some() => within(&asked.r, self.crop_bounds()),
            SEL_TGT_CROP => self.frame(),
            SEL_TGT_COMPOSE => self.frame(),
            _ => return Err(invalid("the selection cannot be set")),
        };
        check_flags(asked, rect)?;
        if asked.target == SEL_TGT_CROP {
            self.crop = (rect != self.crop_bounds()).then_some(rect);
            self.apply_settings();
        }
        Ok(answer(asked, rect))
    }

    fn check_selection(&self, asked: &Selection) -> Result<(), Refused> {
        // In V4L2 a device has a list of frame sizes only if it does not scale,
        // so it has no selections.
        if self.modes.sizes().len() > 1 {
            return Err(Refused::Because(
                Errno::ENOTTY,
                "a card with a list of sizes has no selections",
            ));
        }
        // Linux converts every capture type to the single-planar one here; a
        // driver that does not convert is accepted, too.
        match asked.type_.get() {
            BUF_TYPE_VIDEO_CAPTURE => Ok(()),
            other => self.buffer_type().check(other),
        }
    }

    /// Returns the crop rectangle: the whole picture unless it was set.
    fn crop_rect(&self) -> Rect {
        self.crop.unwrap_or_else(|| self.crop_bounds())
    }

    /// Returns the rectangle of the whole source picture.
    fn crop_bounds(&self) -> Rect {
        match self.native().size {
            Some((width, height)) => all_of(width, height),
            None => self.frame(),
        }
    }

    fn frame(&self) -> Rect {
        all_of(self.layout.width, self.layout.height)
    }
}

/// Refuses a rectangle that is not as large or small as the flags ask for.
pub fn check_flags(asked: &Selection, rect: Rect) -> Result<(), Refused> {
    let (width, height) = (asked.r.width.get(), asked.r.height.get());
    let flags = asked.flags.get();
    let smaller = rect.width < width || rect.height < height;
    let larger = rect.width > width || rect.height > height;
    match flags & SEL_FLAG_GE != 0 && smaller || flags & SEL_FLAG_LE != 0 && larger {
        true => Err(Refused::Because(
            Errno::ERANGE,
            "no selection is as the flags ask for",
        )),
        false => Ok(()),
    }
}

/// Returns the rectangle of a whole picture.
pub fn all_of(width: u32, height: u32) -> Rect {
    Rect {
        left: 0,
        top: 0,
        width,
        height,
    }
}

/// Returns the rectangle nearest to `asked` within `bounds`, which begin at 0.
pub fn within(asked: &WireRect, bounds: Rect) -> Rect {
    let length = |asked: u32, bound: u32| asked.clamp(LEAST.min(bound), bound);
    let start = |asked: i32, room: u32| (asked.max(0) as u32).min(room);
    let width = length(asked.width.get(), bounds.width);
    let height = length(asked.height.get(), bounds.height);
    Rect {
        left: start(asked.left.get(), bounds.width - width),
        top: start(asked.top.get(), bounds.height - height),
        width,
        height,
    }
}

/// Returns the response that tells that rectangle.
pub fn answer(asked: &Selection, rect: Rect) -> Selection {
    // The numbers fit in an i32: pictures are far smaller.
    Selection {
        type_: asked.type_,
        target: asked.target,
        flags: asked.flags,
        r: WireRect {
            left: (rect.left as i32).into(),
            top: (rect.top as i32).into(),
            width: rect.width.into(),
            height: rect.height.into(),
        },
        ..FromZeros::new_zeroed()
    }
}
