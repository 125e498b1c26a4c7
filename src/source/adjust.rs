//! Adjustments of the picture: brightness, contrast, saturation, hue, gain, and
//! flips.
//!
//! Each adjustment changes the picture as a camera changes light. Light is
//! given in levels from 0 (black) to 255 (white):
//!
//! - luma `L` becomes `(L * gain / 64 - 127.5) * contrast / 128 + 127.5 +
//!   brightness - 128`;
//! - the colour differences are multiplied by `gain / 64 * saturation / 128`
//!   and turned by `hue / 128` half turns, from blue towards red;
//!
//! The result is the same in every format, except for rounding. Y'CbCr of
//! limited range stays within 1 to 254, as BT.601 requires.

use std::f64::consts::PI;
use std::ops::Range;

use super::format::{Component, PixelFormat};
use super::layout::{Layout, PlaneLayout};
use super::rgb565::{from_565, to_565};
use super::settings::Adjust;

/// Number of values of a byte.
const VALUES: usize = 256;

/// Number of fraction bits of the fixed-point numbers that are added up.
const POINT: u32 = 16;

/// The fixed-point amount that each value of a byte adds to a sum.
type Share = [i32; VALUES];

/// Adjustments as tables, which are looked up for each byte.
pub struct Adjuster {
    settings: Adjust,
    /// New value of each luma value of limited range.
    luma: [u8; VALUES],
    /// New value of each grey level of full range.
    level: [u8; VALUES],
    /// The amounts that U and V add to U, and those that they add to V.
    chroma: [[Share; 2]; 2],
    /// The amounts that each value of R, of G and of B adds to R, G and B. The
    /// fourth is 0: four numbers are one register.
    rgb: [[[i32; 4]; VALUES]; 3],
}

impl std::fmt::Debug for Adjuster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Adjuster").field(&self.settings).finish()
    }
}

/// Matrix from R'G'B' to luma and colour differences of full range (BT.601).
const FROM_RGB: [[f64; 3]; 3] = [
    [0.299, 0.587, 0.114],
    [-0.168_736, -0.331_264, 0.5],
    [0.5, -0.418_688, -0.081_312],
];
/// The inverse of [`FROM_RGB`].
const TO_RGB: [[f64; 3]; 3] = [
    [1.0, 0.0, 1.402],
    [1.0, -0.344_136, -0.714_136],
    [1.0, 1.772, 0.0],
];

impl Adjuster {
    /// Makes the tables for `settings`; a value out of bounds is clamped to the
    /// bound.
    pub fn new(settings: Adjust) -> Self {
        let settings = settings.bounded();
        let part = |value: i32, whole: i32| f64::from(value) / f64::from(whole);
        let (gain, contrast) = (part(settings.gain, 64), part(settings.contrast, 128));
        // Luma is multiplied by `slope`, then `shift` is added.
        let slope = gain * contrast;
        let shift = 127.5 - 127.5 * contrast + f64::from(settings.brightness - 128);
        let strength = gain * part(settings.saturation, 128);
        let (sine, cosine) = (part(settings.hue, 128) * PI).sin_cos();
        let turn = [
            [strength * cosine, -strength * sine],
            [strength * sine, strength * cosine],
        ];
        let light = |level: f64| level * slope + shift;
        let byte = |i: usize| i as f64;
        Self {
            settings,
            luma: std::array::from_fn(|i| {
                let level = light((byte(i) - 16.0) * 255.0 / 219.0);
                (16.0 + level * 219.0 / 255.0).round().clamp(1.0, 254.0) as u8
            }),
            level: std::array::from_fn(|i| light(byte(i)).round().clamp(0.0, 255.0) as u8),
            chroma: turn.map(|to| {
                // The table of U adds the middle value 128 and the one half for
                // rounding, once for each sum.
                [(0, 128.5), (1, 0.0)].map(|(from, extra)| share(to[from], 128.0, extra))
            }),
            rgb: std::array::from_fn(|from| {
                let shares: [Share; 3] = std::array::from_fn(|to| {
                    let luma = slope * FROM_RGB[0][from];
                    let differences = [0, 1].map(|difference| {
                        turn[difference][0] * FROM_RGB[1][from]
                            + turn[difference][1] * FROM_RGB[2][from]
                    });
                    let factor = TO_RGB[to][0] * luma
                        + TO_RGB[to][1] * differences[0]
                        + TO_RGB[to][2] * differences[1];
                    share(factor, 0.0, if from == 0 { shift + 0.5 } else { 0.0 })
                });
                std::array::from_fn(|i| [shares[0][i], shares[1][i], shares[2][i], 0])
            }),
        }
    }

