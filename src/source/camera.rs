//! The inputs of the card, and the settings of its picture.

use super::ahead::Ahead;
use super::frame::{Begun, FrameInfo, Native, Pace};
use super::interface::Source;
use super::layout::Layout;
use super::pattern::Pattern;
use super::processing::{self, Recipe};
use super::settings::Settings;

/// One input of the card.
pub struct Input {
    /// The name that VIDIOC_ENUMINPUT reports, cut at 31 bytes.
    pub name: String,
    /// The source that the input shows.
    pub source: Box<dyn Source>,
}

/// The card's inputs, with one selected, and the settings.
pub struct Camera {
    inputs: Vec<Input>,
    selected: usize,
    settings: Settings,
    /// Pattern that is shown in place of the selected input.
    test_pattern: Option<Box<dyn Source>>,
    /// Layout of the stream that is on.
    layout: Option<Layout>,
    /// The frames of the stream, as far as they are known.
    pace: Option<Pace>,
    /// The next frame, if it is known.
    next: Option<FrameInfo>,
    /// Makes the frames that the source cannot make piece by piece in time.
    ahead: Ahead,
}

impl Camera {
    /// Makes a camera with these inputs; the first one is selected.
    ///
    /// # Panics
    /// If there are no inputs.
    pub fn new(inputs: Vec<Input>) -> Self {
        assert!(!inputs.is_empty(), "a camera has an input");
        Self {
            inputs,
            selected: 0,
            settings: Settings::default(),
            test_pattern: None,
            layout: None,
            pace: None,
            next: None,
            ahead: Ahead::default(),
        }
    }

    /// Makes a camera with one input.
    pub fn with(name: &str, source: Box<dyn Source>) -> Self {
        Self::new(vec![Input {
            name: name.to_owned(),
            source,
        }])
    }

    /// Returns the inputs.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Returns the index of the selected input.
    pub fn selected(&self) -> usize {
        self.selected
    }

    /// Selects another input; returns whether an input with that index exists.
    /// The next stream that is [prepared](Self::prepare) shows it.
    pub fn select(&mut self, input: usize) -> bool {
        let exists = input < self.inputs.len();
        if exists {
            self.end();
            self.selected = input;
        }
        exists
    }

    /// Replaces the selected input, with its name and source. The next stream that
    /// is [prepared](Self::prepare) shows the new one.
    pub fn replace(&mut self, input: Input) {
        self.end();
        self.inputs[self.selected] = input;
    }

    /// Returns the native properties of the shown source: the test pattern if
    /// one is set, else the selected input.
    pub fn native(&self) -> Native {
        match &self.test_pattern {
            Some(pattern) => pattern.native(),
            None => self.inputs[self.selected].source.native(),
        }
    }

    /// Returns the current settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings. They take effect from the next frame on, also if
    /// frames have been made ahead.
    pub fn set(&mut self, settings: Settings) {
        self.stop();
        let shown_before = self.settings.test_pattern;
        self.settings = settings;
        for input in &mut self.inputs {
            input.source.set(&self.settings);
        }
        let is_other = self.settings.test_pattern != shown_before;
        if is_other {
            self.rest();
            let pattern = self.settings.test_pattern.and_then(Pattern::numbered);
            self.test_pattern = pattern.map(|pattern| Box::new(pattern) as _);
        }
        if let Some(pattern) = &mut self.test_pattern {
            pattern.set(&self.settings);
        }
        if let Some(layout) = self.layout {
            if is_other {
                let drawn = processing::drawn(&layout);
                self.shown().prepare_for(&drawn, &layout);
            }
            self.start(&layout);
        }
    }

    /// As [`Source::prepare`], for any layout, compressed ones included.
    pub fn prepare(&mut self, layout: &Layout) {
        self.stop();
        self.layout = Some(*layout);
        (self.pace, self.next) = (None, None);
        let drawn = processing::drawn(layout);
        self.shown().prepare_for(&drawn, layout);
        self.start(layout);
    }

    /// Sets the pace of the stream that has been prepared, and its first frame if
    /// that is known, so that frames can be made ahead. Without this, each is
    /// made when it is begun.
    pub fn expect(&mut self, pace: Pace, first: Option<FrameInfo>) {
        (self.pace, self.next) = (Some(pace), first);
        self.ahead.expect(self.pace, self.next);
    }

    /// Ends the stream: frees the frames that have been made ahead, and the
    /// memory that they took. Does not wait for frames in work.
    pub fn end(&mut self) {
        self.stop();
        self.rest();
        self.layout = None;
    }

    /// As [`Source::begin`]. A frame that is converted, adjusted or compressed
    /// has been made ahead, or is waited for here; any other is drawn by
    /// [`fill`](Self::fill).
    pub fn begin(&mut self, frame: &FrameInfo) -> Begun {
        if !self.ahead.is_running() {
            return self.shown().begin(frame);
        }
        let begun = self.ahead.begin(frame);
        if begun != Begun::Late {
            self.next = self.pace.map(|pace| pace.after(frame));
        }
        begun
    }

    /// As [`Source::fill`].
    pub fn fill(&mut self, offset: usize, out: &mut [u8]) {
        match self.ahead.is_running() {
            true => self.ahead.fill(offset, out),
            false => self.shown().fill(offset, out),
        }
    }

