//! Where the frames of an output card go.

use std::path::PathBuf;

use crate::source::{Layout, PixelFormat};

/// One output of the card.
#[derive(Debug)]
pub struct Output {
    /// The name that VIDIOC_ENUMOUTPUT reports, cut at 31 bytes.
    pub name: String,
}

impl Output {
    /// Makes an output whose frames nothing keeps.
    pub fn digest() -> Self {
        Self {
            name: "digest".to_owned(),
        }
    }
}

/// The reason why a sink could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("there is no kind of sink \"{0}\"")]
pub struct SinkError(String);

/// Opens a sink.
///
/// # Errors
/// There is no such sink.
pub fn open(spec: &str) -> Result<Output, SinkError> {
    match spec {
        "digest" => Ok(Output::digest()),
        _ => Err(SinkError(spec.to_owned())),
    }
}

/// Returns the file that a sink is written to.
pub fn file_of(_spec: &str) -> Option<PathBuf> {
    None
}

/// The card's outputs, with one selected.
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

    /// Selects another output.
    pub fn select(&mut self, output: usize) -> bool {
        let exists = output < self.outputs.len();
        if exists {
            self.selected = output;
        }
        exists
    }

    /// Returns whether all outputs can take frames of that format.
    pub fn takes(&self, _format: PixelFormat) -> bool {
        true
    }

    /// Prepares for a stream.
    pub fn prepare(&mut self, _layout: &Layout, _interval: (u32, u32)) {}

    /// Returns whether a frame can be begun now.
    pub fn is_ready(&self) -> bool {
        true
    }

    /// Begins a frame.
    pub fn begin(&mut self) {}

    /// Takes the next part of the frame.
    pub fn take(&mut self, _offset: usize, _bytes: &[u8]) {}

    /// Passes the frame on.
    pub fn finish(&mut self) {}

    /// Forgets the frame that was begun.
    pub fn abandon(&mut self) {}

    /// Ends the stream.
    pub fn end(&mut self) {}
}
