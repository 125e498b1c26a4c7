//! The inputs of the card, and the settings of its picture.

use super::interface::{Begun, FrameInfo, Native, Source};
use super::layout::Layout;
use super::pattern::Pattern;
use super::post_process::{self, PostProcess};
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
    test_pattern: Option<Pattern>,
    /// Layout of the stream that was prepared last.
    layout: Option<Layout>,
    /// `None` if the source draws straight into the guest's memory.
    post_process: Option<PostProcess>,
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
            post_process: None,
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
    /// The next stream shows it.
    pub fn select(&mut self, input: usize) -> bool {
        let exists = input < self.inputs.len();
        if exists {
            self.selected = input;
        }
        exists
    }

    /// Replaces the selected input, with its name and source. The next stream
    /// shows the new one.
    pub fn replace(&mut self, input: Input) {
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

    /// Changes the settings. They take effect from the next frame on.
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
        if let Some(layout) = self.layout {
            self.post_process = match self.post_process.take() {
                Some(mut post_process) if PostProcess::is_needed(&layout, &self.settings) => {
                    post_process.set(&self.settings);
                    Some(post_process)
                }
                _ => PostProcess::new(&layout, &self.settings),
            };
            if self.settings.test_pattern != shown_before {
                self.shown()
                    .1
                    .prepare_for(&post_process::drawn(&layout), &layout);
            }
        }
    }

    /// As [`Source::prepare`], for any layout, compressed ones included.
    pub fn prepare(&mut self, layout: &Layout) {
        self.layout = Some(*layout);
        self.post_process = PostProcess::new(layout, &self.settings);
        self.shown()
            .1
            .prepare_for(&post_process::drawn(layout), layout);
    }

    /// As [`Source::begin`]. If a frame is adjusted or compressed, it is drawn
    /// here; else it is drawn by [`fill`](Self::fill).
    pub fn begin(&mut self, frame: &FrameInfo) -> Begun {
        match self.shown() {
            (Some(post_process), source) => post_process.begin(source, frame),
            (None, source) => source.begin(frame),
        }
    }

    /// As [`Source::fill`].
    pub fn fill(&mut self, offset: usize, out: &mut [u8]) {
        match self.shown() {
            (Some(post_process), _) => post_process.fill(offset, out),
            (None, source) => source.fill(offset, out),
        }
    }

    /// Returns the shown source, and the processing of its frames if there is
    /// any.
    fn shown(&mut self) -> (Option<&mut PostProcess>, &mut dyn Source) {
        let source: &mut dyn Source = match &mut self.test_pattern {
            Some(pattern) => pattern,
            None => &mut *self.inputs[self.selected].source,
        };
        (self.post_process.as_mut(), source)
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
