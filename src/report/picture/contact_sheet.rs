//! The contact sheet: many thumbnails of frames side by side, each with its
//! caption and its verdict.
//!
//! A frame that differs from what the card wrote has a thick striped border,
//! its verdict in dark letters on a light ground, and an outline around the
//! blocks that differ, so it stands out without colours too.

use std::ops::Range;

use image::{RgbImage, imageops};

use super::{PictureError, to_rgb};
use crate::card::witness::DIGEST_BLOCK;
use crate::source::pattern::canvas::{Ink, Row};
use crate::source::pattern::text::Face;
use crate::source::{Layout, PixelFormat};

/// The verdict on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The frame is what the card wrote.
    Verified,
    /// The frame differs in the blocks (of 4096 bytes, from the first byte of
    /// each memory plane) with these numbers; none if its length is wrong.
    Mismatched(&'a [usize]),
}

/// A builder of a contact sheet. It holds thumbnails, so that only one frame at
/// a time is in memory whole.
#[derive(Debug)]
pub struct ContactSheet {
    title: String,
    subtitle: String,
    layout: Layout,
    columns: usize,
    captions: Face,
    cells: Vec<RgbImage>,
}

/// Maximal width and height of a thumbnail, in pixels.
const BOX: (u32, u32) = (384, 288);
/// Width of the thickest border on every side of a thumbnail, in pixels.
const BORDER: u32 = 6;
/// Height of the caption under a thumbnail, in lines.
const CAPTION: u32 = 34;
/// Minimal width of a cell, in pixels, which leaves room for its caption.
const NARROWEST: u32 = 384;
/// Distance between cells, and around all of them, in pixels.
const GAP: u32 = 20;
/// Height of the title and the subtitle above the cells, in lines.
const HEAD: u32 = 104;
/// Width of the stripes of a mismatched frame's border, in pixels.
const STRIPE: u32 = 8;

const GROUND: u8 = 20;
const EDGE: Ink = Ink::grey(72);
const TITLE: Ink = Ink::grey(255);
const PLAIN: Ink = Ink::grey(176);
const GOOD: Ink = Ink::rgb(96, 200, 120);
const ALARM: Ink = Ink::rgb(224, 32, 32);
const LIGHT: Ink = Ink::grey(255);
const DARK: Ink = Ink::grey(0);

impl ContactSheet {
    /// Makes an empty sheet for frames of `layout`, with `columns` of them in a
    /// row. The texts, and the later captions, consist of ASCII characters.
    pub fn new(title: &str, subtitle: &str, layout: &Layout, columns: usize) -> Self {
        Self {
            title: title.to_owned(),
            subtitle: subtitle.to_owned(),
            layout: *layout,
            columns: columns.max(1),
            captions: Face::new(&printable(), 2.0),
            cells: Vec::new(),
        }
    }

    /// Adds the frame in `bytes`. A short caption is best: a sequence number.
    ///
    /// # Errors
    ///
    /// As [`to_rgb`]; not if a mismatched frame is not a JPEG, which is shown
    /// black.
    pub fn add(
        &mut self,
        caption: &str,
        bytes: &[u8],
        verdict: Verdict<'_>,
    ) -> Result<(), PictureError> {
        let picture = match to_rgb(bytes, &self.layout) {
            // A mismatched frame may not even be a JPEG.
            Err(PictureError::Jpeg { layout, .. }) if verdict != Verdict::Verified => {
                RgbImage::new(layout.width, layout.height)
            }
            picture => picture?,
        };
        let mut thumbnail = fitted(&picture);
        let (width, height) = thumbnail.dimensions();
        let mut cell = ground(
            width.max(NARROWEST) + 2 * BORDER,
            height + 2 * BORDER + CAPTION,
        );
        let left = (cell.width() - width) / 2;
        let (text, ink) = match verdict {
            Verdict::Verified => {
                let edge = (left - 1, BORDER - 1);
                rectangle(&mut cell, edge, (width + 2, height + 2), EDGE);
                ("verified".to_owned(), GOOD)
            }
            Verdict::Mismatched(blocks) => {
                outline(&mut thumbnail, &self.layout, blocks);
                stripes(
                    &mut cell,
                    left - BORDER,
                    width + 2 * BORDER,
                    height + 2 * BORDER,
                );
                (complaint(blocks.len()), DARK)
            }
        };
        imageops::replace(&mut cell, &thumbnail, left.into(), BORDER.into());

        let top = (height + 2 * BORDER + 7) as i32;
        write(
            &mut cell,
            &self.captions,
            (BORDER as i32, top),
            caption,
            PLAIN,
        );
        let across = self.captions.width(text.as_bytes());
        let at = cell.width() as i32 - BORDER as i32 - across;
        if verdict != Verdict::Verified {
            rectangle(
                &mut cell,
                (at as u32, top as u32 - 4),
                (across as u32, 24),
                LIGHT,
            );
        }
        write(&mut cell, &self.captions, (at, top), &text, ink);
        self.cells.push(cell);
        Ok(())
    }

