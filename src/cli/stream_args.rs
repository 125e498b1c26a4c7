//! The arguments of subcommands that stream frames in a guest and verify them.

use std::path::Path;

use clap::ValueEnum as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::output;
use crate::card::{BufferApi, Direction};
use crate::report;
use crate::rig::capture::outcome::Judgement;
use crate::rig::capture::store::Store;
use crate::rig::capture::tool::{Memory, Rate};
use crate::rig::capture::{Capture, CaptureSpec};
use crate::rig::testbed::TestbedSpec;
use crate::source::{Layout, PixelFormat};

/// What is streamed, and what is printed of it.
#[derive(Debug, clap::Args)]
pub struct StreamArgs {
    /// How many frames
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,

    /// Size of a frame, from 16x16 to 3840x2160; even where the format's
    /// chroma has fewer samples than its luma
    #[arg(long, value_name = "WxH", default_value = "1280x720", value_parser = size)]
    size: (u32, u32),

    /// Pixel format, such as YUYV, NV12, YU12, RGB3, GREY, MJPG or NM12
    #[arg(long, value_name = "FOURCC", default_value = "YUYV")]
    format: PixelFormat,

    /// Frames a second, from 1 to 240, or max for as fast as buffers come
    #[arg(long, value_name = "N|max", default_value = "60")]
    fps: Rate,

    /// Print one JSON object instead of the table, and nothing else on stdout
    #[arg(long)]
    json: bool,
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let numbers = text
        .split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    match numbers {
        Some(size) => Ok(size),
        None => Err("a size is WIDTHxHEIGHT, such as 1280x720".into()),
    }
}

/// Returns the parser of how an application gives memory to a card for frames that
/// go that way.
pub fn memory(direction: Direction) -> impl TypedValueParser<Value = Memory> {
    let values = Memory::of(direction).filter_map(|memory| memory.to_possible_value());
    let parse = |name: String| Memory::from_str(&name, false);
    PossibleValuesParser::new(values.collect::<Vec<_>>()).try_map(parse)
}

impl StreamArgs {
    /// Returns the specification of the stream.
    ///
    /// # Errors
    ///
    /// An error if no card has such frames, or `memory` and the card of `testbed`,
    /// whose API is `planes` if the user chose one, do not go with them.
    pub fn spec(
        &self,
        testbed: TestbedSpec,
        planes: Option<BufferApi>,
        memory: Memory,
        store: Store,
        out: &Path,
    ) -> anyhow::Result<CaptureSpec> {
        let (format, (width, height)) = (self.format, self.size);
        anyhow::ensure!(
            format.is_offered(),
            "the card has no {format}: this pinhole was built without it (the cargo feature \
             \"films\")"
        );
        anyhow::ensure!(
            Layout::has_size(format, width, height),
            "the card has no {format} frames of {width}x{height}: sizes are 16x16 to 3840x2160, \
             in steps of {}x{}",
            format.steps().0,
            format.steps().1
        );
        let mut testbed = testbed;
        if format.is_separate() {
            anyhow::ensure!(
                planes != Some(BufferApi::Single),
                "a card of --planes single has no {format}"
            );
            anyhow::ensure!(
                !memory.is_copied(),
                "{}() knows one plane, and {format} has several: use another --memory",
                memory.name()
            );
            testbed.planes = BufferApi::Multi;
        }
        anyhow::ensure!(
            !format.is_compressed() || memory != Memory::Dmabuf,
            "vivid, whose buffers are imported, has no {format}: use another --memory"
        );
        Ok(CaptureSpec {
            testbed,
            layout: Layout::new(format, width, height),
            frames: self.frames,
            rate: self.fps,
            memory,
            store,
            out: out.to_owned(),
        })
    }

    /// Writes the report of a stream, and prints its result; returns the exit
    /// code.
    ///
    /// # Errors
    ///
    /// An error if the report cannot be written.
    pub fn conclude(&self, capture: &Capture, spec: &CaptureSpec) -> anyhow::Result<u8> {
        report::folder::write(capture, &spec.layout)?;
        if self.json {
            output::line(serde_json::to_string(&capture.outcome)?)?;
        } else {
            output::line(format_args!(
                "{}\n\nEverything is in {}.",
                report::table::capture(&capture.outcome),
                spec.out.display()
            ))?;
        }
        Ok(match capture.outcome.verdict {
            Judgement::Verified => super::exit::SUCCESS,
            Judgement::Failed => super::exit::FAILED,
        })
    }
}
