//! The settings of the picture that the card's controls change.

/// A rectangle in a picture, in pixels and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub left: u32,
    /// First line.
    pub top: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// Adjustments of the picture, by the controls of V4L2's user class. The
/// defaults leave the picture unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjust {
    /// V4L2_CID_BRIGHTNESS, 0 to 255: the value minus 128 is added to luma.
    pub brightness: i32,
    /// V4L2_CID_CONTRAST, 0 to 255: luma's distance from the middle is
    /// multiplied by the value / 128.
    pub contrast: i32,
    /// V4L2_CID_SATURATION, 0 to 255: chroma is multiplied by the value / 128.
    pub saturation: i32,
    /// V4L2_CID_HUE, -128 to 127: chroma is rotated by the value / 128 half
    /// turns.
    pub hue: i32,
    /// V4L2_CID_GAIN, 0 to 255: light is multiplied by the value / 64.
    pub gain: i32,
    /// V4L2_CID_HFLIP.
    pub hflip: bool,
    /// V4L2_CID_VFLIP.
    pub vflip: bool,
}

impl Adjust {
    /// Returns the adjustments clamped to their bounds.
    pub fn bounded(self) -> Self {
        let byte = |value: i32| value.clamp(0, 255);
        Self {
            brightness: byte(self.brightness),
            contrast: byte(self.contrast),
            saturation: byte(self.saturation),
            hue: self.hue.clamp(-128, 127),
            gain: byte(self.gain),
            ..self
        }
    }
}

impl Default for Adjust {
    fn default() -> Self {
        Self {
            brightness: 128,
            contrast: 128,
            saturation: 128,
            hue: 0,
            gain: 64,
            hflip: false,
            vflip: false,
        }
    }
}

/// All settings of a [`Camera`](super::Camera).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Adjustments of the picture, whatever its source.
    pub adjust: Adjust,
    /// The part of the source's picture that is shown; `None` for all of it.
    pub crop: Option<Rect>,
    /// The pattern that is shown in place of the input, as an index in
    /// [`pattern::NAMES`](super::pattern::NAMES).
    pub test_pattern: Option<usize>,
    /// V4L2_CID_JPEG_COMPRESSION_QUALITY, 1 to 100.
    pub quality: u8,
    /// Number of pixels that the pattern `moving` moves from frame to frame.
    pub motion: u32,
    /// The overlays on the picture: bits of [`overlay`].
    pub overlay: u32,
    /// A line of text that a pattern writes over its picture; none if empty.
    pub text: String,
    /// Seed of the pattern `noise`.
    pub noise_seed: i64,
}

/// The overlays that a pattern writes over its picture; `integrity` has none.
pub mod overlay {
    /// The clock overlay with the time of day.
    pub const CLOCK: u32 = 1;
    /// The sequence number.
    pub const COUNTER: u32 = 2;
    /// All overlays, which is the default.
    pub const ALL: u32 = CLOCK | COUNTER;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            adjust: Adjust::default(),
            crop: None,
            test_pattern: None,
            quality: 85,
            motion: 4,
            overlay: overlay::ALL,
            text: String::new(),
            noise_seed: 0,
        }
    }
}
