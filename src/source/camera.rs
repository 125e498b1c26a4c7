//! What the card looks through: its inputs, and the settings of its picture.

use super::{Begun, FrameInfo, Layout, Native, Settings, Source};

/// One input of the card.
pub struct Input {
    /// What VIDIOC_ENUMINPUT calls it, at most 31 bytes.
    pub name: String,
    /// What it shows.
    pub source: Box<dyn Source>,
}

/// The card's inputs, of which one is selected, and its settings.
pub struct Camera {
    inputs: Vec<Input>,
    selected: usize,
    settings: Settings,
}

impl Camera {
    /// A camera with these inputs, the first of them selected.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(inputs: Vec<Input>) -> Self {
        assert!(!inputs.is_empty(), "a camera has an input");
        Self {
            inputs,
            selected: 0,
            settings: Settings::default(),
        }
    }

    /// A camera with one input.
    pub fn with(name: &str, source: Box<dyn Source>) -> Self {
        Self::new(vec![Input {
            name: name.to_owned(),
            source,
        }])
    }

    /// Its inputs.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Which input is selected.
    pub fn selected(&self) -> usize {
        self.selected
    }

    /// Selects another input, and says whether there is one of that number.
    /// The next stream shows it.
    pub fn select(&mut self, input: usize) -> bool {
        let exists = input < self.inputs.len();
        if exists {
            self.selected = input;
        }
        exists
    }

    /// Puts another source behind the selected input. The next stream shows
    /// it.
    pub fn replace(&mut self, input: Input) {
        self.inputs[self.selected] = input;
    }

    /// What the selected input shows by itself.
    pub fn native(&self) -> Native {
        self.inputs[self.selected].source.native()
    }

    /// The settings that hold.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings, from the next frame on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        let Self {
            inputs, settings, ..
        } = self;
        for input in inputs {
            input.source.set(settings);
        }
    }

    /// As [`Source::prepare`].
    pub fn prepare(&mut self, layout: &Layout) {
        self.source().prepare(layout);
    }

    /// As [`Source::begin`].
    pub fn begin(&mut self, frame: &FrameInfo) -> Begun {
        self.source().begin(frame)
    }

    /// As [`Source::fill`].
    pub fn fill(&mut self, offset: usize, out: &mut [u8]) {
        self.source().fill(offset, out);
    }

    fn source(&mut self) -> &mut dyn Source {
        &mut *self.inputs[self.selected].source
    }
}
