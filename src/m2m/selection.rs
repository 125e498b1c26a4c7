//! Selections: the part of a picture that is read. What is made of it always fills
//! the new frame.

use super::context::Context;
use crate::card::Direction;
use crate::card::refused::{Refused, invalid};
use crate::card::selection::{all_of, answer, check_flags, within};
use crate::source::Layout;
use crate::source::settings::Rect;
use crate::wire::format::{BUF_TYPE_VIDEO_CAPTURE, BUF_TYPE_VIDEO_OUTPUT};
use crate::wire::selection::{
    SEL_TGT_COMPOSE, SEL_TGT_COMPOSE_BOUNDS, SEL_TGT_COMPOSE_DEFAULT, SEL_TGT_COMPOSE_PADDED,
    SEL_TGT_CROP, SEL_TGT_CROP_BOUNDS, SEL_TGT_CROP_DEFAULT, Selection,
};

impl Context {
    /// VIDIOC_G_SELECTION.
    pub fn get_selection(&self, asked: &Selection) -> Result<Selection, Refused> {
        let whole = self.whole(self.selected(asked)?);
        let rect = match (self.selected(asked)?, asked.target.get()) {
            (Direction::Output, SEL_TGT_CROP) => self.crop.unwrap_or(whole),
            (Direction::Output, SEL_TGT_CROP_BOUNDS | SEL_TGT_CROP_DEFAULT) => whole,
            (
                Direction::Capture,
                SEL_TGT_COMPOSE
                | SEL_TGT_COMPOSE_BOUNDS
                | SEL_TGT_COMPOSE_DEFAULT
                | SEL_TGT_COMPOSE_PADDED,
            ) => whole,
            _ => return Err(invalid("the card has no such selection")),
        };
        Ok(answer(asked, rect))
    }

    /// VIDIOC_S_SELECTION.
    pub fn set_selection(&mut self, asked: &Selection) -> Result<Selection, Refused> {
        let direction = self.selected(asked)?;
        let whole = self.whole(direction);
        let rect = match (direction, asked.target.get()) {
            (Direction::Output, SEL_TGT_CROP) => within(&asked.r, whole),
            (Direction::Capture, SEL_TGT_COMPOSE) => whole,
            _ => return Err(invalid("the selection cannot be set")),
        };
        check_flags(asked, rect)?;
        if direction == Direction::Output {
            self.crop = (rect != whole).then_some(rect);
        }
        Ok(answer(asked, rect))
    }

    /// Returns which queue a selection is of. Linux converts the multi-planar types
    /// to the single-planar ones here; a driver that does not is accepted, too.
    fn selected(&self, asked: &Selection) -> Result<Direction, Refused> {
        match asked.type_.get() {
            BUF_TYPE_VIDEO_OUTPUT => Ok(Direction::Output),
            BUF_TYPE_VIDEO_CAPTURE => Ok(Direction::Capture),
            other => self.direction(other),
        }
    }

    fn whole(&self, direction: Direction) -> Rect {
        let Layout { width, height, .. } = self.queue(direction).layout;
        all_of(width, height)
    }
}
