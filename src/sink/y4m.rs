//! A YUV4MPEG2 film that is written.
//!
//! The header says what FFmpeg and the card's own sources need to show the
//! frames right: size, rate, sampling and range. Chroma at 4:2:0 lies between
//! the pixels (`420jpeg`), as V4L2 says of these formats.

use std::io;

use super::queue::{Frame, Stream};
use super::target::File;
use crate::source::convert::{Converter, is_needed};
use crate::source::raster::{Chroma, Model, Raster};
use crate::source::{Layout, PixelFormat};

/// The mark that every frame begins with.
const MARK: &[u8] = b"FRAME\n";

/// A film, as far as it is written.
#[derive(Debug)]
pub struct Y4m {
    /// The name of the sink, for messages.
    name: String,
    /// What its header says of the frames; `None` before the first one.
    raster: Option<Raster>,
    /// How frames of the last stream fit into it.
    fit: Option<(Stream, Fit)>,
}

/// How a frame becomes one of the film.
#[derive(Debug)]
enum Fit {
    /// It lies in memory as in the film.
    Same,
    /// It is converted, into this memory.
    Converted(Box<Converter>, Vec<u8>),
    /// It has another size or sampling than the film.
    Not,
}

impl Y4m {
    /// Makes a film that is empty yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            raster: None,
            fit: None,
        }
    }

    /// Returns whether a film can have frames of that format: not if it is
    /// compressed, or has more than eight bits a sample.
    pub fn takes(format: PixelFormat) -> bool {
        rasters(&Layout::new(format, Layout::MIN_WIDTH, Layout::MIN_HEIGHT)).is_some()
    }

    /// Writes a frame, and the header before the first one. A frame that does
    /// not fit the header is left out, with a line in the log for the first one
    /// of its stream.
    ///
    /// # Errors
    /// The error of the file.
    pub fn write(&mut self, frame: &Frame, file: &mut File) -> io::Result<()> {
        let fit = match self.fit.take() {
            Some((stream, fit)) if stream == frame.stream => fit,
            _ => self.fit(&frame.stream, file)?,
        };
        let (_, fit) = self.fit.insert((frame.stream, fit));
        let picture = match fit {
            Fit::Same => frame.content(),
            Fit::Converted(converter, picture) => {
                let converted = converter.convert(frame.content(), picture);
                converted.map_err(io::Error::other)?;
                picture
            }
            Fit::Not => return Ok(()),
        };
        file.write(MARK)?;
        file.write(picture)
    }

    /// Frees the memory that a stream takes.
    pub fn rest(&mut self) {
        self.fit = None;
    }

    /// Returns how the frames of a stream fit into the film; begins the film if
    /// it is the first stream.
    fn fit(&mut self, stream: &Stream, file: &mut File) -> io::Result<Fit> {
        let layout = stream.layout;
        let rasters = rasters(&layout);
        if let (None, Some((_, raster))) = (&self.raster, &rasters) {
            file.write(header(raster, stream.interval).as_bytes())?;
            self.raster = Some(raster.clone());
        }
        Ok(match rasters {
            Some((from, to)) if self.raster.as_ref() == Some(&to) => {
                match is_needed(&from, None, &to) {
                    true => {
                        let converter = Box::new(Converter::new(&from, None, &to));
                        Fit::Converted(converter, vec![0; to.bytes])
                    }
                    false => Fit::Same,
                }
            }
            _ => {
                log::warn!(
                    "{}: frames of {} {}x{} are left out, because the film has others",
                    self.name,
                    layout.format,
                    layout.width,
                    layout.height
                );
                Fit::Not
            }
        })
    }
}

/// Returns the raster of a layout, and the one that its frames have in a film;
/// `None` if they have none.
fn rasters(layout: &Layout) -> Option<(Raster, Raster)> {
    let from = Raster::of(layout)?;
    let to = match from.model {
        Model::Yuv => from.unpacked(),
        Model::Rgb | Model::Rgb565 => {
            Raster::yuv(Chroma::Yuv444, layout.width, layout.height, false)
        }
        // Two channels are the bytes of a sample.
        Model::Grey if from.channels().count() > 1 => return None,
        Model::Grey => from.unpacked(),
    };
    Some((from, to))
}

/// Returns the header of a film, a line; `interval` is the seconds between
/// frames, as a fraction.
fn header(raster: &Raster, interval: (u32, u32)) -> String {
    let samples = match raster.chroma() {
        Some(Chroma::Yuv420) => "420jpeg",
        Some(Chroma::Yuv422) => "422",
        Some(Chroma::Yuv444) => "444",
        None => "mono",
    };
    let range = match raster.full_range {
        true => "FULL",
        false => "LIMITED",
    };
    let (width, height) = (raster.width, raster.height);
    let (seconds, frames) = lowest(interval);
    format!(
        "YUV4MPEG2 W{width} H{height} F{frames}:{seconds} Ip A1:1 C{samples} XCOLORRANGE={range}\n"
    )
}

/// Returns a fraction in lowest terms.
fn lowest((above, below): (u32, u32)) -> (u32, u32) {
    let (mut common, mut rest) = (above, below);
    while rest != 0 {
        (common, rest) = (rest, common % rest);
    }
    let common = common.max(1);
    (above / common, below / common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_in_lowest_terms() {
        for (interval, rate) in [
            ((1000, 60_000), "F60:1"),
            ((1001, 30_000), "F30000:1001"),
            ((2, 4), "F2:1"),
            ((5, 1), "F1:5"),
            ((0, 0), "F0:0"),
            ((0, 7), "F1:0"),
        ] {
            let raster = Raster::grey(16, 16, true);
            let header = header(&raster, interval);
            assert!(header.contains(&format!(" {rate} ")), "{header}");
        }
    }
}
