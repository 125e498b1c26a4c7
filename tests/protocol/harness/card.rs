//! The card under test: the real binary, as a child process.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use pinhole::card::witness::{PlaneRecord, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::program;

/// How long anything may take before a test gives up on it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A running `pinhole device`, killed and reaped when dropped.
pub struct Card {
    child: Child,
    exited: OwnedFd,
    /// WaitResult by every change in `dir`: the socket, the witness, the log.
    changes: OwnedFd,
    dir: tempfile::TempDir,
    witness: Witness,
}

/// What has been read of the witness file so far.
#[derive(Default)]
struct Witness {
    offset: u64,
    partial: Vec<u8>,
    records: Vec<Record>,
    /// Records that [`Card::frame`] has passed.
    passed: usize,
}

/// What the witness says of one frame.
#[derive(Debug, Clone)]
pub struct FrameRecord {
    pub sequence: u32,
    pub session: u32,
    pub buffer: u32,
    pub time_ns: u64,
    pub plane: PlaneRecord,
}

impl Card {
    /// A card on a socket and a witness of its own, with `args` besides.
    pub fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory for the card");
        let socket = dir.path().join("card.sock");
        let mut command = Self::command();
        command.arg("--socket-path").arg(&socket).args(args);
        Self::spawn(command, dir)
    }

    /// A card that fills a buffer as soon as it has one.
    pub fn fast() -> Self {
        Self::start(&["--rate", "max"])
    }

    /// `pinhole device` with nothing but the controls that make errors happen.
    pub fn command() -> Command {
        let mut command = Self::plain_command();
        command.arg("--error-injection");
        command
    }

    /// `pinhole device`, without arguments yet.
    pub fn plain_command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
        command.arg("device").env_remove("RUST_LOG");
        command
    }

    /// Runs `command` with a witness in `dir`.
    pub fn spawn(mut command: Command, dir: tempfile::TempDir) -> Self {
        command.arg("--witness").arg(dir.path().join("witness"));
        Self::spawn_without_witness(command, dir)
    }

    /// Runs `command` with its log in `dir`.
    pub fn spawn_without_witness(command: Command, dir: tempfile::TempDir) -> Self {
        Self::spawn_from(command, dir, Stdio::null())
    }

    /// A card on a socket of its own, with a pipe to its standard input and
    /// `args` besides.
    pub fn start_fed(args: &[&str]) -> (Self, ChildStdin) {
        let dir = tempfile::tempdir().expect("a directory for the card");
        let socket = dir.path().join("card.sock");
        let mut command = Self::command();
        command.arg("--socket-path").arg(&socket).args(args);
        let mut card = Self::spawn_from(command, dir, Stdio::piped());
        let stdin = card.child.stdin.take().expect("a pipe");
        (card, stdin)
    }

    /// A card on a socket of its own, with a pipe from its standard output and
    /// `args` besides.
    pub fn start_shown(args: &[&str]) -> (Self, ChildStdout) {
        let dir = tempfile::tempdir().expect("a directory for the card");
        let socket = dir.path().join("card.sock");
        let mut command = Self::command();
        command.arg("--socket-path").arg(&socket).args(args);
        let log = File::create(dir.path().join("log")).expect("log file");
        let ends = [Stdio::null(), Stdio::piped(), log.into()];
        let mut card = Self::spawn_to(command, dir, ends);
        let stdout = card.child.stdout.take().expect("a pipe");
        (card, stdout)
    }

    /// Runs `command`, which logs to `log`.
    pub fn spawn_with_log(command: Command, dir: tempfile::TempDir, log: Stdio) -> Self {
        Self::spawn_to(command, dir, [Stdio::null(), Stdio::null(), log])
    }

    fn spawn_from(command: Command, dir: tempfile::TempDir, stdin: Stdio) -> Self {
        let log = File::create(dir.path().join("log")).expect("log file");
        Self::spawn_to(command, dir, [stdin, Stdio::null(), log.into()])
    }

    /// Runs `command` with those standard streams: input, output, log.
    fn spawn_to(mut command: Command, dir: tempfile::TempDir, ends: [Stdio; 3]) -> Self {
        let [stdin, stdout, log] = ends;
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .expect("inotify");
        let flags =
            inotify::WatchFlags::CREATE | inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE;
        inotify::add_watch(&changes, dir.path(), flags).expect("inotify watch");
        let child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(log)
            .spawn()
            .expect("the card starts");
        let exited = pidfd_open(pid_of(&child), PidfdFlags::empty()).expect("pidfd");
        Self {
            child,
            exited,
            changes,
            dir,
            witness: Witness::default(),
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("card.sock")
    }

    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything the card has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Connects as a front end, waiting for the socket.
    pub fn connect(&mut self) -> UnixStream {
        let socket = self.socket();
        let stream = self.until("the card's socket", |_| UnixStream::connect(&socket).ok());
        // A card that does not answer fails the test instead of hanging it.
        stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        stream
    }

    /// Waits until `ready` has an answer; it is asked again on every change in
    /// the card's directory.
    pub fn until<T>(&mut self, what: &str, mut ready: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(value) = ready(self) {
                return value;
            }
            self.assert_alive();
            assert!(Instant::now() < deadline, "no {what} within {LIMIT:?}");
            let mut fds = [
                PollFd::new(&self.changes, PollFlags::IN),
                PollFd::new(&self.exited, PollFlags::IN),
            ];
            // A socket is bound, which is seen, before it listens, which is
            // not: so ask again soon even if nothing changed.
            let soon = Timespec {
                tv_sec: 0,
                tv_nsec: 10_000_000,
            };
            poll(&mut fds, Some(&soon)).expect("poll");
            let mut events = [0; 4096];
            while rustix::io::read(&self.changes, &mut events).is_ok() {}
        }
    }

    pub fn assert_alive(&mut self) {
        let status = self.child.try_wait().expect("wait");
        assert!(
            status.is_none(),
            "the card ended: {}\n{}",
            status.unwrap(),
            self.log()
        );
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid_of(&self.child), signal).expect("signal");
    }

    /// How the card ends by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let limit = Timespec::try_from(LIMIT).expect("a time limit");
        let mut fds = [PollFd::new(&self.exited, PollFlags::IN)];
        let ended = poll(&mut fds, Some(&limit)).expect("poll");
        assert_eq!(ended, 1, "the card did not end\n{}", self.log());
        self.child.wait().expect("wait")
    }

    /// What the process has resident, in KiB, without the guest's memory:
    /// that is shared, and nobody else's here is.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("RssAnon") + self.status_kib("RssFile")
    }

    /// What the process has allocated, in KiB: resident, and not of its
    /// program, whose size depends on how it was built.
    pub fn allocated_kib(&self) -> u64 {
        self.status_kib("RssAnon")
    }

    /// A line of /proc/PID/status, in KiB.
    fn status_kib(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let value = line.expect(key).trim().trim_end_matches(" kB");
        value.parse().expect("a number of KiB")
    }

    /// All records of the witness so far.
    pub fn witness(&mut self) -> &[Record] {
        self.read_witness();
        &self.witness.records
    }

    fn read_witness(&mut self) {
        let Ok(mut file) = File::open(self.dir.path().join("witness")) else {
            return;
        };
        let seen = &mut self.witness;
        file.seek(SeekFrom::Start(seen.offset)).expect("seek");
        seen.offset += file.read_to_end(&mut seen.partial).expect("witness") as u64;
        let Some(end) = seen.partial.iter().rposition(|&byte| byte == b'\n') else {
            return;
        };
        let rest = seen.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut seen.partial, rest);
        for line in whole[..end].split(|&byte| byte == b'\n') {
            let record = serde_json::from_slice(line)
                .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(line)));
            seen.records.push(record);
        }
    }

    /// Waits for a record that `pick` takes, from those that [`Self::frame`]
    /// has not passed yet. How far behind them it is comes with it.
    fn find_record<T>(&mut self, what: &str, pick: impl Fn(&Record) -> Option<T>) -> (usize, T) {
        let mut at = self.witness.passed;
        self.until(what, |card| {
            card.read_witness();
            let new = &card.witness.records[at..];
            let found = (at..)
                .zip(new)
                .find_map(|(at, record)| Some((at, pick(record)?)));
            at += new.len();
            found
        })
    }

    /// Waits for a record that `pick` takes.
    pub fn wait_record<T>(&mut self, what: &str, pick: impl Fn(&Record) -> Option<T>) -> T {
        self.find_record(what, pick).1
    }

    /// What the witness says of that frame, which comes after the last one
    /// that was asked for.
    pub fn frame(&mut self, session: u32, sequence: u32) -> FrameRecord {
        let what = format!("frame {sequence} of session {session} in the witness");
        let (at, frame) = self.find_record(&what, |record| match record {
            Record::Frame {
                sequence: number,
                session: of,
                direction: None,
                buffer,
                time_ns,
                planes,
            } if (*of, *number) == (session, sequence) => Some(FrameRecord {
                sequence,
                session,
                buffer: *buffer,
                time_ns: *time_ns,
                plane: match planes.as_slice() {
                    [plane] => plane.clone(),
                    _ => panic!("{} planes in {record:?}", planes.len()),
                },
            }),
            _ => None,
        });
        self.witness.passed = at + 1;
        frame
    }

    /// Waits until the witness tells of the end of every stream that it has
    /// told of, and passes them all: numbers of frames begin anew.
    pub fn wait_streams_ended(&mut self) {
        self.until("the end of the streams in the witness", |card| {
            card.read_witness();
            let of = |kind: fn(&Record) -> bool| {
                let records = card.witness.records.iter();
                records.filter(|record| kind(record)).count()
            };
            let begun = of(|record| matches!(record, Record::StreamOn { .. }));
            let ended = of(|record| matches!(record, Record::StreamOff { .. }));
            (begun == ended).then_some(())
        });
        self.witness.passed = self.witness.records.len();
    }

    /// Waits until the witness tells of that frame, or a later one.
    pub fn wait_frame(&mut self, sequence: u32) {
        let what = format!("frame {sequence} in the witness");
        self.wait_record(&what, |record| {
            matches!(record, Record::Frame { sequence: number, .. } if *number >= sequence)
                .then_some(())
        });
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the card's log\n{}---", self.log());
        }
        // Fails only if it has ended, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leaves a socket's name behind, as a card that was killed does.
pub fn abandon_socket(path: &Path) {
    // It never listens: while another test starts a child, that has a copy of
    // it, and would let the card's clients connect for a moment.
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddrUnix::new(path).expect("a path")).expect("a name");
}

/// Runs a card that is to end by itself, and soon.
pub fn run_to_end(command: &mut Command) -> Output {
    program::output(command, LIMIT)
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}
