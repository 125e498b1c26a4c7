//! The JPEG encoder for the format MJPG.

use std::io::Write as _;

use jpeg_encoder::{
    ChromaSubsamplingMethod, Encoder, EncodingError, ImageBuffer, JpegColorType, SamplingFactor,
};

use super::frame::FrameInfo;
use super::layout::Layout;

/// Number of the APP segment that holds a frame's number. No common program
/// gives this one a meaning.
const SEGMENT: u8 = 10;

/// Number of frames after which the lengths of the segment repeat.
const LENGTHS: u32 = 61;

/// Maximal length of the segment in bytes, with its marker and its length.
const LONGEST: usize = 4 + 42 + LENGTHS as usize - 1;

/// Makes the JPEG of a frame of the layout `drawn`, which is YU12, cut to the
/// size of `shown`, with that quality (1 to 100), or with the lower one that
/// makes it fit `sizeimage` of `shown`. Its format is JFIF: Y'CbCr of BT.601 in
/// full range, here as 4:2:0. Puts it into `out`, and returns the place in it
/// for the [segment]; `None` if it does not fit with any quality.
///
/// The encoder allocates its working memory, which is a few lines.
pub fn encode(
    frame: &[u8],
    drawn: &Layout,
    shown: &Layout,
    quality: u8,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let limit = (shown.sizeimage as usize).checked_sub(LONGEST)?;
    let picture = Picture {
        frame,
        drawn,
        // No picture exceeds Layout's bounds, which fit a u16.
        size: [shown.width, shown.height].map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
    };
    let mut quality = quality.clamp(1, 100);
    loop {
        // The memory beyond the JPEG is not touched.
        out.clear();
        out.reserve_exact(limit);
        let bounded = Bounded { out, limit };
        if attempt(&picture, quality, bounded).is_ok() {
            return behind_first_segment(out);
        }
        match quality {
            1 => return None,
            _ => quality -= quality.div_ceil(4),
        }
    }
}

/// Puts the segment of a frame, which tells its numbers in words, into
/// `segment`. Its length differs from frame to frame, so that the bytes behind
/// it lie at another place than in the frames before. A page of an earlier frame
/// is then not mistaken for this frame's page, even if the pictures are the
/// same.
pub fn segment(frame: &FrameInfo, segment: &mut Vec<u8>) {
    segment.clear();
    segment.reserve(LONGEST);
    segment.extend_from_slice(&[0xff, 0xe0 + SEGMENT, 0, 0]);
    // Writing to a vector never fails.
    let _ = write!(
        segment,
        "Pinhole stream {:010} frame {:010}",
        frame.stream, frame.sequence
    );
    segment.resize(segment.len() + (frame.sequence % LENGTHS) as usize, b' ');
    // The length counts itself, but not the marker.
    let length = segment.len() as u16 - 2;
    segment[2..4].copy_from_slice(&length.to_be_bytes());
}

fn attempt(picture: &Picture<'_>, quality: u8, out: Bounded<'_>) -> Result<(), EncodingError> {
    let mut encoder = Encoder::new(out, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    // The picture repeats each sample of chroma, so that this takes it as it
    // is.
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Nearest);
    encoder.encode_image(picture)
}