    /// Returns the sheet with the frames added so far.
    pub fn finish(&self) -> RgbImage {
        let (title, subtitle) = (Face::new(&printable(), 3.0), &self.captions);
        let columns = self.columns.min(self.cells.len()) as u32;
        let rows = self.cells.len().div_ceil(self.columns) as u32;
        let (width, height) = match self.cells.first() {
            Some(cell) => (cell.width() + GAP, cell.height() + GAP),
            None => (0, 0),
        };
        let widest = title
            .width(self.title.as_bytes())
            .max(subtitle.width(self.subtitle.as_bytes()));
        let mut sheet = ground(
            GAP + (columns * width).max(widest as u32 + GAP),
            HEAD + rows * height,
        );
        let left = GAP as i32;
        write(&mut sheet, &title, (left, 18), &self.title, TITLE);
        write(&mut sheet, subtitle, (left + 2, 64), &self.subtitle, PLAIN);
        for (number, cell) in (0..).zip(&self.cells) {
            let (column, row) = (number % columns, number / columns);
            let (x, y) = (GAP + column * width, HEAD + row * height);
            imageops::replace(&mut sheet, cell, x.into(), y.into());
        }
        sheet
    }
}

/// Returns the verdict's text for a frame with so many mismatched blocks.
fn complaint(blocks: usize) -> String {
    match blocks {
        0 => " MISMATCH ".to_owned(),
        1 => " 1 bad block ".to_owned(),
        _ => format!(" {blocks} bad blocks "),
    }
}

/// Returns all characters that a caption may have.
fn printable() -> Vec<u8> {
    (b' '..=b'~').collect()
}

/// Returns an empty piece of the sheet.
fn ground(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, image::Rgb([GROUND; 3]))
}

/// Returns the picture as large as the box allows: averaged if it is larger,
/// and with every pixel repeated if it is much smaller.
fn fitted(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let times = (BOX.0 / width).min(BOX.1 / height);
    if times >= 1 {
        let (width, height) = (width * times, height * times);
        return imageops::resize(picture, width, height, imageops::FilterType::Nearest);
    }
    let (across, down) = if width * BOX.1 > height * BOX.0 {
        (BOX.0, height * BOX.0 / width)
    } else {
        (width * BOX.1 / height, BOX.1)
    };
    imageops::thumbnail(picture, across.max(1), down.max(1))
}

/// Returns line `y` of an image as a row of an RGB frame, if there is one.
fn row(image: &mut RgbImage, y: u32) -> Option<Row<'_>> {
    let stride = image.width() as usize * 3;
    let bytes: &mut [u8] = image;
    let line = bytes.chunks_exact_mut(stride).nth(y as usize)?;
    Some(Row::new(line, &PixelFormat::Rgb3.planes()[0]))
}

/// Paints a rectangle with the upper left corner (`x`, `y`).
fn rectangle(image: &mut RgbImage, (x, y): (u32, u32), (width, height): (u32, u32), ink: Ink) {
    for y in y..y + height {
        if let Some(mut row) = row(image, y) {
            row.fill(x as i32, (x + width) as i32, ink);
        }
    }
}

/// Writes a line of text with the upper left corner (`x`, `y`).
fn write(image: &mut RgbImage, face: &Face, (x, y): (i32, i32), text: &str, ink: Ink) {
    for line in 0..face.height() {
        if let Some(mut row) = row(image, (y + line) as u32) {
            face.draw(&mut row, x, line, text.as_bytes(), ink);
        }
    }
}

/// Paints a rectangle with diagonal stripes, from the top of the image.
fn stripes(image: &mut RgbImage, x: u32, width: u32, height: u32) {
    for y in 0..height {
        if let Some(mut row) = row(image, y) {
            for x in x..x + width {
                let light = ((x + y) / STRIPE).is_multiple_of(2);
                let ink = if light { LIGHT } else { ALARM };
                row.fill(x as i32, x as i32 + 1, ink);
            }
        }
    }
}

/// Draws an outline around the parts of a thumbnail that show the given blocks
/// of its frame.
fn outline(thumbnail: &mut RgbImage, layout: &Layout, blocks: &[usize]) {
    let (width, height) = thumbnail.dimensions();
    let mut shown = vec![false; (width * height) as usize];
    for (x, y) in blocks.iter().flat_map(|block| pixels(layout, *block)) {
        let across = scaled(x, layout.width, width);
        for y in scaled(y, layout.height, height) {
            let line = &mut shown[(y * width) as usize..][..width as usize];
            line[across.start as usize..across.end as usize].fill(true);
        }
    }
    let near = |x: u32, y: u32, reach: u32| {
        let rows = y.saturating_sub(reach)..(y + reach + 1).min(height);
        rows.into_iter().any(|y| {
            let line = &shown[(y * width) as usize..][..width as usize];
            let columns = x.saturating_sub(reach)..(x + reach + 1).min(width);
            line[columns.start as usize..columns.end as usize].contains(&true)
        })
    };
    for y in 0..height {
        let Some(mut row) = row(thumbnail, y) else {
            return;
        };
        for x in 0..width {
            let ink = match () {
                () if near(x, y, 0) => continue,
                () if near(x, y, 1) => LIGHT,
                () if near(x, y, 2) => ALARM,
                () => continue,
            };
            row.fill(x as i32, x as i32 + 1, ink);
        }
    }
}

