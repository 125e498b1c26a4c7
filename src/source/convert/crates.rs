//! The stages that libraries run: `yuv` converts colours, `fast_image_resize`
//! changes sizes.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use yuv::{
    BufferStoreMut, YuvConversionMode, YuvError, YuvGrayImageMut, YuvPlanarImage,
    YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
};

use super::error::ConvertError;
use crate::source::raster::{Chroma, Model, Raster};
use crate::source::settings::Rect;

const MATRIX: YuvStandardMatrix = YuvStandardMatrix::Bt601;
const MODE: YuvConversionMode = YuvConversionMode::Balanced;

fn range(raster: &Raster) -> YuvRange {
    match raster.full_range {
        true => YuvRange::Full,
        false => YuvRange::Limited,
    }
}

/// Returns the bytes and the stride of each of the three planes of a frame; a
/// missing plane is empty.
fn planes<'a>(raster: &Raster, frame: &'a [u8]) -> [(&'a [u8], u32); 3] {
    let mut planes = raster.planes();
    [(); 3].map(|()| {
        planes.next().map_or((&[][..], 0), |plane| {
            let end = plane.offset + plane.stride * plane.lines;
            (&frame[plane.offset..end], plane.stride as u32)
        })
    })
}

/// As [`planes`], but writable.
fn planes_mut<'a>(raster: &Raster, mut frame: &'a mut [u8]) -> [(&'a mut [u8], u32); 3] {
    let mut planes = raster.planes();
    [(); 3].map(|()| {
        planes.next().map_or((&mut [][..], 0), |plane| {
            let (bytes, rest) = std::mem::take(&mut frame).split_at_mut(plane.stride * plane.lines);
            frame = rest;
            (bytes, plane.stride as u32)
        })
    })
}

/// Converts planes of Y, U and V to packed RGB, packed RGB to planes of Y, U
/// and V, or packed RGB to luma. Both rasters have the same size.
pub fn colour(from: &Raster, frame: &[u8], to: &Raster, out: &mut [u8]) -> Result<(), YuvError> {
    let (width, height) = (from.width, from.height);
    let rgb_stride = width * 3;
    match (from.model, to.model) {
        (Model::Yuv, _) => {
            let [y, u, v] = planes(from, frame);
            let image = YuvPlanarImage {
                y_plane: y.0,
                y_stride: y.1,
                u_plane: u.0,
                u_stride: u.1,
                v_plane: v.0,
                v_stride: v.1,
                width,
                height,
            };
            let convert = match from.chroma() {
                Some(Chroma::Yuv420) => yuv::yuv420_to_rgb,
                Some(Chroma::Yuv422) => yuv::yuv422_to_rgb,
                _ => yuv::yuv444_to_rgb,
            };
            convert(&image, out, rgb_stride, range(from), MATRIX)
        }
        (_, Model::Yuv) => {
            let [y, u, v] = planes_mut(to, out);
            let mut image = YuvPlanarImageMut {
                y_plane: BufferStoreMut::Borrowed(y.0),
                y_stride: y.1,
                u_plane: BufferStoreMut::Borrowed(u.0),
                u_stride: u.1,
                v_plane: BufferStoreMut::Borrowed(v.0),
                v_stride: v.1,
                width,
                height,
            };
            let convert = match to.chroma() {
                Some(Chroma::Yuv420) => yuv::rgb_to_yuv420,
                Some(Chroma::Yuv422) => yuv::rgb_to_yuv422,
                _ => yuv::rgb_to_yuv444,
            };
            convert(&mut image, frame, rgb_stride, range(to), MATRIX, MODE)
        }
        _ => {
            let mut image = YuvGrayImageMut {
                y_plane: BufferStoreMut::Borrowed(out),
                y_stride: width,
                width,
                height,
            };
            yuv::rgb_to_yuv400(&mut image, frame, rgb_stride, range(to), MATRIX)
        }
    }
}

/// Stretches the planes of a picture, or of a part of it, to those of a picture
/// of another size, of another sampling, or both.
///
/// The library keeps its buffers, but allocates tables of a few KiB for each
/// plane that it stretches.
#[derive(Debug)]
pub struct Scale {
    resizer: Resizer,
    crop: Rect,
}

impl Scale {
    /// Makes a stage that shows `crop`, which must lie within the picture.
    pub fn new(crop: Rect) -> Self {
        Self {
            resizer: Resizer::new(),
            crop,
        }
    }

    /// Stretches a frame. A plane that has its target size already is copied.
    pub fn run(
        &mut self,
        from: &Raster,
        frame: &[u8],
        to: &Raster,
        out: &mut [u8],
    ) -> Result<(), ConvertError> {
        let mut rest = out;
        for (a, b) in from.planes().zip(to.planes()) {
            let bytes = b.stride * b.lines;
            let (plane, after) = std::mem::take(&mut rest).split_at_mut(bytes);
            rest = after;
            let samples = a.format.samples.len();
            let kind = match samples {
                2 => PixelType::U8x2,
                3 => PixelType::U8x3,
                4 => PixelType::U8x4,
                _ => PixelType::U8,
            };
            let size = |stride: usize, lines| ((stride / samples) as u32, lines as u32);
            let (width, height) = size(a.stride, a.lines);
            let source = &frame[a.offset..a.offset + a.stride * a.lines];
            let source = ImageRef::new(width, height, source, kind)?;
            let (width, height) = size(b.stride, b.lines);
            let mut target = Image::from_slice_u8(width, height, plane, kind)?;
            let (across, down) = (f64::from(a.format.pixels), f64::from(a.format.lines));
            // The second or the fourth sample is no transparency.
            let options = ResizeOptions::new()
                .use_alpha(false)
                .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
                .crop(
                    f64::from(self.crop.left) / across,
                    f64::from(self.crop.top) / down,
                    f64::from(self.crop.width) / across,
                    f64::from(self.crop.height) / down,
                );
            self.resizer.resize(&source, &mut target, &options)?;
        }
        Ok(())
    }
}
