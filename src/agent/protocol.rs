//! The agent's protocol: one JSON object per line, in both directions.
//!
//! The host sends [`Request`]s, each with an id of its choice; any number of
//! them may be in progress. The agent sends [`Message`]s: one [`Hello`] as soon
//! as it has the channel, then for each request either [`Message::Done`] or
//! [`Message::Failed`], in the order in which the requests end. Before that it
//! sends any number of [`Message::Line`]s if the request asked for them.
//!
//! A new request is a new struct with a [`Call`], and a variant of [`Command`].

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bench::{Pin, PinAnswer, Stream as BenchStream, StreamAnswer};
use super::bytes::Bytes;
use super::cell::{Cell, CellAnswer};
use super::checks::{Checks, ChecksAnswer, Leaks, LeaksAnswer, Sweep, SweepAnswer};
use super::frame_vector::{FrameVector, FrameVectorAnswer};
use super::ioctls::{Ioctls, IoctlsAnswer};
pub use super::kernel_log::{Log, LogAnswer, LogRecord, NewRecords};
pub use super::location::{Locate, Location, Segment};
pub use super::status::Status;
use super::survey::{Survey, SurveyAnswer};
pub use super::usb_camera::PlugCamera;

/// Name of the virtio-serial port that carries the protocol.
pub const PORT_NAME: &str = "pinhole.agent";

/// Name by which the guest mounts the directory that the host shares with it, if it does
/// (`mount -t virtiofs`).
pub const SHARED_TAG: &str = "pinhole.shared";

/// Longest line that either end accepts, in bytes.
pub const LINE_MAX: usize = 32 << 20;

/// Largest number of bytes of each output stream that [`Run`] returns.
pub const OUTPUT_MAX: usize = 4 << 20;

/// Time between two samples of [`Run::watch`], in milliseconds.
pub const WATCH_PERIOD_MS: u64 = 20;

/// A request of the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Id chosen by the host; the answer carries it.
    pub id: u64,
    /// The request's kind and arguments.
    #[serde(flatten)]
    pub command: Command,
}

/// A request's kind and its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
#[allow(missing_docs)] // each variant is the struct of its name
pub enum Command {
    Run(Run),
    Kill(Kill),
    Shell(Shell),
    Window(Window),
    Read(Read),
    Write(Write),
    Locate(Locate),
    Load(Load),
    Unload(Unload),
    Modules(Modules),
    PlugCamera(PlugCamera),
    Log(Log),
    NewRecords(NewRecords),
    Cell(Cell),
    Survey(Survey),
    Checks(Checks),
    Leaks(Leaks),
    Sweep(Sweep),
    FrameVector(FrameVector),
    BenchStream(BenchStream),
    Pin(Pin),
    Ioctls(Ioctls),
    Sync(Sync),
    PowerOff(PowerOff),
}

/// A request, tied to the type of its answer.
pub trait Call: Into<Command> {
    /// The type of the answer in [`Message::Done`].
    type Answer: DeserializeOwned + Serialize;
}

macro_rules! calls {
    ($($request:ident -> $answer:ty),* $(,)?) => {$(
        impl From<$request> for Command {
            fn from(request: $request) -> Self {
                Self::$request(request)
            }
        }
        impl Call for $request {
            type Answer = $answer;
        }
    )*};
}

calls! {
    Run -> RunAnswer,
    Kill -> (),
    Shell -> Status,
    Window -> (),
    Read -> ReadAnswer,
    Write -> (),
    Locate -> Location,
    Load -> (),
    Unload -> (),
    Modules -> Vec<Module>,
    PlugCamera -> (),
    Log -> LogAnswer,
    NewRecords -> LogAnswer,
    Cell -> CellAnswer,
    Survey -> SurveyAnswer,
    Checks -> ChecksAnswer,
    Leaks -> LeaksAnswer,
    Sweep -> SweepAnswer,
    FrameVector -> FrameVectorAnswer,
    BenchStream -> StreamAnswer,
    Pin -> PinAnswer,
    Ioctls -> IoctlsAnswer,
    Sync -> (),
    PowerOff -> (),
}

/// Request to run a program to its end.
///
/// The program leads its own process group. When it ends, the agent kills the
/// rest of the group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The program, looked up in `PATH`, and its arguments.
    pub argv: Vec<String>,
    /// Variables to add to the agent's own environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Text for the standard input.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdin: String,
    /// Content of a file whose path becomes the last argument, if it is not
    /// empty: a script, which no program that it runs can take for its own
    /// input.
    #[serde(default, skip_serializing_if = "Bytes::is_empty")]
    pub script: Bytes,
    /// Time after which the process group is killed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// File that gets the standard output instead of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_path: Option<String>,
    /// Whether to send every line of output also as [`Message::Line`], as it
    /// comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Counters of /proc/vmstat to sample while the program runs; `one-other`
    /// is the difference of two counters of the same reading.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<String>,
}

impl Run {
    /// Returns a request to run `argv`, with defaults for everything else.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// How a program ended, and its output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunAnswer {
    /// How the program ended.
    pub status: Status,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Whether either stream was cut at [`OUTPUT_MAX`].
    pub truncated: bool,
    /// Whether the program was killed because its time was up.
    pub timed_out: bool,
    /// Whether it is still there: the kernel does not let it go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
    /// Time from the start to the end of the program, in milliseconds.
    pub elapsed_ms: u64,
    /// The samples of each counter of [`Run::watch`] that this kernel has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watch: BTreeMap<String, Watch>,
}

