//! Commands, and their memory.

use std::ops::Range;
use std::time::Instant;

use super::super::fault::{Anomaly, Fault};
use super::super::log::hex;
use super::super::queue::{Descriptor, Piece, Used};
use super::super::v4l2::{
    self, CMD_CLOSE, CMD_IOCTL, CMD_MMAP, CMD_MUNMAP, CMD_OPEN, Fields, Ioctl, RESPONSE,
};
use super::{Chains, Driver, HEAP_END, HEAP_START, Reply, UNWRITTEN};

impl Driver {
    /// A piece of the heap. Addresses are as odd as can be: a device may not
    /// expect any alignment of buffers.
    ///
    /// # Panics
    /// It is longer than the heap.
    pub fn allocate(&mut self, len: usize) -> u64 {
        let len = len as u64;
        assert!(len < HEAP_END - HEAP_START, "{len} bytes of a small heap");
        if self.heap + len + 2 > HEAP_END {
            self.heap = HEAP_START;
        }
        let address = self.heap | 1;
        self.heap = address + len + 1;
        address
    }

    /// Returns a piece of the heap that holds `bytes`, for the device to read.
    pub fn readable(&mut self, bytes: &[u8]) -> Piece {
        let address = self.allocate(bytes.len());
        self.memory.write(address, bytes);
        Piece {
            address,
            len: bytes.len() as u32,
            writable: false,
        }
    }

    /// Returns a piece of the heap that holds `bytes`, for the device to write.
    pub fn writable(&mut self, bytes: &[u8]) -> Piece {
        Piece {
            writable: true,
            ..self.readable(bytes)
        }
    }

