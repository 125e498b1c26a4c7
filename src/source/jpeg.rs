//! The JPEG encoder for the format MJPG.

use std::io::{Cursor, Write as _};

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};

use super::interface::FrameInfo;

/// Number of the APP segment that holds a frame's number. No common program
/// gives this one a meaning.
const SEGMENT: u8 = 10;

/// Number of frames after which the lengths of the segment repeat.
const LENGTHS: u32 = 61;

/// Makes JPEGs from red, green and blue, in the format of JFIF: Y'CbCr of
/// BT.601 in full range, here as 4:2:0.
#[derive(Debug)]
pub struct Jpeg {
    width: u16,
    height: u16,
    bytes: Vec<u8>,
    len: usize,
}

impl Jpeg {
    /// Makes an encoder for pictures of that size, whose JPEGs are at most
    /// `limit` bytes long.
    pub fn new(width: u32, height: u32, limit: u32) -> Self {
        // No picture exceeds Layout's bounds, which fit a u16.
        let [width, height] = [width, height].map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        Self {
            width,
            height,
            bytes: vec![0; limit as usize],
            len: 0,
        }
    }

    /// Makes the JPEG of a picture with that quality (1 to 100), or with the
    /// lower one that makes it fit the limit; returns its length, or `None` if
    /// it does not fit with any quality.
    ///
    /// The encoder allocates its working memory, which is a few lines.
    pub fn encode(&mut self, rgb: &[u8], quality: u8, frame: &FrameInfo) -> Option<usize> {
        let mut quality = quality.clamp(1, 100);
        loop {
            if let Ok(len) = self.attempt(rgb, quality, frame) {
                self.len = len;
                return Some(len);
            }
            match quality {
                1 => return None,
                _ => quality -= quality.div_ceil(4),
            }
        }
    }

    /// Returns the JPEG that was made last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn attempt(
        &mut self,
        rgb: &[u8],
        quality: u8,
        frame: &FrameInfo,
    ) -> Result<usize, jpeg_encoder::EncodingError> {
        let mut out = Cursor::new(&mut self.bytes[..]);
        let mut encoder = Encoder::new(&mut out, quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
        encoder.add_app_segment(SEGMENT, segment(frame))?;
        encoder.encode(rgb, self.width, self.height, ColorType::Rgb)?;
        Ok(out.position() as usize)
    }
}

/// Returns the contents of the segment: the frame's numbers in words. The
/// length differs from frame to frame, so that the bytes behind the segment lie
/// at another place than in the frames before. A page of an earlier frame is
/// then not mistaken for this frame's page, even if the pictures are the same.
fn segment(frame: &FrameInfo) -> Vec<u8> {
    let mut words = Vec::new();
    // Writing to a vector never fails.
    let _ = write!(
        words,
        "Pinhole stream {:010} frame {:010}",
        frame.stream, frame.sequence
    );
    words.resize(words.len() + (frame.sequence % LENGTHS) as usize, b' ');
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn a_picture_comes_back_as_a_decoder_has_it() {
        for (width, height) in [(16, 16), (17, 19), (640, 480)] {
            let rgb: Vec<u8> = [200, 60, 20].repeat((width * height) as usize);
            let mut jpeg = Jpeg::new(width, height, 100_000);
            let len = jpeg.encode(&rgb, 90, &FrameInfo::default()).unwrap();
            assert_eq!(jpeg.bytes().len(), len);
            let decoded = image::load_from_memory(jpeg.bytes()).unwrap().into_rgb8();
            assert_eq!(decoded.dimensions(), (width, height));
            for (got, wanted) in decoded.iter().zip(&rgb) {
                assert!(got.abs_diff(*wanted) <= 4, "{got}, not {wanted}");
            }
        }
    }

    #[test]
    fn better_quality_takes_more_bytes() {
        let rgb = noise(64 * 64 * 3);
        let mut jpeg = Jpeg::new(64, 64, 100_000);
        let lengths = [1, 20, 50, 90, 100, 255]
            .map(|quality| jpeg.encode(&rgb, quality, &FrameInfo::default()).unwrap());
        assert!(lengths.is_sorted(), "{lengths:?}");
        assert!(lengths[0] * 4 < lengths[4] && lengths[4] == lengths[5]);
    }

    #[test]
    fn what_would_be_too_long_is_made_shorter() {
        let rgb = noise(64 * 64 * 3);
        let whole = Jpeg::new(64, 64, 100_000)
            .encode(&rgb, 100, &FrameInfo::default())
            .unwrap();
        let mut jpeg = Jpeg::new(64, 64, whole as u32 - 1);
        let len = jpeg.encode(&rgb, 100, &FrameInfo::default()).unwrap();
        assert!(len < whole && image::load_from_memory(jpeg.bytes()).is_ok());
        let mut jpeg = Jpeg::new(64, 64, 100);
        assert_eq!(jpeg.encode(&rgb, 100, &FrameInfo::default()), None);
    }

    #[test]
    fn every_picture_fits_what_its_layout_says() {
        use crate::source::{Layout, PixelFormat};
        for (width, height) in [(16, 16), (17, 19), (16, 400), (318, 238)] {
            let limit = Layout::new(PixelFormat::Mjpg, width, height).sizeimage;
            let rgb = noise((width * height * 3) as usize);
            let mut jpeg = Jpeg::new(width, height, limit);
            let len = jpeg.encode(&rgb, 100, &FrameInfo::default());
            assert!(len.is_some_and(|len| len <= limit as usize), "{len:?}");
        }
    }

    #[test]
    fn the_same_picture_lies_elsewhere_in_the_next_frame() {
        let rgb = noise(64 * 64 * 3);
        let mut jpeg = Jpeg::new(64, 64, 100_000);
        let mut tails: Vec<Vec<u8>> = Vec::new();
        for sequence in 0..LENGTHS {
            let frame = FrameInfo {
                sequence,
                ..FrameInfo::default()
            };
            jpeg.encode(&rgb, 90, &frame).unwrap();
            let text = String::from_utf8_lossy(&jpeg.bytes()[..100]).into_owned();
            let number = format!("Pinhole stream 0000000000 frame {sequence:010}");
            assert!(text.contains(&number), "{text}");
            let tail = jpeg.bytes()[1000..2000].to_vec();
            assert!(!tails.contains(&tail), "{sequence}");
            tails.push(tail);
        }
    }
}
