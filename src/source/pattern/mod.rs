//! Pictures that are drawn: test patterns.
//!
//! A pattern paints whole lines. This module cuts them into the pieces that
//! the card asks for, and gives every page its [watermark].

pub mod watermark;

pub(crate) mod canvas;
pub(crate) mod text;

mod bars;
mod plate;

use super::format::{Layout, PlaneLayout};
use super::{FrameInfo, Source};
use bars::Bars;
use watermark::Watermark;

/// The patterns that there are, by name; the first is the default.
pub const NAMES: &[&str] = &["bars"];

/// A test pattern as a source. Before [`Source::prepare`] it is black.
#[derive(Debug, Default)]
pub struct Pattern {
    picture: Option<Picture>,
}

/// A pattern made ready for one layout.
#[derive(Debug)]
struct Picture {
    bars: Bars,
    planes: Vec<PlaneLayout>,
    sizeimage: usize,
    mark: Watermark,
    /// The line that was painted last, of which a piece may still be wanted.
    line: Vec<u8>,
    /// Its plane and number.
    painted: Option<(usize, usize)>,
}

impl Pattern {
    /// The pattern of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.contains(&name).then(Self::default)
    }
}

impl Source for Pattern {
    fn prepare(&mut self, layout: &Layout) {
        let planes: Vec<_> = layout.planes().collect();
        let longest = planes.iter().map(|plane| plane.stride).max();
        self.picture = Some(Picture {
            bars: Bars::new(layout),
            line: vec![0; longest.unwrap_or(0)],
            planes,
            sizeimage: layout.sizeimage as usize,
            mark: Watermark::default(),
            painted: None,
        });
    }

    fn begin(&mut self, frame: &FrameInfo) {
        if let Some(picture) = &mut self.picture {
            picture.bars.begin(frame);
            picture.painted = None;
            picture.mark = Watermark {
                sequence: frame.sequence,
                // Modulo 2^32, as the watermark says.
                millis: frame.wall.as_millis() as u32,
            };
        }
    }

    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        match &mut self.picture {
            Some(picture) => picture.fill(offset, out),
            None => out.fill(0),
        }
    }
}

