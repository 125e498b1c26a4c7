//! A relay that serves a socket that is already connected.
//!
//! `vhost-user-backend` accepts connections itself and does not take an
//! existing one. So the daemon lets it accept a connection made for the
//! purpose, and the relay forwards the messages of the given socket, file
//! descriptors included. Only vhost-user messages pass through the relay;
//! kicks, interrupts and memory do not.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Largest number of file descriptors in one message; vhost-user has 8.
const MAX_FDS: usize = 32;

/// Number of bytes forwarded at once; most messages are shorter.
const CHUNK: usize = 4096;

/// A connection to a front end, and a listening socket with a pending
/// connection from the relay's own back end.
#[derive(Debug)]
pub struct Relay {
    front_end: UnixStream,
    back_end: UnixStream,
    listener: UnixListener,
}

impl Relay {
    /// Prepares the relay. This needs the file system for a moment; no later
    /// step does.
    pub fn new(front_end: UnixStream) -> io::Result<Self> {
        // No other user can enter the directory.
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("relay");
        let listener = UnixListener::bind(&path)?;
        let back_end = UnixStream::connect(&path)?;
        Ok(Self {
            front_end,
            back_end,
            listener,
        })
    }

    /// Starts to forward messages, and returns the listening socket.
    ///
    /// The threads that forward end when either side closes.
    pub(super) fn start(self) -> io::Result<UnixListener> {
        let Self {
            front_end,
            back_end,
            listener,
        } = self;
        for (from, to) in [
            (front_end.try_clone()?, back_end.try_clone()?),
            (back_end, front_end),
        ] {
            thread::Builder::new()
                .name("relay".into())
                .spawn(move || pass_on(&from, &to))?;
        }
        Ok(listener)
    }
}

/// Forwards all data from one socket to the other, then closes both.
fn pass_on(from: &UnixStream, to: &UnixStream) {
    loop {
        match pass_on_some(from, to) {
            Ok(true) => (),
            Ok(false) => break,
            Err(error) => {
                log::debug!("the relay ends: {error}");
                break;
            }
        }
    }
    for socket in [from, to] {
        // The other direction may have closed them already.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

/// Forwards the next data. Returns false at the end of the stream.
fn pass_on_some(from: &UnixStream, to: &UnixStream) -> io::Result<bool> {
    let mut bytes = [0; CHUNK];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg(from, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => (),
            other => break other?.bytes,
        }
    };
    let fds: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if received == 0 {
        return Ok(false);
    }
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut rest = &bytes[..received];
    let mut first = true;
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        // The file descriptors go with the first bytes, as they came.
        if first && !borrowed.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
        }
        match sendmsg(
            to,
            &[IoSlice::new(rest)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => {
                rest = &rest[sent..];
                first = false;
            }
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn bytes_and_file_descriptors_pass_both_ways_and_the_end_too() {
        let (front, given) = UnixStream::pair().unwrap();
        let listener = Relay::new(given).unwrap().start().unwrap();
        let (back, _) = listener.accept().unwrap();
        for (from, to) in [(&front, &back), (&back, &front)] {
            let (mut near, far) = UnixStream::pair().unwrap();
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let fds = [far.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            let slices = [IoSlice::new(b"take this")];
            sendmsg(from, &slices, &mut ancillary, SendFlags::empty()).unwrap();
            drop(far);

            let mut bytes = [0; 9];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut bytes)];
            recvmsg(to, &mut slices, &mut ancillary, RecvFlags::empty()).unwrap();
            assert_eq!(&bytes, b"take this");
            let Some(RecvAncillaryMessage::ScmRights(mut fds)) = ancillary.drain().next() else {
                panic!("no file descriptor came with it")
            };
            let mut far = UnixStream::from(fds.next().unwrap());
            far.write_all(b"x").unwrap();
            let mut byte = [0];
            near.read_exact(&mut byte).unwrap();
        }
        drop(front);
        assert_eq!((&back).read(&mut [0]).unwrap(), 0);
    }
}
