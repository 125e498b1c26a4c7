//! Pixel formats.
//!
//! The rest of Pinhole knows a format only by its row of [`TABLE`]: its four
//! characters, its name, and for each plane the colour component of every byte.
//! Strides, sizes and the drawing code follow from that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A V4L2 pixel format that the card offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Packed 4:2:2, Y U Y V.
    Yuyv,
    /// Packed 4:2:2, U Y V Y.
    Uyvy,
    /// Packed 4:2:2, Y V Y U.
    Yvyu,
    /// Packed 4:2:2, V Y U Y.
    Vyuy,
    /// Packed R G B, eight bits each.
    Rgb3,
    /// Packed B G R, eight bits each.
    Bgr3,
    /// Packed B G R and an unused byte (`V4L2_PIX_FMT_XBGR32`).
    Xr24,
    /// An unused byte, then R G B (`V4L2_PIX_FMT_XRGB32`).
    Bx24,
    /// Five bits of R, six of G and five of B in a little-endian word.
    Rgbp,
    /// Only luma.
    Grey,
    /// Only luma, sixteen bits, little-endian.
    Y16,
    /// Luma plane, then one plane of interleaved U V at half size each way.
    Nv12,
    /// Luma plane, then one plane of interleaved V U at half size each way.
    Nv21,
    /// Luma plane, then one plane of interleaved U V at half width.
    Nv16,
    /// Planes of Y, U and V, the chroma at half size each way.
    Yu12,
    /// Planes of Y, V and U, the chroma at half size each way.
    Yv12,
    /// Planes of Y, U and V, the chroma at half width.
    P422,
    /// One JPEG for each frame.
    Mjpg,
    /// As NV12, with each plane in memory of its own.
    Nm12,
    /// As NV16, with each plane in memory of its own.
    Nm16,
    /// As YU12, with each plane in memory of its own.
    Ym12,
}

/// The component that one byte of a frame holds.
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
    /// The low byte of an RGB565 word: three bits of green, five of blue.
    Rgb565Low,
    /// The high byte of an RGB565 word: five bits of red, three of green.
    Rgb565High,
    /// Unused.
    X,
}

impl Component {
    /// Number of components.
    pub const COUNT: usize = Self::X as usize + 1;
}

/// One colour plane of a format: the smallest group of bytes that repeats along
/// a line, and the number of pixels that it covers.
#[derive(Debug, PartialEq, Eq)]
pub struct PlaneFormat {
    /// The bytes of a group: for each, its component, and the index within the
    /// group of the pixel that the sample belongs to, from the left.
    pub samples: &'static [(Component, u8)],
    /// Number of pixels of a line that a group covers.
    pub pixels: u32,
    /// Number of lines of the picture that a line of this plane covers.
    pub lines: u32,
}

impl PlaneFormat {
    /// Returns the number of bytes of whole groups that cover `pixels` pixels of
    /// a line; before the line's start if both are negative.
    pub fn bytes(&self, pixels: i32) -> i32 {
        pixels.div_euclid(self.pixels as i32) * self.samples.len() as i32
    }

    /// Returns the first of the plane's lines that begins at line `y` of the
    /// picture or below; a line of the plane begins at the first of those that
    /// it covers.
    pub fn line_from(&self, y: i32) -> i32 {
        -(-y).div_euclid(self.lines as i32)
    }
}

/// A row of the table of formats.
struct Entry {
    format: PixelFormat,
    fourcc: [u8; 4],
    description: &'static str,
    /// Empty for a compressed format.
    planes: &'static [PlaneFormat],
    /// Each plane lies in memory of its own.
    separate: bool,
}

/// Returns a plane whose groups of samples cover `pixels` pixels of `lines`
/// lines.
const fn plane(samples: &'static [(Component, u8)], pixels: u32, lines: u32) -> PlaneFormat {
    PlaneFormat {
        samples,
        pixels,
        lines,
    }
}

/// A plane of luma, the first one of planar and semi-planar formats.
const LUMA: PlaneFormat = plane(&[(Component::Y, 0)], 1, 1);

