//! Post-processing: frames that are drawn whole, then adjusted, compressed, or
//! both.

use super::adjust::Adjuster;
use super::format::PixelFormat;
use super::interface::{Begun, FrameInfo, Source};
use super::jpeg::Jpeg;
use super::layout::Layout;
use super::pattern::watermark::{PAGE, Watermark};
use super::settings::{Adjust, Settings};

/// A frame's buffer, and the processing of the frame in it.
#[derive(Debug)]
pub struct PostProcess {
    /// Layout in which the frame is drawn.
    drawn: Layout,
    frame: Vec<u8>,
    /// `None` if nothing is adjusted.
    adjuster: Option<Box<Adjuster>>,
    /// The encoder, for a compressed format.
    jpeg: Option<Jpeg>,
    quality: u8,
}

/// Returns the layout in which frames for `layout` are drawn: RGB3 if `layout`
/// is compressed, else `layout` itself.
pub fn drawn(layout: &Layout) -> Layout {
    match layout.format.is_compressed() {
        true => Layout::new(PixelFormat::Rgb3, layout.width, layout.height),
        false => *layout,
    }
}

impl PostProcess {
    /// Returns whether frames of that layout need processing with these
    /// settings.
    pub fn is_needed(layout: &Layout, settings: &Settings) -> bool {
        layout.format.is_compressed() || settings.adjust != Adjust::default()
    }

    /// Makes the processing that frames of that layout need with these
    /// settings; `None` if they need none.
    pub fn new(layout: &Layout, settings: &Settings) -> Option<Self> {
        if !Self::is_needed(layout, settings) {
            return None;
        }
        let compressed = layout.format.is_compressed();
        let drawn = drawn(layout);
        let jpeg = || Jpeg::new(layout.width, layout.height, layout.sizeimage);
        let mut post_process = Self {
            drawn,
            frame: vec![0; drawn.sizeimage as usize],
            adjuster: None,
            jpeg: compressed.then(jpeg),
            quality: settings.quality,
        };
        post_process.set(settings);
        Some(post_process)
    }

    /// Applies settings from the next frame on.
    pub fn set(&mut self, settings: &Settings) {
        let adjusted = settings.adjust != Adjust::default();
        self.adjuster = adjusted.then(|| Box::new(Adjuster::new(settings.adjust)));
        self.quality = settings.quality;
    }

    /// Draws and processes the frame that `source` begins. Returns
    /// [`Begun::Late`] if a JPEG does not fit its layout.
    pub fn begin(&mut self, source: &mut dyn Source, info: &FrameInfo) -> Begun {
        match source.begin(info) {
            Begun::Frame { .. } => {}
            other => return other,
        }
        for plane in self.drawn.memory_planes() {
            let mut offset = plane.offset as usize;
            let memory = &mut self.frame[offset..][..plane.sizeimage as usize];
            for page in memory.chunks_mut(PAGE) {
                source.fill(offset, page);
                offset += page.len();
            }
        }
        if let Some(adjuster) = self.adjuster.as_ref().filter(|_| !source.is_exact()) {
            adjuster.apply(&self.drawn, &mut self.frame);
            if source.is_marked() {
                let mark = Watermark::of(info);
                for plane in self.drawn.memory_planes() {
                    let bytes = plane.sizeimage as usize;
                    let memory = &mut self.frame[plane.offset as usize..][..bytes];
                    mark.apply(bytes, 0, memory);
                }
            }
        }
        let Some(jpeg) = &mut self.jpeg else {
            return Begun::Frame {
                bytes: self.drawn.sizeimage,
            };
        };
        match jpeg.encode(&self.frame, self.quality, info) {
            // The length is at most sizeimage, which is a u32.
            Some(len) => Begun::Frame { bytes: len as u32 },
            None => Begun::Late,
        }
    }

    /// As [`Source::fill`].
    pub fn fill(&self, offset: usize, out: &mut [u8]) {
        let frame = self.jpeg.as_ref().map_or(&self.frame[..], Jpeg::bytes);
        let rest = frame.get(offset..).unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        out[len..].fill(0);
    }
}
