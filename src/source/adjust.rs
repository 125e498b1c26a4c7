//! Brightness, contrast, saturation, hue, gain, and flips.
//!
//! All of them are taken for what a camera does to light that is written as
//! levels from 0 (black) to 255 (white):
//!
//! - luma `L` becomes `(L * gain / 64 - 127.5) * contrast / 128 + 127.5 +
//!   brightness - 128`;
//! - the colour differences are multiplied by `gain / 64 * saturation / 128`
//!   and turned by `hue / 128` half turns, from blue towards red;
//!
//! in every format the same, but for what rounding takes. Y'CbCr of limited
//! range keeps to 1 to 254, as BT.601 wants it.

use std::f64::consts::PI;
use std::ops::Range;

use super::format::{Component, PixelFormat};
use super::layout::{Layout, PlaneLayout};
use super::rgb565::{from_565, to_565};
use super::settings::Adjust;

/// Values of a byte.
const VALUES: usize = 256;

/// Bits behind the point of the numbers that are summed up.
const POINT: u32 = 16;

/// What a byte adds to a sum.
type Share = [i32; VALUES];

/// Adjustments made ready: a look into tables for each byte.
pub struct Adjuster {
    settings: Adjust,
    /// Luma of limited range.
    luma: [u8; VALUES],
    /// Levels of full range.
    level: [u8; VALUES],
    /// What U and V add to U, and what they add to V.
    chroma: [[Share; 2]; 2],
    /// What R, G and B add to each of R, G and B.
    rgb: [[Share; 3]; 3],
}

impl std::fmt::Debug for Adjuster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Adjuster").field(&self.settings).finish()
    }
}

/// R'G'B' to luma and colour differences of full range, as BT.601 has it.
const FROM_RGB: [[f64; 3]; 3] = [
    [0.299, 0.587, 0.114],
    [-0.168_736, -0.331_264, 0.5],
    [0.5, -0.418_688, -0.081_312],
];
/// The way back.
const TO_RGB: [[f64; 3]; 3] = [
    [1.0, 0.0, 1.402],
    [1.0, -0.344_136, -0.714_136],
    [1.0, 1.772, 0.0],
];

impl Adjuster {
    /// Makes the tables for these settings; out of bounds becomes the bound.
    pub fn new(settings: Adjust) -> Self {
        let settings = settings.bounded();
        let part = |value: i32, whole: i32| f64::from(value) / f64::from(whole);
        let (gain, contrast) = (part(settings.gain, 64), part(settings.contrast, 128));
        // What luma is multiplied by, and what is added then.
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
                // The middle is added once, and half of the last place.
                [(0, 128.5), (1, 0.0)].map(|(from, extra)| share(to[from], 128.0, extra))
            }),
            rgb: std::array::from_fn(|to| {
                std::array::from_fn(|from| {
                    let luma = slope * FROM_RGB[0][from];
                    let differences = [0, 1].map(|difference| {
                        turn[difference][0] * FROM_RGB[1][from]
                            + turn[difference][1] * FROM_RGB[2][from]
                    });
                    let factor = TO_RGB[to][0] * luma
                        + TO_RGB[to][1] * differences[0]
                        + TO_RGB[to][2] * differences[1];
                    share(factor, 0.0, if from == 0 { shift + 0.5 } else { 0.0 })
                })
            }),
        }
    }

    /// Adjusts a whole frame of that layout, which is not compressed.
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
            // Its picture is adjusted before it is compressed.
            Mjpg => {}
        }
    }

    /// Adjusts the plane of luma that a frame begins with; the planes of
    /// chroma that follow.
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

    /// Two pixels that share their chroma.
    fn pair(&self, luma: [&mut u8; 2], u: &mut u8, v: &mut u8) {
        for y in luma {
            *y = self.luma[usize::from(*y)];
        }
        self.turn(u, v);
    }

    /// Chroma of limited range.
    fn turn(&self, u: &mut u8, v: &mut u8) {
        let from = [*u, *v].map(usize::from);
        let to = self.chroma.each_ref().map(|[of_u, of_v]| {
            let sum = (of_u[from[0]] + of_v[from[1]]) >> POINT;
            sum.clamp(1, 254) as u8
        });
        [*u, *v] = to;
    }

    /// Red, green and blue.
    fn pixel(&self, r: &mut u8, g: &mut u8, b: &mut u8) {
        let from = [*r, *g, *b].map(usize::from);
        let to = self.rgb.each_ref().map(|[of_r, of_g, of_b]| {
            let sum = (of_r[from[0]] + of_g[from[1]] + of_b[from[2]]) >> POINT;
            sum.clamp(0, 255) as u8
        });
        [*r, *g, *b] = to;
    }

    /// A level of sixteen bits, 257 of which are one of eight.
    fn wide(&self, level: u16) -> u16 {
        let Adjust {
            brightness,
            contrast,
            gain,
            ..
        } = self.settings;
        let (brightness, contrast, gain) =
            (i64::from(brightness), i64::from(contrast), i64::from(gain));
        // The formula in 8192nds, with 65535 for 255.
        let sum = i64::from(level) * gain * contrast
            + 65_535 * (128 - contrast) * 32
            + (brightness - 128) * 257 * 8192
            + 4096;
        (sum >> 13).clamp(0, 65_535) as u16
    }
}

/// What each byte adds to a sum: its distance from `middle`, times `factor`,
/// and `extra`. With the bounds that the settings have, three of them fit.
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

/// Exchanges the first line and the last, the second and the last but one, and
/// so on.
fn upside_down(bytes: &mut [u8], stride: usize) {
    let mut lines = bytes.chunks_exact_mut(stride);
    while let (Some(upper), Some(lower)) = (lines.next(), lines.next_back()) {
        upper.swap_with_slice(lower);
    }
}

/// Turns a line of a plane round, and the pixels of each group.
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