    /// Adjusts a whole frame of `layout`. A compressed frame is left as it is.
    pub fn apply(&self, layout: &Layout, frame: &mut [u8]) {
        let neutral = Adjust {
            hflip: self.settings.hflip,
            vflip: self.settings.vflip,
            ..Adjust::default()
        };
        if self.settings != neutral {
            self.colours(layout, frame);
        }
        for plane in layout.planes() {
            let bytes = &mut frame[bytes_of(&plane)];
            if self.settings.vflip {
                upside_down(bytes, plane.stride);
            }
            if self.settings.hflip {
                bytes
                    .chunks_exact_mut(plane.stride)
                    .for_each(|line| mirrored(line, &plane));
            }
        }
    }

    fn colours(&self, layout: &Layout, frame: &mut [u8]) {
        use PixelFormat::*;
        match layout.format {
            Grey => frame
                .iter_mut()
                .for_each(|byte| *byte = self.level[usize::from(*byte)]),
            Y16 => each(frame, |word| {
                *word = self.wide(u16::from_le_bytes(*word)).to_le_bytes();
            }),
            Rgb3 => each(frame, |[r, g, b]| self.pixel(r, g, b)),
            Bgr3 => each(frame, |[b, g, r]| self.pixel(r, g, b)),
            Xr24 => each(frame, |[b, g, r, _]| self.pixel(r, g, b)),
            Bx24 => each(frame, |[_, r, g, b]| self.pixel(r, g, b)),
            Rgbp => each(frame, |word| {
                let [mut r, mut g, mut b] = from_565(*word);
                self.pixel(&mut r, &mut g, &mut b);
                *word = to_565([r, g, b]);
            }),
            Yuyv => each(frame, |[y, u, z, v]| self.pair([y, z], u, v)),
            Uyvy => each(frame, |[u, y, v, z]| self.pair([y, z], u, v)),
            Yvyu => each(frame, |[y, v, z, u]| self.pair([y, z], u, v)),
            Vyuy => each(frame, |[v, y, u, z]| self.pair([y, z], u, v)),
            Nv12 | Nv16 | Nm12 | Nm16 => {
                each(self.after_luma(layout, frame), |[u, v]| self.turn(u, v));
            }
            Nv21 => each(self.after_luma(layout, frame), |[v, u]| self.turn(u, v)),
            Yu12 | P422 | Ym12 | Yv12 => {
                let chroma = self.after_luma(layout, frame);
                let (first, second) = chroma.split_at_mut(chroma.len() / 2);
                let (u, v) = match layout.format {
                    Yv12 => (second, first),
                    _ => (first, second),
                };
                u.iter_mut().zip(v).for_each(|(u, v)| self.turn(u, v));
            }
            // The picture is adjusted before it is compressed.
            Mjpg => {}
        }
    }

