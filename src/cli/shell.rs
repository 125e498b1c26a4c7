//! `pinhole shell`.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::SIGWINCH;

use super::card_args::CardArgs;
use super::endpoint_args::{KindArg, MakesArg};
use super::guest_args::GuestArgs;
use super::mode_args::ModeArgs;
use super::output;
use crate::agent::protocol::{Log, Run, Shell, Status, Stream, Window};
use crate::card::CardKind;
use crate::rig::kernel_log;
use crate::rig::testbed::{Testbed, TestbedSpec};
use crate::sink;
use crate::vm::channel::{Agent, AgentError, Update};
use crate::vm::progress::Progress;

/// Ctrl-], which ends the machine, whatever the guest does.
const ESCAPE: u8 = 0x1d;

/// Time limit for the guest's answer with its kernel's log.
const LOG_LIMIT: Duration = Duration::from_secs(30);

/// Boot a guest with the card attached and its console on this terminal.
///
/// The guest ends when its shell does. Ctrl-] ends it at once.
///
/// Without a terminal, what comes on standard input is run as a shell script
/// in the guest, whose programs have no input of their own, and the exit code is
/// the script's. Where the guest ends before the script does it is 2.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Give the guest ffmpeg, gst-launch-1.0 and gst-inspect-1.0 too
    #[arg(long)]
    clients: bool,

    #[command(flatten)]
    guest: GuestArgs,

    #[command(flatten)]
    card: CardArgs,

    /// What the card is for
    #[arg(long, value_enum, default_value_t = KindArg::Capture, help_heading = "Card")]
    kind: KindArg,

    /// Where the frames of an output card go, as `pinhole device` takes it
    #[arg(long, value_name = "SPEC", help_heading = "Card")]
    sink: Option<String>,

    /// Which frames an m2m card makes, as `pinhole device` takes it
    #[arg(long, value_enum, value_name = "FRAMES", help_heading = "Card")]
    makes: Option<MakesArg>,

    #[command(flatten)]
    modes: ModeArgs,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    anyhow::ensure!(
        !args.card.reads_standard_input(),
        "standard input is the guest's console or script, and no film for the card: let it read a \
         FIFO (mkfifo) or <(...)"
    );
    anyhow::ensure!(
        !args.sink.as_deref().is_some_and(sink::is_standard_output),
        "standard output is the guest's console: let the sink be a file or a FIFO (mkfifo)"
    );
    let interactive = isatty(stdin());
    let mut script = Vec::new();
    if !interactive {
        io::stdin()
            .read_to_end(&mut script)
            .context("cannot read the script on standard input")?;
    }
    let sink = args
        .sink
        .iter()
        .flat_map(|sink| ["--sink".into(), sink.into()]);
    let makes = args.makes.iter().flat_map(|makes| makes.arguments());
    args.modes.modes(args.card.planes().unwrap_or_default())?;
    let spec = TestbedSpec {
        clients: args.clients,
        kind: args.kind.into(),
        card_arguments: args
            .modes
            .arguments()
            .into_iter()
            .chain(sink)
            .chain(makes)
            .collect(),
        ..args.card.put_into(args.guest.testbed()?)?
    };
    let mut testbed = Testbed::start(&spec, &Progress::stderr())?;
    let code = match interactive {
        true => match converse(&testbed, args.kind.into())? {
            Left::Exit => super::exit::SUCCESS,
            // The drop kills the testbed.
            Left::Unplugged => return Ok(super::exit::SUCCESS),
        },
        false => perform(&mut testbed, script)?,
    };
    testbed.finish()?;
    Ok(code)
}

