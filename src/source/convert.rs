//! Conversion of pictures between rasters: other packing, other size, other
//! colours.
//!
//! A [`Converter`] runs a few stages, and leaves out each one that would change
//! nothing. If two rasters differ only in their packing, the samples are only
//! rearranged, so the picture stays bit-exact. A conversion from luma and
//! chroma to luma and chroma never goes through RGB. Colours are converted by
//! the matrix of BT.601, and values are brought to the range (full or limited)
//! of the target.

mod crates;
mod error;
mod rearrange;

use super::raster::{Chroma, Model, Raster};
use super::rgb565::{from_565, to_565};
use super::settings::Rect;
use crates::Scale;
use rearrange::Rearrange;

pub use error::ConvertError;

#[derive(Debug)]
enum Step {
    Rearrange(Rearrange),
    /// Converts 16-bit words to three bytes.
    Unpack565,
    /// Converts three bytes to 16-bit words.
    Pack565,
    Scale(Scale),
    Colour,
}

#[derive(Debug)]
struct Stage {
    step: Step,
    from: Raster,
    to: Raster,
    /// The input of the stage; empty for the first one.
    input: Vec<u8>,
}

/// Converts frames of one raster into another.
#[derive(Debug)]
pub struct Converter {
    bytes: usize,
    stages: Vec<Stage>,
}

/// Returns whether frames of `from`, or the part `crop` of them, have to be
/// converted to be frames of `to`.
pub fn is_needed(from: &Raster, crop: Option<Rect>, to: &Raster) -> bool {
    from != to || crop_within(from, crop) != crop_within(from, None)
}

impl Converter {
    /// Makes a converter from frames of `from`, or the part `crop` of them, to
    /// frames of `to`; the picture is stretched to the size of `to`. All
    /// buffers are allocated here.
    pub fn new(from: &Raster, crop: Option<Rect>, to: &Raster) -> Self {
        let mut plan = Plan {
            at: from.clone(),
            stages: Vec::new(),
        };
        plan.make(crop_within(from, crop), to);
        Self {
            bytes: from.bytes,
            stages: plan.stages,
        }
    }

    /// Converts a frame into `out`, which has the size of the target's raster.
    ///
    /// # Errors
    ///
    /// [`ConvertError`] if the frame is shorter than its raster, or a library
    /// fails.
    pub fn convert(&mut self, frame: &[u8], out: &mut [u8]) -> Result<(), ConvertError> {
        if frame.len() < self.bytes {
            return Err(ConvertError::Short(frame.len(), self.bytes));
        }
        if self.stages.is_empty() {
            out.copy_from_slice(&frame[..self.bytes]);
            return Ok(());
        }
        for number in 0..self.stages.len() {
            let (done, rest) = self.stages.split_at_mut(number + 1);
            let Stage {
                step,
                from,
                to,
                input,
            } = &mut done[number];
            let input = match number {
                0 => frame,
                _ => input,
            };
            let output = match rest.first_mut() {
                Some(next) => &mut next.input[..],
                None => &mut *out,
            };
            step.run((from, input), (to, output))?;
        }
        Ok(())
    }
}

impl Step {
    fn run(
        &mut self,
        (from, frame): (&Raster, &[u8]),
        (to, out): (&Raster, &mut [u8]),
    ) -> Result<(), ConvertError> {
        match self {
            Self::Rearrange(rearrange) => rearrange.run(frame, out),
            Self::Unpack565 => {
                let (words, pixels) = (frame.as_chunks().0, out.as_chunks_mut().0);
                for (pixel, word) in pixels.iter_mut().zip(words) {
                    *pixel = from_565(*word);
                }
            }
            Self::Pack565 => {
                let (pixels, words) = (frame.as_chunks().0, out.as_chunks_mut().0);
                for (word, pixel) in words.iter_mut().zip(pixels) {
                    *word = to_565(*pixel);
                }
            }
            Self::Scale(scale) => scale.run(from, frame, to, out)?,
            Self::Colour => crates::colour(from, frame, to, out)?,
        }
        Ok(())
    }
}

