//! A part of a line, on which the layers of a picture are copied one by one.

use std::ops::Range;

/// Some bytes of a line of a plane.
#[derive(Debug)]
pub struct Part<'a> {
    /// The first one in the line.
    column: usize,
    bytes: &'a mut [u8],
}

impl<'a> Part<'a> {
    /// Makes the part that begins at byte `column` of the line.
    pub fn new(column: usize, bytes: &'a mut [u8]) -> Self {
        Self { column, bytes }
    }

    /// Returns the place in the line of its bytes.
    #[inline(always)]
    pub fn place(&self) -> Range<usize> {
        self.column..self.column + self.bytes.len()
    }

    /// Returns the bytes of the line at that place, which has to be in the part.
    #[inline(always)]
    pub fn bytes(&mut self, place: Range<usize>) -> &mut [u8] {
        &mut self.bytes[place.start - self.column..place.end - self.column]
    }

    /// Returns the `N` bytes of the line that begin with byte `at`, if all of
    /// them are in the part.
    #[inline(always)]
    pub fn chunk<const N: usize>(&mut self, at: usize) -> Option<&mut [u8; N]> {
        let from = at.checked_sub(self.column)?;
        self.bytes.get_mut(from..)?.first_chunk_mut()
    }

    /// Copies `bytes`, of which the first one is byte `at` of the line, as far as
    /// they are in the part.
    #[inline(always)]
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let place = self.place();
        let (start, end) = (at.max(place.start), (at + bytes.len()).min(place.end));
        if start < end {
            self.bytes(start..end)
                .copy_from_slice(&bytes[start - at..end - at]);
        }
    }
}
