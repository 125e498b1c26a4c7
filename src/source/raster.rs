//! The layout of any uncompressed picture in bytes, including pictures that the
//! card does not offer: of odd size, or of 4:4:4.

use super::format::{Component, PlaneFormat};
use super::layout::{Layout, PlaneLayout};

/// The kind of a picture's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Luma and chroma of BT.601.
    Yuv,
    /// Red, green and blue, one byte each.
    Rgb,
    /// Red, green and blue in sixteen bits.
    Rgb565,
    /// Only luma.
    Grey,
}

/// The sampling of chroma in planes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chroma {
    /// One sample for every second pixel of every second line.
    Yuv420,
    /// One sample for every second pixel.
    Yuv422,
    /// One sample for every pixel.
    Yuv444,
}

/// The layout of a picture in bytes: planes without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raster {
    /// The kind of the samples.
    pub model: Model,
    /// Width in pixels.
    pub width: u32,
    /// Height in lines.
    pub height: u32,
    /// Whether luma and chroma go from 0 to 255, not from 16 to 235 and 240.
    pub full_range: bool,
    /// Size in bytes.
    pub bytes: usize,
    planes: Vec<PlaneLayout>,
}

/// The places of the samples of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// The component.
    pub component: Component,
    /// Offset of the first sample.
    pub offset: usize,
    /// Bytes from one sample to the next.
    pub step: usize,
    /// Bytes from one line to the next.
    pub stride: usize,
    /// Number of samples in a line.
    pub columns: usize,
    /// Number of lines.
    pub lines: usize,
    /// Number of pixels of the picture that a sample covers, across.
    pub pixels: u32,
    /// Number of lines of the picture that a line of samples covers.
    pub per: u32,
}

const fn single(samples: &'static [(Component, u8)], pixels: u32, lines: u32) -> PlaneFormat {
    PlaneFormat {
        samples,
        pixels,
        lines,
    }
}

const Y: &[(Component, u8)] = &[(Component::Y, 0)];
const U: &[(Component, u8)] = &[(Component::U, 0)];
const V: &[(Component, u8)] = &[(Component::V, 0)];

static YUV420: [PlaneFormat; 3] = [single(Y, 1, 1), single(U, 2, 2), single(V, 2, 2)];
static YUV422: [PlaneFormat; 3] = [single(Y, 1, 1), single(U, 2, 1), single(V, 2, 1)];
static YUV444: [PlaneFormat; 3] = [single(Y, 1, 1), single(U, 1, 1), single(V, 1, 1)];
static RGB: [PlaneFormat; 1] = [single(
    &[(Component::R, 0), (Component::G, 0), (Component::B, 0)],
    1,
    1,
)];
static GREY: [PlaneFormat; 1] = [single(&[(Component::L, 0)], 1, 1)];

impl Raster {
    /// Returns the raster of a card's layout; `None` if it is compressed.
    pub fn of(layout: &Layout) -> Option<Self> {
        let format = layout.format;
        let has = |component| format.has_component(component);
        let model = match () {
            () if format.is_compressed() => return None,
            () if has(Component::Y) => Model::Yuv,
            () if has(Component::R) => Model::Rgb,
            () if has(Component::Rgb565Low) => Model::Rgb565,
            () => Model::Grey,
        };
        let full = format.is_full_range();
        let (width, height) = (layout.width, layout.height);
        Some(Self::new(model, width, height, full, format.planes()))
    }

    /// Returns a raster of planes of Y, U and V. Chroma of odd sizes is rounded
    /// up, as in y4m.
    pub fn yuv(chroma: Chroma, width: u32, height: u32, full_range: bool) -> Self {
        let planes = match chroma {
            Chroma::Yuv420 => &YUV420,
            Chroma::Yuv422 => &YUV422,
            Chroma::Yuv444 => &YUV444,
        };
        Self::new(Model::Yuv, width, height, full_range, planes)
    }

    /// Returns a raster of packed red, green and blue.
    pub fn rgb(width: u32, height: u32) -> Self {
        Self::new(Model::Rgb, width, height, true, &RGB)
    }

    /// Returns a raster of one plane of luma.
    pub fn grey(width: u32, height: u32, full_range: bool) -> Self {
        Self::new(Model::Grey, width, height, full_range, &GREY)
    }

    fn new(
        model: Model,
        width: u32,
        height: u32,
        full_range: bool,
        formats: impl IntoIterator<Item = &'static PlaneFormat>,
    ) -> Self {
        let mut bytes = 0;
        let planes = formats
            .into_iter()
            .map(|format| {
                let plane = PlaneLayout {
                    format,
                    offset: bytes,
                    stride: width.div_ceil(format.pixels) as usize * format.samples.len(),
                    lines: height.div_ceil(format.lines) as usize,
                };
                bytes += plane.stride * plane.lines;
                plane
            })
            .collect();
        Self {
            model,
            width,
            height,
            full_range,
            bytes,
            planes,
        }
    }

