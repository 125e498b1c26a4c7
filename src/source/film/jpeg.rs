//! JPEGs, as cameras and programs write them (ITU-T T.81).
//!
//! The decoder accepts pictures that are cut off, which must be refused, and
//! refuses frames of Motion-JPEG, which every other reader accepts: they have
//! no Huffman tables, because all of them use those of T.81, annex K. Therefore
//! this module reads the markers first, and gives the decoder a stream on which
//! it can be strict.

use std::ops::Range;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::error::PictureFault;
use super::size::MAX_SIDE;
use super::trailing::another_begins;

/// The first bytes of a JPEG: the marker SOI, and the first byte of the next
/// marker.
pub const MAGIC: &[u8] = &[0xff, 0xd8, 0xff];

const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DHT: u8 = 0xc4;
const APP2: u8 = 0xe2;
const APP14: u8 = 0xee;

/// The segment APP0 with which frames in AVI files begin. On it, the decoder
/// adds the missing Huffman tables.
const MOTION_JPEG: &[u8] = b"\xff\xe0\x00\x07AVI1\0";

/// Bits set to one, which are not a Huffman code in any table (T.81, annex C).
/// A decoder that reads beyond the data finds an error in them, which zeros
/// would not give. Each 0xff is followed by the stuffed byte 0.
const NO_CODES: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = 0xff;
        at += 2;
    }
    bytes
};

/// The structure of a JPEG, as its markers give it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outline {
    /// Marker of the frame header, of any process (SOFn).
    frame: Option<u8>,
    /// The JPEG has Huffman tables before its first scan.
    has_tables: bool,
    /// The JPEG describes its colours in Adobe's APP14.
    is_adobe: bool,
    /// The JPEG declares itself the first of several (the multi-picture format
    /// of CIPA DC-007).
    is_first_of_several: bool,
    /// The segments and scans, without the bytes between them.
    pieces: Vec<Range<usize>>,
    /// Offset of the first byte behind EOI; `None` if there is no EOI.
    rest: Option<usize>,
}

impl Outline {
    /// Reads the markers of a JPEG; if it is cut off, those up to its end.
    fn of(bytes: &[u8]) -> Self {
        let mut outline = Self::default();
        let mut at = MAGIC.len() - 1;
        let mut scan = None;
        let mut scans = 0;
        while let Some(marker) = next_marker(bytes, at, scan.is_some()) {
            outline
                .pieces
                .extend(scan.take().map(|begin| begin..marker));
            let code = bytes[marker + 1];
            if code == EOI {
                outline.rest = Some(marker + 2);
                return outline;
            }
            let Some(&[high, low]) = bytes.get(marker + 2..marker + 4) else {
                return outline;
            };
            at = marker + 2 + usize::from(u16::from_be_bytes([high, low]));
            let text = bytes.get(marker + 4..at).unwrap_or_default();
            match code {
                DHT => outline.has_tables |= scans == 0,
                0xc0..=0xcf if code != 0xc8 && code != 0xcc => outline.frame = Some(code),
                APP2 => outline.is_first_of_several |= text.starts_with(b"MPF\0"),
                APP14 => outline.is_adobe |= text.starts_with(b"Adobe"),
                _ => {}
            }
            if code == SOS {
                scan = Some(marker);
                scans += 1;
            } else {
                outline.pieces.push(marker..at.min(bytes.len()));
            }
        }
        outline.pieces.extend(scan.map(|begin| begin..bytes.len()));
        outline
    }

    /// Returns whether the JPEG is Huffman-coded and sequential: each of its
    /// scans holds the whole picture, or one component of it.
    fn is_sequential(&self) -> bool {
        matches!(self.frame, Some(0xc0 | 0xc1))
    }
}

/// Returns the offset of the next marker from `at` on: the next 0xff, whatever
/// precedes it. In a scan, 0xff00 and RSTn are data.
fn next_marker(bytes: &[u8], at: usize, in_scan: bool) -> Option<usize> {
    let from = bytes.get(at..)?;
    let is_marker = |pair: &[u8]| {
        let data = match pair[1] {
            0x00 | 0xff => true,
            0xd0..=0xd7 => in_scan,
            _ => false,
        };
        pair[0] == 0xff && !data
    };
    Some(at + from.windows(2).position(is_marker)?)
}

