//! The kernel log: read record by record, and written to.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

use pinhole::agent::protocol::{LogAnswer, LogRecord};

use crate::failure::Failure;

/// Longest record that /dev/kmsg hands out (CONSOLE_EXT_LOG_MAX and
/// PRINTKRB_RECORD_MAX in the kernel), with room to spare.
const RECORD_MAX: usize = 16 << 10;

/// Writes `text` to the kernel log, as an error of the agent's: those a quiet
/// kernel, too, shows on its console, which is where a person looks who does
/// not hear from the agent.
pub fn say(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // Nobody to tell of a failure to tell.
        let _ = log.write_all(format!("<11>pinhole-agent: {text}\n").as_bytes());
    }
}

/// Reads the records from sequence number `since` on.
pub fn read(since: u64) -> Result<LogAnswer, Failure> {
    read_from(&mut open()?, since)
}

/// What is written to the kernel log from some moment on.
pub struct Tail(File);

impl Tail {
    /// From now on.
    pub fn open() -> Result<Self, Failure> {
        let mut log = open()?;
        log.seek(SeekFrom::End(0))
            .map_err(|error| Failure::io("seek in /dev/kmsg", error))?;
        Ok(Self(log))
    }

    /// What was written since then, or since it was last read.
    pub fn read(&mut self) -> Result<LogAnswer, Failure> {
        read_from(&mut self.0, 0)
    }
}

/// What nobody has been told as news yet.
static NEWS: Mutex<Option<Tail>> = Mutex::new(None);

/// What was written since this was last asked, or since [`start_new_records`];
/// when neither has been, all there is.
pub fn new_records() -> Result<LogAnswer, Failure> {
    let mut news = NEWS.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *news {
        Some(tail) => tail.read(),
        None => news.insert(Tail(open()?)).read(),
    }
}

/// Has [`new_records`] begin now, if nobody has asked for any yet.
pub fn start_new_records() -> Result<(), Failure> {
    let mut news = NEWS.lock().unwrap_or_else(PoisonError::into_inner);
    if news.is_none() {
        *news = Some(Tail::open()?);
    }
    Ok(())
}

fn open() -> Result<File, Failure> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg")
        .map_err(|error| Failure::io("open /dev/kmsg", error))
}

fn read_from(log: &mut File, since: u64) -> Result<LogAnswer, Failure> {
    let mut answer = LogAnswer {
        records: Vec::new(),
        next: since,
        lost: false,
    };
    let mut buffer = vec![0; RECORD_MAX];
    let mut first = true;
    loop {
        let record = match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => parse(&String::from_utf8_lossy(&buffer[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // EPIPE: the next record was overwritten while we read the last.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                answer.lost = true;
                continue;
            }
            Err(error) => return Err(Failure::io("read /dev/kmsg", error)),
        };
        let Some(record) = record else { continue };
        answer.lost |= first && since > 0 && record.sequence > since;
        first = false;
        if record.sequence >= since {
            answer.next = record.sequence.saturating_add(1);
            answer.records.push(record);
        }
    }
    Ok(answer)
}

/// A record: `priority,sequence,microseconds,flags[,...];text`, then lines that
/// begin with a blank and hold what only programs read.
fn parse(record: &str) -> Option<LogRecord> {
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let time_us = fields.next()?.parse().ok()?;
    Some(LogRecord {
        sequence,
        level: (priority & 7) as u8,
        facility: priority >> 3,
        time_us,
        text: unescape(rest.lines().next().unwrap_or_default()),
    })
}

/// The kernel writes what is not printable as `\xHH`; lines of a message of
/// several lines come as one with `\x0a` between.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = tail
            .strip_prefix(b"x")
            .and_then(|tail| tail.get(..2))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(value) if byte == b'\\' => {
                bytes.push(value);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_apart() {
        let record = "12,339,5140900,-,caller=T1;two\\x0alines \\x5cx and \\q\n SUBSYSTEM=x\n";
        assert_eq!(
            parse(record),
            Some(LogRecord {
                sequence: 339,
                level: 4,
                facility: 1,
                time_us: 5_140_900,
                text: "two\nlines \\x and \\q".into(),
            })
        );
    }

    #[test]
    fn what_is_no_record_is_none() {
        for bad in ["", ";", "6,1;x", "a,b,c,d;x", "6,1,2,-"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