/// The samples of one counter: before the program's start, every
/// [`WATCH_PERIOD_MS`], and after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Value before the start.
    pub first: u64,
    /// Value after the end.
    pub last: u64,
    /// Least value.
    pub min: u64,
    /// Greatest value.
    pub max: u64,
}

/// Request to send a signal to the process group of a [`Run`] in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// Id of the request to run.
    pub target: u64,
    /// Number of the signal.
    pub signal: i32,
}

/// Request for an interactive shell on the console; the agent answers when the
/// shell ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shell {
    /// Value of `TERM`.
    pub term: String,
    /// Text printed before the first prompt.
    pub greeting: String,
    /// Size of the terminal.
    pub window: Window,
}

/// Request to set the size of the console's terminal. Zero rows and columns
/// mean that the size is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Number of text lines.
    pub rows: u16,
    /// Number of characters per line.
    pub columns: u16,
}

/// Request to read a text file, which may be in /proc or /sys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// Path of the file.
    pub path: String,
    /// Largest number of bytes to read.
    pub limit: usize,
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the file has more bytes than the limit.
    pub truncated: bool,
}

/// Request to write a text file, in one write(2) as far as the kernel allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// Path of the file, which is created if it does not exist.
    pub path: String,
    /// The text to write.
    pub text: String,
    /// Whether to open with O_APPEND and keep the content, as `kprobe_events`
    /// of tracefs requires; otherwise with O_TRUNC.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub append: bool,
}

/// Request to load a kernel module. A loaded module causes the error `EEXIST`.
/// A module that is given by name and is built in causes no error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Path of the module's file, or its name, which is looked up in the
    /// guest's modules.dep together with its dependencies.
    pub module: String,
    /// Parameters of the module, as on a kernel command line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub params: String,
}

/// Returns the path at which the rig puts a driver in the guest, given its
/// module's name.
pub fn driver_file(name: &str) -> String {
    format!("/usr/lib/modules/{name}.ko")
}

/// Request to remove a kernel module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unload {
    /// Name of the module.
    pub module: String,
}

/// Request for the list of loaded kernel modules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Modules {}

/// A loaded kernel module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Name of the module.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Current reference count.
    pub references: i64,
}

/// Request to write all cached data back to the disks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync {}

/// Request to write all cached data back, answer, and power the machine off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerOff {}

/// A message of the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The agent has opened the channel.
    Hello(Hello),
    /// A line of output of a request that streams.
    Line(Line),
    /// A request is done.
    Done(Done),
    /// A request has failed.
    Failed(Failed),
}

/// The agent's introduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the agent.
    pub agent: String,
    /// Release of the kernel it runs on, as `uname -r` gives it.
    pub release: String,
    /// Time since the kernel started, in milliseconds.
    pub uptime_ms: u64,
    /// Problems while it set up the guest.
    pub problems: Vec<String>,
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Id of the request whose program wrote the line.
    pub id: u64,
    /// The stream to which the program wrote it.
    pub stream: Stream,
    /// Time since the program's start, in milliseconds.
    pub at_ms: u64,
    /// The line, with its newline if it had one.
    pub text: Bytes,
}

/// An output stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The end of a request that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Id of the request.
    pub id: u64,
    /// The request's [`Call::Answer`].
    pub answer: serde_json::Value,
}

/// The end of a request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Id of the request, if it could be parsed.
    pub id: Option<u64>,
    /// What failed, and on which object.
    pub message: String,
    /// Error number, if a system call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_flat_lines_and_read_back() {
        let run = Run {
            stream: true,
            watch: vec!["nr_foll_pin_acquired".into()],
            ..Run::new(["v4l2-ctl", "--all"])
        };
        for (command, line) in [
            (
                run.into(),
                r#"{"id":5,"command":"run","argv":["v4l2-ctl","--all"],"stream":true,"watch":["nr_foll_pin_acquired"]}"#,
            ),
            (
                Kill {
                    target: 4,
                    signal: 9,
                }
                .into(),
                r#"{"id":5,"command":"kill","target":4,"signal":9}"#,
            ),
            (PowerOff {}.into(), r#"{"id":5,"command":"power-off"}"#),
        ] {
            let request = Request { id: 5, command };
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
    }

    #[test]
    fn messages_read_back() {
        let answer = RunAnswer {
            status: Status::Signal(9),
            stdout: "a\nb\n".into(),
            stderr: String::new(),
            truncated: false,
            timed_out: true,
            stuck: false,
            elapsed_ms: 12,
            watch: BTreeMap::from([(
                "x".into(),
                Watch {
                    first: 1,
                    last: 2,
                    min: 1,
                    max: 3,
                },
            )]),
        };
        let value = serde_json::to_value(&answer).unwrap();
        assert_eq!(
            serde_json::from_value::<RunAnswer>(value.clone()).unwrap(),
            answer
        );
        for message in [
            Message::Done(Done {
                id: 1,
                answer: value,
            }),
            Message::Done(Done {
                id: 1,
                answer: serde_json::to_value(()).unwrap(),
            }),
            Message::Failed(Failed {
                id: None,
                message: "no".into(),
                errno: Some(2),
            }),
            Message::Line(Line {
                id: 1,
                stream: Stream::Stderr,
                at_ms: 3,
                text: "a \"quoted\"\nline".into(),
            }),
        ] {
            let line = serde_json::to_string(&message).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Message>(&line).unwrap(), message);
        }
    }

    #[test]
    fn unknown_commands_and_missing_arguments_are_errors() {
        for line in [
            r#"{"id":1,"command":"dance"}"#,
            r#"{"id":1,"command":"run"}"#,
            r#"{"command":"sync"}"#,
            r#"{"id":-1,"command":"sync"}"#,
            r#"[]"#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }
}
