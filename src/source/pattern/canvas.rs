//! Drawing on one line of one plane, in any packing of its bytes.

use crate::source::format::{Component, PlaneFormat};

/// A colour, with its value for every component that a format may have.
///
/// Y'CbCr is that of BT.601 in limited range (luma 16 to 235, chroma 16 to
/// 240), the default of YUV formats in `V4L2_COLORSPACE_SMPTE170M`. RGB and
/// grey levels have full range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ink {
    components: [u8; Component::COUNT],
}

impl Ink {
    /// Returns the colour of these non-linear R'G'B' values.
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        let (r, g, b) = (red as i32, green as i32, blue as i32);
        // The matrix of BT.601, in thousandths, for the limited range.
        let y = scaled(65_481 * r + 128_553 * g + 24_966 * b);
        let u = scaled(-37_797 * r - 74_203 * g + 112_000 * b);
        let v = scaled(112_000 * r - 93_786 * g - 18_214 * b);
        // The same luma in full range.
        let l = scaled(76_245 * r + 149_685 * g + 29_070 * b);
        let mut components = [0; Component::COUNT];
        components[Component::Y as usize] = (16 + y) as u8;
        components[Component::U as usize] = (128 + u) as u8;
        components[Component::V as usize] = (128 + v) as u8;
        components[Component::R as usize] = red;
        components[Component::G as usize] = green;
        components[Component::B as usize] = blue;
        components[Component::L as usize] = l as u8;
        components[Component::Rgb565Low as usize] = (green << 3) & 0xe0 | blue >> 3;
        components[Component::Rgb565High as usize] = red & 0xf8 | green >> 5;
        Self { components }
    }

    /// Returns the neutral colour of that level.
    pub const fn grey(level: u8) -> Self {
        Self::rgb(level, level, level)
    }

    /// Returns this colour with another luma of limited range, which a level
    /// below black needs.
    pub const fn with_luma(mut self, y: u8) -> Self {
        self.components[Component::Y as usize] = y;
        self
    }

    /// Returns the value of one component.
    pub const fn component(self, component: Component) -> u8 {
        self.components[component as usize]
    }
}

/// Returns `sum` / 255000, rounded: the sum has weights in thousandths and
/// values of 0 to 255.
const fn scaled(sum: i32) -> i32 {
    (sum + 127_500).div_euclid(255_000)
}

/// A line of a plane to draw on. Positions are pixels of the picture; parts
/// outside of it are cut off.
#[derive(Debug)]
pub struct Row<'a> {
    bytes: &'a mut [u8],
    plane: &'static PlaneFormat,
    /// Pixel of the picture at which `bytes` begins; even.
    first: i32,
    width: i32,
}

impl<'a> Row<'a> {
    /// Makes the row for the line of a plane in `bytes`.
    pub fn new(bytes: &'a mut [u8], plane: &'static PlaneFormat) -> Self {
        Self::from(bytes, plane, 0)
    }

    /// Makes the row for the part of a line of a plane that is in `bytes`; its
    /// first pixel is `first`, which is even.
    pub fn from(bytes: &'a mut [u8], plane: &'static PlaneFormat, first: i32) -> Self {
        let width = bytes.len() / plane.samples.len() * plane.pixels as usize;
        Self {
            bytes,
            plane,
            first,
            width: width as i32,
        }
    }

    /// Paints the pixels from `start` up to, but not including, `end`.
    pub fn fill(&mut self, start: i32, end: i32, ink: Ink) {
        let (start, end) = self.within(start, end);
        if start >= end {
            return;
        }
        let pixels = self.plane.pixels as i32;
        // Short fills are frequent, and a division by an unknown number is
        // slow.
        let (first, last) = match pixels {
            1 => (start, end),
            2 => ((start + 1) / 2, end / 2),
            pixels => ((start + pixels - 1) / pixels, end / pixels),
        };
        let last = last.max(first);
        let ends = (start..end.min(first * pixels)).chain(start.max(last * pixels)..end);
        for x in ends {
            self.blend(self.first + x, ink, 255);
        }
        let samples = self.plane.samples;
        let groups = first as usize * samples.len()..last as usize * samples.len();
        let value = |i: usize| ink.component(samples[i].0);
        let bytes = &mut self.bytes[groups];
        match samples.len() {
            1 => bytes.fill(value(0)),
            2 => repeat(bytes, [value(0), value(1)]),
            3 => repeat(bytes, [value(0), value(1), value(2)]),
            4 => repeat(bytes, [value(0), value(1), value(2), value(3)]),
            n => bytes
                .chunks_exact_mut(n)
                .for_each(|group| (0..n).for_each(|i| group[i] = value(i))),
        }
    }