/// Returns the part of the crop that lies within the picture, or the whole
/// picture if no part does.
fn crop_within(raster: &Raster, crop: Option<Rect>) -> Rect {
    let whole = Rect {
        left: 0,
        top: 0,
        width: raster.width,
        height: raster.height,
    };
    let Some(crop) = crop else {
        return whole;
    };
    let crop = Rect {
        width: crop.width.min(raster.width.saturating_sub(crop.left)),
        height: crop.height.min(raster.height.saturating_sub(crop.top)),
        ..crop
    };
    match crop.width == 0 || crop.height == 0 {
        true => whole,
        false => crop,
    }
}

/// The stages so far, and the raster that the last of them makes.
struct Plan {
    at: Raster,
    stages: Vec<Stage>,
}

impl Plan {
    fn push(&mut self, step: Step, to: Raster) {
        let from = std::mem::replace(&mut self.at, to.clone());
        let bytes = match self.stages.is_empty() {
            true => 0,
            false => from.bytes,
        };
        self.stages.push(Stage {
            step,
            from,
            to,
            input: vec![0; bytes],
        });
    }

    fn make(&mut self, crop: Rect, to: &Raster) {
        let (width, height) = (to.width, to.height);
        let whole = crop_within(&self.at, None);
        let stretched = crop != whole || (crop.width, crop.height) != (width, height);
        let goal = to.unpacked();
        let mut from = self.at.unpacked();
        // Of the conversions with grey, only RGB to grey needs the matrix; the
        // others change the range at most.
        let calculated = match (from.model, goal.model) {
            (Model::Yuv, Model::Rgb) | (Model::Rgb, Model::Yuv | Model::Grey) => true,
            (a, b) => a == b && from.chroma() != goal.chroma(),
        };
        if !stretched && !calculated {
            return self.rearrange(to);
        }
        match goal.model {
            Model::Grey if from.model == Model::Yuv => {
                from = Raster::grey(from.width, from.height, from.full_range);
            }
            // Chroma is resampled in the target's range.
            Model::Yuv if from.model == Model::Yuv => from.full_range = goal.full_range,
            _ => {}
        }
        // Planes that the target has are stretched straight into it: the
        // samples are put together before, while there are fewer of them.
        if from.model == goal.model && from.chroma() == goal.chroma() && to.is_stretchable() {
            self.rearrange(&to.resized(from.width, from.height));
            return self.push(Step::Scale(Scale::new(crop)), to.clone());
        }
        self.rearrange(&from);
        // Chroma that is not reduced stays as sparse as it came.
        let grows = width >= crop.width && height >= crop.height;
        let chroma = match from.chroma() {
            Some(chroma) if grows => chroma,
            _ => Chroma::Yuv444,
        };
        let scaled = match (from.model, goal.model) {
            (Model::Yuv, Model::Yuv) => goal.clone(),
            (Model::Yuv, _) if !stretched => from.clone(),
            (Model::Yuv, _) => Raster::yuv(chroma, width, height, from.full_range),
            (Model::Grey, _) => Raster::grey(width, height, from.full_range),
            _ => Raster::rgb(width, height),
        };
        if stretched || scaled != from {
            self.push(Step::Scale(Scale::new(crop)), scaled);
        }
        if let (Model::Yuv, Model::Rgb) | (Model::Rgb, Model::Yuv | Model::Grey) =
            (self.at.model, goal.model)
        {
            self.push(Step::Colour, goal);
        }
        self.rearrange(to);
    }

    /// Adds the stages that rearrange into `to`: through packed RGB if RGB565
    /// words have to be unpacked or packed.
    fn rearrange(&mut self, to: &Raster) {
        let is_565 = |raster: &Raster| raster.model == Model::Rgb565;
        if self.at == *to {
            return;
        }
        let rgb = Raster::rgb(to.width, to.height);
        if is_565(&self.at) {
            self.push(Step::Unpack565, rgb.clone());
        }
        let last = match is_565(to) {
            true => rgb,
            false => to.clone(),
        };
        if self.at != last {
            self.push(Step::Rearrange(Rearrange::new(&self.at, &last)), last);
        }
        if is_565(to) {
            self.push(Step::Pack565, to.clone());
        }
    }
}

#[cfg(test)]
mod tests;
