//! `pinhole capture`.

use std::path::PathBuf;

use super::card_args::CardArgs;
use super::guest_args::GuestArgs;
use super::output;
use crate::card::BufferApi;
use crate::report;
use crate::rig::capture::outcome::Judgement;
use crate::rig::capture::store::Store;
use crate::rig::capture::tool::{Memory, Rate};
use crate::rig::capture::{self, CaptureSpec};
use crate::source::{Layout, PixelFormat};
use crate::vm::progress::Progress;

/// Boot a guest, capture frames in it, and verify every byte
///
/// Starts the capture card and QEMU, boots the guest's stock kernel, loads the
/// driver, streams with v4l2-ctl, takes the frames out of the guest and holds
/// each against what the card says it wrote. Exits with 0 when all frames were
/// captured and verified and the kernel log is clean, 1 when not, 2 when it
/// could not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many frames to capture
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

    /// How the application gives the kernel its memory
    #[arg(long, value_enum, default_value_t = Memory::Userptr)]
    memory: Memory,

    /// Where the application writes the frames, from where they are taken
    /// afterwards
    #[arg(long, value_enum, default_value_t = Store::Auto)]
    store: Store,

    /// Folder for the frames, report.json, contact-sheet.png, the console's log
    /// and the witness; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "pinhole-capture")]
    out: PathBuf,

    /// Print one JSON object instead of the table, and nothing else on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    guest: GuestArgs,

    #[command(flatten)]
    card: CardArgs,
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

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let progress = Progress::stderr();
    let (width, height) = args.size;
    anyhow::ensure!(
        args.format.is_offered(),
        "the card has no {}: this pinhole was built without it (the cargo feature \"films\")",
        args.format
    );
    anyhow::ensure!(
        Layout::has_size(args.format, width, height),
        "the card has no {} frames of {width}x{height}: sizes are 16x16 to 3840x2160, in steps of {}x{}",
        args.format,
        args.format.steps().0,
        args.format.steps().1
    );
    let layout = Layout::new(args.format, width, height);
    let mut testbed = args.card.put_into(args.guest.testbed()?)?;
    if args.format.is_separate() {
        anyhow::ensure!(
            args.card.planes() != Some(BufferApi::Single),
            "a card of --planes single has no {}",
            args.format
        );
        anyhow::ensure!(
            args.memory != Memory::Read,
            "read() knows one plane, and {} has several: use another --memory",
            args.format
        );
        testbed.planes = BufferApi::Multi;
    }
    anyhow::ensure!(
        !args.format.is_compressed() || args.memory != Memory::Dmabuf,
        "vivid, whose buffers are imported, has no {}: use another --memory",
        args.format
    );
    let spec = CaptureSpec {
        testbed,
        layout,
        frames: args.frames,
        rate: args.fps,
        memory: args.memory,
        store: args.store,
        out: args.out.clone(),
    };
    let capture = capture::run(&spec, &progress)?;
    report::folder::write(&capture, &layout)?;
    if args.json {
        output::line(serde_json::to_string(&capture.outcome)?)?;
    } else {
        output::line(format_args!(
            "{}\n\nEverything is in {}.",
            report::table::capture(&capture.outcome),
            args.out.display()
        ))?;
    }
    Ok(match capture.outcome.verdict {
        Judgement::Verified => super::exit::SUCCESS,
        Judgement::Failed => super::exit::FAILED,
    })
}