/// Returns the row of a format whose planes lie in one piece of memory.
const fn row(
    format: PixelFormat,
    fourcc: &[u8; 4],
    description: &'static str,
    planes: &'static [PlaneFormat],
) -> Entry {
    Entry {
        format,
        fourcc: *fourcc,
        description,
        planes,
        separate: false,
    }
}

/// Returns the row of a format whose planes lie in memory of their own.
const fn separate(entry: Entry) -> Entry {
    Entry {
        separate: true,
        ..entry
    }
}

/// The formats in the order of VIDIOC_ENUM_FMT. The descriptions are those of
/// Linux's v4l_fill_fmtdesc().
#[rustfmt::skip] // a table
const TABLE: &[Entry] = {
    use Component::{B, G, L, R, Rgb565High, Rgb565Low, U, V, X, Y};
    use PixelFormat::*;
    &[
        row(Yuyv, b"YUYV", "YUYV 4:2:2", &[plane(&[(Y, 0), (U, 0), (Y, 1), (V, 0)], 2, 1)]),
        row(Uyvy, b"UYVY", "UYVY 4:2:2", &[plane(&[(U, 0), (Y, 0), (V, 0), (Y, 1)], 2, 1)]),
        row(Yvyu, b"YVYU", "YVYU 4:2:2", &[plane(&[(Y, 0), (V, 0), (Y, 1), (U, 0)], 2, 1)]),
        row(Vyuy, b"VYUY", "VYUY 4:2:2", &[plane(&[(V, 0), (Y, 0), (U, 0), (Y, 1)], 2, 1)]),
        row(Rgb3, b"RGB3", "24-bit RGB 8-8-8", &[plane(&[(R, 0), (G, 0), (B, 0)], 1, 1)]),
        row(Bgr3, b"BGR3", "24-bit BGR 8-8-8", &[plane(&[(B, 0), (G, 0), (R, 0)], 1, 1)]),
        row(Xr24, b"XR24", "32-bit BGRX 8-8-8-8", &[plane(&[(B, 0), (G, 0), (R, 0), (X, 0)], 1, 1)]),
        row(Bx24, b"BX24", "32-bit XRGB 8-8-8-8", &[plane(&[(X, 0), (R, 0), (G, 0), (B, 0)], 1, 1)]),
        row(Rgbp, b"RGBP", "16-bit RGB 5-6-5", &[plane(&[(Rgb565Low, 0), (Rgb565High, 0)], 1, 1)]),
        row(Grey, b"GREY", "8-bit Greyscale", &[plane(&[(L, 0)], 1, 1)]),
        // Both bytes hold the 8-bit level, which makes 257 times the level: the
        // full 16-bit range.
        row(Y16, b"Y16 ", "16-bit Greyscale", &[plane(&[(L, 0), (L, 0)], 1, 1)]),
        row(Nv12, b"NV12", "Y/UV 4:2:0", &[LUMA, plane(&[(U, 0), (V, 0)], 2, 2)]),
        row(Nv21, b"NV21", "Y/VU 4:2:0", &[LUMA, plane(&[(V, 0), (U, 0)], 2, 2)]),
        row(Nv16, b"NV16", "Y/UV 4:2:2", &[LUMA, plane(&[(U, 0), (V, 0)], 2, 1)]),
        row(Yu12, b"YU12", "Planar YUV 4:2:0", &[LUMA, plane(&[(U, 0)], 2, 2), plane(&[(V, 0)], 2, 2)]),
        row(Yv12, b"YV12", "Planar YVU 4:2:0", &[LUMA, plane(&[(V, 0)], 2, 2), plane(&[(U, 0)], 2, 2)]),
        row(P422, b"422P", "Planar YUV 4:2:2", &[LUMA, plane(&[(U, 0)], 2, 1), plane(&[(V, 0)], 2, 1)]),
        row(Mjpg, b"MJPG", "Motion-JPEG", &[]),
        separate(row(Nm12, b"NM12", "Y/UV 4:2:0 (N-C)", &[LUMA, plane(&[(U, 0), (V, 0)], 2, 2)])),
        separate(row(Nm16, b"NM16", "Y/UV 4:2:2 (N-C)", &[LUMA, plane(&[(U, 0), (V, 0)], 2, 1)])),
        separate(row(Ym12, b"YM12", "Planar YUV 4:2:0 (N-C)", &[LUMA, plane(&[(U, 0)], 2, 2), plane(&[(V, 0)], 2, 2)])),
    ]
};

