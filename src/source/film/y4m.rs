//! The header of a YUV4MPEG2 film.
//!
//! The `y4m` crate is not used: it panics on a size that does not fit a usize,
//! it takes a film that is cut off within a frame for a complete one, and it
//! reads headers with one read(2) for each byte.

use super::error::Fault;
use super::size;
use crate::source::raster::{Chroma, Raster};

/// Maximal length of a line of text, in bytes: a header, or the mark of a
/// frame.
pub const MAX_LINE: usize = 4096;

/// The first word of a header.
pub const MAGIC: &[u8] = b"YUV4MPEG2";

/// The contents of a film's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The raster of the frames.
    pub raster: Raster,
    /// Seconds between frames, as a fraction; `None` if the header does not
    /// say.
    pub interval: Option<(u32, u32)>,
    /// The film is interlaced: each frame is two fields.
    pub interlaced: bool,
}

impl Header {
    /// Parses a header line without its newline.
    pub fn parse(line: &[u8]) -> Result<Self, Fault> {
        let mut words = line.split(|byte| *byte == b' ');
        if words.next() != Some(MAGIC) {
            return Err(Fault::NotY4m);
        }
        let (mut width, mut height) = (None, None);
        let mut interval = None;
        let mut interlaced = false;
        let mut full_range = None;
        let mut samples = None;
        // The sampling in the tag X, which mjpegtools and FFmpeg write for
        // readers that do not know the tag C.
        let mut samples_beside = None;
        for word in words {
            let Some((name, value)) = word.split_first() else {
                continue;
            };
            let number = |text: &[u8]| number(text).ok_or_else(|| Fault::Parameter(shown(word)));
            match name {
                b'W' => width = Some(number(value)?),
                b'H' => height = Some(number(value)?),
                b'F' => {
                    let mut parts = value.split(|byte| *byte == b':');
                    let (Some(frames), Some(seconds), None) =
                        (parts.next(), parts.next(), parts.next())
                    else {
                        return Err(Fault::Parameter(shown(word)));
                    };
                    // Writers that do not know the rate write 0:0.
                    interval = match (number(seconds)?, number(frames)?) {
                        (0, _) | (_, 0) => None,
                        interval => Some(interval),
                    };
                }
                b'I' => interlaced = matches!(value, b"t" | b"b" | b"m"),
                b'C' => samples = Some(value),
                b'X' => match value {
                    b"COLORRANGE=FULL" => full_range = Some(true),
                    b"COLORRANGE=LIMITED" => full_range = Some(false),
                    value => {
                        if let Some(value) = value.strip_prefix(b"YSCSS=") {
                            samples_beside = Some(value);
                        }
                    }
                },
                // The aspect ratio of pixels (A), and unknown tags.
                _ => {}
            }
        }
        let (Some(width), Some(height)) = (width, height) else {
            return Err(Fault::NoSize);
        };
        size::check(width, height)?;
        let samples = samples.or(samples_beside).unwrap_or(b"420");
        let chroma = match samples.to_ascii_lowercase().as_slice() {
            // These differ in the position of chroma between the pixels, by
            // less than a pixel.
            b"420" | b"420jpeg" | b"420mpeg2" | b"420paldv" => Some(Chroma::Yuv420),
            // `422jpeg` is libvpx's own tag.
            b"422" | b"422jpeg" => Some(Chroma::Yuv422),
            b"444" => Some(Chroma::Yuv444),
            b"mono" => None,
            _ => return Err(Fault::Chroma(shown(samples))),
        };
        let raster = match chroma {
            Some(chroma) => Raster::yuv(chroma, width, height, full_range.unwrap_or(false)),
            // Grey has full range, as in FFmpeg.
            None => Raster::grey(width, height, full_range.unwrap_or(true)),
        };
        Ok(Self {
            raster,
            interval,
            interlaced,
        })
    }
}