impl Picture {
    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done;
            let Some((plane, line, column)) = self.place(at) else {
                out[done..].fill(0);
                return;
            };
            let stride = self.planes[plane].stride;
            let len = (stride - column).min(out.len() - done);
            self.piece(plane, line, column, &mut out[done..done + len]);
            done += len;
        }
        self.mark.apply(self.sizeimage, offset, out);
    }

    /// The plane, its line and the byte of that line which lie at a byte of
    /// the frame.
    fn place(&self, at: usize) -> Option<(usize, usize, usize)> {
        let number = self.planes.iter().rposition(|plane| plane.offset <= at)?;
        let plane = &self.planes[number];
        let (line, column) = (
            (at - plane.offset) / plane.stride,
            (at - plane.offset) % plane.stride,
        );
        (line < plane.lines).then_some((number, line, column))
    }

    /// Copies or paints the part of a line that begins at `column`.
    fn piece(&mut self, plane: usize, line: usize, column: usize, out: &mut [u8]) {
        let stride = self.planes[plane].stride;
        if let Some(bytes) = self.bars.ready(plane, line) {
            out.copy_from_slice(&bytes[column..column + out.len()]);
        } else if out.len() == stride {
            self.bars.paint(plane, line, out);
        } else {
            if self.painted != Some((plane, line)) {
                self.bars.paint(plane, line, &mut self.line[..stride]);
                self.painted = Some((plane, line));
            }
            out.copy_from_slice(&self.line[column..column + out.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::watermark::PAGE;
    use super::*;
    use crate::source::PixelFormat;
    use std::collections::HashMap;
    use std::time::Duration;

    fn prepared(layout: &Layout) -> Pattern {
        let mut pattern = Pattern::default();
        pattern.prepare(layout);
        pattern
    }

    /// A frame as the card asks for it, `piece` bytes at a time.
    fn frame(pattern: &mut Pattern, layout: &Layout, info: &FrameInfo, piece: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; layout.sizeimage as usize];
        pattern.begin(info);
        for (i, out) in bytes.chunks_mut(piece).enumerate() {
            pattern.fill(i * piece, out);
        }
        bytes
    }

    /// The smallest picture of that format whose last page has `tail` bytes.
    fn with_tail(format: PixelFormat, tail: u32) -> Option<Layout> {
        let sizes = |w| (16..500).step_by(2).map(move |h| (w, h));
        let layouts = (16..500).step_by(2).flat_map(sizes);
        layouts
            .map(|(width, height)| Layout::new(format, width, height))
            .filter(|layout| layout.sizeimage % PAGE as u32 == tail)
            .min_by_key(|layout| layout.sizeimage)
    }

    #[test]
    fn no_page_is_that_of_any_of_the_thousand_frames_before() {
        // The clocks stand still, so that nothing but the sequence number
        // tells one frame from the next.
        let mut tails = std::collections::BTreeSet::new();
        for format in PixelFormat::ALL {
            let layouts = (2..=64)
                .step_by(2)
                .filter_map(|tail| with_tail(format, tail));
            for layout in layouts.chain([Layout::new(format, 16, 16), Layout::new(format, 64, 64)])
            {
                tails.insert(layout.sizeimage as usize % PAGE);
                let mut pattern = prepared(&layout);
                let mut seen = HashMap::new();
                for step in 0..1100u32 {
                    let info = FrameInfo {
                        sequence: (u32::MAX - 700).wrapping_add(step),
                        ..FrameInfo::default()
                    };
                    let bytes = frame(&mut pattern, &layout, &info, PAGE);
                    for (number, page) in bytes.chunks(PAGE).enumerate() {
                        if let Some(before) = seen.insert((number, page.to_vec()), step) {
                            assert!(step - before > 1000, "{layout:?}, page {number}");
                        }
                    }
                }
            }
        }
        for tail in [2, 4, 6, 8, 12] {
            assert!(tails.contains(&tail), "no size with a last page of {tail}");
        }
    }

    #[test]
    fn every_page_can_be_told_its_frame() {
        for format in PixelFormat::ALL {
            let layout = Layout::new(format, 1918, 1078);
            let info = FrameInfo {
                sequence: 0x1234_5678,
                wall: Duration::from_millis(0x1_8765_4321),
                ..FrameInfo::default()
            };
            for page in frame(&mut prepared(&layout), &layout, &info, PAGE).chunks(PAGE) {
                let mask = u32::MAX >> (32 - watermark::sequence_bits(page.len()));
                assert_eq!(watermark::watermark(page), info.sequence & mask);
                let millis = (page.len() >= 64).then_some(0x8765_4321);
                assert_eq!(watermark::watermark_millis(page), millis);
            }
        }
    }

    #[test]
    fn it_does_not_matter_how_a_frame_is_cut() {
        let info = FrameInfo {
            sequence: 4_000_000_001,
            elapsed: Duration::from_millis(1234),
            wall: Duration::from_millis(86_399_999),
        };
        for format in PixelFormat::ALL {
            for (width, height) in [(16, 16), (18, 22), (178, 146), (3840, 18), (16, 640)] {
                let layout = Layout::new(format, width, height);
                let mut pattern = prepared(&layout);
                let whole = frame(&mut pattern, &layout, &info, PAGE);
                for piece in [1, 3, 97, 1021, 4095] {
                    assert!(
                        frame(&mut pattern, &layout, &info, piece) == whole,
                        "{format} {width}x{height} cut every {piece} bytes"
                    );
                }
            }
        }
    }

    #[test]
    fn every_size_of_a_wide_range_is_drawn() {
        for format in PixelFormat::ALL {
            for width in [16, 18, 64, 126, 176, 640, 3840] {
                for height in [16, 18, 50, 98, 144, 480, 2160] {
                    let layout = Layout::new(format, width, height);
                    let mut pattern = prepared(&layout);
                    let mut frames = [0, u32::MAX].map(|sequence| {
                        let info = FrameInfo {
                            sequence,
                            elapsed: Duration::from_millis(3999),
                            wall: Duration::MAX,
                        };
                        frame(&mut pattern, &layout, &info, PAGE)
                    });
                    // The marks apart, the number can be read in the picture.
                    for bytes in &mut frames {
                        bytes.iter_mut().for_each(|byte| *byte &= 0xe0);
                    }
                    assert!(frames[0] != frames[1], "{format} {width}x{height}");
                }
            }
        }
    }

    #[test]
    fn a_frame_ends_where_it_ends() {
        let layout = Layout::new(PixelFormat::Grey, 16, 16);
        let mut pattern = prepared(&layout);
        let mut beyond = [0xee; 64];
        pattern.fill(256, &mut beyond);
        assert_eq!(beyond, [0; 64]);
    }
}
