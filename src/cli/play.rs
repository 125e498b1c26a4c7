//! `pinhole play`.

use std::path::PathBuf;
use std::slice;

use super::card_args::FeatureArgs;
use super::guest_args::GuestArgs;
use super::stream_args::{StreamArgs, memory};
use crate::card::{CardKind, Direction};
use crate::rig::capture;
use crate::rig::capture::store::Store;
use crate::rig::capture::tool::Memory;
use crate::rig::testbed::TestbedSpec;
use crate::sink;
use crate::source::{self, Access, Camera};
use crate::vm::progress::Progress;

/// Boot a guest, play frames in it to an output card, and verify every byte
///
/// Draws the frames, starts the output card and QEMU, boots the guest's stock
/// kernel, loads the driver, plays the frames with v4l2-ctl, and holds what the
/// card says it read against each. Exits with 0 when all frames were played and
/// verified and the kernel log is clean, 1 when not, 2 when it could not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    stream: StreamArgs,

    /// How the application gives the kernel its memory
    #[arg(long, default_value = "userptr", value_parser = memory(Direction::Output))]
    memory: Memory,

    /// Where the application has the frames that it plays
    #[arg(long, value_enum, default_value_t = Store::Auto)]
    store: Store,

    /// Folder for the frames, report.json, contact-sheet.png, the console's log
    /// and the witness; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "pinhole-play")]
    out: PathBuf,

    /// What the application plays, as `pinhole device` takes it
    #[arg(long, value_name = "SPEC", default_value = "pattern")]
    source: String,

    #[command(flatten)]
    guest: GuestArgs,

    /// Where the card puts the frames that it reads: digest, y4m:FILE or
    /// raw:FILE
    #[arg(
        long,
        value_name = "SPEC",
        help_heading = "Card",
        default_value = "digest"
    )]
    sink: String,

    #[command(flatten)]
    features: FeatureArgs,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    // SAFETY: the process has not opened anything yet.
    let descriptors = unsafe { source::descriptors_of(slice::from_ref(&args.source))? };
    anyhow::ensure!(
        !sink::is_standard_output(&args.sink),
        "standard output has the result: name a file for the sink"
    );
    let progress = Progress::stderr();
    let testbed = TestbedSpec {
        kind: CardKind::Output,
        card_arguments: vec!["--sink".into(), args.sink.clone().into()],
        ..args.features.put_into(args.guest.testbed()?)
    };
    let planes = args.features.planes();
    let stream = &args.stream;
    let spec = stream.spec(testbed, planes, args.memory, args.store, &args.out)?;
    let format = spec.layout.format;
    anyhow::ensure!(
        sink::takes(&args.sink, format)?,
        "the sink {} takes no {format}",
        args.sink
    );
    let access = Access {
        descriptors,
        patience: None,
    };
    let camera = Camera::new(vec![source::open_input(&args.source, &access)?]);
    let capture = capture::play(&spec, camera, &progress)?;
    stream.conclude(&capture, &spec)
}
