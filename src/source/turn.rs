//! Turns pictures by a quarter, clockwise or the other way.

use super::raster::Raster;

/// Side of the squares, in groups of samples, in which a plane is turned. The
/// lines of a square that are read stay in the processor's cache until each of
/// their groups is used.
const SQUARE: usize = 32;

/// A quarter turn of pictures of one raster.
#[derive(Debug)]
pub struct Turn {
    from: Raster,
    clockwise: bool,
}

/// Returns whether pictures of that raster can be turned as they are packed: the
/// samples that pixels share must cover as many lines as columns.
pub fn is_turnable(raster: &Raster) -> bool {
    let mut planes = raster.planes();
    planes.all(|plane| plane.format.pixels == plane.format.lines)
}

impl Turn {
    /// Makes a turn of pictures of `from`, which is [turnable](is_turnable).
    pub fn new(from: Raster, clockwise: bool) -> Self {
        debug_assert!(is_turnable(&from), "{from:?}");
        Self { from, clockwise }
    }

    /// Turns a frame into `out`, where it has the width of `from` as its height,
    /// and the height as its width. Both have the length of the raster.
    pub fn run(&self, frame: &[u8], out: &mut [u8]) {
        for plane in self.from.planes() {
            let bytes = plane.offset..plane.offset + plane.stride * plane.lines;
            let (frame, out) = (&frame[bytes.clone()], &mut out[bytes]);
            let (stride, lines) = (plane.stride, plane.lines);
            match plane.format.samples.len() {
                1 => self.plane::<1>(frame, stride, lines, out),
                2 => self.plane::<2>(frame, stride, lines, out),
                3 => self.plane::<3>(frame, stride, lines, out),
                _ => self.plane::<4>(frame, stride, lines, out),
            }
        }
    }

    /// Turns a plane whose groups of samples have `N` bytes.
    fn plane<const N: usize>(&self, frame: &[u8], stride: usize, lines: usize, out: &mut [u8]) {
        let (from, to) = (frame.as_chunks::<N>().0, out.as_chunks_mut::<N>().0);
        let (width, height) = (stride / N, lines);
        // A column becomes a line: from its bottom if clockwise, and then the
        // first column is the first line.
        let begin = |line: usize| match self.clockwise {
            true => (height - 1) * width + line,
            false => width - 1 - line,
        };
        for top in (0..width).step_by(SQUARE) {
            for left in (0..height).step_by(SQUARE) {
                let right = (left + SQUARE).min(height);
                for line in top..(top + SQUARE).min(width) {
                    let begin = begin(line);
                    let groups = &mut to[line * height..][left..right];
                    for (group, column) in groups.iter_mut().zip(left..) {
                        *group = match self.clockwise {
                            true => from[begin - column * width],
                            false => from[begin + column * width],
                        };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Layout, PixelFormat};

    fn raster(format: PixelFormat, width: u32, height: u32) -> Raster {
        Raster::of(&Layout::new(format, width, height)).unwrap()
    }

    fn turned(raster: &Raster, clockwise: bool, frame: &[u8]) -> Vec<u8> {
        let mut out = vec![0xee; frame.len()];
        Turn::new(raster.clone(), clockwise).run(frame, &mut out);
        out
    }

    #[test]
    fn formats_with_shared_samples_in_one_direction_alone_cannot_be_turned() {
        use PixelFormat::*;
        for (format, is) in [
            (Yuyv, false),
            (Nv16, false),
            (Nm16, false),
            (P422, false),
            (Nv12, true),
            (Ym12, true),
            (Y16, true),
            (Rgbp, true),
            (Bx24, true),
        ] {
            assert_eq!(is_turnable(&raster(format, 16, 16)), is, "{format}");
        }
    }

    #[test]
    fn every_pixel_goes_to_its_place() {
        // Larger than a square, and not a multiple of it.
        let raster = raster(PixelFormat::Y16, 70, 41);
        let (width, height) = (70, 41);
        let words = |of: &dyn Fn(usize, usize) -> usize, columns: usize, lines: usize| {
            let words = (0..columns * lines).map(|i| of(i % columns, i / columns) as u16);
            words.flat_map(u16::to_le_bytes).collect::<Vec<u8>>()
        };
        let number = |x: usize, y: usize| y * width + x;
        let frame = words(&number, width, height);
        let clockwise = words(&|x, y| number(y, height - 1 - x), height, width);
        assert!(turned(&raster, true, &frame) == clockwise);
        let other_way = words(&|x, y| number(width - 1 - y, x), height, width);
        assert!(turned(&raster, false, &frame) == other_way);
    }

    #[test]
    fn a_turn_and_its_opposite_are_nothing() {
        for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
            let raster = raster(format, 38, 70);
            if !is_turnable(&raster) {
                continue;
            }
            let frame: Vec<u8> = (0..raster.bytes).map(|i| (i * i / 7) as u8).collect();
            let there = turned(&raster, true, &frame);
            let back = turned(&raster.resized(70, 38), false, &there);
            assert!(there != frame && back == frame, "{format}");
        }
    }
}