/// Decodes a JPEG; returns the picture and its orientation.
pub fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), PictureFault> {
    let outline = Outline::of(bytes);
    match outline.rest {
        Some(rest) if another_begins(&bytes[rest..], MAGIC) && !outline.is_first_of_several => {
            return Err(PictureFault::Several);
        }
        // The data of a progressive JPEG do not show where they end.
        None if !outline.is_sequential() => return Err(PictureFault::CutOff),
        _ => {}
    }
    let mut whole = MAGIC[..2].to_vec();
    if !outline.has_tables {
        whole.extend_from_slice(MOTION_JPEG);
    }
    for piece in &outline.pieces {
        whole.extend_from_slice(&bytes[piece.clone()]);
    }
    if outline.is_sequential() {
        // A byte 0xff at the end is a fill byte, or the first half of a marker
        // that is cut off.
        while whole.last() == Some(&0xff) {
            whole.pop();
        }
        whole.extend_from_slice(&NO_CODES);
    }
    whole.extend_from_slice(&[0xff, EOI]);

    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE as usize)
        .set_max_height(MAX_SIDE as usize);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&whole), options);
    let broken = |error| match outline.rest {
        Some(_) => PictureFault::Jpeg(error),
        None => PictureFault::CutOff,
    };
    decoder.decode_headers().map_err(broken)?;
    let stored = decoder.input_colorspace();
    let inverted = stored == Some(ColorSpace::CMYK) && !outline.is_adobe;
    let wanted = match stored {
        Some(ColorSpace::Luma) => ColorSpace::Luma,
        Some(ColorSpace::CMYK) if inverted => ColorSpace::CMYK,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    let pixels = decoder.decode().map_err(broken)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (width as u32, height as u32);
    let picture = match wanted {
        ColorSpace::Luma => GrayImage::from_raw(width, height, pixels).map(Into::into),
        ColorSpace::CMYK => RgbImage::from_raw(width, height, from_cmyk(&pixels)).map(Into::into),
        _ => RgbImage::from_raw(width, height, pixels).map(Into::into),
    };
    let exif = decoder.exif();
    let orientation = exif.and_then(|exif| Orientation::from_exif_chunk(exif));
    Ok((
        picture.ok_or(PictureFault::CutOff)?,
        orientation.unwrap_or(Orientation::NoTransforms),
    ))
}