    /// Gives the device a command; [`wait`](Self::wait) has the answer.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn submit(&mut self, readable: &[u8], writable: usize) -> Result<u16, Fault> {
        let mut pieces = Vec::new();
        for part in self.cut(readable.len()) {
            pieces.push(self.readable(&readable[part]));
        }
        for part in self.cut(writable) {
            pieces.push(self.writable(&vec![UNWRITTEN; part.len()]));
        }
        self.note_command(readable, writable);
        let table = (self.options.chains == Chains::Indirect).then(|| self.table(pieces.len()));
        self.commands.submit(&mut self.memory, &pieces, table)
    }

    /// Notes a command in the log.
    pub fn note_command(&self, readable: &[u8], writable: usize) {
        let name = || name(readable);
        self.log
            .note(|| format!("> {} (room for {writable}): {}", name(), hex(readable)));
    }

    /// Returns a place for an indirect table of that many descriptors.
    pub fn table(&mut self, descriptors: usize) -> u64 {
        let len = descriptors * Descriptor::BYTES as usize;
        // Tables are aligned to their entries (VIRTIO 1.4, 2.7.5.3).
        self.allocate(len + 16).next_multiple_of(16)
    }

    /// How a part of a chain is cut into descriptors.
    fn cut(&self, len: usize) -> Vec<Range<usize>> {
        let ends: &[usize] = match self.options.chains {
            Chains::Plain => &[],
            Chains::Split | Chains::Indirect => &[1, 7, 9, 21, 100, 101],
        };
        let mut start = 0;
        let mut parts = Vec::new();
        for end in ends.iter().copied().filter(|&end| end < len).chain([len]) {
            if start < end {
                parts.push(start..end);
            }
            start = end;
        }
        parts
    }

    /// Waits for the answer to a command.
    ///
    /// # Errors
    /// [`Fault::NoAnswer`] if there is none, [`Fault::UsedHead`] if the used ring
    /// is nonsense.
    pub fn wait(&mut self, ticket: u16) -> Result<Reply, Fault> {
        let deadline = Instant::now() + self.options.limit;
        loop {
            if let Some(reply) = self.replies.remove(&ticket) {
                return Ok(reply);
            }
            let relies = self.options.relies_on_calls;
            let used = self
                .commands
                .wait_used(&mut self.memory, deadline, relies)?;
            let used = used.ok_or_else(|| Fault::NoAnswer {
                what: "answer to the command".into(),
                limit: self.options.limit,
            })?;
            self.take_answer(used);
        }
    }

    pub(super) fn take_answer(&mut self, used: Used) {
        if used.by_hand {
            self.strays.push((used.head, used.len));
        } else {
            let head = used.head;
            let reply = self.reply(used);
            self.log.note(|| match reply.status() {
                Some(status) => format!("< status {status}: {}", hex(&reply.bytes)),
                None => format!("< {} bytes: {}", reply.bytes.len(), hex(&reply.bytes)),
            });
            self.replies.insert(head, reply);
        }
    }

    /// Gives the device a command and waits for its answer.
    ///
    /// # Errors
    /// As [`submit`](Self::submit) and [`wait`](Self::wait).
    pub fn command(&mut self, readable: &[u8], writable: usize) -> Result<Reply, Fault> {
        let ticket = self.submit(readable, writable)?;
        self.wait(ticket)
    }

    /// Gives the device a chain of those pieces, with an indirect table if there
    /// is one, and waits for its answer.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn chain(&mut self, pieces: &[Piece], table: Option<u64>) -> Result<Reply, Fault> {
        let ticket = self.commands.submit(&mut self.memory, pieces, table)?;
        self.wait(ticket)
    }

    /// What the device wrote into a chain.
    pub(super) fn reply(&mut self, used: Used) -> Reply {
        let mut bytes = self.memory.gather(&used.writable);
        self.memory.accept_segments(&used.writable);
        let written = used.len as usize;
        if written > bytes.len() {
            self.note_anomaly(Anomaly::Overlong {
                used: used.len,
                room: bytes.len(),
            });
        } else if bytes[written..].iter().any(|&byte| byte != UNWRITTEN) {
            self.note_anomaly(Anomaly::Beyond {
                used: used.len,
                bytes: bytes.clone(),
            });
        }
        bytes.truncate(written);
        Reply { bytes }
    }

    /// Runs an ioctl with that payload and whatever comes after it; the inner
    /// error is its errno.
    ///
    /// # Errors
    /// As [`command`](Self::command), and [`Fault::NoResponse`].
    pub fn ioctl_with(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        payload: &[u8],
    ) -> Result<Result<Vec<u8>, u32>, Fault> {
        let answer = if ioctl.answered { ioctl.size } else { 0 };
        let reply = self.command(
            &v4l2::ioctl_command(session, ioctl.code, payload),
            RESPONSE + answer,
        )?;
        let status = reply.status().ok_or_else(|| Fault::NoResponse {
            command: ioctl.name.into(),
            bytes: reply.bytes.len(),
        })?;
        let command = || ioctl.name.to_owned();
        let reserved = reply.bytes.le32(4);
        if reserved != 0 {
            self.note_anomaly(Anomaly::Reserved {
                command: command(),
                value: reserved,
            });
        }
        if status == 0 {
            let mut payload = reply.payload().to_vec();
            if payload.len() != answer {
                self.note_anomaly(Anomaly::Short {
                    what: format!("the payload of {}", ioctl.name),
                    bytes: payload.len(),
                    whole: answer,
                });
                payload.resize(answer, 0);
            }
            return Ok(Ok(payload));
        }
        if !is_errno(status) {
            self.note_anomaly(Anomaly::NoErrno {
                command: command(),
                status,
            });
        }
        Ok(Err(status))
    }

    /// Runs an ioctl whose payload is that.
    ///
    /// # Errors
    /// As [`ioctl_with`](Self::ioctl_with).
    ///
    /// # Panics
    /// The payload is not of the ioctl's size.
    pub fn ioctl(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        payload: &[u8],
    ) -> Result<Result<Vec<u8>, u32>, Fault> {
        let given = if ioctl.given { ioctl.size } else { 0 };
        assert_eq!(payload.len(), given, "{ioctl:?}");
        self.ioctl_with(session, ioctl, payload)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// As [`command`](Self::command), and [`Fault::Refused`].
    pub fn open(&mut self) -> Result<u32, Fault> {
        let reply = self.command(&v4l2::command(CMD_OPEN), 16)?;
        let command = || "OPEN".to_owned();
        match reply.status() {
            Some(0) => {}
            Some(errno) => {
                return Err(Fault::Refused {
                    command: command(),
                    errno,
                });
            }
            None => {
                return Err(Fault::NoResponse {
                    command: command(),
                    bytes: reply.bytes.len(),
                });
            }
        }
        if reply.bytes.len() != 16 {
            self.note_anomaly(Anomaly::Short {
                what: "the answer to OPEN".into(),
                bytes: reply.bytes.len(),
                whole: 16,
            });
        }
        if reply.bytes.le32(12) != 0 {
            self.note_anomaly(Anomaly::Reserved {
                command: command(),
                value: reply.bytes.le32(12),
            });
        }
        Ok(reply.bytes.le32(8))
    }

    /// Closes a session, and returns how much the device wrote: there is no
    /// response to write.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn close(&mut self, session: u32) -> Result<Reply, Fault> {
        self.command(&v4l2::close_command(session), 0)
    }
}

/// Returns whether a status is an errno of Linux (MAX_ERRNO in
/// include/linux/err.h).
pub fn is_errno(status: u32) -> bool {
    (1..=4095).contains(&status)
}

/// Returns the name of a command, for the log.
fn name(command: &[u8]) -> String {
    match command.le32(0) {
        CMD_OPEN => "OPEN".into(),
        CMD_CLOSE => format!("CLOSE {}", command.le32(8)),
        CMD_IOCTL => {
            let (session, code) = (command.le32(8), command.le32(12));
            match v4l2::NAMES.iter().find(|ioctl| ioctl.code == code) {
                Some(ioctl) => format!("{} of session {session}", ioctl.name),
                None => format!("ioctl {code:#x} of session {session}"),
            }
        }
        CMD_MMAP => "MMAP".into(),
        CMD_MUNMAP => "MUNMAP".into(),
        cmd => format!("command {cmd:#x}"),
    }
}
