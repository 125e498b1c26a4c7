//! The kernel log: reading its records, and writing to it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

use crate::agent::protocol::{LogAnswer, LogRecord};

use crate::guest::failure::Failure;

/// Longest record that /dev/kmsg returns (CONSOLE_EXT_LOG_MAX and
/// PRINTKRB_RECORD_MAX in the kernel), with a margin.
const RECORD_MAX: usize = 16 << 10;

/// Writes `text` to the kernel log, as an error of the agent. Even a quiet
/// kernel shows errors on its console, where a user looks if the agent does not
/// answer.
pub fn say(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // A failure to write cannot be reported anywhere.
        let _ = log.write_all(format!("<11>pinhole-agent: {text}\n").as_bytes());
    }
}

/// Returns the records from sequence number `since` on.
pub fn read(since: u64) -> Result<LogAnswer, Failure> {
    read_from(&mut open()?, since)
}

/// The records that are written to the kernel log from some moment on.
pub struct Tail(File);

impl Tail {
    /// Starts with the records written from now on.
    pub fn open() -> Result<Self, Failure> {
        let mut log = open()?;
        log.seek(SeekFrom::End(0))
            .map_err(|error| Failure::io("seek in /dev/kmsg", error))?;
        Ok(Self(log))
    }

    /// Returns the records written since then, or since the last call.
    pub fn read(&mut self) -> Result<LogAnswer, Failure> {
        read_from(&mut self.0, 0)
    }
}

/// The records that no request has returned yet.
static NEW_RECORDS: Mutex<Option<Tail>> = Mutex::new(None);

/// Returns the records written since the last call, or since
/// [`start_new_records`]; all records if neither was called.
pub fn new_records() -> Result<LogAnswer, Failure> {
    let mut tail = NEW_RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *tail {
        Some(tail) => tail.read(),
        None => tail.insert(Tail(open()?)).read(),
    }
}

/// Lets [`new_records`] start now, if it was not called yet.
pub fn start_new_records() -> Result<(), Failure> {
    let mut tail = NEW_RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.is_none() {
        *tail = Some(Tail::open()?);
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
            // EPIPE: the next record was overwritten since the last one was
            // read.
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

/// Parses a record: `priority,sequence,microseconds,flags[,...];text`, then
/// lines that begin with a blank and are only for programs.
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

/// Decodes a record's text. The kernel writes unprintable characters as `\xHH`;
/// a message of several lines is one line with `\x0a` between them.
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
