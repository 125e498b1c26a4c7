//! The agent's protocol: one JSON object a line, both ways.
//!
//! The host sends [`Request`]s, each with an id of its choice, and may have any
//! number under way. The agent sends [`Message`]s: one [`Hello`] as soon as it
//! has the channel, then for each request either [`Message::Done`] or
//! [`Message::Failed`], in whatever order the work ends, and before that any
//! number of [`Message::Line`]s if the request asked for them.
//!
//! A new request is a new struct with a [`Call`], and a variant of [`Command`].

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
use super::cell::{Cell, CellAnswer};
use super::checks::{Checks, ChecksAnswer, Leaks, LeaksAnswer};
use super::frame_vector::{FrameVector, FrameVectorAnswer};
pub use super::kernel_log::{Log, LogAnswer, LogRecord, News};
pub use super::status::Status;

/// Name of the virtio-serial port that carries the protocol.
pub const PORT_NAME: &str = "pinhole.agent";

/// Longest line either end accepts, in bytes.
pub const LINE_MAX: usize = 32 << 20;

/// Most bytes of each output stream that [`Run`] hands back.
pub const OUTPUT_MAX: usize = 4 << 20;

/// Time between two samples of [`Run::watch`], in milliseconds.
pub const WATCH_PERIOD_MS: u64 = 20;

/// What the host asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the host; the answer bears it.
    pub id: u64,
    /// What to do.
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
    Load(Load),
    Unload(Unload),
    Modules(Modules),
    Log(Log),
    News(News),
    Cell(Cell),
    Checks(Checks),
    Leaks(Leaks),
    FrameVector(FrameVector),
    Sync(Sync),
    PowerOff(PowerOff),
}

/// A request, tied to the type of its answer.
pub trait Call: Into<Command> {
    /// What [`Message::Done`] carries for it.
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
    Load -> (),
    Unload -> (),
    Modules -> Vec<Module>,
    Log -> LogAnswer,
    News -> LogAnswer,
    Cell -> CellAnswer,
    Checks -> ChecksAnswer,
    Leaks -> LeaksAnswer,
    FrameVector -> FrameVectorAnswer,
    Sync -> (),
    PowerOff -> (),
}

/// Run a program to its end.
///
/// It leads a process group of its own; what is left of the group when the
/// leader ends is killed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The program, looked up in `PATH`, and its arguments.
    pub argv: Vec<String>,
    /// Variables to add to the agent's own environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Text for its standard input.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdin: String,
    /// What a file holds that is its last argument, if there is any: a script,
    /// which nothing that it runs can take for its own input.
    #[serde(default, skip_serializing_if = "Bytes::is_empty")]
    pub script: Bytes,
    /// Kill its process group after this time, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Send its standard output to this file instead of back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_path: Option<String>,
    /// Also send every line of its output, as it comes, as [`Message::Line`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub stream: bool,
    /// Counters of /proc/vmstat to sample while it runs; `one-other` is one
    /// less another, both of the same reading.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<String>,
}

impl Run {
    /// Runs `argv` with everything else at its default.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// How a program ended, and what it said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunAnswer {
    /// How it ended.
    pub status: Status,
    /// Its standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
    /// Either stream was cut at [`OUTPUT_MAX`].
    pub truncated: bool,
    /// It was killed because its time was up.
    pub timed_out: bool,
    /// Time from its start to its end, in milliseconds.
    pub elapsed_ms: u64,
    /// What was seen of each counter of [`Run::watch`] that this kernel has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watch: BTreeMap<String, Watch>,
}

/// What was seen of one counter: before the program's start, every
/// [`WATCH_PERIOD_MS`], and after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Before the start.
    pub first: u64,
    /// After the end.
    pub last: u64,
    /// The least seen.
    pub min: u64,
    /// The most seen.
    pub max: u64,
}

/// Send a signal to the process group of a [`Run`] under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// Id of the run's request.
    pub target: u64,
    /// Number of the signal.
    pub signal: i32,
}

/// Give an interactive shell on the console; answered when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shell {
    /// Value of `TERM`.
    pub term: String,
    /// Printed before the first prompt.
    pub greeting: String,
    /// Size of the terminal.
    pub window: Window,
}

/// Set the size of the console's terminal. Zero rows and columns: unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Lines of text.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// Read a text file, of /proc and /sys too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// The file.
    pub path: String,
    /// Most bytes to read.
    pub limit: usize,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// There was more than the limit.
    pub truncated: bool,
}

/// Write a text file, in one write(2) as far as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// The file; created if it is not there.
    pub path: String,
    /// What to write.
    pub text: String,
    /// Open with O_APPEND and keep what is there, as `kprobe_events` of
    /// tracefs wants it; otherwise with O_TRUNC.
    #[serde(default, skip_serializing_if = "is_false")]
    pub append: bool,
}

/// Load a kernel module. One that is loaded already is an `EEXIST` error; one
/// that is named and built in is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Its file; or its name, to be found in modules.dep of the guest, with
    /// what it depends on.
    pub module: String,
    /// Its parameters, as on a kernel command line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub params: String,
}

/// Where the rig puts a driver in the guest, by its module's name.
pub fn driver_file(name: &str) -> String {
    format!("/usr/lib/modules/{name}.ko")
}

/// Remove a kernel module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unload {
    /// Its name.
    pub module: String,
}

/// List the loaded kernel modules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Modules {}

/// A loaded kernel module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its reference count.
    pub references: i64,
}

/// Write everything back to the disks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync {}

/// Write everything back, answer, and turn the machine off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerOff {}

/// What the agent sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The agent has the channel.
    Hello(Hello),
    /// A line of output of a request that streams.
    Line(Line),
    /// A request was done.
    Done(Done),
    /// A request could not be done.
    Failed(Failed),
}

/// The agent introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the agent.
    pub agent: String,
    /// Release of the kernel it runs on, as `uname -r` gives it.
    pub release: String,
    /// Time since the kernel started, in milliseconds.
    pub uptime_ms: u64,
    /// What went wrong while it set the guest up, if anything did.
    pub problems: Vec<String>,
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The request whose program wrote it.
    pub id: u64,
    /// Where it wrote it.
    pub stream: Stream,
    /// Time since the program's start, in milliseconds.
    pub at_ms: u64,
    /// What it wrote, its line end included if it had one.
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

/// A request was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The request.
    pub id: u64,
    /// Its [`Call::Answer`].
    pub answer: serde_json::Value,
}

/// A request could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The request, if its id could be read.
    pub id: Option<u64>,
    /// What failed, and on what.
    pub message: String,
    /// The system call's error number, if it was one that failed.
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
