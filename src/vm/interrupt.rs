//! SIGINT and SIGTERM as an event that can be polled for.
//!
//! The first call of [`watch`] takes both signals over for the whole process.
//! They no longer end the process; they make [`requested`] true and the
//! descriptor of [`watch`] readable, for good. Code that waits for a long time
//! polls that descriptor too, and unwinds, so that the `Drop` of each owner
//! cleans up its temporary files and processes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

static WATCH: OnceLock<Result<UnixStream, io::ErrorKind>> = OnceLock::new();

/// Takes over SIGINT and SIGTERM at the first call. Returns a descriptor that
/// is readable once one of them has arrived. Nobody reads from it, so that it
/// stays readable for every poller.
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

/// Returns whether SIGINT or SIGTERM has arrived since [`watch`] was first
/// called.
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
