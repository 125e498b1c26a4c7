//! What came with a buffer: which of its frames is told.

use crate::wire::buffer::BUF_FLAG_ERROR;

/// Most frames in error of one buffer that are not told: a device that begins may have
/// none that is whole yet, until it has locked on to its signal.
pub const ERRORS_MAX: usize = 10;

/// What came with a buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Came {
    /// Number of frames, without those in error that are not counted.
    pub frames: usize,
    /// Number of frames in error that are not counted.
    pub errors: usize,
}

impl Came {
    /// Counts a frame with those V4L2_BUF_FLAG_*; returns whether it is one to tell: the
    /// first that is whole, or in error if no more of those are let pass.
    pub fn count(&mut self, flags: u32, may_pass: bool) -> bool {
        let is_in_error = flags & BUF_FLAG_ERROR != 0;
        if is_in_error && may_pass && self.frames == 0 && self.errors < ERRORS_MAX {
            self.errors += 1;
            return false;
        }
        self.frames += 1;
        self.frames == 1
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::buffer::BUF_FLAG_DONE;

    use super::*;

    #[test]
    fn the_first_whole_frame_is_told_or_one_after_many_in_error() {
        let mut came = Came::default();
        for _ in 0..ERRORS_MAX {
            assert!(!came.count(BUF_FLAG_ERROR, true));
        }
        assert_eq!(came.frames, 0);
        assert!(came.count(BUF_FLAG_ERROR, true));
        assert!(!came.count(0, true));
        let mut came = Came::default();
        assert!(!came.count(BUF_FLAG_ERROR, true));
        assert!(came.count(BUF_FLAG_DONE, true));
        assert!(!came.count(BUF_FLAG_ERROR, true));
        assert_eq!((came.frames, came.errors), (2, 1));
        // Where it cannot be queued again it is the one.
        assert!(Came::default().count(BUF_FLAG_ERROR, false));
    }
}