/// Returns the offset behind the first segment of a JPEG, APP0 of JFIF.
fn behind_first_segment(jpeg: &[u8]) -> Option<usize> {
    let length = jpeg.get(4..6)?;
    Some(4 + usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// A vector of limited length.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
}

impl std::io::Write for Bounded<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.limit - self.out.len() {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    #[inline(always)]
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write(bytes).map(drop)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A picture as the encoder asks for it: line after line, in full range, with as
/// many samples of chroma as of luma.
struct Picture<'a> {
    frame: &'a [u8],
    drawn: &'a Layout,
    size: [u16; 2],
}

impl ImageBuffer for &Picture<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.size[0]
    }

    fn height(&self) -> u16 {
        self.size[1]
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let width = usize::from(self.size[0]);
        for (plane, out) in self.drawn.planes().zip(buffers) {
            let line = usize::from(y) / plane.format.lines as usize;
            let line = &self.frame[plane.offset + line * plane.stride..][..plane.stride];
            let at = out.len();
            out.resize(at + width, 0);
            let out = &mut out[at..];
            match plane.format.lines {
                1 => out
                    .iter_mut()
                    .zip(line)
                    .for_each(|(to, luma)| *to = full_luma(*luma)),
                // The encoder takes the first of each four samples, and so none
                // of every second line.
                _ if !y.is_multiple_of(2) => {}
                _ => {
                    for (to, chroma) in out.chunks_mut(2).zip(line) {
                        to[0] = full_chroma(*chroma);
                    }
                }
            }
        }
    }
}

/// Returns luma in full range: (`luma` - 16) * 255 / 219.
fn full_luma(luma: u8) -> u8 {
    let above = u16::from(luma.saturating_sub(16));
    // The quotient is split, so that the product fits sixteen bits.
    (above + (above * 36 + 109) / 219).min(255) as u8
}