    /// Blends the colour over one pixel, with a strength of `alpha` 255ths. A
    /// chroma sample belongs to the first pixel of its group.
    pub fn blend(&mut self, x: i32, ink: Ink, alpha: u8) {
        let x = x - self.first;
        if x < 0 || x >= self.width {
            return;
        }
        let (group, pixel) = match self.plane.pixels {
            1 => (x as u32, 0),
            2 => (x as u32 / 2, x as u32 % 2),
            pixels => (x as u32 / pixels, x as u32 % pixels),
        };
        let samples = self.plane.samples;
        let group = &mut self.bytes[group as usize * samples.len()..][..samples.len()];
        for (byte, (component, of)) in group.iter_mut().zip(samples) {
            if u32::from(*of) != pixel {
                continue;
            }
            let (old, new) = (*byte, ink.component(*component));
            *byte = match component {
                // A byte of RGB565 holds parts of several colours, which cannot
                // be mixed: it keeps the old value or takes the new one.
                Component::Rgb565Low | Component::Rgb565High if alpha < 128 => old,
                Component::Rgb565Low | Component::Rgb565High => new,
                _ => mixed(old, new, alpha),
            };
        }
    }

    /// Blends the colour over the pixels of a run, moved by `x` pixels.
    pub fn lay(&mut self, x: i32, run: &Run, ink: Ink) {
        let (start, end) = (x + run.start, x + run.end);
        match (self.plane.pixels, self.plane.samples) {
            // A plane of one component is the most frequent case: most luma
            // planes are one.
            (1, &[(component, _)]) => {
                let (start, end) = self.within(start, end);
                let bytes = self.bytes.get_mut(start as usize..end as usize);
                let (bytes, new) = (bytes.unwrap_or_default(), ink.component(component));
                match run.cover {
                    255 => bytes.fill(new),
                    cover => bytes
                        .iter_mut()
                        .for_each(|old| *old = mixed(*old, new, cover)),
                }
            }
            _ if run.cover == 255 => self.fill(start, end, ink),
            _ => (start..end).for_each(|at| self.blend(at, ink, run.cover)),
        }
    }

    /// Returns where those pixels lie in the row, cut off at its ends.
    fn within(&self, start: i32, end: i32) -> (i32, i32) {
        let place = |pixel: i32| pixel.saturating_sub(self.first).clamp(0, self.width);
        (place(start), place(end))
    }

    /// Paints the part of this line that a disc covers: `above` is the distance
    /// of the line's middle from the disc's centre, `x` the place of that centre
    /// and `radius` its size, all in pixels. The disc's rim is smooth.
    pub fn disc(&mut self, x: f32, above: f32, radius: f32, ink: Ink) {
        let above = above.abs();
        let Some(outer) = half_chord(radius + 0.5, above) else {
            return;
        };
        let inner = half_chord(radius - 0.5, above).unwrap_or(0.0);
        let (left, right) = ((x - outer).floor() as i32, (x + outer).ceil() as i32);
        let (start, end) = ((x - inner).ceil() as i32, (x + inner).floor() as i32);
        let end = end.max(start);
        self.fill(start, end, ink);
        for rim in [left..start, end..right] {
            // What is beyond the line needs no root.
            let (from, to) = (
                rim.start.max(self.first),
                rim.end.min(self.first + self.width),
            );
            for column in from..to {
                let along = column as f32 + 0.5 - x;
                let distance = (along * along + above * above).sqrt();
                let cover = (radius + 0.5 - distance).clamp(0.0, 1.0);
                self.blend(column, ink, (cover * 255.0) as u8);
            }
        }
    }
}

