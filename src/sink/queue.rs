//! What the card and the thread that writes its frames share.

use std::collections::VecDeque;

use crate::source::Layout;

/// Number of memories for frames that go round between the card and the thread:
/// one is filled, one is written, and two wait, so a disk may stall for two
/// frames before it holds one back.
pub const MEMORIES: usize = 4;

/// A stream of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The layout of its frames.
    pub layout: Layout,
    /// Seconds between them, as a fraction.
    pub interval: (u32, u32),
}

/// A frame that is read, or waits to be written.
#[derive(Debug)]
pub struct Frame {
    /// The stream that it is of.
    pub stream: Stream,
    /// Its memory, which has room for a whole frame.
    pub memory: Vec<u8>,
    /// Number of bytes up to the end of its last part.
    pub length: usize,
}

impl Frame {
    /// Takes a part of the frame; sets what was left out before it to zero.
    pub fn take(&mut self, offset: usize, bytes: &[u8]) {
        let offset = offset.min(self.memory.len());
        self.fill(offset);
        let room = &mut self.memory[offset..];
        let fits = bytes.len().min(room.len());
        room[..fits].copy_from_slice(&bytes[..fits]);
        self.length = self.length.max(offset + fits);
    }

    /// Ends the frame: sets the part that did not come to zero, unless the frame
    /// is compressed.
    pub fn complete(&mut self) {
        if !self.stream.layout.format.is_compressed() {
            self.fill(self.memory.len());
        }
    }

    fn fill(&mut self, end: usize) {
        if let Some(gap) = self.memory.get_mut(self.length..end) {
            gap.fill(0);
            self.length = end;
        }
    }

    /// Returns the bytes of the frame.
    pub fn content(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

/// The next task of the thread.
#[derive(Debug)]
pub enum Step {
    /// Write this frame.
    Write(Frame),
    /// Free the memory that only a stream takes.
    Rest,
    /// Wait until something changes.
    Wait,
    /// End: no frame comes any more.
    End,
}

/// The frames between the card and the thread, and the memories that have no
/// frame.
///
/// The queue itself allocates when it is made, and when a stream is prepared. At
/// no time are there more than [`MEMORIES`] memories: those of frames that wait
/// count among the next stream's, which gets them when they are written.
#[derive(Debug)]
pub struct Queue {
    /// Size of a memory of the stream that is on, in bytes; 0 if none is.
    size: usize,
    spare: Vec<Vec<u8>>,
    waiting: VecDeque<Frame>,
    /// The thread is writing a frame.
    writes: bool,
    /// The file takes no more, or there is no thread.
    is_off: bool,
    /// The card is gone.
    is_closed: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            size: 0,
            spare: Vec::with_capacity(MEMORIES),
            waiting: VecDeque::with_capacity(MEMORIES),
            writes: false,
            is_off: false,
            is_closed: false,
        }
    }
}

impl Queue {
    /// Begins a stream, whose frames take `size` bytes. None is on.
    pub fn prepare(&mut self, size: usize) {
        if !self.is_off {
            self.size = size;
            let count = MEMORIES.saturating_sub(self.unwritten());
            self.spare.extend((0..count).map(|_| vec![0; size]));
        }
    }

    /// Returns whether a frame can begin: there is a memory for it, or nothing
    /// keeps it.
    pub fn is_ready(&self) -> bool {
        self.is_off || !self.spare.is_empty()
    }

    /// Returns memory for a frame, if there is any.
    pub fn memory(&mut self) -> Option<Vec<u8>> {
        self.spare.pop()
    }

    /// Takes back the memory of a frame that the thread has written; returns as
    /// [`give_back`](Self::give_back).
    pub fn written(&mut self, memory: Vec<u8>) -> Vec<u8> {
        self.writes = false;
        self.give_back(memory)
    }

    /// Takes back the memory of a frame that is written or abandoned. Returns
    /// memory that is of no use any more, which the caller frees while it does
    /// not hold the lock.
    pub fn give_back(&mut self, memory: Vec<u8>) -> Vec<u8> {
        match self.size {
            0 => memory,
            size if size == memory.len() => {
                self.spare.push(memory);
                Vec::new()
            }
            size => {
                self.spare.push(vec![0; size]);
                memory
            }
        }
    }

    /// Takes a frame that is to be written; returns its memory if none is.
    pub fn push(&mut self, frame: Frame) -> Vec<u8> {
        match self.is_off {
            true => frame.memory,
            false => {
                self.waiting.push_back(frame);
                Vec::new()
            }
        }
    }

    /// Ends the stream, and returns the memory to be freed.
    pub fn end(&mut self) -> Vec<Vec<u8>> {
        self.size = 0;
        std::mem::replace(&mut self.spare, Vec::with_capacity(MEMORIES))
    }

    /// Says that the card is gone.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Says that nothing is written any more, and returns the memory to be
    /// freed.
    pub fn turn_off(&mut self) -> (VecDeque<Frame>, Vec<Vec<u8>>) {
        (self.is_off, self.writes) = (true, false);
        (std::mem::take(&mut self.waiting), self.end())
    }

    /// Returns the next task of the thread, which has no memory of a stream if
    /// it `rests`.
    pub fn step(&mut self, rests: bool) -> Step {
        match self.waiting.pop_front() {
            Some(frame) => {
                self.writes = true;
                Step::Write(frame)
            }
            None if self.is_closed => Step::End,
            None if self.size == 0 && !rests => Step::Rest,
            None => Step::Wait,
        }
    }

    /// Returns the number of frames that are not written yet.
    pub fn unwritten(&self) -> usize {
        self.waiting.len() + usize::from(self.writes)
    }
}
