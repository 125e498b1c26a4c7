//! What is done to a source's frame before it is shown: it is converted,
//! adjusted and compressed, or a part of that.

use std::sync::Arc;

use super::adjust::Adjuster;
use super::convert::{self, Converter};
use super::format::PixelFormat;
use super::frame::FrameInfo;
use super::interface::Source;
use super::jpeg;
use super::layout::Layout;
use super::pattern::watermark::{PAGE, Watermark};
use super::raster::Raster;
use super::settings::{Adjust, Rect, Settings};

/// How the frames of a stream are processed.
#[derive(Debug, PartialEq)]
pub struct Recipe {
    /// Layout of the frames that the guest sees.
    shown: Layout,
    /// Layout of the frames before they are compressed.
    drawn: Layout,
    /// Raster and crop of a source whose frames come whole; `None` for a source
    /// that draws.
    from: Option<(Raster, Option<Rect>)>,
    adjust: Adjust,
    quality: u8,
    /// The pages carry the watermark.
    is_marked: bool,
}

/// Returns the layout in which frames for `layout` are drawn: YU12 if `layout`
/// is compressed, and large enough for its size; else `layout` itself.
pub fn drawn(layout: &Layout) -> Layout {
    match layout.format.is_compressed() {
        true => Layout::new(PixelFormat::Yu12, layout.width, layout.height),
        false => *layout,
    }
}

impl Recipe {
    /// Returns the processing that frames of `source` for that layout need with
    /// these settings; `None` if they need none.
    pub fn new(shown: &Layout, settings: &Settings, source: &mut dyn Source) -> Option<Self> {
        let drawn = drawn(shown);
        let adjust = match source.is_exact() {
            true => Adjust::default(),
            false => settings.adjust,
        };
        let from = source
            .whole()
            .map(|whole| (whole.raster().clone(), settings.crop));
        let is_converted = || {
            let to = Raster::of(&drawn);
            let pair = from.as_ref().zip(to.as_ref());
            pair.is_some_and(|((raster, crop), to)| convert::is_needed(raster, *crop, to))
        };
        let is_needed =
            shown.format.is_compressed() || adjust != Adjust::default() || is_converted();
        is_needed.then(|| Self {
            shown: *shown,
            drawn,
            from,
            adjust,
            quality: settings.quality,
            is_marked: source.is_marked(),
        })
    }

    fn is_compressed(&self) -> bool {
        self.shown.format.is_compressed()
    }
}

/// A frame that has been processed.
#[derive(Debug, Default)]
pub struct Product {
    bytes: Vec<u8>,
    /// Offset in the bytes at which the [segment](jpeg::segment) of a JPEG
    /// belongs.
    segment_at: Option<usize>,
}

impl Product {
    /// Returns the length of the frame with that segment, in bytes.
    pub fn len(&self, segment: &[u8]) -> usize {
        self.bytes.len() + self.segment_at.map_or(0, |_| segment.len())
    }

    /// Returns whether the frame has a segment.
    pub fn has_segment(&self) -> bool {
        self.segment_at.is_some()
    }

    /// As [`Source::fill`], for the frame with that segment.
    pub fn fill(&self, segment: &[u8], offset: usize, out: &mut [u8]) {
        let at = self.segment_at.unwrap_or(self.bytes.len());
        let segment = match self.segment_at {
            Some(_) => segment,
            None => &[],
        };
        let (mut skipped, mut done) = (offset, 0);
        for piece in [&self.bytes[..at], segment, &self.bytes[at..]] {
            let rest = piece.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(piece.len());
            let len = rest.len().min(out.len() - done);
            out[done..done + len].copy_from_slice(&rest[..len]);
            done += len;
        }
        out[done..].fill(0);
    }

    /// Frees the memory.
    pub fn free(&mut self) {
        *self = Self::default();
    }
}

/// Why a frame cannot be shown.
#[derive(Debug)]
pub enum Fault {
    /// Its JPEG is too long with every quality.
    TooLong,
    /// It cannot be converted.
    Conversion(convert::ConvertError),
}

/// The tables and buffers that process frames by one recipe.
#[derive(Debug, Default)]
pub struct Tools {
    recipe: Option<Arc<Recipe>>,
    converter: Option<Converter>,
    adjuster: Option<Adjuster>,
    /// A frame before it is compressed.
    raw: Vec<u8>,
}

