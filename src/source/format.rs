//! Pixel formats and how a frame of each lies in memory.
//!
//! All that the rest of Pinhole knows about a format is one row of [`TABLE`]:
//! its four characters, its name, and for each plane which colour component
//! every byte holds. Strides, sizes and the drawing code follow from that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A V4L2 pixel format that the card offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Packed 4:2:2, Y U Y V.
    Yuyv,
    /// Luma plane, then one plane of interleaved U V at half size each way.
    Nv12,
    /// Packed R G B, eight bits each.
    Rgb3,
    /// Luma alone.
    Grey,
}

/// What one byte of a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Luma.
    Y,
    /// Blue difference, Cb.
    U,
    /// Red difference, Cr.
    V,
    /// Red.
    R,
    /// Green.
    G,
    /// Blue.
    B,
    /// Grey level: luma in full range, where `Y` is of limited range.
    L,
}

impl Component {
    /// How many there are.
    pub const COUNT: usize = Self::L as usize + 1;
}

/// One colour plane of a format: the smallest group of bytes that repeats
/// along a line, and how many pixels it stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct PlaneFormat {
    /// The bytes of a group: the component, and the pixel of the group, from
    /// its left, that the sample belongs to.
    pub samples: &'static [(Component, u8)],
    /// Pixels that a group covers.
    pub pixels: u32,
    /// Lines of the picture that a line of this plane covers.
    pub lines: u32,
}

/// A row of the table of formats.
struct Entry {
    format: PixelFormat,
    fourcc: [u8; 4],
    description: &'static str,
    planes: &'static [PlaneFormat],
}

/// A plane of luma, as planar and semi-planar formats begin with.
const LUMA: PlaneFormat = PlaneFormat {
    samples: &[(Component::Y, 0)],
    pixels: 1,
    lines: 1,
};

/// The formats in the order in which VIDIOC_ENUM_FMT gives them; descriptions
/// as v4l_fill_fmtdesc() of Linux has them.
const TABLE: &[Entry] = {
    use Component::{B, G, L, R, U, V, Y};
    &[
        Entry {
            format: PixelFormat::Yuyv,
            fourcc: *b"YUYV",
            description: "YUYV 4:2:2",
            planes: &[PlaneFormat {
                samples: &[(Y, 0), (U, 0), (Y, 1), (V, 0)],
                pixels: 2,
                lines: 1,
            }],
        },
        Entry {
            format: PixelFormat::Nv12,
            fourcc: *b"NV12",
            description: "Y/UV 4:2:0",
            planes: &[
                LUMA,
                PlaneFormat {
                    samples: &[(U, 0), (V, 0)],
                    pixels: 2,
                    lines: 2,
                },
            ],
        },
        Entry {
            format: PixelFormat::Rgb3,
            fourcc: *b"RGB3",
            description: "24-bit RGB 8-8-8",
            planes: &[PlaneFormat {
                samples: &[(R, 0), (G, 0), (B, 0)],
                pixels: 1,
                lines: 1,
            }],
        },
        Entry {
            format: PixelFormat::Grey,
            fourcc: *b"GREY",
            description: "8-bit Greyscale",
            planes: &[PlaneFormat {
                samples: &[(L, 0)],
                pixels: 1,
                lines: 1,
            }],
        },
    ]
};

/// A name that is none of the card's pixel formats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no pixel format \"{0}\"; the card has {list}", list = names())]
pub struct UnknownFormat(String);

/// The names of all formats, for messages.
fn names() -> String {
    PixelFormat::ALL.map(PixelFormat::name).join(", ")
}

impl PixelFormat {
    /// All formats, in the order in which they are enumerated; the first is
    /// the card's default.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Yuyv; TABLE.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = TABLE[i].format;
            i += 1;
        }
        all
    };

    fn entry(self) -> &'static Entry {
        // In the enum's own order, as a test holds it to.
        &TABLE[self as usize]
    }

    /// The V4L2 code: four characters, the first in the lowest byte.
    pub fn fourcc(self) -> u32 {
        u32::from_le_bytes(self.entry().fourcc)
    }

    /// The format with that V4L2 code, if the card has it.
    pub fn from_fourcc(fourcc: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.fourcc() == fourcc)
    }

    /// The four characters of the code, without trailing spaces.
    pub fn name(self) -> &'static str {
        // Never fails: a test reads every name of the table.
        std::str::from_utf8(self.entry().fourcc.trim_ascii_end()).unwrap_or_default()
    }

    /// The name that Linux gives the format in VIDIOC_ENUM_FMT (at most 31
    /// characters).
    pub fn description(self) -> &'static str {
        self.entry().description
    }

    /// Whether its samples use their full range (`V4L2_QUANTIZATION_FULL_RANGE`:
    /// 0 to 255) or, as Y'CbCr here, the limited one
    /// (`V4L2_QUANTIZATION_LIM_RANGE`: luma 16 to 235, chroma 16 to 240).
    pub fn is_full_range(self) -> bool {
        self.planes()
            .iter()
            .all(|plane| !plane.samples.iter().any(|(c, _)| *c == Component::Y))
    }

    /// The colour planes, in the order in which they lie in memory.
    pub fn planes(self) -> &'static [PlaneFormat] {
        self.entry().planes
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PixelFormat {
    type Err = UnknownFormat;

    /// Takes the four characters in either case.
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

impl Serialize for PixelFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for PixelFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How a frame lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The pixel format.
    pub format: PixelFormat,
    /// Pixels a line; even, 16 to 3840.
    pub width: u32,
    /// Lines a frame; even, 16 to 2160.
    pub height: u32,
    /// Bytes from one line of the first plane to the next.
    pub bytesperline: u32,
    /// Bytes of a whole frame.
    pub sizeimage: u32,
}

