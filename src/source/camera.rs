//! What the card looks through: its inputs, and the settings of its picture.

use super::{Begun, FrameInfo, Layout, Native, Pattern, Settings, Source};

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
    /// Shown in place of the selected input.
    test_pattern: Option<Pattern>,
    /// What was prepared for.
    layout: Option<Layout>,
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
            test_pattern: None,
            layout: None,
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

    /// What it shows by itself: the selected input, or a test pattern in its
    /// place.
    pub fn native(&self) -> Native {
        match &self.test_pattern {
            Some(pattern) => pattern.native(),
            None => self.inputs[self.selected].source.native(),
        }
    }

    /// The settings that hold.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings, from the next frame on.
    pub fn set(&mut self, settings: Settings) {
        let shown_before = self.settings.test_pattern;
        self.settings = settings;
        for input in &mut self.inputs {
            input.source.set(&self.settings);
        }
        if self.settings.test_pattern != shown_before {
            self.test_pattern = self.settings.test_pattern.and_then(Pattern::numbered);
        }
        if let Some(pattern) = &mut self.test_pattern {
            pattern.set(&self.settings);
        }
        if let Some(layout) = self.layout
            && self.settings.test_pattern != shown_before
        {
            self.prepare(&layout);
        }
    }

    /// As [`Source::prepare`].
    pub fn prepare(&mut self, layout: &Layout) {
        self.layout = Some(*layout);
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
        match &mut self.test_pattern {
            Some(pattern) => pattern,
            None => &mut *self.inputs[self.selected].source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{PixelFormat, pattern};

    fn camera() -> Camera {
        let input = |name: &str| Input {
            name: name.into(),
            source: Box::new(Pattern::named(name).unwrap()),
        };
        Camera::new(vec![input("bars"), input("solid")])
    }

    fn layout() -> Layout {
        Layout::new(PixelFormat::Rgb3, 64, 48)
    }

    /// The first pixel of the next frame.
    fn pixel(camera: &mut Camera) -> [u8; 3] {
        let begun = camera.begin(&FrameInfo::default());
        assert_eq!(begun, Begun::Frame { bytes: 9216 });
        let mut page = [0; 4096];
        camera.fill(0, &mut page);
        [page[0], page[1], page[2]]
    }

    #[test]
    fn the_selected_input_is_shown() {
        let mut camera = camera();
        camera.prepare(&layout());
        assert_eq!(pixel(&mut camera), [191; 3]);
        assert!(camera.select(1));
        camera.prepare(&layout());
        assert_eq!(pixel(&mut camera), [224, 128, 32]);
        assert!(!camera.select(2));
        assert_eq!(camera.selected(), 1);
    }

    #[test]
    fn a_test_pattern_is_shown_in_place_of_the_input_from_the_next_frame_on() {
        let mut camera = camera();
        camera.prepare(&layout());
        let number = |name| pattern::NAMES.iter().position(|known| *known == name);
        for (shown, expected) in [
            (number("checkerboard"), [255; 3]),
            (number("solid"), [224, 128, 32]),
            (Some(usize::MAX), [191; 3]),
            (None, [191; 3]),
        ] {
            camera.set(Settings {
                test_pattern: shown,
                ..Settings::default()
            });
            assert_eq!(pixel(&mut camera), expected, "{shown:?}");
        }
    }
}
