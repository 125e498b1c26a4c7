//! The response to a command, bounded by the writable bytes of its chain.

use zerocopy::little_endian::U32;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::Errno;
use super::protocol::ResponseHeader;

/// A response as it will lie in the writable part of a chain. One `Reply`
/// serves all commands, so that its memory is allocated once.
#[derive(Debug, Default)]
pub struct Reply {
    bytes: Vec<u8>,
    capacity: usize,
}

impl Reply {
    /// Begins the response to a command whose chain has `capacity` writable
    /// bytes. The response is empty until [`succeed`](Self::succeed) or
    /// [`fail`](Self::fail) is called.
    pub fn begin(&mut self, capacity: usize) {
        self.bytes.clear();
        self.capacity = capacity;
    }

    /// Returns whether a response header and `payload` bytes fit. The caller
    /// asks before the command changes anything: a command that cannot be
    /// answered must have no effect.
    pub fn has_room_for(&self, payload: usize) -> bool {
        self.capacity >= size_of::<ResponseHeader>() + payload
    }

    /// Answers with success and `payload`. The caller has checked that both
    /// fit. If the chain has no writable bytes at all (CLOSE needs no
    /// response), the response stays empty.
    pub fn succeed<T: IntoBytes + Immutable + ?Sized>(&mut self, payload: &T) {
        self.header(0);
        if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(payload.as_bytes());
        }
        debug_assert!(self.bytes.len() <= self.capacity);
    }

    /// Does the same as [`succeed`](Self::succeed), with `array` after the
    /// payload.
    pub fn succeed_with<T, U>(&mut self, payload: &T, array: &[U])
    where
        T: IntoBytes + Immutable,
        U: IntoBytes + Immutable,
    {
        self.succeed(payload);
        if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(array.as_bytes());
        }
        debug_assert!(self.bytes.len() <= self.capacity);
    }

    /// Answers with an error. An empty response becomes the header alone, if it
    /// fits. A response that was begun keeps its payload, which may say what is
    /// wrong, and gets `errno` as its status.
    pub fn fail(&mut self, errno: Errno) {
        match self.bytes.first_chunk_mut() {
            Some(status) => *status = U32::from(errno.0).to_bytes(),
            None => self.header(errno.0),
        }
    }

    /// Returns the bytes to write to the chain.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn header(&mut self, status: u32) {
        self.bytes.clear();
        if self.has_room_for(0) {
            let header = ResponseHeader {
                status: status.into(),
                ..FromZeros::new_zeroed()
            };
            self.bytes.extend_from_slice(header.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_never_exceeds_the_chain() {
        let mut reply = Reply::default();
        for capacity in 0..8 {
            reply.begin(capacity);
            assert!(!reply.has_room_for(0));
            reply.fail(Errno::EINVAL);
            assert_eq!(reply.bytes(), [0u8; 0]);
            reply.succeed(&[0u8; 0]);
            assert_eq!(reply.bytes(), [0u8; 0]);
        }
        reply.begin(12);
        assert!(reply.has_room_for(4) && !reply.has_room_for(5));
        reply.succeed(&[1u8, 2, 3, 4]);
        assert_eq!(reply.bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        reply.fail(Errno::EINVAL);
        assert_eq!(reply.bytes(), [22, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        reply.begin(12);
        reply.fail(Errno::EINVAL);
        assert_eq!(reply.bytes(), [22, 0, 0, 0, 0, 0, 0, 0]);
        reply.begin(12);
        reply.succeed_with(&[1u8, 2], &[3u8, 4]);
        assert_eq!(reply.bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    }
}
