//! Lines that are made once, from which most pictures are assembled.

use super::aligned::Aligned;
use super::canvas::Row;
use crate::source::layout::{Layout, PlaneLayout};

/// Some lines of a picture, for every plane of a layout.
#[derive(Debug)]
pub struct Lines {
    planes: Vec<(PlaneLayout, Vec<Aligned>)>,
}

impl Lines {
    /// Makes `count` lines of `width` pixels; `draw` draws the line with the
    /// number that it is given.
    pub fn new(
        layout: &Layout,
        width: u32,
        count: usize,
        draw: impl Fn(usize, &mut Row<'_>),
    ) -> Self {
        let planes = layout.planes().map(|plane| {
            let format = plane.format;
            let bytes = format.bytes(width as i32) as usize;
            let lines = (0..count).map(|number| {
                let mut line = Aligned::new(bytes);
                draw(number, &mut Row::new(&mut line, format));
                line
            });
            (plane, lines.collect())
        });
        Self {
            planes: planes.collect(),
        }
    }

    /// Returns line `number` of a plane from pixel `from` on, which is even,
    /// with the length of the plane's own lines.
    pub fn get(&self, plane: usize, number: usize, from: u32) -> &[u8] {
        let (layout, lines) = &self.planes[plane];
        let start = match from {
            0 => 0,
            _ => layout.format.bytes(from as i32) as usize,
        };
        &lines[number][start..][..layout.stride]
    }
}

/// Returns `value`, rounded down to an even number: two pixels and two lines
/// share their chroma.
pub fn even(value: u32) -> u32 {
    value & !1
}
