//! The server of the host's requests.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::agent::bench::Measurement;
use crate::agent::cell::Scope;
use crate::agent::protocol::{Command, Done, Failed, LINE_MAX, Message, Request};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::guest::children::Children;
use crate::guest::failure::Failure;
use crate::guest::{
    apart, bench, cell, console, files, frame_vector, health, ioctls, kmemleak, kmsg, locate,
    modules, run, survey, sweep, usb_camera,
};

/// Why the service of a channel ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The host closed the channel.
    Closed,
    /// The host wants the machine off; the request has been answered.
    PowerOff,
}

/// A server of requests, one channel after another.
#[derive(Clone)]
pub struct Server {
    children: &'static Children,
    /// What requests may do to the machine.
    scope: Scope,
    running: Arc<Mutex<Running>>,
}

/// What requests run.
#[derive(Default)]
struct Running {
    /// The process of each request that runs one.
    processes: HashMap<u64, Pid>,
    /// Whether nothing is to run any more.
    is_over: bool,
}

/// The output channel to the host, shared by all threads that send messages.
struct Output<W>(Mutex<W>);

impl<W: Write> Output<W> {
    fn send(&self, message: &Message) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&line)
    }

    /// Answers a request. If the channel is closed, the answer is dropped.
    fn answer(&self, id: u64, result: Result<Value, Failure>) {
        let message = match result {
            Ok(answer) => Message::Done(Done { id, answer }),
            Err(failure) => failed(Some(id), failure),
        };
        let _ = self.send(&message);
    }
}

fn failed(id: Option<u64>, failure: Failure) -> Message {
    Message::Failed(Failed {
        id,
        message: failure.message,
        errno: failure.errno,
    })
}

impl Server {
    /// Returns a server that runs programs as `children`, on a guest or on somebody's
    /// machine.
    pub fn new(children: &'static Children, scope: Scope) -> Self {
        Self {
            children,
            scope,
            running: Arc::default(),
        }
    }

    /// Sends `hello`, then serves requests until the channel ends or the
    /// machine is to be powered off.
    pub fn serve(
        &self,
        hello: Message,
        input: impl Read,
        output: impl Write + Send + 'static,
    ) -> io::Result<End> {
        let output = Arc::new(Output(Mutex::new(output)));
        output.send(&hello)?;
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        while read_line(&mut input, &mut line)? {
            let request = match parse(&line) {
                Ok(request) => request,
                Err((id, failure)) => {
                    output.send(&failed(id, failure))?;
                    continue;
                }
            };
            if let Command::PowerOff(_) = request.command {
                self.sync();
                output.answer(request.id, Ok(Value::Null));
                return Ok(End::PowerOff);
            }
            self.start(request, &output)?;
        }
        Ok(End::Closed)
    }