    /// Returns the sampling of the chroma; `None` without chroma.
    pub fn chroma(&self) -> Option<Chroma> {
        let plane = self.channel(Component::U)?;
        match (plane.pixels, plane.per) {
            (2, 2) => Some(Chroma::Yuv420),
            (2, 1) => Some(Chroma::Yuv422),
            _ => Some(Chroma::Yuv444),
        }
    }

    /// Returns the places of the samples of each component. A component that
    /// occurs twice (the bytes of Y16) gives two channels.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        self.planes.iter().flat_map(|plane| {
            let samples = plane.format.samples;
            // The samples of one component are evenly spaced in every format.
            let firsts = samples
                .iter()
                .zip(0..)
                .filter(|((_, pixel), _)| *pixel == 0);
            firsts.map(move |((component, _), offset)| {
                let of = samples.iter().filter(|(other, _)| other == component);
                let last = of.map(|(_, pixel)| usize::from(*pixel)).max();
                let count = last.unwrap_or(0) + 1;
                Channel {
                    component: *component,
                    offset: plane.offset + offset,
                    step: samples.len() / count,
                    stride: plane.stride,
                    columns: plane.stride / samples.len() * count,
                    lines: plane.lines,
                    pixels: plane.format.pixels / count as u32,
                    per: plane.format.lines,
                }
            })
        })
    }

    /// Returns the places of the samples of one component; the last channel of
    /// two.
    pub fn channel(&self, component: Component) -> Option<Channel> {
        self.channels()
            .filter(|channel| channel.component == component)
            .last()
    }

    /// Returns a raster of another size that is packed in the same way.
    pub fn resized(&self, width: u32, height: u32) -> Self {
        let formats = self.planes.iter().map(|plane| plane.format);
        Self::new(self.model, width, height, self.full_range, formats)
    }

    /// Returns whether every plane is a picture of its own, with one to four
    /// bytes a pixel, each a sample.
    pub fn is_stretchable(&self) -> bool {
        let is_picture = |plane: &PlaneLayout| {
            let samples = plane.format.samples;
            let once = |(component, pixel): &(Component, u8)| {
                let same = samples.iter().filter(|(other, _)| other == component);
                *pixel == 0 && same.count() == 1
            };
            samples.iter().all(once)
        };
        self.model != Model::Rgb565 && self.planes.iter().all(is_picture)
    }

    /// Returns the raster of the same picture in a form that can be processed:
    /// planes of Y, U and V, packed RGB, or a plane of luma.
    pub fn unpacked(&self) -> Self {
        let (width, height) = (self.width, self.height);
        match (self.model, self.chroma()) {
            (Model::Yuv, Some(chroma)) => Self::yuv(chroma, width, height, self.full_range),
            (Model::Rgb | Model::Rgb565, _) => Self::rgb(width, height),
            (Model::Yuv | Model::Grey, _) => Self::grey(width, height, self.full_range),
        }
    }

    /// Returns the layout of each plane, with the number of pixels that a group
    /// of samples covers, across and down.
    pub fn planes(&self) -> impl Iterator<Item = &PlaneLayout> {
        self.planes.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    #[test]
    fn the_raster_of_a_layout_lies_as_the_layout_does() {
        for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
            let layout = Layout::new(format, 34, 20);
            let raster = Raster::of(&layout).unwrap();
            assert_eq!(raster.bytes, layout.sizeimage as usize, "{format}");
            assert!(raster.planes().copied().eq(layout.planes()), "{format}");
        }
        assert_eq!(Raster::of(&Layout::new(PixelFormat::Mjpg, 34, 20)), None);
    }

    #[test]
    fn channels_reach_every_byte_once() {
        for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
            let raster = Raster::of(&Layout::new(format, 34, 20)).unwrap();
            let mut reached = vec![0; raster.bytes];
            for channel in raster.channels() {
                let pixels = (
                    channel.columns as u32 * channel.pixels,
                    channel.lines as u32 * channel.per,
                );
                assert_eq!(pixels, (34, 20), "{format} {channel:?}");
                for line in 0..channel.lines {
                    for column in 0..channel.columns {
                        reached[channel.offset + line * channel.stride + column * channel.step] +=
                            1;
                    }
                }
            }
            assert!(reached.iter().all(|n| *n == 1), "{format}: {reached:?}");
        }
    }

    #[test]
    fn chroma_of_odd_sizes_is_rounded_up() {
        for (chroma, bytes) in [
            (Chroma::Yuv420, 17 * 19 + 2 * 9 * 10),
            (Chroma::Yuv422, 17 * 19 + 2 * 9 * 19),
            (Chroma::Yuv444, 3 * 17 * 19),
        ] {
            let raster = Raster::yuv(chroma, 17, 19, false);
            assert_eq!(raster.bytes, bytes);
            assert_eq!(raster.chroma(), Some(chroma));
        }
    }
}