fn number(text: &[u8]) -> Option<u32> {
    // parse() alone would accept a sign.
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns text of a film for a message.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Header, String> {
        Header::parse(text.as_bytes()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_header_is_read() {
        for (text, raster, interval) in [
            (
                "YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg",
                Raster::yuv(Chroma::Yuv420, 640, 480, false),
                Some((1, 30)),
            ),
            (
                "YUV4MPEG2 H19 W17  F30000:1001 C422 XCOLORRANGE=FULL XYSCSS=422 Zx",
                Raster::yuv(Chroma::Yuv422, 17, 19, true),
                Some((1001, 30000)),
            ),
            (
                "YUV4MPEG2 W4 H2 F25:1 XYSCSS=422",
                Raster::yuv(Chroma::Yuv422, 4, 2, false),
                Some((1, 25)),
            ),
            (
                "YUV4MPEG2 XYSCSS=444 XCOLORRANGE=FULL W4 H2",
                Raster::yuv(Chroma::Yuv444, 4, 2, true),
                None,
            ),
            (
                "YUV4MPEG2 W4 H2 XYSCSS=420MPEG2",
                Raster::yuv(Chroma::Yuv420, 4, 2, false),
                None,
            ),
            // The tag C counts.
            (
                "YUV4MPEG2 W4 H2 C422 XYSCSS=444",
                Raster::yuv(Chroma::Yuv422, 4, 2, false),
                None,
            ),
            (
                "YUV4MPEG2 W1 H1",
                Raster::yuv(Chroma::Yuv420, 1, 1, false),
                None,
            ),
            (
                "YUV4MPEG2 W2 H2 F0:0 C444",
                Raster::yuv(Chroma::Yuv444, 2, 2, false),
                None,
            ),
            (
                "YUV4MPEG2 W2 H2 F25:0 Cmono",
                Raster::grey(2, 2, true),
                None,
            ),
            (
                "YUV4MPEG2 W8192 H8192 Cmono XCOLORRANGE=LIMITED",
                Raster::grey(8192, 8192, false),
                None,
            ),
        ] {
            let header = parse(text).unwrap();
            assert_eq!(header.raster, raster, "{text}");
            assert_eq!(header.interval, interval, "{text}");
            assert!(!header.interlaced);
        }
        for (mode, interlaced) in [("It", true), ("Ib", true), ("Im", true), ("I?", false)] {
            let header = parse(&format!("YUV4MPEG2 W16 H16 {mode}")).unwrap();
            assert_eq!(header.interlaced, interlaced);
        }
    }

    #[test]
    fn what_is_wrong_with_a_header_is_said() {
        for (text, message) in [
            ("", "it does not begin with YUV4MPEG2"),
            ("YUV4MPEG", "it does not begin with YUV4MPEG2"),
            ("YUV4MPEG22 W16 H16", "it does not begin with YUV4MPEG2"),
            ("yuv4mpeg2 W16 H16", "it does not begin with YUV4MPEG2"),
            ("YUV4MPEG2", "its header says no size"),
            ("YUV4MPEG2 W16", "its header says no size"),
            (
                "YUV4MPEG2 W H16",
                "its header says \"W\", which is not understood",
            ),
            (
                "YUV4MPEG2 W+16 H16",
                "its header says \"W+16\", which is not understood",
            ),
            (
                "YUV4MPEG2 W-1 H16",
                "its header says \"W-1\", which is not understood",
            ),
            (
                "YUV4MPEG2 W16 H4294967296",
                "its header says \"H4294967296\", which is not understood",
            ),
            (
                "YUV4MPEG2 W16 H16\r",
                "its header says \"H16\\r\", which is not understood",
            ),
            (
                "YUV4MPEG2 W0 H16",
                "a picture of 0x16 is not between 1x1 and 8192x8192",
            ),
            (
                "YUV4MPEG2 W8193 H16",
                "a picture of 8193x16 is not between 1x1 and 8192x8192",
            ),
            (
                "YUV4MPEG2 W4294967295 H4294967295",
                "a picture of 4294967295x4294967295 is not between 1x1 and 8192x8192",
            ),
            (
                "YUV4MPEG2 W16 H16 F30",
                "its header says \"F30\", which is not understood",
            ),
            (
                "YUV4MPEG2 W16 H16 F30:1:1",
                "its header says \"F30:1:1\", which is not understood",
            ),
            (
                "YUV4MPEG2 W16 H16 F:",
                "its header says \"F:\", which is not understood",
            ),
            (
                "YUV4MPEG2 W16 H16 C420p10",
                "its samples are \"420p10\", not 420, 422, 444 or mono of eight bits",
            ),
            (
                "YUV4MPEG2 W16 H16 C411",
                "its samples are \"411\", not 420, 422, 444 or mono of eight bits",
            ),
            (
                "YUV4MPEG2 W16 H16 XYSCSS=420P10",
                "its samples are \"420P10\", not 420, 422, 444 or mono of eight bits",
            ),
            (
                "YUV4MPEG2 W16 H16 XYSCSS=411",
                "its samples are \"411\", not 420, 422, 444 or mono of eight bits",
            ),
            (
                "YUV4MPEG2 W16 H16 C444alpha",
                "its samples are \"444alpha\", not 420, 422, 444 or mono of eight bits",
            ),
            (
                "YUV4MPEG2 W16 H16 C",
                "its samples are \"\", not 420, 422, 444 or mono of eight bits",
            ),
        ] {
            assert_eq!(parse(text), Err(message.into()), "{text}");
        }
    }

    #[test]
    fn no_header_is_too_strange() {
        let header = b"YUV4MPEG2 W640 H480 F30000:1001 Ip A1:1 C420jpeg XCOLORRANGE=FULL";
        for place in 0..header.len() {
            let _ = Header::parse(&header[..place]);
            for byte in 0..=255 {
                let mut other = header.to_vec();
                other[place] = byte;
                if let Ok(header) = Header::parse(&other) {
                    assert!(header.raster.bytes <= 3 * 8192 * 8192);
                }
            }
        }
    }
}