impl Tools {
    /// Gets ready for a recipe. Tables and buffers that suit it are kept.
    pub fn suit(&mut self, recipe: &Arc<Recipe>) {
        let before = self.recipe.replace(Arc::clone(recipe));
        if before.as_ref() == Some(recipe) {
            return;
        }
        let before = before.as_deref();
        if before.is_none_or(|b| (b.drawn, &b.from) != (recipe.drawn, &recipe.from)) {
            let to = Raster::of(&recipe.drawn);
            let pair = recipe.from.as_ref().zip(to.as_ref());
            self.converter = pair.map(|((raster, crop), to)| Converter::new(raster, *crop, to));
        }
        if before.is_none_or(|b| b.adjust != recipe.adjust) {
            let is_adjusted = recipe.adjust != Adjust::default();
            self.adjuster = is_adjusted.then(|| Adjuster::new(recipe.adjust));
        }
        let raw = match recipe.is_compressed() {
            true => recipe.drawn.sizeimage as usize,
            false => 0,
        };
        if self.raw.len() != raw {
            self.raw = vec![0; raw];
        }
    }

    /// Returns whether there are no tables and buffers.
    pub fn is_empty(&self) -> bool {
        self.recipe.is_none()
    }

    /// Draws the frame that `source` has begun, for [`process`](Self::process).
    pub fn draw(&mut self, source: &mut dyn Source, product: &mut Product) {
        let Some((recipe, frame)) = frame(&self.recipe, &mut self.raw, product) else {
            return;
        };
        for plane in recipe.drawn.memory_planes() {
            let mut offset = plane.offset as usize;
            let memory = &mut frame[offset..][..plane.sizeimage as usize];
            for page in memory.chunks_mut(PAGE) {
                source.fill(offset, page);
                offset += page.len();
            }
        }
    }

    /// Processes a frame: `whole`, or the one that was [drawn](Self::draw).
    pub fn process(
        &mut self,
        whole: Option<&[u8]>,
        info: &FrameInfo,
        product: &mut Product,
    ) -> Result<(), Fault> {
        let Some((recipe, frame)) = frame(&self.recipe, &mut self.raw, product) else {
            return Ok(());
        };
        if let (Some(whole), Some(converter)) = (whole, &mut self.converter) {
            converter.convert(whole, frame).map_err(Fault::Conversion)?;
        }
        if let Some(adjuster) = &self.adjuster {
            adjuster.apply(&recipe.drawn, frame);
            if recipe.is_marked {
                let mark = Watermark::of(info);
                for plane in recipe.drawn.memory_planes() {
                    let bytes = plane.sizeimage as usize;
                    mark.apply(bytes, 0, &mut frame[plane.offset as usize..][..bytes]);
                }
            }
        }
        product.segment_at = None;
        if recipe.is_compressed() {
            let Recipe {
                shown,
                drawn,
                quality,
                ..
            } = recipe;
            let place = jpeg::encode(&self.raw, drawn, shown, *quality, &mut product.bytes);
            product.segment_at = Some(place.ok_or(Fault::TooLong)?);
        }
        Ok(())
    }
}

/// Returns the recipe, and the buffer of its frames before they are compressed.
fn frame<'r, 'a>(
    recipe: &'r Option<Arc<Recipe>>,
    raw: &'a mut [u8],
    product: &'a mut Product,
) -> Option<(&'r Recipe, &'a mut [u8])> {
    let recipe = recipe.as_deref()?;
    if recipe.is_compressed() {
        return Some((recipe, raw));
    }
    let bytes = recipe.drawn.sizeimage as usize;
    if product.bytes.len() != bytes {
        product.bytes = vec![0; bytes];
    }
    Some((recipe, &mut product.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_lies_within_its_frame() {
        let product = Product {
            bytes: (0..10).collect(),
            segment_at: Some(3),
        };
        let segment = [100, 101];
        let whole = [0, 1, 2, 100, 101, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(product.len(&segment), whole.len());
        for offset in 0..=14 {
            for len in 1..=14 {
                let mut out = vec![0xee; len];
                product.fill(&segment, offset, &mut out);
                let rest = whole.iter().skip(offset).chain([0].iter().cycle());
                assert!(out.iter().eq(rest.take(len)), "{offset}, {len}: {out:?}");
            }
        }
        let plain = Product {
            segment_at: None,
            ..product
        };
        let mut out = [0; 10];
        plain.fill(&segment, 0, &mut out);
        assert_eq!(out, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
