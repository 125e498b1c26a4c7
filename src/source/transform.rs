//! What a mem-to-mem card makes of a frame: another format, another size, a part
//! of the picture, turned, mirrored, compressed.
//!
//! The part of the picture is turned, stretched to the size of the new frame,
//! and then mirrored. A [`Transformer`] leaves out each stage that would change
//! nothing, and where nothing is left the new frame is the old one.

use super::adjust::Adjuster;
use super::convert::{self, ConvertError, Converter};
use super::jpeg;
use super::layout::Layout;
use super::processing::drawn;
use super::raster::{Chroma, Raster};
use super::settings::{Adjust, Rect, Settings};
use super::turn::{self, Turn};

/// Whether frames can be converted and compressed.
const IS_BUILT: bool = cfg!(feature = "films");

/// How a frame becomes another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    /// The new picture is mirrored: left becomes right (V4L2_CID_HFLIP).
    pub hflip: bool,
    /// The new picture is upside down (V4L2_CID_VFLIP).
    pub vflip: bool,
    /// Degrees by which the picture is turned clockwise, before it is mirrored:
    /// 0, 90, 180 or 270 (V4L2_CID_ROTATE).
    pub rotate: u16,
    /// The part of the old picture that the new one shows; `None` for all of it.
    /// What lies outside the picture is left out, and a part of which nothing
    /// lies within is all of it.
    pub crop: Option<Rect>,
    /// The quality of a JPEG, 1 to 100 (V4L2_CID_JPEG_COMPRESSION_QUALITY).
    pub quality: u8,
}

impl Default for Transform {
    /// Nothing is turned, and all is shown.
    fn default() -> Self {
        Self {
            hflip: false,
            vflip: false,
            rotate: 0,
            crop: None,
            quality: Settings::default().quality,
        }
    }
}

/// Why there is no new frame.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// Frames of a compressed format are not read.
    #[error("a frame of a compressed format cannot be converted")]
    Compressed,
    /// The angle is not one of the four.
    #[error("a picture can be turned by 0, 90, 180 or 270 degrees, not by {0}")]
    Angle(u16),
    /// The frame would have to be converted, and this program cannot.
    #[error("this pinhole was built without conversions (the cargo feature \"films\")")]
    NotBuilt,
    /// The frame is shorter than its layout says.
    #[error("the frame has {0} bytes where {1} belong")]
    Short(usize, usize),
    /// The JPEG is too long for its buffer with every quality.
    #[error("the JPEG of the frame is longer than its buffer")]
    TooLong,
    /// The conversion failed.
    #[error("the frame cannot be converted: {0}")]
    Conversion(#[from] ConvertError),
}

#[derive(Debug)]
enum Step {
    /// The frame as it is, to be mirrored.
    Copy,
    Convert(Converter),
    Turn(Turn),
}

#[derive(Debug)]
struct Stage {
    step: Step,
    /// What the stage makes.
    out: Vec<u8>,
}

/// Makes frames of one layout of frames of another, in one way.
///
/// The buffers are allocated once. The libraries that scale and compress
/// allocate tables and a few lines for each frame.
#[derive(Debug)]
pub struct Transformer {
    from: Layout,
    to: Layout,
    /// The layout of the new frames before they are compressed.
    drawn: Layout,
    stages: Vec<Stage>,
    /// Mirrors what the last stage has made; there is one then.
    mirror: Option<Adjuster>,
    quality: u8,
    jpeg: Vec<u8>,
}

impl Transformer {
    /// Makes a transformer of frames of `from`, which are raw, into frames of
    /// `to`, which may be compressed.
    ///
    /// # Errors
    /// - [`Compressed`](TransformError::Compressed): `from` is compressed;
    /// - [`Angle`](TransformError::Angle);
    /// - [`NotBuilt`](TransformError::NotBuilt): without the cargo feature
    ///   `films`, if the frames have to be converted or compressed. They can be
    ///   mirrored, and turned where the format allows.
    pub fn new(from: &Layout, to: &Layout, how: &Transform) -> Result<Self, TransformError> {
        let drawn = drawn(to);
        let (Some(old), Some(new)) = (Raster::of(from), Raster::of(&drawn)) else {
            return Err(TransformError::Compressed);
        };
        // A half turn is both mirrors.
        let (quarter, half) = match how.rotate {
            0 => (None, false),
            90 => (Some(true), false),
            180 => (None, true),
            270 => (Some(false), false),
            angle => return Err(TransformError::Angle(angle)),
        };
        if !IS_BUILT && to.format.is_compressed() {
            return Err(TransformError::NotBuilt);
        }
        let whole = Rect {
            left: 0,
            top: 0,
            width: from.width,
            height: from.height,
        };
        let crop = how.crop.filter(|crop| *crop != whole);
        let mut stages = Vec::new();
        match quarter {
            None => convert(&mut stages, &old, crop, &new)?,
            Some(clockwise) => {
                // The turn comes last where the new format can be turned as it
                // is packed; else chroma is sampled as finely as luma for it.
                let turned = match turn::is_turnable(&new) {
                    true => new.clone(),
                    false => Raster::yuv(Chroma::Yuv444, new.width, new.height, new.full_range),
                };
                let lying = turned.resized(turned.height, turned.width);
                convert(&mut stages, &old, crop, &lying)?;
                let turn = Turn::new(lying, clockwise);
                stages.push(Stage::new(Step::Turn(turn), &turned));
                convert(&mut stages, &turned, None, &new)?;
            }
        }
        let adjust = Adjust {
            hflip: how.hflip != half,
            vflip: how.vflip != half,
            ..Adjust::default()
        };
        let is_mirrored = adjust != Adjust::default();
        if is_mirrored && stages.is_empty() {
            stages.push(Stage::new(Step::Copy, &new));
        }
        Ok(Self {
            from: *from,
            to: *to,
            drawn,
            stages,
            mirror: is_mirrored.then(|| Adjuster::new(adjust)),
            quality: how.quality,
            jpeg: Vec::new(),
        })
    }

