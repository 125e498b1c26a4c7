//! What frames come from or go to: the camera of a capture card, the display of
//! an output card.

use super::{CardKind, Direction};
use crate::sink::Display;
use crate::source::{Camera, PixelFormat};

/// What is at the other side of a card.
pub enum Endpoint {
    /// The camera of a capture card.
    Camera(Box<Camera>),
    /// The display of an output card.
    Display(Display),
}

impl Endpoint {
    /// Returns what a card with this endpoint is for.
    pub fn kind(&self) -> CardKind {
        match self {
            Self::Camera(_) => CardKind::Capture,
            Self::Display(_) => CardKind::Output,
        }
    }

    /// Returns which way the frames go.
    pub fn direction(&self) -> Direction {
        match self {
            Self::Camera(_) => Direction::Capture,
            Self::Display(_) => Direction::Output,
        }
    }

    /// Returns the camera, if it is one.
    pub fn camera(&self) -> Option<&Camera> {
        match self {
            Self::Camera(camera) => Some(camera),
            Self::Display(_) => None,
        }
    }

    /// Returns the camera, if it is one.
    pub fn camera_mut(&mut self) -> Option<&mut Camera> {
        match self {
            Self::Camera(camera) => Some(camera),
            Self::Display(_) => None,
        }
    }

    /// Returns whether frames of that format can come from or go to it.
    pub fn takes(&self, format: PixelFormat) -> bool {
        match self {
            Self::Camera(_) => true,
            Self::Display(display) => display.takes(format),
        }
    }

    /// Returns the index of the selected input or output.
    pub fn selected(&self) -> usize {
        match self {
            Self::Camera(camera) => camera.selected(),
            Self::Display(display) => display.selected(),
        }
    }

    /// Selects an input or output; returns whether there is one of that index.
    pub fn select(&mut self, index: usize) -> bool {
        match self {
            Self::Camera(camera) => camera.select(index),
            Self::Display(display) => display.select(index),
        }
    }

    /// Ends the stream.
    pub fn stop(&mut self) {
        match self {
            Self::Camera(camera) => camera.end(),
            Self::Display(display) => display.end(),
        }
    }
}
