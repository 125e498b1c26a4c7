//! The part of QEMU's machine protocol that is needed here: the greeting,
//! commands, events (docs/interop/qmp-spec.rst in QEMU).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::wait::{WaitResult, readable};

/// Largest number of events that are kept until a caller asks for them.
const EVENTS: usize = 256;

/// Longest line that is accepted, in bytes.
const LINE_MAX: usize = 4 << 20;

/// Why a command to QEMU failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// Name of the command.
        command: String,
        /// Class of QEMU's error.
        class: String,
        /// QEMU's description of the error.
        description: String,
    },
    /// QEMU did not answer before the time was up.
    #[error("QEMU did not answer within {:.1} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// QEMU ended.
    #[error("QEMU ended")]
    Closed,
    /// QEMU sent something that is not QMP.
    #[error("QEMU sent what is not QMP: {0}")]
    Nonsense(String),
    /// Reading or writing failed.
    #[error("the connection to QEMU failed: {0}")]
    Io(#[from] io::Error),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

/// An event of QEMU.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Name of the event, such as `DEVICE_DELETED`.
    pub event: String,
    /// Data of the event.
    #[serde(default)]
    pub data: Value,
}

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    bytes: Vec<u8>,
    events: VecDeque<Event>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Greeting {
        #[serde(rename = "QMP")]
        _qmp: Value,
    },
    Event(Event),
    Return {
        #[serde(rename = "return")]
        value: Value,
    },
    Error {
        error: Refusal,
    },
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

impl Qmp {
    /// Takes over a connection: waits for the greeting, and enters command
    /// mode.
    pub fn new(stream: UnixStream, limit: Duration) -> Result<Self, QmpError> {
        let mut qmp = Self {
            stream,
            bytes: Vec::new(),
            events: VecDeque::new(),
        };
        match qmp.read(limit)? {
            Message::Greeting { .. } => {}
            _ => return Err(QmpError::Nonsense("no greeting".into())),
        }
        qmp.execute("qmp_capabilities", json!({}), limit)?;
        Ok(qmp)
    }

    /// Executes a command, and waits for its return value.
    pub fn execute(
        &mut self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        self.stream.set_write_timeout(Some(limit))?;
        self.stream.write_all(line.as_bytes())?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.read(left) {
                Ok(Message::Return { value }) => return Ok(value),
                Ok(Message::Error { error }) => {
                    return Err(QmpError::Refused {
                        command: command.to_owned(),
                        class: error.class,
                        description: error.desc,
                    });
                }
                Ok(Message::Event(event)) => self.keep(event),
                Ok(Message::Greeting { .. }) => {
                    return Err(QmpError::Nonsense("a second greeting".into()));
                }
                Err(QmpError::TimedOut(_)) => return Err(QmpError::TimedOut(limit)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for an event that `wanted` accepts, which may have arrived before.
    /// Other events are kept for later.
    pub fn wait_event(
        &mut self,
        wanted: impl Fn(&Event) -> bool,
        limit: Duration,
    ) -> Result<Event, QmpError> {
        if let Some(index) = self.events.iter().position(&wanted)
            && let Some(event) = self.events.remove(index)
        {
            return Ok(event);
        }
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.read(left) {
                Ok(Message::Event(event)) if wanted(&event) => return Ok(event),
                Ok(Message::Event(event)) => self.keep(event),
                Ok(_) => return Err(QmpError::Nonsense("an answer to nothing".into())),
                Err(QmpError::TimedOut(_)) => return Err(QmpError::TimedOut(limit)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells QEMU to end. The caller waits for the process to see whether it
    /// does.
    pub fn quit(&mut self, limit: Duration) {
        // If writing fails, the caller kills QEMU next.
        let _ = self.stream.set_write_timeout(Some(limit));
        let _ = self.stream.write_all(b"{\"execute\":\"quit\"}\n");
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn read(&mut self, limit: Duration) -> Result<Message, QmpError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') {
                let line: Vec<_> = self.bytes.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map_err(|error| QmpError::Nonsense(error.to_string()));
            }
            match readable(&[self.stream.as_fd()], Some(deadline))? {
                WaitResult::Ready(_) => {}
                WaitResult::TimedOut => return Err(QmpError::TimedOut(limit)),
                WaitResult::Interrupted => return Err(QmpError::Interrupted),
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if self.bytes.len() > LINE_MAX {
                return Err(QmpError::Nonsense("a line that does not end".into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::thread::JoinHandle;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);
    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#;

    /// Starts a fake QEMU: after the greeting it answers each command with the
    /// next of `answers`, which may be several lines. Returns the commands that
    /// it got.
    fn fake(answers: Vec<&'static str>) -> (Result<Qmp, QmpError>, JoinHandle<Vec<Value>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = std::thread::spawn(move || {
            let mut lines = BufReader::new(&theirs).lines();
            writeln!(&theirs, "{GREETING}\r").unwrap();
            let mut commands = Vec::new();
            for answer in answers {
                let Some(Ok(line)) = lines.next() else { break };
                commands.push(serde_json::from_str(&line).unwrap());
                writeln!(&theirs, "{answer}").unwrap();
            }
            commands
        });
        (Qmp::new(ours, LIMIT), qemu)
    }

    #[test]
    fn commands_return_and_events_wait_to_be_asked_for() {
        let (qmp, qemu) = fake(vec![
            r#"{"return": {}}"#,
            "{\"event\": \"A\", \"data\": {\"id\": 1}, \"timestamp\": {}}\n{\"return\": {\"running\": true}}",
        ]);
        let mut qmp = qmp.unwrap();
        let value = qmp.execute("query-status", json!({"x": 1}), LIMIT).unwrap();
        assert_eq!(value, json!({"running": true}));
        let event = qmp.wait_event(|event| event.event == "A", LIMIT).unwrap();
        assert_eq!(event.data, json!({"id": 1}));
        let commands = qemu.join().unwrap();
        assert_eq!(commands[0]["execute"], "qmp_capabilities");
        assert_eq!(
            commands[1],
            json!({"execute": "query-status", "arguments": {"x": 1}})
        );
        let gone = qmp.wait_event(|event| event.event == "A", LIMIT);
        assert!(matches!(gone, Err(QmpError::Closed)));
    }

    #[test]
    fn a_refusal_a_hang_up_and_nonsense_are_told_apart() {
        let (qmp, _) = fake(vec![
            r#"{"return": {}}"#,
            r#"{"error": {"class": "GenericError", "desc": "no such device"}}"#,
            "what?",
        ]);
        let mut qmp = qmp.unwrap();
        let error = qmp.execute("device_del", json!({}), LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused device_del: no such device");
        let error = qmp.execute("stop", json!({}), LIMIT).unwrap_err();
        assert!(matches!(error, QmpError::Nonsense(_)), "{error}");
        let (qmp, _) = fake(vec![]);
        assert!(matches!(qmp, Err(QmpError::Closed | QmpError::Io(_))));
    }

    #[test]
    fn silence_times_out() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Qmp::new(ours, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, QmpError::TimedOut(_)), "{error}");
    }
}