/// Where one colour plane lies in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneLayout {
    /// What its bytes hold.
    pub format: &'static PlaneFormat,
    /// Its first byte, counted from the frame's.
    pub offset: usize,
    /// Bytes from one of its lines to the next.
    pub stride: usize,
    /// Its lines.
    pub lines: usize,
}

impl Layout {
    /// The narrowest picture, in pixels.
    pub const MIN_WIDTH: u32 = 16;
    /// The widest picture, in pixels.
    pub const MAX_WIDTH: u32 = 3840;
    /// The lowest picture, in lines.
    pub const MIN_HEIGHT: u32 = 16;
    /// The highest picture, in lines.
    pub const MAX_HEIGHT: u32 = 2160;
    /// Widths and heights are multiples of this.
    pub const STEP: u32 = 2;

    /// The layout of the size nearest to `width` by `height` that the card
    /// has, as VIDIOC_S_FMT asks: out of bounds becomes the bound, odd becomes
    /// the next even (as v4l_bound_align_image() of Linux rounds).
    pub fn new(format: PixelFormat, width: u32, height: u32) -> Self {
        let width = nearest(width, Self::MIN_WIDTH, Self::MAX_WIDTH);
        let height = nearest(height, Self::MIN_HEIGHT, Self::MAX_HEIGHT);
        let stride = |plane: &PlaneFormat| width / plane.pixels * plane.samples.len() as u32;
        let planes = format.planes();
        Self {
            format,
            width,
            height,
            bytesperline: stride(&planes[0]),
            sizeimage: planes.iter().map(|p| stride(p) * (height / p.lines)).sum(),
        }
    }

    /// Whether the card has pictures of exactly that size.
    pub fn has_size(width: u32, height: u32) -> bool {
        nearest(width, Self::MIN_WIDTH, Self::MAX_WIDTH) == width
            && nearest(height, Self::MIN_HEIGHT, Self::MAX_HEIGHT) == height
    }

    /// Where the colour planes lie, in the order of their offsets.
    pub fn planes(&self) -> impl Iterator<Item = PlaneLayout> + use<> {
        let Self { width, height, .. } = *self;
        self.format.planes().iter().scan(0, move |end, format| {
            let stride = (width / format.pixels) as usize * format.samples.len();
            let lines = (height / format.lines) as usize;
            let offset = *end;
            *end += stride * lines;
            Some(PlaneLayout {
                format,
                offset,
                stride,
                lines,
            })
        })
    }
}

/// The nearest value to `wanted` that is in bounds and a multiple of the step.
fn nearest(wanted: u32, min: u32, max: u32) -> u32 {
    wanted.clamp(min, max).next_multiple_of(Layout::STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum_and_its_names_are_text() {
        for (index, entry) in TABLE.iter().enumerate() {
            assert_eq!(entry.format as usize, index);
            assert!(
                entry
                    .fourcc
                    .iter()
                    .all(|c| c.is_ascii_graphic() || *c == b' ')
            );
            assert!(entry.description.len() < 32, "{}", entry.description);
        }
    }

    #[test]
    fn codes_and_names_lead_back_to_their_format() {
        assert_eq!(PixelFormat::Yuyv.fourcc(), 0x5659_5559);
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_fourcc(format.fourcc()), Some(format));
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(format.name().to_lowercase().parse(), Ok(format));
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(serde_json::from_str::<PixelFormat>(&json).unwrap(), format);
        }
        assert_eq!(PixelFormat::from_fourcc(0), None);
        assert_eq!(
            "XYZ1".parse::<PixelFormat>().unwrap_err().to_string(),
            "there is no pixel format \"XYZ1\"; the card has YUYV, NV12, RGB3, GREY"
        );
    }

    #[test]
    fn strides_and_sizes_are_those_of_v4l2() {
        for (format, bytesperline, sizeimage) in [
            (PixelFormat::Yuyv, 2560, 1_843_200),
            (PixelFormat::Nv12, 1280, 1_382_400),
            (PixelFormat::Rgb3, 3840, 2_764_800),
            (PixelFormat::Grey, 1280, 921_600),
        ] {
            let layout = Layout::new(format, 1280, 720);
            assert_eq!(layout.bytesperline, bytesperline, "{format}");
            assert_eq!(layout.sizeimage, sizeimage, "{format}");
        }
    }

    #[test]
    fn planes_fill_the_frame_without_a_gap() {
        for format in PixelFormat::ALL {
            for (width, height) in [(16, 16), (18, 22), (1918, 1078), (3840, 2160)] {
                let layout = Layout::new(format, width, height);
                let mut end = 0;
                for plane in layout.planes() {
                    assert_eq!(plane.offset, end);
                    end += plane.stride * plane.lines;
                }
                assert_eq!(end, layout.sizeimage as usize);
            }
        }
    }

    #[test]
    fn a_size_out_of_range_becomes_the_nearest() {
        for (wanted, got) in [
            ((0, 0), (16, 16)),
            ((17, 19), (18, 20)),
            ((3839, 2159), (3840, 2160)),
            ((u32::MAX, u32::MAX), (3840, 2160)),
        ] {
            let layout = Layout::new(PixelFormat::Nv12, wanted.0, wanted.1);
            assert_eq!((layout.width, layout.height), got);
            assert!(Layout::has_size(got.0, got.1));
            assert!(!Layout::has_size(wanted.0, wanted.1));
        }
    }
}
