//! The layout of frames in memory.

use super::format::{PixelFormat, PlaneFormat};

/// Maximal number of memory planes of a frame.
pub const MAX_MEMORY_PLANES: usize = 3;

/// The layout of a frame in memory.
///
/// Offsets count through the whole frame: colour plane after colour plane, and
/// so memory plane after memory plane, even if the memory planes are not
/// adjacent in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The pixel format.
    pub format: PixelFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in lines.
    pub height: u32,
    /// Bytes from one line of the first plane to the next; 0 if compressed.
    pub bytesperline: u32,
    /// Size of a whole frame in bytes, over all its memory planes; if
    /// compressed, the maximal size.
    pub sizeimage: u32,
}

/// The place of one colour plane in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneLayout {
    /// The components of its bytes.
    pub format: &'static PlaneFormat,
    /// Offset of the plane in the frame, in bytes.
    pub offset: usize,
    /// Bytes from one line to the next.
    pub stride: usize,
    /// Number of lines.
    pub lines: usize,
}

/// The part of a frame that lies in one piece of memory: the whole frame, or
/// one colour plane if the format's planes are separate. V4L2 calls it a plane
/// of a multi-planar buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlane {
    /// Offset of the plane in the frame, in bytes.
    pub offset: u32,
    /// Bytes from one line to the next; 0 if compressed.
    pub bytesperline: u32,
    /// Size in bytes; if compressed, the maximal size.
    pub sizeimage: u32,
}

impl Layout {
    /// Minimal width, in pixels.
    pub const MIN_WIDTH: u32 = 16;
    /// Maximal width, in pixels.
    pub const MAX_WIDTH: u32 = 3840;
    /// Minimal height, in lines.
    pub const MIN_HEIGHT: u32 = 16;
    /// Maximal height, in lines.
    pub const MAX_HEIGHT: u32 = 2160;

    /// Returns the layout of the card's size nearest to `width` by `height`, as
    /// VIDIOC_S_FMT asks: a size out of bounds is clamped to the bound, and a
    /// size that the format cannot have is rounded up (as Linux's
    /// v4l_bound_align_image() rounds).
    pub fn new(format: PixelFormat, width: u32, height: u32) -> Self {
        let (x, y) = format.steps();
        let width = nearest(width, Self::MIN_WIDTH, Self::MAX_WIDTH, x);
        let height = nearest(height, Self::MIN_HEIGHT, Self::MAX_HEIGHT, y);
        let stride = |plane: &PlaneFormat| plane.bytes(width as i32) as u32;
        let planes = format.planes();
        Self {
            format,
            width,
            height,
            bytesperline: planes.first().map_or(0, stride),
            sizeimage: match format.is_compressed() {
                // A JPEG takes less than two bytes a pixel, except for noise at
                // the highest quality. The rest is for its headers.
                true => 2 * width * height + 4096,
                false => planes.iter().map(|p| stride(p) * (height / p.lines)).sum(),
            },
        }
    }

    /// Returns whether the card has pictures of exactly that size in that
    /// format.
    pub fn has_size(format: PixelFormat, width: u32, height: u32) -> bool {
        let layout = Self::new(format, width, height);
        (layout.width, layout.height) == (width, height)
    }

    /// Returns the places of the colour planes, in the order of their offsets;
    /// none if compressed.
    pub fn planes(&self) -> impl Iterator<Item = PlaneLayout> + use<> {
        let Self { width, height, .. } = *self;
        self.format.planes().iter().scan(0, move |end, format| {
            let stride = format.bytes(width as i32) as usize;
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

    /// Returns the pieces of memory of a frame in order: 1 to
    /// [`MAX_MEMORY_PLANES`].
    pub fn memory_planes(&self) -> impl ExactSizeIterator<Item = MemoryPlane> + use<> {
        let whole = MemoryPlane {
            offset: 0,
            bytesperline: self.bytesperline,
            sizeimage: self.sizeimage,
        };
        let mut pieces = [whole; MAX_MEMORY_PLANES];
        let mut count = 1;
        if self.format.is_separate() {
            count = self.format.planes().len();
            for (piece, plane) in pieces.iter_mut().zip(self.planes()) {
                // All numbers fit, because they add up to sizeimage, which is a
                // u32.
                *piece = MemoryPlane {
                    offset: plane.offset as u32,
                    bytesperline: plane.stride as u32,
                    sizeimage: (plane.stride * plane.lines) as u32,
                };
            }
        }
        pieces.into_iter().take(count)
    }
}

/// Returns `wanted` clamped to the bounds and rounded up to a multiple of the
/// step.
fn nearest(wanted: u32, min: u32, max: u32, step: u32) -> u32 {
    wanted.clamp(min, max).next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_and_sizes_are_those_of_v4l2() {
        for (format, bytesperline, sizeimage) in [
            (PixelFormat::Rgbp, 2560, 1_843_200),
            (PixelFormat::Xr24, 5120, 3_686_400),
            (PixelFormat::Y16, 2560, 1_843_200),
            (PixelFormat::Yu12, 1280, 1_382_400),
            (PixelFormat::P422, 1280, 1_843_200),
            (PixelFormat::Mjpg, 0, 1_847_296),
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
        for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
            for (width, height) in [(16, 16), (18, 22), (1918, 1078), (3840, 2160)] {
                let layout = Layout::new(format, width, height);
                let mut end = 0;
                for plane in layout.planes() {
                    assert_eq!(plane.offset, end);
                    end += plane.stride * plane.lines;
                }
                assert_eq!(end, layout.sizeimage as usize);
                let mut end = 0;
                for piece in layout.memory_planes() {
                    assert_eq!(piece.offset, end);
                    end += piece.sizeimage;
                }
                assert_eq!(end, layout.sizeimage);
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
            assert!(Layout::has_size(PixelFormat::Nv12, got.0, got.1));
            assert!(!Layout::has_size(PixelFormat::Nv12, wanted.0, wanted.1));
        }
    }

    #[test]
    fn odd_sizes_are_had_where_nothing_is_subsampled() {
        for (format, got) in [
            (PixelFormat::Rgb3, (17, 19)),
            (PixelFormat::Y16, (17, 19)),
            (PixelFormat::Mjpg, (17, 19)),
            (PixelFormat::Yuyv, (18, 19)),
            (PixelFormat::Nv16, (18, 19)),
            (PixelFormat::Ym12, (18, 20)),
        ] {
            let layout = Layout::new(format, 17, 19);
            assert_eq!((layout.width, layout.height), got, "{format}");
        }
    }

    #[test]
    fn separate_planes_lie_in_memory_of_their_own() {
        let sizes = |format| {
            let planes = Layout::new(format, 640, 480).memory_planes();
            planes
                .map(|p| (p.bytesperline, p.sizeimage))
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(PixelFormat::Yu12), [(640, 460_800)]);
        assert_eq!(sizes(PixelFormat::Nm12), [(640, 307_200), (640, 153_600)]);
        assert_eq!(sizes(PixelFormat::Nm16), [(640, 307_200), (640, 307_200)]);
        assert_eq!(
            sizes(PixelFormat::Ym12),
            [(640, 307_200), (320, 76_800), (320, 76_800)]
        );
    }
}