    /// Executes a request in its own thread, so that no request waits for
    /// another.
    fn start<W: Write + Send + 'static>(
        &self,
        request: Request,
        output: &Arc<Output<W>>,
    ) -> io::Result<()> {
        let id = request.id;
        let server = self.clone();
        let to = Arc::clone(output);
        let work = move || {
            let result = server.handle(id, request.command, &to);
            to.answer(id, result);
        };
        if let Err(error) = std::thread::Builder::new().spawn(work) {
            let failure = Failure::io("start a thread", error);
            output.send(&failed(Some(id), failure))?;
        }
        Ok(())
    }

    fn handle<W: Write>(
        &self,
        id: u64,
        command: Command,
        output: &Output<W>,
    ) -> Result<Value, Failure> {
        let started = |pid| {
            let mut running = self.running();
            running.processes.insert(id, pid);
            if running.is_over {
                self.end(pid);
            }
        };
        match command {
            Command::Run(request) => {
                let line = |line| {
                    // If the channel is closed, sending the answer fails as
                    // well.
                    let _ = output.send(&Message::Line(line));
                };
                let answer = run::run(self.children, id, request, started, line);
                self.running().processes.remove(&id);
                value(answer?)
            }
            Command::Shell(request) => {
                let answer = console::shell(self.children, &request, started);
                self.running().processes.remove(&id);
                value(answer?)
            }
            Command::Kill(request) => value(self.kill(request.target, request.signal)?),
            Command::Window(window) => value(console::set_window(window)?),
            Command::Read(request) => value(files::read(&request)?),
            Command::Write(request) => value(files::write(&request)?),
            Command::Locate(request) => value(locate::locate(&request)?),
            // What nothing but a guest is there for.
            Command::Load(_)
            | Command::Unload(_)
            | Command::PlugCamera(_)
            | Command::Leaks(_)
            | Command::Sweep(_)
                if !self.scope.is_guest() =>
            {
                Err(Failure::new(
                    "this machine is no guest, it is left as it is",
                ))
            }
            Command::Load(request) => value(modules::load(&request)?),
            Command::Unload(request) => value(modules::unload(&request.module)?),
            Command::PlugCamera(request) => {
                let limit = Duration::from_millis(request.limit_ms);
                value(usb_camera::plug_in(self.children, limit)?)
            }
            Command::Modules(_) => value(modules::list()?),
            Command::Log(request) => value(kmsg::read(request.since)?),
            Command::NewRecords(_) => value(kmsg::new_records()?),
            Command::Cell(mut request) => {
                if !self.scope.is_guest() {
                    request.scope = self.scope;
                }
                let answer = cell::runner::run(self.children, id, &request, started);
                self.running().processes.remove(&id);
                value(answer?)
            }
            Command::Survey(request) => {
                let limit_ms = request.limit_ms;
                let written = self.run_apart(id, (survey::ARGUMENT, &request), limit_ms, started);
                value(survey::answer(written?)?)
            }
            Command::Checks(_) => value(health::look(self.scope)?),
            Command::Leaks(_) => value(kmemleak::look()?),
            Command::Sweep(_) => value(sweep::sweep()?),
            Command::FrameVector(request) => {
                let answer = frame_vector::run(self.children, id, &request, started);
                self.running().processes.remove(&id);
                value(answer?)
            }
            Command::BenchStream(request) => {
                let limit_ms = request.limit_ms;
                let request = (bench::ARGUMENT, &Measurement::Stream(request));
                self.run_apart(id, request, limit_ms, started)
            }
            Command::Pin(request) => {
                let limit_ms = request.limit_ms;
                let request = (bench::ARGUMENT, &Measurement::Pin(request));
                self.run_apart(id, request, limit_ms, started)
            }
            Command::Ioctls(request) => {
                let limit_ms = request.limit_ms;
                self.run_apart(id, (ioctls::ARGUMENT, &request), limit_ms, started)
            }
            // The reading thread powers the machine off, after this answer.
            Command::Sync(_) | Command::PowerOff(_) => {
                self.sync();
                value(())
            }
        }
    }

    fn run_apart(
        &self,
        id: u64,
        request: (&str, &impl serde::Serialize),
        limit_ms: u64,
        started: impl FnOnce(Pid),
    ) -> Result<Value, Failure> {
        let answer = apart::run(self.children, id, request, limit_ms, started);
        self.running().processes.remove(&id);
        answer
    }

    fn kill(&self, target: u64, signal: i32) -> Result<(), Failure> {
        let what = || format!("signal {signal} to request {target}");
        let Some(signal) = Signal::from_named_raw(signal) else {
            return Err(Failure::new(format!("{}: no such signal", what())));
        };
        let Some(pid) = self.running().processes.get(&target).copied() else {
            return Err(Failure::new(format!("{}: it runs nothing", what())));
        };
        self.children
            .signal(pid, signal)
            .map_err(|error| Failure::io(what(), error))
    }

    /// Has a guest's files written to its disks. What else runs on another machine is
    /// not to wait for it.
    fn sync(&self) {
        if self.scope.is_guest() {
            rustix::fs::sync();
        }
    }

    /// Kills all that requests run, and all that they would run from now on: nobody
    /// waits for it.
    pub fn end_all(&self) {
        let mut running = self.running();
        running.is_over = true;
        for pid in running.processes.values() {
            self.end(*pid);
        }
    }

    fn end(&self, pid: Pid) {
        // It may have ended at this moment.
        let _ = self.children.signal(pid, Signal::KILL);
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn value(answer: impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer).map_err(|error| Failure::new(format!("answer: {error}")))
}

/// Reads a line without its newline; returns false at the end of the channel,
/// where an incomplete line is dropped. The rest of a line that is too long is
/// skipped; the beginning that is returned is not valid JSON.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input
        .by_ref()
        .take(LINE_MAX as u64)
        .read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        return Ok(true);
    }
    if line.len() < LINE_MAX {
        return Ok(false);
    }
    line.truncate(64);
    input.skip_until(b'\n')?;
    Ok(true)
}

