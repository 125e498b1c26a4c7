//! The trait [`Painting`], which every pattern implements, and its settings.

use std::fmt::Debug;
use std::ops::Range;

use super::part::Part;
use super::wide::xor;
use crate::source::frame::FrameInfo;
use crate::source::settings::Settings;

/// A picture, line by line.
pub trait Painting: Debug + Send {
    /// Sets the moving parts for that frame.
    fn begin(&mut self, _frame: &FrameInfo, _settings: &PatternSettings) {}

    /// Returns the line of a colour plane that begins at line `y` of the picture.
    fn band(&self, plane: usize, y: u32) -> Band<'_>;
}

/// Some lines of a picture that are the same.
#[derive(Debug, Clone, Copy)]
pub struct Band<'a> {
    /// Each of them.
    pub line: Line<'a>,
    /// The line of the picture before which they end.
    pub end: u32,
}

/// The bytes of a line.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// These, in every frame.
    Still(&'a [u8]),
    /// These, in this frame.
    Moving(&'a [u8]),
    /// The exclusive or of these, in this frame.
    Mixed(&'a [u8], &'a [u8]),
}

impl<'a> Line<'a> {
    /// Writes a part of the line, but not what lies in `hidden`.
    #[inline(always)]
    pub fn write(self, part: &mut Part<'_>, hidden: Range<usize>) {
        let Range { start, end } = part.place();
        for (start, end) in [(start, hidden.start.min(end)), (hidden.end.max(start), end)] {
            if start < end {
                let out = part.bytes(start..end);
                match self {
                    Self::Still(line) | Self::Moving(line) => {
                        out.copy_from_slice(&line[start..end]);
                    }
                    Self::Mixed(one, other) => xor(out, &one[start..end], &other[start..end]),
                }
            }
        }
    }

    /// Returns the `N` bytes that begin with byte `at`, if there are so many.
    #[inline(always)]
    pub fn chunk<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let of = |line: &'a [u8]| line.get(at..)?.first_chunk::<N>().copied();
        match self {
            Self::Still(line) | Self::Moving(line) => of(line),
            Self::Mixed(one, other) => {
                let (mut mixed, other) = (of(one)?, of(other)?);
                for i in 0..N {
                    mixed[i] ^= other[i];
                }
                Some(mixed)
            }
        }
    }

    /// Returns the bytes, if they are the same in every frame.
    pub fn still(self) -> Option<&'a [u8]> {
        match self {
            Self::Still(line) => Some(line),
            Self::Moving(_) | Self::Mixed(..) => None,
        }
    }
}

/// The settings that patterns use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternSettings {
    pub motion: u32,
    pub noise_seed: i64,
    pub overlay: u32,
    pub text: String,
}

impl From<&Settings> for PatternSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            motion: settings.motion,
            noise_seed: settings.noise_seed,
            overlay: settings.overlay,
            text: settings.text.clone(),
        }
    }
}