/// Returns chroma in full range: (`chroma` - 128) * 255 / 224 + 128.
fn full_chroma(chroma: u8) -> u8 {
    let chroma = u16::from(chroma);
    // As above; 18 is added, so that the quotient is positive.
    (chroma + (chroma * 31 + 176) / 224)
        .saturating_sub(18)
        .min(255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;
    use crate::source::fixtures::noise;

    fn layouts(width: u32, height: u32) -> (Layout, Layout) {
        let drawn = Layout::new(PixelFormat::Yu12, width, height);
        (drawn, Layout::new(PixelFormat::Mjpg, width, height))
    }

    /// Returns a picture of noise and its JPEG, which is at most `limit` bytes
    /// long with its segment.
    fn of_noise(size: u32, quality: u8, limit: Option<u32>) -> Option<Vec<u8>> {
        let (drawn, mut shown) = layouts(size, size);
        shown.sizeimage = limit.unwrap_or(shown.sizeimage);
        let frame = noise(drawn.sizeimage as usize);
        let mut jpeg = Vec::new();
        encode(&frame, &drawn, &shown, quality, &mut jpeg)?;
        Some(jpeg)
    }

    #[test]
    fn ranges_are_widened_as_bt601_says() {
        for value in 0..=255u8 {
            let exact = |from: f64, to: f64, zero: f64| {
                let middle = if zero > 0.0 { 128.0 } else { 0.0 };
                ((f64::from(value) - if zero > 0.0 { 128.0 } else { 16.0 }) * to / from + middle)
                    .clamp(0.0, 255.0)
            };
            let luma = f64::from(full_luma(value));
            assert!(
                (luma - exact(219.0, 255.0, 0.0)).abs() <= 0.5,
                "{value}: {luma}"
            );
            let chroma = f64::from(full_chroma(value));
            assert!(
                (chroma - exact(224.0, 255.0, 1.0)).abs() <= 0.5,
                "{value}: {chroma}"
            );
        }
    }

    #[test]
    fn a_picture_comes_back_as_a_decoder_has_it() {
        for (width, height) in [(16, 16), (17, 19), (640, 480)] {
            let (drawn, shown) = layouts(width, height);
            // The colour (200, 60, 20).
            let frame: Vec<u8> = drawn
                .planes()
                .zip([100, 90, 192])
                .flat_map(|(plane, sample)| vec![sample; plane.stride * plane.lines])
                .collect();
            let mut jpeg = Vec::new();
            encode(&frame, &drawn, &shown, 90, &mut jpeg).unwrap();
            let decoded = image::load_from_memory(&jpeg).unwrap().into_rgb8();
            assert_eq!(decoded.dimensions(), (width, height));
            for (got, wanted) in decoded.iter().zip([200u8, 60, 20].iter().cycle()) {
                assert!(got.abs_diff(*wanted) <= 5, "{got}, not {wanted}");
            }
        }
    }

    #[test]
    fn chroma_lies_where_it_was_drawn() {
        let (drawn, shown) = layouts(64, 48);
        let mut frame = vec![128; drawn.sizeimage as usize];
        // The right half is red, and the lower half is blue.
        for (plane, number) in drawn.planes().zip(0..) {
            for line in 0..plane.lines {
                for column in 0..plane.stride {
                    let high = match number {
                        1 => line >= plane.lines / 2,
                        2 => column >= plane.stride / 2,
                        _ => false,
                    };
                    frame[plane.offset + line * plane.stride + column] += 80 * u8::from(high);
                }
            }
        }
        let mut jpeg = Vec::new();
        encode(&frame, &drawn, &shown, 95, &mut jpeg).unwrap();
        let decoded = image::load_from_memory(&jpeg).unwrap().into_rgb8();
        for (x, y, is_red, is_blue) in [
            (5, 5, false, false),
            (58, 5, true, false),
            (5, 42, false, true),
            (58, 42, true, true),
        ] {
            let [r, _, b] = decoded.get_pixel(x, y).0;
            assert_eq!((r > 190, b > 190), (is_red, is_blue), "{x}, {y}: {r}, {b}");
        }
    }

    #[test]
    fn better_quality_takes_more_bytes() {
        let lengths =
            [1, 20, 50, 90, 100, 255].map(|quality| of_noise(64, quality, None).unwrap().len());
        assert!(lengths.is_sorted(), "{lengths:?}");
        assert!(lengths[0] * 4 < lengths[4] && lengths[4] == lengths[5]);
    }

    #[test]
    fn what_would_be_too_long_is_made_shorter() {
        let whole = of_noise(64, 100, None).unwrap().len();
        let limit = whole + LONGEST;
        assert_eq!(of_noise(64, 100, Some(limit as u32)).unwrap().len(), whole);
        let shorter = of_noise(64, 100, Some(limit as u32 - 1)).unwrap();
        assert!(shorter.len() < whole && image::load_from_memory(&shorter).is_ok());
        assert_eq!(of_noise(64, 100, Some(200)), None);
        assert_eq!(of_noise(64, 100, Some(20)), None);
    }

    #[test]
    fn every_picture_fits_what_its_layout_says() {
        for (width, height) in [(16, 16), (17, 19), (16, 400), (318, 238)] {
            let (drawn, shown) = layouts(width, height);
            let frame = noise(drawn.sizeimage as usize);
            let mut jpeg = Vec::new();
            assert!(encode(&frame, &drawn, &shown, 100, &mut jpeg).is_some());
            assert!(jpeg.len() + LONGEST <= shown.sizeimage as usize);
        }
    }

    #[test]
    fn the_segment_tells_the_frame_and_has_another_length_in_the_next_one() {
        let (drawn, shown) = layouts(64, 64);
        let frame = noise(drawn.sizeimage as usize);
        let mut jpeg = Vec::new();
        let place = encode(&frame, &drawn, &shown, 90, &mut jpeg).unwrap();
        let mut lengths = Vec::new();
        let mut words = Vec::new();
        for sequence in 0..LENGTHS {
            let info = FrameInfo {
                sequence,
                ..FrameInfo::default()
            };
            segment(&info, &mut words);
            assert!(words.len() <= LONGEST);
            assert!(!lengths.contains(&words.len()), "{sequence}");
            lengths.push(words.len());
            let whole = [&jpeg[..place], &words, &jpeg[place..]].concat();
            assert!(image::load_from_memory(&whole).is_ok());
            let text = String::from_utf8_lossy(&whole[..100]).into_owned();
            let number = format!("Pinhole stream 0000000000 frame {sequence:010}");
            assert!(text.contains(&number), "{text}");
        }
    }
}