fn parse(line: &[u8]) -> Result<Request, (Option<u64>, Failure)> {
    serde_json::from_slice(line).map_err(|error| {
        let id = serde_json::from_slice::<Value>(line)
            .ok()
            .and_then(|value| value.get("id")?.as_u64());
        (id, Failure::new(format!("no request: {error}")))
    })
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::thread::JoinHandle;

    use crate::agent::protocol::{
        Hello, Kill, PowerOff, Read as ReadFile, Run, Status, Stream, Sync,
    };
    use crate::vm::channel::{Agent, AgentError, Update};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn hello() -> Hello {
        Hello {
            agent: "test".into(),
            release: "0".into(),
            uptime_ms: 1,
            problems: Vec::new(),
        }
    }

    /// Starts a server on one end of a socket; returns the other end.
    fn serve() -> (UnixStream, JoinHandle<io::Result<End>>) {
        let (host, guest) = UnixStream::pair().unwrap();
        let server = Server::new(Children::start(), Scope::Guest);
        let writer = guest.try_clone().unwrap();
        let thread =
            std::thread::spawn(move || server.serve(Message::Hello(hello()), guest, writer));
        (host, thread)
    }

    fn connect() -> (Agent, JoinHandle<io::Result<End>>) {
        let (host, thread) = serve();
        (Agent::new(host).unwrap(), thread)
    }

    fn sh(script: &str) -> Run {
        Run::new(["sh", "-c", script])
    }

    #[test]
    fn requests_go_on_side_by_side() {
        let (agent, server) = connect();
        assert_eq!(agent.hello(LIMIT).unwrap(), hello());
        let long = agent.start(sh("sleep 100")).unwrap();
        for code in 0..20 {
            let answer = agent.call(sh(&format!("exit {code}")), LIMIT).unwrap();
            assert_eq!(answer.status, Status::Exit(code));
        }
        let (target, signal) = (long.id(), libc::SIGTERM);
        // The program may not have been started yet.
        let kill = || agent.call(Kill { target, signal }, LIMIT);
        while let Err(error) = kill() {
            assert!(matches!(error, AgentError::Failed { .. }), "{error}");
        }
        let answer = long.wait(LIMIT).unwrap();
        assert_eq!(answer.status, Status::Signal(libc::SIGTERM));
        drop(agent);
        assert_eq!(server.join().unwrap().unwrap(), End::Closed);
    }

    #[test]
    fn lines_come_while_the_program_runs() {
        let (agent, _server) = connect();
        let request = Run {
            stream: true,
            ..sh("echo ready; sleep 100")
        };
        let pending = agent.start(request).unwrap();
        match pending.next(LIMIT).unwrap() {
            Update::Line(line) => {
                assert_eq!(
                    (line.stream, line.text.text()),
                    (Stream::Stdout, "ready\n".into())
                );
            }
            other => panic!("{other:?}"),
        }
        let kill = Kill {
            target: pending.id(),
            signal: libc::SIGKILL,
        };
        agent.call(kill, LIMIT).unwrap();
        assert!(!pending.wait(LIMIT).unwrap().status.success());
    }

    #[test]
    fn what_fails_says_so_and_harms_nothing() {
        let (agent, _server) = connect();
        let missing = ReadFile {
            path: "/no/such/file".into(),
            limit: 1,
        };
        match agent.call(missing, LIMIT) {
            Err(AgentError::Failed { errno, .. }) => assert_eq!(errno, Some(libc::ENOENT)),
            other => panic!("{other:?}"),
        }
        let (target, signal) = (12345, 9);
        assert!(agent.call(Kill { target, signal }, LIMIT).is_err());
        agent.call(Sync {}, LIMIT).unwrap();
    }

    #[test]
    fn bad_lines_are_answered_and_the_next_one_served() {
        let (host, server) = serve();
        let too_long = vec![b'x'; LINE_MAX + 5];
        for bad in [
            &b"garbage"[..],
            b"",
            b"[1,2]",
            b"{\"id\":7,\"command\":\"dance\"}",
            &too_long,
        ] {
            (&host).write_all(bad).unwrap();
            (&host).write_all(b"\n").unwrap();
        }
        (&host)
            .write_all(b"{\"id\":8,\"command\":\"sync\"}\n{\"id\":9,\"command\":\"sy")
            .unwrap();
        host.shutdown(Shutdown::Write).unwrap();
        let messages: Vec<Message> = BufReader::new(&host)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        let failed: Vec<_> = messages
            .iter()
            .filter_map(|message| match message {
                Message::Failed(failed) => Some(failed.id),
                _ => None,
            })
            .collect();
        assert_eq!(failed, [None, None, None, Some(7), None]);
        let done = |message: &Message| matches!(message, Message::Done(Done { id: 8, .. }));
        assert!(messages.iter().any(done));
        assert_eq!(server.join().unwrap().unwrap(), End::Closed);
    }

    #[test]
    fn power_off_is_answered_before_it_is_done() {
        let (agent, server) = connect();
        agent.call(PowerOff {}, LIMIT).unwrap();
        assert_eq!(server.join().unwrap().unwrap(), End::PowerOff);
    }
}