    /// Returns the new frame of `frame`, which has at least `sizeimage` bytes of
    /// the old layout, plane after plane. The new frame likewise has `sizeimage`
    /// bytes of the new layout, or as many as its JPEG has.
    ///
    /// # Errors
    /// - [`Short`](TransformError::Short): the frame is shorter;
    /// - [`TooLong`](TransformError::TooLong): the JPEG is longer than
    ///   `sizeimage` with every quality;
    /// - [`Conversion`](TransformError::Conversion): a library failed.
    pub fn transform<'a>(&'a mut self, frame: &'a [u8]) -> Result<&'a [u8], TransformError> {
        let bytes = self.from.sizeimage as usize;
        let mut at = frame
            .get(..bytes)
            .ok_or(TransformError::Short(frame.len(), bytes))?;
        if let Some((last, others)) = self.stages.split_last_mut() {
            for stage in others {
                at = stage.run(at)?;
            }
            last.run(at)?;
            if let Some(mirror) = &self.mirror {
                mirror.apply(&self.drawn, &mut last.out);
            }
            at = &last.out;
        }
        if self.to.format.is_compressed() {
            let Self {
                drawn, to, quality, ..
            } = self;
            let encoded = jpeg::encode(at, drawn, to, *quality, &mut self.jpeg);
            encoded.ok_or(TransformError::TooLong)?;
            at = &self.jpeg;
        }
        Ok(at)
    }
}

/// Adds the stage that converts frames of `old`, or the part `crop` of them, to
/// `new`, if they have to be converted.
fn convert(
    stages: &mut Vec<Stage>,
    old: &Raster,
    crop: Option<Rect>,
    new: &Raster,
) -> Result<(), TransformError> {
    if !convert::is_needed(old, crop, new) {
        return Ok(());
    }
    if !IS_BUILT {
        return Err(TransformError::NotBuilt);
    }
    let converter = Converter::new(old, crop, new);
    stages.push(Stage::new(Step::Convert(converter), new));
    Ok(())
}

impl Stage {
    /// Makes a stage that makes frames of `new`.
    fn new(step: Step, new: &Raster) -> Self {
        let out = vec![0; new.bytes];
        Self { step, out }
    }

    /// Runs the stage, and returns what it has made.
    fn run(&mut self, frame: &[u8]) -> Result<&[u8], ConvertError> {
        let out = &mut self.out[..];
        match &mut self.step {
            Step::Copy => out.copy_from_slice(frame),
            Step::Convert(converter) => converter.convert(frame, out)?,
            Step::Turn(turn) => turn.run(frame, out),
        }
        Ok(out)
    }
}

#[cfg(all(test, feature = "films"))]
mod tests;

#[cfg(all(test, not(feature = "films")))]
mod without_films {
    use super::*;
    use crate::source::PixelFormat;

    #[test]
    fn what_needs_no_conversion_is_done_and_the_rest_refused() {
        let of = |format| Layout::new(format, 32, 16);
        let from = of(PixelFormat::Nv12);
        let frame: Vec<u8> = (0..from.sizeimage).map(|i| i as u8).collect();
        let half = Transform {
            rotate: 180,
            ..Transform::default()
        };
        let mut there = Transformer::new(&from, &from, &half).unwrap();
        let mut back = Transformer::new(&from, &from, &half).unwrap();
        let turned = there.transform(&frame).unwrap();
        assert!(turned != frame && back.transform(turned).unwrap() == frame);
        for format in [PixelFormat::Nv21, PixelFormat::Mjpg] {
            let refused = Transformer::new(&from, &of(format), &Transform::default());
            assert!(matches!(refused, Err(TransformError::NotBuilt)));
        }
    }
}