/// Runs a script in the guest and passes its output on as it arrives; returns
/// its exit code.
fn perform(testbed: &mut Testbed, script: Vec<u8>) -> anyhow::Result<u8> {
    let request = Run {
        script: script.into(),
        stream: true,
        ..Run::new(["sh"])
    };
    let pending = testbed.machine.agent().start(request)?;
    loop {
        match pending.next(Duration::MAX) {
            Ok(Update::Line(line)) => {
                let written = match line.stream {
                    Stream::Stdout => io::stdout().write_all(&line.text.0),
                    Stream::Stderr => io::stderr().write_all(&line.text.0),
                };
                written.context("cannot hand on the script's output")?;
            }
            Ok(Update::Done(answer)) => {
                io::stdout().flush()?;
                if !answer.status.success() {
                    warn_of_memory(testbed);
                }
                return Ok(match answer.status {
                    Status::Exit(code) => code as u8,
                    // Shells report a signal in this way.
                    Status::Signal(signal) => 128u8.wrapping_add(signal as u8),
                });
            }
            Err(AgentError::Closed) => {
                io::stdout().flush()?;
                let why = testbed.machine.why_ended();
                return Err(anyhow::Error::new(why).context("the script has not ended"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Warns if a script failed because the guest had too little memory.
fn warn_of_memory(testbed: &Testbed) {
    // A guest without memory may not answer.
    if let Ok(log) = testbed.machine.agent().call(Log { since: 0 }, LOG_LIMIT)
        && let Some(why) = kernel_log::out_of_memory(&log.records, testbed.memory_mib)
    {
        log::warn!("{why}");
    }
}

/// How the user left the guest's shell.
enum Left {
    /// The shell ended.
    Exit,
    /// The user typed [`ESCAPE`].
    Unplugged,
}

/// Gives the terminal to a shell on the guest's console until the shell ends.
fn converse(testbed: &Testbed, kind: CardKind) -> anyhow::Result<Left> {
    let machine = &testbed.machine;
    let keyboard = machine.console().keyboard()?;
    let (resized, winch) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGWINCH, winch)?;
    let (stopped, stop) = UnixStream::pair()?;
    let raw = RawMode::enter().context("cannot take over the terminal")?;
    machine.console().show_to(Box::new(io::stdout()));
    let pending = machine.agent().start(Shell {
        term: std::env::var("TERM").unwrap_or_else(|_| "linux".into()),
        greeting: greeting(testbed, kind),
        window: window(),
    })?;
    let (ended, unplugged) = std::thread::scope(|scope| {
        let typing = scope.spawn(|| type_on(&keyboard, &stopped, &resized, machine.agent()));
        let ended = pending.next(Duration::MAX);
        drop(stop);
        (ended, typing.join().unwrap_or(false))
    });
    drop(raw);
    output::line("")?;
    if unplugged {
        return Ok(Left::Unplugged);
    }
    ended?;
    Ok(Left::Exit)
}

/// Returns command lines that set the formats of a card and stream.
fn suggestions(kind: CardKind) -> [&'static str; 2] {
    match kind {
        CardKind::Capture => [
            "v4l2-ctl --set-fmt-video=width=1280,height=720,pixelformat=NV12",
            "v4l2-ctl --stream-user=4 --stream-count=120",
        ],
        CardKind::Output => [
            "v4l2-ctl --set-fmt-video-out=width=1280,height=720,pixelformat=NV12",
            "v4l2-ctl --stream-out-user=4 --stream-count=120",
        ],
        // The formats are the open file's.
        CardKind::M2m => [
            "v4l2-ctl --list-formats-out --list-formats",
            "v4l2-ctl --set-fmt-video-out=width=1280,height=720,pixelformat=NV12 \
             --set-fmt-video=width=640,height=360,pixelformat=YUYV \
             --stream-out-user=4 --stream-user=4 --stream-count=120",
        ],
    }
}

fn greeting(testbed: &Testbed, kind: CardKind) -> String {
    let [first, second] = suggestions(kind);
    format!(
        "\n\
         Linux {release}. The card is /dev/video0. Try:\n\
         \x20 v4l2-ctl --all\n\
         \x20 {first}\n\
         \x20 {second}\n\
         \x20 v4l2-compliance -s\n\
         \x20 ls /sys/kernel/tracing/events/pinhole\n\
         `exit` turns the machine off, Ctrl-] pulls the plug.\n\n",
        release = testbed.machine.hello().release
    )
}

/// Passes the typed bytes and the size of the terminal on, until the other end
/// of `stopped` is closed. Returns true if the user typed [`ESCAPE`].
fn type_on(
    mut keyboard: &UnixStream,
    stopped: &UnixStream,
    mut resized: &UnixStream,
    agent: &Agent,
) -> bool {
    let mut buffer = [0; 1024];
    loop {
        let terminal = stdin();
        let mut fds = [
            PollFd::new(stopped, PollFlags::IN),
            PollFd::new(resized, PollFlags::IN),
            PollFd::new(&terminal, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
        }
        let [stop, resize, key] = fds.map(|fd| !fd.revents().is_empty());
        if stop {
            return false;
        }
        if resize {
            // Each byte stands for a signal; one answer serves all of them.
            let _ = resized.read(&mut buffer);
            // A console of the wrong size is not a reason to end.
            let _ = agent.start(window());
        }
        if key {
            let length = rustix::io::read(terminal, &mut buffer).unwrap_or(0);
            let bytes = &buffer[..length];
            let unplugged = bytes.contains(&ESCAPE);
            if length == 0 || unplugged {
                // The terminal is gone, or the user wants to leave. Every wait
                // in the process also waits for this signal.
                let _ = kill_process(getpid(), Signal::TERM);
                return unplugged;
            }
            if keyboard.write_all(bytes).is_err() {
                return false;
            }
        }
    }
}

fn window() -> Window {
    tcgetwinsize(stdin())
        .map(|size| Window {
            rows: size.ws_row,
            columns: size.ws_col,
        })
        .unwrap_or_default()
}

/// Raw mode of the terminal, which passes every key on unchanged. Drop restores
/// the mode before.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin().as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}
