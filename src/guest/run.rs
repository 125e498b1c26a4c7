//! Runs a program to its end: handles its output, its time limit, and the
//! counters that are watched meanwhile.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::protocol::{Line, OUTPUT_MAX, Run, RunAnswer, Status, Stream, WATCH_PERIOD_MS};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};

use crate::guest::children::{Child, Children};
use crate::guest::failure::Failure;
use crate::guest::watch::Sampler;
use crate::vm::process::end_with_parent;

/// How long the output is read after the program's end: a process that left its
/// group may hold it open for ever.
const LINGER: Duration = Duration::from_millis(500);

/// How long a program may take to end that was killed. One that does not is in a call
/// that the kernel does not end.
const DYING: Duration = Duration::from_secs(10);

/// Longest part of a line that is buffered until its newline comes.
const LINE_PIECE: usize = 64 << 10;

/// Runs a program to its end, or until it has not ended for long after it was killed.
///
/// `started` gets its process number. `line` gets its lines of output if the
/// request wants them streamed.
pub fn run(
    children: &Children,
    id: u64,
    request: Run,
    started: impl FnOnce(Pid),
    line: impl FnMut(Line),
) -> Result<RunAnswer, Failure> {
    let kill = |pid| {
        // If the program ends at this moment, its status follows.
        let _ = children.signal(pid, Signal::KILL);
    };
    let ending = Ending {
        kill: &kill,
        dying: DYING,
    };
    run_to(ending, children, id, request, started, line)
}

/// How a program is ended whose time is up.
struct Ending<'a> {
    kill: &'a dyn Fn(Pid),
    /// How long it may take to end then.
    dying: Duration,
}

fn run_to(
    ending: Ending<'_>,
    children: &Children,
    id: u64,
    request: Run,
    started: impl FnOnce(Pid),
    mut line: impl FnMut(Line),
) -> Result<RunAnswer, Failure> {
    let mut sampler = match request.watch.is_empty() {
        true => None,
        false => Some(
            Sampler::new(request.watch.clone())
                .map_err(|error| Failure::io("read /proc/vmstat", error))?,
        ),
    };
    let begin = Instant::now();
    // The script's file is kept until the program has ended.
    let script = match request.script.is_empty() {
        true => None,
        false => {
            let file = file_of(&request.script.0);
            Some(file.map_err(|error| Failure::io("keep the script", error))?)
        }
    };
    let mut child = start(children, &request, script.as_ref())?;
    started(child.pid);
    let mut running = Running {
        begin,
        deadline: request
            .timeout_ms
            .and_then(|ms| begin.checked_add(Duration::from_millis(ms))),
        killed: None,
        outputs: Vec::new(),
    };
    if let Some(pipe) = child.process.stdout.take() {
        running.outputs.push(Output::new(Stream::Stdout, pipe));
    }
    if let Some(pipe) = child.process.stderr.take() {
        running.outputs.push(Output::new(Stream::Stderr, pipe));
    }
    let mut send = |stream, at: Duration, text: &[u8]| {
        if request.stream {
            line(Line {
                id,
                stream,
                at_ms: at.as_millis() as u64,
                text: text.into(),
            });
        }
    };
    let followed = running.follow(&ending, &child, sampler.as_mut(), &mut send);
    let (status, ended, stuck) = followed.map_err(|error| {
        // Nobody would see it end.
        (ending.kill)(child.pid);
        Failure::io(format_args!("follow {}", request.argv[0]), error)
    })?;
    let mut answer = RunAnswer {
        status,
        stdout: String::new(),
        stderr: String::new(),
        truncated: running.outputs.iter().any(|output| output.truncated),
        timed_out: running.killed.is_some(),
        stuck,
        elapsed_ms: ended.as_millis() as u64,
        watch: sampler.map(Sampler::finish).unwrap_or_default(),
    };
    for output in running.outputs {
        let text = String::from_utf8_lossy(&output.kept).into_owned();
        match output.stream {
            Stream::Stdout => answer.stdout = text,
            Stream::Stderr => answer.stderr = text,
        }
    }
    Ok(answer)
}

