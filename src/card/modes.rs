//! The lists of sizes and rates to which a card can be restricted, as real
//! cameras are.

use super::clock::Interval;
use super::kind::BufferApi;
use crate::source::{Layout, PixelFormat};

/// Lists of sizes and intervals. An empty list restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modes {
    sizes: Vec<(u32, u32)>,
    intervals: Vec<Interval>,
}

/// Why a list is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// A format of the card does not have that size.
    #[error(
        "the card has no {format} of {width}x{height}: say sizes from {}x{} to {}x{} that all its \
         formats have, such as even ones",
        Layout::MIN_WIDTH,
        Layout::MIN_HEIGHT,
        Layout::MAX_WIDTH,
        Layout::MAX_HEIGHT
    )]
    Size {
        /// Four-character code of the format.
        format: PixelFormat,
        /// Width in pixels.
        width: u32,
        /// Height in lines.
        height: u32,
    },
    /// A rate is out of bounds.
    #[error("{frames}/{seconds} frames a second are not between 1 and 240")]
    Rate {
        /// Number of frames
        frames: u32,
        /// in that number of seconds.
        seconds: u32,
    },
}

impl Modes {
    /// Creates lists of sizes in pixels and lines, and of rates as frames in a
    /// number of seconds. The first entry of each is the card's default.
    ///
    /// # Errors
    /// The card does not support one of the sizes in every format, or a rate is
    /// out of bounds.
    pub fn new(
        planes: BufferApi,
        sizes: &[(u32, u32)],
        rates: &[(u32, u32)],
    ) -> Result<Self, ModeError> {
        for &(width, height) in sizes {
            let lacks = |format: &PixelFormat| !Layout::has_size(*format, width, height);
            if let Some(format) = planes.formats().find(lacks) {
                return Err(ModeError::Size {
                    format,
                    width,
                    height,
                });
            }
        }
        let interval = |&(frames, seconds)| {
            let interval = Interval::exact(seconds, frames);
            interval.ok_or(ModeError::Rate { frames, seconds })
        };
        Ok(Self {
            sizes: sizes.to_vec(),
            intervals: rates.iter().map(interval).collect::<Result<_, _>>()?,
        })
    }

    /// Returns the sizes in their order; empty if the card has all sizes.
    pub fn sizes(&self) -> &[(u32, u32)] {
        &self.sizes
    }

    /// Returns the intervals in their order; empty if the card has all
    /// intervals.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// Returns the listed size nearest to the requested one, by the distance of
    /// v4l2_find_nearest_size() of Linux.
    pub fn size_for(&self, width: u32, height: u32) -> (u32, u32) {
        let distance = |size: &&(u32, u32)| {
            u64::from(size.0.abs_diff(width)) + u64::from(size.1.abs_diff(height))
        };
        let nearest = self.sizes.iter().min_by_key(distance);
        *nearest.unwrap_or(&(width, height))
    }

    /// Returns the listed interval nearest to the requested one in time; the
    /// first of two equally near.
    pub fn interval_for(&self, wanted: Interval) -> Interval {
        let nearest =
            self.intervals
                .iter()
                .reduce(|best, other| match other.is_nearer(*best, wanted) {
                    true => other,
                    false => best,
                });
        *nearest.unwrap_or(&wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_taken() {
        let sizes = [(640, 480), (1280, 720), (1920, 1080)];
        let rates = [(30, 1), (60, 1), (15, 2), (30000, 1001)];
        let modes = Modes::new(BufferApi::Single, &sizes, &rates).unwrap();
        for (wanted, got) in [
            ((0, 0), (640, 480)),
            ((640, 480), (640, 480)),
            ((1000, 600), (1280, 720)),
            ((959, 599), (640, 480)),
            // The requested size is equally far from both.
            ((960, 600), (640, 480)),
            ((u32::MAX, u32::MAX), (1920, 1080)),
            ((u32::MAX, 0), (1920, 1080)),
        ] {
            assert_eq!(modes.size_for(wanted.0, wanted.1), got, "{wanted:?}");
        }
        for (wanted, got) in [
            ((1, 30), (1, 30)),
            ((1, 240), (1, 60)),
            ((1, 1), (2, 15)),
            ((1, 10), (2, 15)),
            ((1001, 30000), (1001, 30000)),
            // 0.025 is as far from 1/30 as from 1/60.
            ((1, 40), (1, 30)),
            ((1, 41), (1, 60)),
        ] {
            let wanted = Interval::exact(wanted.0, wanted.1).unwrap();
            let nearest = modes.interval_for(wanted);
            assert_eq!((nearest.numerator, nearest.denominator), got, "{wanted:?}");
        }
        let none = Modes::default();
        assert_eq!(none.size_for(17, 19), (17, 19));
        assert_eq!(none.interval_for(Interval::MAX), Interval::MAX);
    }

    #[test]
    fn what_a_card_cannot_have_is_refused() {
        for size in [(641, 480), (640, 0), (14, 16), (3842, 2160), (u32::MAX, 16)] {
            let error = Modes::new(BufferApi::Single, &[(640, 480), size], &[]).unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains(&format!("of {}x{}", size.0, size.1)),
                "{said}"
            );
        }
        for rate in [(0, 1), (1, 0), (241, 1), (1, 2), (u32::MAX, 1)] {
            let error = Modes::new(BufferApi::Single, &[], &[rate]).unwrap_err();
            assert!(matches!(error, ModeError::Rate { .. }), "{error}");
        }
    }
}
