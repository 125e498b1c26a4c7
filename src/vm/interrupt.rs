//! SIGINT and SIGTERM, as something that can be waited for.
//!
//! The first call of [`watch`] takes both signals over for the whole process:
//! they no longer end it, they make [`requested`] true and [`watch`]'s
//! descriptor readable, for good. Whoever waits for something long polls that
//! descriptor too, and unwinds, so that every temporary thing is cleaned up by
//! its owner's `Drop`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

static WATCH: OnceLock<Result<UnixStream, io::ErrorKind>> = OnceLock::new();

/// Takes over SIGINT and SIGTERM, the first time; returns a descriptor that is
/// readable once one of them came. Nobody reads from it, so that it stays so
/// for all who poll it.
pub fn watch() -> io::Result<BorrowedFd<'static>> {
    let watch = WATCH.get_or_init(|| {
        let register = || {
            let (read, write) = UnixStream::pair()?;
            signal_hook::low_level::pipe::register(SIGINT, write.try_clone()?)?;
            signal_hook::low_level::pipe::register(SIGTERM, write)?;
            Ok(read)
        };
        register().map_err(|error: io::Error| error.kind())
    });
    match watch {
        Ok(stream) => Ok(stream.as_fd()),
        Err(kind) => Err(io::Error::from(*kind)),
    }
}

/// True once SIGINT or SIGTERM came, if anyone watches.
pub fn requested() -> bool {
    let Some(Ok(stream)) = WATCH.get() else {
        return false;
    };
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut fds, Some(&now)), Ok(1))
}