fn start(children: &Children, request: &Run, script: Option<&File>) -> Result<Child, Failure> {
    let [program, arguments @ ..] = request.argv.as_slice() else {
        return Err(Failure::new("run: argv is empty"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(script.map(path_of))
        .envs(&request.env)
        .process_group(0)
        .stderr(Stdio::piped());
    command.stdin(match request.stdin.is_empty() {
        true => Stdio::null(),
        false => {
            let file = file_of(request.stdin.as_bytes());
            Stdio::from(file.map_err(|error| Failure::io("stdin", error))?)
        }
    });
    command.stdout(match &request.stdout_path {
        None => Stdio::piped(),
        Some(path) => Stdio::from(
            File::create(path)
                .map_err(|error| Failure::io(format_args!("create {path}"), error))?,
        ),
    });
    // This thread follows the program to its end. Process 1 ends with the machine only;
    // to do nothing between fork and exec spares it the copy of its page tables.
    if std::process::id() != 1 {
        end_with_parent(&mut command);
    }
    children
        .spawn(&mut command)
        .map_err(|error| Failure::io(format_args!("run {program}"), error))
}

/// Returns a file in memory with these bytes; unlike a pipe it never blocks.
pub fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("text", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Returns the path by which another process can open a file of this one.
pub fn path_of(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

struct Running {
    begin: Instant,
    deadline: Option<Instant>,
    /// When the program was killed because its time was up.
    killed: Option<Instant>,
    outputs: Vec<Output>,
}

impl Running {
    /// Waits for the end of the program and of its output; returns how the
    /// program ended, and when, and whether it has not, though it was killed.
    fn follow(
        &mut self,
        ending: &Ending<'_>,
        child: &Child,
        mut sampler: Option<&mut Sampler>,
        send: &mut impl FnMut(Stream, Duration, &[u8]),
    ) -> io::Result<(Status, Duration, bool)> {
        let period = Duration::from_millis(WATCH_PERIOD_MS);
        let mut next_sample = self.begin + period;
        let mut ended: Option<(Status, Instant)> = None;
        loop {
            let now = Instant::now();
            if let (None, Some(status)) = (ended, child.exit.status()) {
                if let Some(sampler) = sampler.take() {
                    sampler.sample()?;
                }
                ended = Some((status, now));
            }
            let until = match ended {
                Some((status, at)) => {
                    if now >= at + LINGER || self.outputs.iter().all(|output| output.end) {
                        for output in &mut self.outputs {
                            output.flush(at - self.begin, send);
                        }
                        let stuck = child.exit.status().is_none();
                        return Ok((status, at - self.begin, stuck));
                    }
                    Some(at + LINGER)
                }
                None => {
                    match self.killed {
                        Some(killed) if now >= killed + ending.dying => {
                            ended = Some((Status::Signal(libc::SIGKILL), now));
                            continue;
                        }
                        None if self.deadline.is_some_and(|deadline| now >= deadline) => {
                            self.killed = Some(now);
                            (ending.kill)(child.pid);
                        }
                        _ => {}
                    }
                    if let Some(sampler) = sampler.as_mut()
                        && now >= next_sample
                    {
                        sampler.sample()?;
                        next_sample = now + period;
                    }
                    let deadline = match self.killed {
                        Some(killed) => Some(killed + ending.dying),
                        None => self.deadline,
                    };
                    let sample = sampler.as_ref().map(|_| next_sample);
                    deadline.into_iter().chain(sample).min()
                }
            };
            self.wait(child, ended.is_none(), until)?;
            let at = self.begin.elapsed();
            for output in &mut self.outputs {
                output.drain(at, send)?;
            }
        }
    }

    /// Waits for output, for the child's end if `alive`, or until the time
    /// `until`.
    fn wait(&mut self, child: &Child, alive: bool, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut open: Vec<_> = self
            .outputs
            .iter_mut()
            .filter(|output| !output.end)
            .collect();
        let mut fds: Vec<_> = open
            .iter()
            .map(|output| PollFd::from_borrowed_fd(output.pipe.as_fd(), PollFlags::IN))
            .collect();
        if alive {
            fds.push(PollFd::new(&*child.exit, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (output, ready) in open.iter_mut().zip(ready) {
            output.ready = ready;
        }
        Ok(())
    }
}

/// One output stream of the program.
struct Output {
    stream: Stream,
    pipe: File,
    /// Whether there is something to read, or the end.
    ready: bool,
    end: bool,
    kept: Vec<u8>,
    truncated: bool,
    /// A line whose newline has not come yet.
    line: Vec<u8>,
}

impl Output {
    fn new(stream: Stream, pipe: impl Into<std::os::fd::OwnedFd>) -> Self {
        Self {
            stream,
            pipe: File::from(pipe.into()),
            ready: false,
            end: false,
            kept: Vec::new(),
            truncated: false,
            line: Vec::new(),
        }
    }

    /// Reads the available bytes, if there are any.
    fn drain(
        &mut self,
        at: Duration,
        send: &mut impl FnMut(Stream, Duration, &[u8]),
    ) -> io::Result<()> {
        if !std::mem::take(&mut self.ready) || self.end {
            return Ok(());
        }
        let mut buffer = [0; 16 << 10];
        let length = self.pipe.read(&mut buffer)?;
        let bytes = &buffer[..length];
        self.end = length == 0;
        let room = OUTPUT_MAX - self.kept.len();
        self.truncated |= length > room;
        self.kept.extend_from_slice(&bytes[..length.min(room)]);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LINE_PIECE {
                self.flush(at, send);
            }
        }
        Ok(())
    }

    /// Sends the rest of the last line.
    fn flush(&mut self, at: Duration, send: &mut impl FnMut(Stream, Duration, &[u8])) {
        if !self.line.is_empty() {
            send(self.stream, at, &self.line);
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn sh(script: &str) -> Run {
        Run::new(["sh", "-c", script])
    }

    fn go(request: Run) -> RunAnswer {
        run(Children::start(), 1, request, |_| {}, |_| {}).unwrap()
    }

    #[test]
    fn output_status_environment_and_input_go_through() {
        let answer = go(Run {
            env: BTreeMap::from([("WHO".into(), "card".into())]),
            stdin: "from stdin".into(),
            ..sh("echo hello $WHO; cat >&2; exit 3")
        });
        assert_eq!(answer.stdout, "hello card\n");
        assert_eq!(answer.stderr, "from stdin");
        assert_eq!(answer.status, Status::Exit(3));
        assert!(!answer.timed_out && !answer.truncated);
    }

    #[test]
    fn a_program_that_does_not_die_is_left_behind() {
        let children = Children::start();
        let ending = Ending {
            kill: &|_| {},
            dying: Duration::from_millis(100),
        };
        let request = Run {
            timeout_ms: Some(100),
            ..sh("echo here; exec sleep 100")
        };
        let mut pid = None;
        let answer = run_to(ending, children, 1, request, |it| pid = Some(it), |_| {}).unwrap();
        assert!(answer.stuck && answer.timed_out);
        assert_eq!(answer.stdout, "here\n");
        assert!(answer.elapsed_ms < 5000, "{answer:?}");
        children.signal(pid.unwrap(), Signal::KILL).unwrap();
    }

    /// Shells read a script from a pipe or a file in pieces of some KiB, and
    /// share it with the programs that they run.
    #[test]
    fn a_script_is_run_to_its_end_whatever_its_programs_read() {
        let padding = format!(": {}\n", "x".repeat(80)).repeat(300);
        let script = format!("echo begin\n{padding}cat >/dev/null\n{padding}echo end; exit 7\n");
        let answer = go(Run {
            script: script.into(),
            ..Run::new(["sh"])
        });
        assert_eq!(answer.stdout, "begin\nend\n");
        assert_eq!(answer.stderr, "");
        assert_eq!(answer.status, Status::Exit(7));
    }

    #[test]
    fn a_script_and_its_output_are_bytes() {
        let mut lines = Vec::new();
        let request = Run {
            script: b"printf '%s' '\xff\xc3'; printf '\\377\\n\\000' >&2; exit 1".into(),
            stream: true,
            ..Run::new(["sh"])
        };
        let keep = |line: Line| lines.push((line.stream, line.text.0));
        run(Children::start(), 1, request, |_| {}, keep).unwrap();
        let on = |stream| {
            let lines = lines.iter().filter(|(from, _)| *from == stream);
            lines
                .flat_map(|(_, text)| text.clone())
                .collect::<Vec<u8>>()
        };
        assert_eq!(on(Stream::Stdout), b"\xff\xc3");
        assert_eq!(on(Stream::Stderr), b"\xff\n\0");
    }

    #[test]
    fn time_up_kills_the_whole_group() {
        let begin = Instant::now();
        let answer = go(Run {
            timeout_ms: Some(200),
            ..sh("trap '' TERM; echo on; sleep 100 & sleep 100")
        });
        assert!(answer.timed_out);
        assert_eq!(answer.status, Status::Signal(libc::SIGKILL));
        assert_eq!(answer.stdout, "on\n");
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_background_process_does_not_hold_the_answer_back() {
        let begin = Instant::now();
        assert_eq!(go(sh("sleep 100 & echo x")).stdout, "x\n");
        assert_eq!(go(sh("setsid sleep 30 & echo y")).stdout, "y\n");
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn too_much_output_is_cut_and_the_program_not_held_up() {
        let answer = go(sh("head -c 6000000 /dev/zero; echo done >&2"));
        assert!(answer.truncated);
        assert_eq!(answer.stdout.len(), OUTPUT_MAX);
        assert_eq!(answer.stderr, "done\n");
        assert_eq!(answer.status, Status::Exit(0));
    }

    #[test]
    fn lines_are_streamed_with_the_last_unfinished_one() {
        let mut lines = Vec::new();
        let request = Run {
            stream: true,
            ..sh("echo one; echo two >&2; printf three")
        };
        run(
            Children::start(),
            9,
            request,
            |_| {},
            |line| lines.push(line),
        )
        .unwrap();
        let on = |stream| -> Vec<_> {
            let lines = lines.iter().filter(|line| line.stream == stream);
            lines.map(|line| (line.id, line.text.text())).collect()
        };
        assert_eq!(
            on(Stream::Stdout),
            [(9, "one\n".into()), (9, "three".into())]
        );
        assert_eq!(on(Stream::Stderr), [(9, "two\n".into())]);
    }

    #[test]
    fn output_may_go_to_a_file_and_counters_are_watched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let answer = go(Run {
            stdout_path: Some(path.to_str().unwrap().into()),
            watch: vec!["nr_free_pages".into()],
            ..sh("echo kept; sleep 0.1")
        });
        assert_eq!(answer.stdout, "");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "kept\n");
        assert!(answer.watch["nr_free_pages"].max > 0);
        assert!(answer.elapsed_ms >= 100);
    }

    #[test]
    fn what_cannot_be_run_says_what() {
        let failure = |request| run(Children::start(), 1, request, |_| {}, |_| {}).unwrap_err();
        let missing = failure(Run::new(["/no/such/program"]));
        assert_eq!(missing.errno, Some(libc::ENOENT));
        assert!(missing.message.contains("/no/such/program"));
        assert!(failure(Run::default()).message.contains("argv"));
    }
}