/// Returns the parts of the picture whose bytes lie in a block of the frame:
/// columns and lines, for each line of the block.
fn pixels(layout: &Layout, block: usize) -> Vec<(Range<u32>, Range<u32>)> {
    let mut parts = Vec::new();
    let Some(bytes) = bytes_of(layout, block) else {
        return parts;
    };
    for plane in layout.planes() {
        let end = plane.offset + plane.stride * plane.lines;
        let (mut at, end) = (bytes.start.max(plane.offset), bytes.end.min(end));
        while at < end {
            let line = (at - plane.offset) / plane.stride;
            let start = plane.offset + line * plane.stride;
            let stop = end.min(start + plane.stride);
            let group = plane.format.samples.len();
            let columns = (at - start) / group..(stop - start).div_ceil(group);
            let (across, down) = (plane.format.pixels, plane.format.lines);
            parts.push((
                columns.start as u32 * across..columns.end as u32 * across,
                line as u32 * down..(line as u32 + 1) * down,
            ));
            at = stop;
        }
    }
    parts
}

/// Returns the range of a block's bytes in the frame.
fn bytes_of(layout: &Layout, mut block: usize) -> Option<Range<usize>> {
    for memory in layout.memory_planes() {
        let (first, len) = (memory.offset as usize, memory.sizeimage as usize);
        let blocks = len.div_ceil(DIGEST_BLOCK);
        if block < blocks {
            let start = block * DIGEST_BLOCK;
            return Some(first + start..first + len.min(start + DIGEST_BLOCK));
        }
        block -= blocks;
    }
    None
}

/// Returns a span of `from` pixels after they are scaled to `to`; never empty.
fn scaled(span: Range<u32>, from: u32, to: u32) -> Range<u32> {
    let start = span.start * to / from;
    start..(span.end * to).div_ceil(from).clamp(start + 1, to)
}

#[cfg(test)]
mod tests {
    use super::super::tests::card;
    use super::*;

    #[test]
    fn the_lines_of_a_block_are_found_in_every_plane() {
        let layout = Layout::new(PixelFormat::Nv12, 64, 96);
        // 6144 bytes of luma, then 3072 of chroma; block 1 has both.
        let parts = pixels(&layout, 1);
        assert_eq!(parts[0], (0..64, 64..65));
        assert_eq!(parts[31], (0..64, 95..96));
        assert_eq!(parts[32], (0..64, 0..2));
        assert_eq!(parts.last(), Some(&(0..64, 62..64)));
        assert_eq!(pixels(&layout, 2).len(), 16);
        assert_eq!(pixels(&layout, 3), []);
        assert_eq!(pixels(&layout, usize::MAX), []);
    }

    #[test]
    fn blocks_are_counted_through_the_memory_planes() {
        let layout = Layout::new(PixelFormat::Nm12, 64, 66);
        // 4224 bytes of luma are two blocks; 2112 of chroma are one.
        assert_eq!(pixels(&layout, 0).last(), Some(&(0..64, 63..64)));
        assert_eq!(pixels(&layout, 1), [(0..64, 64..65), (0..64, 65..66)]);
        assert_eq!(pixels(&layout, 2).first(), Some(&(0..64, 0..2)));
        assert_eq!(pixels(&layout, 2).len(), 33);
        assert_eq!(pixels(&layout, 3), []);
    }

    #[test]
    fn a_frame_that_is_no_picture_is_shown_black() {
        let layout = Layout::new(PixelFormat::Mjpg, 64, 48);
        let mut sheet = ContactSheet::new("Title", "Subtitle", &layout, 1);
        let broken = [0xff; 100];
        assert!(sheet.add("#1", &broken, Verdict::Verified).is_err());
        sheet.add("#1", &broken, Verdict::Mismatched(&[0])).unwrap();
    }

    #[test]
    fn a_sheet_holds_any_number_of_frames_of_any_size() {
        for format in PixelFormat::ALL {
            for (width, height) in [(16, 16), (16, 300), (300, 16), (161, 120)] {
                let layout = Layout::new(format, width, height);
                let frame = card(&layout);
                let mut sheet = ContactSheet::new("Title", "Subtitle", &layout, 2);
                let empty = sheet.finish();
                let mut heights = vec![empty.height()];
                let all: Vec<usize> = (0..frame.len().div_ceil(4096)).collect();
                for verdict in [
                    Verdict::Verified,
                    Verdict::Mismatched(&all),
                    Verdict::Mismatched(&[0]),
                ] {
                    sheet.add("#000001", &frame, verdict).unwrap();
                    heights.push(sheet.finish().height());
                }
                assert!(heights[0] < heights[1], "{format} {width}x{height}");
                assert_eq!(heights[1], heights[2], "{format} {width}x{height}");
                assert!(heights[2] < heights[3], "{format} {width}x{height}");
            }
        }
    }
}
