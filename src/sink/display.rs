//! The outputs of the card.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::writer::Writer;
use crate::source::{Layout, PixelFormat};

/// How long the end of the card waits until the frames are written that it has
/// read. A daemon has 800 ms for its end in all, and its witness takes its part
/// of them.
const FAREWELL: Duration = Duration::from_millis(200);

/// How long it waits after that until files are cut to their last whole frame.
const CUT: Duration = Duration::from_millis(50);

/// One output of the card.
#[derive(Debug)]
pub struct Output {
    /// The name that VIDIOC_ENUMOUTPUT reports, cut at 31 bytes.
    pub name: String,
    /// What keeps the frames; `None` if nothing does.
    pub(super) writer: Option<Writer>,
    /// The file, which may have old contents.
    pub(super) file: Option<File>,
}

impl Output {
    /// Makes an output whose frames nothing keeps.
    pub fn digest() -> Self {
        Self {
            name: "digest".to_owned(),
            writer: None,
            file: None,
        }
    }

    /// Empties the output's file, if it is a regular one. A card does this when
    /// nothing else can keep it from starting: another card may be writing the
    /// same file.
    ///
    /// # Errors
    /// The file cannot be cut.
    pub fn empty(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some(file) if file.metadata()?.is_file() => file.set_len(0),
            _ => Ok(()),
        }
    }

    fn takes(&self, format: PixelFormat) -> bool {
        let writer = self.writer.as_ref();
        writer.is_none_or(|writer| writer.takes(format))
    }
}

/// The card's outputs, with one selected.
///
/// A frame is [begun](Self::begin), [taken](Self::take) part by part, and
/// [finished](Self::finish) or [abandoned](Self::abandon). None of this waits
/// for a file, or allocates. Dropping the display waits a moment, at most
/// 250 ms, until what was taken is written.
#[derive(Debug)]
pub struct Display {
    outputs: Vec<Output>,
    selected: usize,
}

impl Display {
    /// Makes a display with these outputs; the first one is selected.
    ///
    /// # Panics
    /// If there are no outputs.
    pub fn new(outputs: Vec<Output>) -> Self {
        assert!(!outputs.is_empty(), "a display has an output");
        Self {
            outputs,
            selected: 0,
        }
    }

    /// Returns the outputs.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Returns the index of the selected output.
    pub fn selected(&self) -> usize {
        self.selected
    }

    /// Selects another output; returns whether an output with that index
    /// exists. The next stream that is [prepared](Self::prepare) goes there.
    pub fn select(&mut self, output: usize) -> bool {
        let exists = output < self.outputs.len();
        if exists {
            self.end();
            self.selected = output;
        }
        exists
    }

    /// Returns whether all outputs can take frames of that format, whichever is
    /// selected. Every output takes YUYV and NV12, among others.
    pub fn takes(&self, format: PixelFormat) -> bool {
        self.outputs.iter().all(|output| output.takes(format))
    }

    /// Prepares for a stream of frames of `layout`, `interval` apart: seconds,
    /// as a fraction of numerator and denominator. The card calls this at
    /// STREAMON, off the frame path, so it may allocate. It starts the thread
    /// that writes the output's frames, unless an earlier stream has.
    pub fn prepare(&mut self, layout: &Layout, interval: (u32, u32)) {
        if let Some(writer) = self.writer() {
            writer.prepare(layout, interval);
        }
    }

    /// Returns whether a frame can be begun now. It cannot while all memory for
    /// frames waits to be written; the card asks again later.
    pub fn is_ready(&self) -> bool {
        let writer = self.outputs[self.selected].writer.as_ref();
        writer.is_none_or(Writer::is_ready)
    }

    /// Begins a frame. One that is begun while the display is not
    /// [ready](Self::is_ready) is not kept.
    pub fn begin(&mut self) {
        if let Some(writer) = self.writer() {
            writer.begin();
        }
    }

    /// Takes the next part of the frame, at `offset`; offsets count through the
    /// frame as [`Layout`] defines. Parts come in ascending order, and what lies
    /// between them is zero. What reaches beyond the frame is left out.
    pub fn take(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(writer) = self.writer() {
            writer.take(offset, bytes);
        }
    }

    /// Passes the frame on. The part of it that did not come is zero; a
    /// compressed frame ends where its last part does.
    pub fn finish(&mut self) {
        if let Some(writer) = self.writer() {
            writer.finish();
        }
    }

    /// Forgets the frame that was begun.
    pub fn abandon(&mut self) {
        if let Some(writer) = self.writer() {
            writer.abandon();
        }
    }

    /// Ends the stream, and frees its memory. The frames that were finished are
    /// still written; this does not wait for it.
    pub fn end(&mut self) {
        if let Some(writer) = self.writer() {
            writer.end();
        }
    }

    fn writer(&mut self) -> Option<&mut Writer> {
        self.outputs[self.selected].writer.as_mut()
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let writers = || self.outputs.iter().filter_map(|it| it.writer.as_ref());
        writers().for_each(Writer::close);
        let until = Instant::now() + FAREWELL;
        let late = writers().filter(|writer| !writer.wait(until));
        let late: Vec<_> = late.collect();
        for writer in &late {
            let frames = writer.give_up();
            log::warn!(
                "{}: {frames} frames are not written, because they are taken too slowly",
                writer.name()
            );
        }
        let until = Instant::now() + CUT;
        for writer in late {
            writer.wait(until);
        }
    }
}
