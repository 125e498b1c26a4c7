//! Lines that are made once, of which most pictures are put together.

use super::canvas::Row;
use crate::source::layout::{Layout, PlaneLayout};

/// Some lines of a picture, in every plane of a layout.
#[derive(Debug)]
pub struct Lines {
    planes: Vec<(PlaneLayout, Vec<Vec<u8>>)>,
}

impl Lines {
    /// Makes `count` lines, `width` pixels long, of which `draw` draws the one
    /// that it is given the number of.
    pub fn new(
        layout: &Layout,
        width: u32,
        count: usize,
        draw: impl Fn(usize, &mut Row<'_>),
    ) -> Self {
        let planes = layout.planes().map(|plane| {
            let format = plane.format;
            let bytes = (width / format.pixels) as usize * format.samples.len();
            let lines = (0..count).map(|number| {
                let mut line = vec![0; bytes];
                draw(number, &mut Row::new(&mut line, format));
                line
            });
            (plane, lines.collect())
        });
        Self {
            planes: planes.collect(),
        }
    }

    /// The line of that number in a plane, as long as the plane's own are,
    /// from pixel `from` on; which is even.
    pub fn get(&self, plane: usize, number: usize, from: u32) -> &[u8] {
        let (layout, lines) = &self.planes[plane];
        let start = (from / layout.format.pixels) as usize * layout.format.samples.len();
        &lines[number][start..][..layout.stride]
    }
}

/// The even number at or below; chroma is shared by two pixels and lines.
pub fn even(value: u32) -> u32 {
    value & !1
}