    /// Adjusts the luma plane at the start of `frame`; returns the chroma
    /// planes that follow it.
    fn after_luma<'a>(&self, layout: &Layout, frame: &'a mut [u8]) -> &'a mut [u8] {
        let end = layout
            .planes()
            .next()
            .map_or(0, |plane| bytes_of(&plane).end);
        let (luma, chroma) = frame.split_at_mut(end);
        luma.iter_mut()
            .for_each(|byte| *byte = self.luma[usize::from(*byte)]);
        chroma
    }

    /// Adjusts two pixels that share their chroma.
    fn pair(&self, luma: [&mut u8; 2], u: &mut u8, v: &mut u8) {
        for y in luma {
            *y = self.luma[usize::from(*y)];
        }
        self.turn(u, v);
    }

    /// Adjusts a chroma pair of limited range.
    fn turn(&self, u: &mut u8, v: &mut u8) {
        let from = [*u, *v].map(usize::from);
        let to = self.chroma.each_ref().map(|[of_u, of_v]| {
            let sum = (of_u[from[0]] + of_v[from[1]]) >> POINT;
            sum.clamp(1, 254) as u8
        });
        [*u, *v] = to;
    }

    /// Adjusts a pixel of red, green and blue.
    fn pixel(&self, r: &mut u8, g: &mut u8, b: &mut u8) {
        let [of_r, of_g, of_b] = &self.rgb;
        let shares = [
            of_r[usize::from(*r)],
            of_g[usize::from(*g)],
            of_b[usize::from(*b)],
        ];
        let to: [u8; 4] = std::array::from_fn(|to| {
            // The sum fits (see `share`); a check of it would keep the compiler
            // from adding four at a time.
            let sum = shares[0][to]
                .wrapping_add(shares[1][to])
                .wrapping_add(shares[2][to]);
            (sum >> POINT).clamp(0, 255) as u8
        });
        [*r, *g, *b] = [to[0], to[1], to[2]];
    }

    /// Returns the adjusted 16-bit level; 257 of its steps are one 8-bit step.
    fn wide(&self, level: u16) -> u16 {
        let Adjust {
            brightness,
            contrast,
            gain,
            ..
        } = self.settings;
        let (brightness, contrast, gain) =
            (i64::from(brightness), i64::from(contrast), i64::from(gain));
        // The formula in units of 1/8192, with 65535 in place of 255.
        let sum = i64::from(level) * gain * contrast
            + 65_535 * (128 - contrast) * 32
            + (brightness - 128) * 257 * 8192
            + 4096;
        (sum >> 13).clamp(0, 65_535) as u16
    }
}

/// Returns the table of the amounts that each byte value adds to a sum: (byte -
/// `middle`) * `factor` + `extra`. With bounded settings, a sum of three
/// amounts fits an i32.
fn share(factor: f64, middle: f64, extra: f64) -> Share {
    let one = f64::from(1 << POINT);
    std::array::from_fn(|i| (((i as f64 - middle) * factor + extra) * one).round() as i32)
}

/// Changes every group of `N` bytes.
fn each<const N: usize>(bytes: &mut [u8], mut change: impl FnMut(&mut [u8; N])) {
    bytes.as_chunks_mut().0.iter_mut().for_each(&mut change);
}

fn bytes_of(plane: &PlaneLayout) -> Range<usize> {
    plane.offset..plane.offset + plane.stride * plane.lines
}

/// Exchanges the first line with the last, the second with the last but one,
/// and so on.
fn upside_down(bytes: &mut [u8], stride: usize) {
    let mut lines = bytes.chunks_exact_mut(stride);
    while let (Some(upper), Some(lower)) = (lines.next(), lines.next_back()) {
        upper.swap_with_slice(lower);
    }
}

/// Reverses the order of the pixel groups in a line of a plane, and the order
/// of the pixels within each group.
fn mirrored(line: &mut [u8], plane: &PlaneLayout) {
    let samples = plane.format.samples;
    match samples.len() {
        1 => line.reverse(),
        2 => line.as_chunks_mut::<2>().0.reverse(),
        3 => line.as_chunks_mut::<3>().0.reverse(),
        _ => line.as_chunks_mut::<4>().0.reverse(),
    }
    let mut luma = (0..samples.len()).filter(|i| samples[*i].0 == Component::Y);
    if let (Some(first), Some(second)) = (luma.next(), luma.next()) {
        for group in line.chunks_exact_mut(samples.len()) {
            group.swap(first, second);
        }
    }
}

#[cfg(test)]
mod tests;