/// Adjacent pixels of a line that a shape covers equally, by `cover` 255ths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub start: i32,
    pub end: i32,
    pub cover: u8,
}

/// Returns `new` laid over `old` at a strength of `alpha` 255ths.
fn mixed(old: u8, new: u8, alpha: u8) -> u8 {
    let [old, new, alpha] = [old, new, alpha].map(u32::from);
    ((old * (255 - alpha) + new * alpha + 127) / 255) as u8
}

/// Returns half the width of a circle at a distance of `above` from its centre;
/// `None` if the circle does not reach that far.
fn half_chord(radius: f32, above: f32) -> Option<f32> {
    (above < radius).then(|| (radius * radius - above * above).sqrt())
}

/// Fills `bytes` with copies of `group`.
fn repeat<const N: usize>(bytes: &mut [u8], group: [u8; N]) {
    if group.iter().all(|byte| *byte == group[0]) {
        bytes.fill(group[0]);
    } else {
        bytes.as_chunks_mut().0.fill(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    #[test]
    fn a_run_is_laid_as_its_pixels_are_blended() {
        for format in PixelFormat::ALL {
            for plane in format.planes() {
                for (start, end) in [(-3, 2), (1, 2), (4, 9), (6, 40), (40, 50), (-9, -3)] {
                    let ink = Ink::rgb(200, 60, 90);
                    let mut bytes: Vec<u8> = (0..24).map(|at| at * 9).collect();
                    let mut expected = bytes.clone();
                    let mut row = Row::new(&mut expected, plane);
                    (start..end).for_each(|x| row.blend(x + 1, ink, 100));
                    let run = Run {
                        start,
                        end,
                        cover: 100,
                    };
                    Row::new(&mut bytes, plane).lay(1, &run, ink);
                    assert_eq!(bytes, expected, "{format} {start}..{end}");
                }
            }
        }
    }

    #[test]
    fn colours_are_those_of_bt601() {
        use Component::{L, U, V, Y};
        let yuv = |ink: Ink| [Y, U, V, L].map(|c| ink.component(c));
        assert_eq!(yuv(Ink::grey(0)), [16, 128, 128, 0]);
        assert_eq!(yuv(Ink::grey(255)), [235, 128, 128, 255]);
        assert_eq!(yuv(Ink::rgb(255, 0, 0)), [81, 90, 240, 76]);
        assert_eq!(yuv(Ink::rgb(0, 255, 0)), [145, 54, 34, 150]);
        assert_eq!(yuv(Ink::rgb(0, 0, 255)), [41, 240, 110, 29]);
    }

    #[test]
    fn a_span_that_begins_and_ends_within_a_group_keeps_its_neighbours() {
        let plane = &PixelFormat::Yuyv.planes()[0];
        let mut bytes = [0; 16];
        Row::new(&mut bytes, plane).fill(1, 7, Ink::grey(255));
        assert_eq!(
            bytes,
            [
                0, 0, 235, 0, 235, 128, 235, 128, 235, 128, 235, 128, 235, 128, 0, 128
            ]
        );
    }

    #[test]
    fn spans_and_discs_beyond_the_picture_are_cut_off() {
        for format in PixelFormat::ALL {
            for plane in format.planes() {
                let mut bytes = vec![7; 24];
                let mut row = Row::new(&mut bytes, plane);
                row.fill(-10, 0, Ink::grey(1));
                row.fill(1000, 2000, Ink::grey(1));
                row.fill(5, 5, Ink::grey(1));
                row.disc(-20.0, 0.0, 10.0, Ink::grey(1));
                row.blend(-1, Ink::grey(1), 255);
                assert_eq!(bytes, [7; 24]);
                Row::new(&mut bytes, plane).disc(4.0, 1.0, 1000.0, Ink::grey(255));
                assert!(bytes.iter().all(|b| *b != 7));
            }
        }
    }
}
