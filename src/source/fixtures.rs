//! What the tests of conversions share: pictures, and how they are compared.

use super::pattern::canvas::{Ink, Row};
use super::raster::Raster;
use super::{Layout, PixelFormat};

pub fn uncompressed() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed())
}

pub fn raster(format: PixelFormat, width: u32, height: u32) -> Raster {
    Raster::of(&Layout::new(format, width, height)).unwrap()
}

/// Returns pseudorandom bytes.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Returns a picture of one colour.
pub fn flat(raster: &Raster, ink: Ink) -> Vec<u8> {
    let mut frame = vec![0; raster.bytes];
    for plane in raster.planes() {
        let bytes = &mut frame[plane.offset..plane.offset + plane.stride * plane.lines];
        for line in bytes.chunks_mut(plane.stride) {
            Row::new(line, plane.format).fill(0, i32::MAX, ink);
        }
    }
    frame
}

pub fn near(got: &[u8], expected: &[u8], tolerance: u8, what: &dyn std::fmt::Debug) {
    assert_eq!(got.len(), expected.len());
    for (at, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(
            a.abs_diff(*b) <= tolerance,
            "{what:?}: {a}, not {b}, at {at}"
        );
    }
}
