//! A place in a scatter list, up to which a frame is copied.

use vm_memory::VolatileSlice;

use super::{DmaError, ScatterList};

/// A place in a scatter list; it begins at the list's first byte.
pub(super) struct Cursor<'a> {
    list: &'a ScatterList,
    run: usize,
    /// Bytes of `run` that are already passed.
    at: usize,
    /// Bytes of the list that are already passed.
    passed: u64,
}

impl<'a> Cursor<'a> {
    pub fn new(list: &'a ScatterList) -> Self {
        Self {
            list,
            run: 0,
            at: 0,
            passed: 0,
        }
    }

    /// Returns the memory from here to the end of the run, of which `wanted` bytes
    /// are still to be copied.
    ///
    /// # Errors
    /// [`DmaError::TooShort`] at the end of the list.
    pub fn memory(&self, wanted: usize) -> Result<VolatileSlice<'a>, DmaError> {
        self.list
            .memory(self.run, self.at)
            .ok_or(DmaError::TooShort {
                held: self.passed,
                length: self.passed + wanted as u64,
            })
    }

    /// Passes `now` of the `here` bytes that are left of the run.
    pub fn advance(&mut self, now: usize, here: usize) {
        self.passed += now as u64;
        if now == here {
            self.run += 1;
            self.at = 0;
        } else {
            self.at += now;
        }
    }
}