/// Converts cyan, magenta, yellow and black to red, green and blue; 255 is all
/// of an ink. Adobe's values are inverted, and the decoder converts those
/// itself.
fn from_cmyk(pixels: &[u8]) -> Vec<u8> {
    let light = |ink: u8, black: u8| {
        let product = u32::from(255 - ink) * u32::from(255 - black);
        ((product + 127) / 255) as u8
    };
    let pixels = pixels.as_chunks::<4>().0.iter();
    pixels
        .flat_map(|&[cyan, magenta, yellow, black]| {
            [cyan, magenta, yellow].map(|ink| light(ink, black))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::ImageFormat;
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    use super::*;

    const SIDE: u16 = 40;

    /// Returns a picture with much detail, down to the last line.
    fn pixels(channels: usize) -> Vec<u8> {
        let noise = |at: usize| (at * 2_654_435_761 % 251) as u8;
        (0..usize::from(SIDE).pow(2) * channels)
            .map(noise)
            .collect()
    }

    fn encode(progressive: bool, restarts: u16, sampling: SamplingFactor) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 90);
        encoder.set_progressive(progressive);
        encoder.set_restart_interval(restarts);
        encoder.set_sampling_factor(sampling);
        encoder
            .encode(&pixels(3), SIDE, SIDE, ColorType::Rgb)
            .unwrap();
        bytes
    }

    /// Returns JPEGs of several kinds.
    fn kinds() -> [Vec<u8>; 4] {
        [
            encode(false, 0, SamplingFactor::F_1_1),
            encode(false, 0, SamplingFactor::F_2_2),
            encode(false, 3, SamplingFactor::F_2_1),
            encode(true, 0, SamplingFactor::F_1_1),
        ]
    }

    /// Returns the picture from another decoder, which accepts every fault.
    fn forgiving(bytes: &[u8]) -> DynamicImage {
        image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).unwrap()
    }

    /// Returns the JPEG without the segments of that marker.
    fn without(bytes: &[u8], code: u8) -> Vec<u8> {
        let outline = Outline::of(bytes);
        let pieces = outline.pieces.into_iter().map(|piece| &bytes[piece]);
        let kept = pieces.filter(|piece| piece[1] != code);
        let end = [0xff, EOI];
        [&MAGIC[..2]]
            .into_iter()
            .chain(kept)
            .chain([&end[..]])
            .collect::<Vec<_>>()
            .concat()
    }

    #[test]
    fn a_whole_one_is_shown_whatever_lies_in_it() {
        for bytes in kinds() {
            let (picture, orientation) = decode(&bytes).unwrap();
            assert_eq!(picture, forgiving(&bytes));
            assert_eq!(orientation, Orientation::NoTransforms);
            // Cameras pad frames with zeros, between segments and behind the
            // end.
            let tables = bytes
                .windows(2)
                .position(|pair| pair == [0xff, 0xdb])
                .unwrap();
            let filled = [&bytes[..tables], &[0; 9], &bytes[tables..], &[0; 100]].concat();
            assert_eq!(decode(&filled).unwrap().0, picture);
        }
        let mut grey = Vec::new();
        let pixels = GrayImage::from_raw(SIDE.into(), SIDE.into(), pixels(1)).unwrap();
        pixels
            .write_to(&mut Cursor::new(&mut grey), ImageFormat::Jpeg)
            .unwrap();
        assert_eq!(decode(&grey).unwrap().0, forgiving(&grey));
    }

    #[test]
    fn one_that_is_cut_off_is_refused() {
        for (kind, bytes) in kinds().into_iter().enumerate() {
            let picture = decode(&bytes).unwrap().0;
            for cut in 0..bytes.len() - 2 {
                match decode(&bytes[..cut]) {
                    Err(_) => {}
                    // A few bits of the last block may be missing.
                    Ok((got, _)) => {
                        assert!(cut > bytes.len() - 6, "kind {kind} cut at {cut}");
                        let edge = u32::from(SIDE) - 16;
                        for (x, y, pixel) in image::GenericImageView::pixels(&got) {
                            let is_last = x >= edge && y >= edge;
                            let same = image::GenericImageView::get_pixel(&picture, x, y);
                            assert!(is_last || pixel == same, "{cut}: {x} {y}");
                        }
                    }
                }
            }
            // A picture that lacks only EOI is whole, if that can be seen.
            let open = decode(&bytes[..bytes.len() - 2]);
            assert_eq!(open.is_ok(), kind < 3);
        }
    }

    #[test]
    fn one_that_is_cut_off_and_marked_as_whole_is_refused() {
        for (kind, bytes) in kinds().into_iter().take(3).enumerate() {
            let scan = bytes
                .windows(2)
                .position(|pair| pair == [0xff, SOS])
                .unwrap();
            for cut in scan + 14..bytes.len() - 6 {
                let marked = [&bytes[..cut], &[0xff, EOI]].concat();
                assert!(decode(&marked).is_err(), "kind {kind} cut at {cut}");
            }
        }
    }

    #[test]
    fn frames_of_motion_jpeg_have_no_huffman_tables() {
        for bytes in kinds().into_iter().take(3) {
            let frame = without(&bytes, DHT);
            assert!(frame.len() + 400 < bytes.len());
            assert_eq!(decode(&frame).unwrap().0, forgiving(&bytes));
        }
    }

    #[test]
    fn four_inks_are_light_where_they_are_not() {
        for (inks, light) in [
            ([0, 255, 255, 0], [255, 0, 0]),
            ([0, 0, 0, 0], [255, 255, 255]),
            ([255, 0, 0, 0], [0, 255, 255]),
            ([0, 0, 0, 255], [0, 0, 0]),
            ([0, 0, 0, 128], [127, 127, 127]),
        ] {
            let encode = |inks: [u8; 4]| {
                let mut bytes = Vec::new();
                let encoder = Encoder::new(&mut bytes, 100);
                let pixels = inks.repeat(16 * 16);
                encoder.encode(&pixels, 16, 16, ColorType::Cmyk).unwrap();
                bytes
            };
            // The encoder inverts the inks, as Adobe does, and says so.
            let adobe = encode(inks);
            let plain = without(&encode(inks.map(|ink| 255 - ink)), APP14);
            for bytes in [adobe, plain] {
                let picture = decode(&bytes).unwrap().0.into_rgb8();
                let got = picture.get_pixel(5, 5).0;
                let close = got.iter().zip(light).all(|(a, b)| a.abs_diff(b) <= 2);
                assert!(close, "{inks:?} became {got:?}");
            }
        }
    }

    #[test]
    fn several_are_refused_but_those_of_one_photograph_are_not() {
        for bytes in kinds() {
            for between in [&[][..], &[0; 7], b"\r\n"] {
                let two = [&bytes, between, &bytes].concat();
                let error = decode(&two).unwrap_err();
                assert!(matches!(error, PictureFault::Several), "{error}");
            }
            // A telephone's JPEG, with a second picture for screens of high
            // contrast.
            let mpf = [&bytes[..2], b"\xff\xe2\x00\x08MPF\0ab", &bytes[2..], &bytes].concat();
            assert_eq!(decode(&mpf).unwrap().0, forgiving(&bytes));
        }
    }

    #[test]
    fn no_byte_makes_it_fail_otherwise_than_cleanly() {
        for bytes in kinds() {
            for place in 0..bytes.len() {
                for value in [0, 1, 0x3f, 0xd8, 0xff] {
                    let mut broken = bytes.clone();
                    broken[place] = value;
                    let _ = decode(&broken);
                }
            }
        }
    }
}