    /// Returns the shown source, or what stands in for it while the threads have
    /// it; and the threads.
    fn parts(&mut self) -> (&mut Box<dyn Source>, &mut Ahead) {
        let source = match &mut self.test_pattern {
            Some(pattern) => pattern,
            None => &mut self.inputs[self.selected].source,
        };
        (source, &mut self.ahead)
    }

    fn shown(&mut self) -> &mut dyn Source {
        &mut **self.parts().0
    }

    /// Gives the shown source to the threads, if its frames for that layout
    /// have to be processed.
    fn start(&mut self, layout: &Layout) {
        let (pace, next) = (self.pace, self.next);
        let settings = self.settings.clone();
        match Recipe::new(layout, &settings, self.shown()) {
            Some(recipe) => {
                let (source, ahead) = self.parts();
                ahead.start(source, recipe, pace, next);
            }
            None => self.rest(),
        }
    }

    /// Takes the shown source back from the threads.
    fn stop(&mut self) {
        let (source, ahead) = self.parts();
        ahead.stop(source);
    }

    /// Frees the memory that the threads had for the shown source.
    fn rest(&mut self) {
        let (source, ahead) = self.parts();
        ahead.rest(&mut **source);
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

    /// Returns the first pixel of the next frame.
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

    /// Returns a frame, read in pages as the card reads it.
    fn frame(camera: &mut Camera, layout: &Layout, info: &FrameInfo) -> Vec<u8> {
        let Begun::Frame { bytes } = camera.begin(info) else {
            panic!("no frame");
        };
        let mut frame = vec![0xee; bytes as usize];
        for plane in layout.memory_planes() {
            let first = plane.offset as usize;
            let end = frame.len().min(first + plane.sizeimage as usize);
            for (page, out) in frame[first..end].chunks_mut(4096).enumerate() {
                camera.fill(first + page * 4096, out);
            }
        }
        frame
    }

    #[test]
    fn the_picture_is_adjusted_and_the_pages_marked_again() {
        use crate::source::pattern::watermark::watermark;
        let info = FrameInfo {
            sequence: 4711,
            ..FrameInfo::default()
        };
        for format in [PixelFormat::Rgb3, PixelFormat::Nm12, PixelFormat::Uyvy] {
            let layout = Layout::new(format, 320, 240);
            let mut camera = camera();
            camera.prepare(&layout);
            let plain = frame(&mut camera, &layout, &info);
            let mut settings = Settings::default();
            settings.adjust.brightness = 0;
            settings.adjust.saturation = 10;
            camera.set(settings);
            let dark = frame(&mut camera, &layout, &info);
            let changed = plain.iter().zip(&dark).filter(|(a, b)| a != b).count();
            assert!(changed > plain.len() / 3, "{format}: {changed} bytes");
            for plane in layout.memory_planes() {
                let memory = &dark[plane.offset as usize..][..plane.sizeimage as usize];
                assert!(memory.chunks(4096).all(|page| watermark(page) == 4711));
            }
            camera.set(Settings::default());
            assert!(frame(&mut camera, &layout, &info) == plain);
        }
    }

    #[test]
    fn integrity_is_not_adjusted() {
        let source = Box::new(Pattern::named("integrity").unwrap());
        let mut camera = Camera::with("integrity", source);
        camera.prepare(&layout());
        let plain = frame(&mut camera, &layout(), &FrameInfo::default());
        let mut settings = Settings::default();
        settings.adjust.gain = 0;
        camera.set(settings);
        assert!(frame(&mut camera, &layout(), &FrameInfo::default()) == plain);
    }

    #[cfg(feature = "films")]
    #[test]
    fn compressed_frames_show_the_picture_and_are_as_long_as_they_are() {
        for (width, height) in [(64, 48), (17, 19), (320, 241)] {
            let layout = Layout::new(PixelFormat::Mjpg, width, height);
            let mut camera = camera();
            camera.prepare(&layout);
            assert!(camera.select(1));
            camera.prepare(&layout);
            let mut lengths = Vec::new();
            for sequence in 0..5 {
                let info = FrameInfo {
                    sequence,
                    ..FrameInfo::default()
                };
                let jpeg = frame(&mut camera, &layout, &info);
                assert!(jpeg.len() < layout.sizeimage as usize);
                let picture = image::load_from_memory(&jpeg).unwrap().into_rgb8();
                assert_eq!(picture.dimensions(), (width, height));
                if width < 320 {
                    continue; // the clock overlay is everywhere
                }
                for (got, wanted) in picture.get_pixel(1, 1).0.iter().zip([224u8, 128, 32]) {
                    assert!(got.abs_diff(wanted) < 12, "{got}, not {wanted}");
                }
                lengths.push(jpeg.len());
            }
            lengths.dedup();
            assert!(width < 320 || lengths.len() > 1, "{lengths:?}");

            let mut settings = Settings {
                quality: 5,
                ..Settings::default()
            };
            settings.adjust.saturation = 0;
            camera.set(settings);
            let jpeg = frame(&mut camera, &layout, &FrameInfo::default());
            let picture = image::load_from_memory(&jpeg).unwrap().into_rgb8();
            let [r, g, b] = picture.get_pixel(1, 1).0;
            assert!(
                r.abs_diff(g) < 8 && g.abs_diff(b) < 8,
                "not grey: {r} {g} {b}"
            );
        }
    }
}