/// The error of a name that is not one of the card's pixel formats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no pixel format \"{0}\"; the card has {list}", list = names())]
pub struct UnknownFormat(String);

/// Returns the names of all offered formats, for messages.
fn names() -> String {
    let offered = PixelFormat::ALL.into_iter().filter(|it| it.is_offered());
    offered
        .map(PixelFormat::name)
        .collect::<Vec<_>>()
        .join(", ")
}

impl PixelFormat {
    /// All formats, in the order of their enumeration; the first one is the
    /// card's default.
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
        // A test checks that the table is in the order of the enum.
        &TABLE[self as usize]
    }

    /// Returns the V4L2 code: four characters, the first in the lowest byte.
    pub fn fourcc(self) -> u32 {
        u32::from_le_bytes(self.entry().fourcc)
    }

    /// Returns the format with that V4L2 code, if the card has it.
    pub fn from_fourcc(fourcc: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.fourcc() == fourcc)
    }

    /// Returns the four characters of the code, without trailing spaces.
    pub fn name(self) -> &'static str {
        // Never fails: a test reads every name of the table.
        std::str::from_utf8(self.entry().fourcc.trim_ascii_end()).unwrap_or_default()
    }

    /// Returns Linux's name of the format in VIDIOC_ENUM_FMT (at most 31
    /// characters).
    pub fn description(self) -> &'static str {
        self.entry().description
    }

    /// Returns whether the samples use the full range
    /// (`V4L2_QUANTIZATION_FULL_RANGE`: 0 to 255) or, as Y'CbCr does here, the
    /// limited one (`V4L2_QUANTIZATION_LIM_RANGE`: luma 16 to 235, chroma 16 to
    /// 240).
    pub fn is_full_range(self) -> bool {
        !self.has_component(Component::Y)
    }

    /// Returns whether any byte of the format holds that component.
    pub fn has_component(self, component: Component) -> bool {
        let mut samples = self.planes().iter().flat_map(|plane| plane.samples);
        samples.any(|(held, _)| *held == component)
    }

    /// Returns whether the pixels are red, green and blue, in any packing.
    pub fn is_rgb(self) -> bool {
        self.has_component(Component::R) || self.has_component(Component::Rgb565High)
    }

    /// Returns the colour planes in their order in memory; none for a
    /// compressed format.
    pub fn planes(self) -> &'static [PlaneFormat] {
        self.entry().planes
    }

    /// Returns whether the card offers the format. It offers compressed formats
    /// only with the cargo feature `films`.
    pub fn is_offered(self) -> bool {
        cfg!(feature = "films") || !self.is_compressed()
    }

    /// Returns whether frames are compressed, so that each has its own length
    /// (`V4L2_FMT_FLAG_COMPRESSED`).
    pub fn is_compressed(self) -> bool {
        self.planes().is_empty()
    }

    /// Returns whether every colour plane lies in memory of its own, which only
    /// a multi-planar buffer has (V4L2 calls these formats non-contiguous).
    pub fn is_separate(self) -> bool {
        self.entry().separate
    }

    /// Returns the numbers of which the width (in pixels) and the height (in
    /// lines) must be multiples.
    pub fn steps(self) -> (u32, u32) {
        self.planes().iter().fold((1, 1), |(x, y), plane| {
            (x.max(plane.pixels), y.max(plane.lines))
        })
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PixelFormat {
    type Err = UnknownFormat;

    /// Parses the four characters, in either case.
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
            "there is no pixel format \"XYZ1\"; the card has YUYV, UYVY, YVYU, VYUY, RGB3, BGR3, \
             XR24, BX24, RGBP, GREY, Y16, NV12, NV21, NV16, YU12, YV12, 422P, MJPG, NM12, NM16, YM12"
        );
    }
}
