//! The server on a machine that is no guest of Pinhole's.

use std::io;
use std::os::unix::net::UnixStream;

use crate::agent::cell::Scope;
use crate::guest::children::Children;
use crate::guest::hello::hello;
use crate::guest::server::Server;

/// Serves the requests of [`crate::agent::protocol`] on this machine, in a thread of
/// this process; returns the other end of the channel. The service ends when that is
/// closed, or is told to power the machine off, which it does not do; what requests run
/// then is killed, as it is when this process dies. Cells have the scope of a machine,
/// and no module is loaded or unloaded, nor is memory swept or searched for leaks.
///
/// Requests run this program again (/proc/self/exe), which must call
/// [`apart`](crate::guest::apart) before anything else.
///
/// # Errors
///
/// An error of socketpair(2), or of the thread's start.
pub fn serve_here() -> io::Result<UnixStream> {
    let (host, machine) = UnixStream::pair()?;
    let output = machine.try_clone()?;
    let server = Server::new(Children::start(), Scope::Machine);
    let serve = move || {
        // Who closed the channel knows that it is closed.
        let _ = server.serve(hello(&[]), machine, output);
        server.end_all();
    };
    std::thread::Builder::new().spawn(serve)?;
    Ok(host)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use crate::agent::protocol::{PowerOff, Run, Unload};
    use crate::vm::channel::{Agent, Update};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn this_machine_is_served_and_left_on() {
        let agent = Agent::new(serve_here().unwrap()).unwrap();
        let hello = agent.hello(LIMIT).unwrap();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(hello.release, release.trim());
        assert!(hello.uptime_ms > 0);
        let answer = agent.call(Run::new(["echo", "here"]), LIMIT).unwrap();
        assert_eq!(answer.stdout, "here\n");
        let module = "pinhole-no-such-module".to_owned();
        let refused = agent.call(Unload { module }, LIMIT).unwrap_err();
        assert!(refused.to_string().contains("is no guest"), "{refused}");
        agent.call(PowerOff {}, LIMIT).unwrap();
        assert!(agent.call(Run::new(["true"]), LIMIT).is_err());
    }

    #[test]
    fn what_runs_ends_with_the_channel() {
        let agent = Agent::new(serve_here().unwrap()).unwrap();
        let request = Run {
            stream: true,
            ..Run::new(["sh", "-c", "echo $$; exec sleep 100"])
        };
        let pending = agent.start(request).unwrap();
        let pid = match pending.next(LIMIT).unwrap() {
            Update::Line(line) => line.text.text().trim().to_owned(),
            other => panic!("{other:?}"),
        };
        drop(pending);
        drop(agent);
        let process = Path::new("/proc").join(pid);
        let deadline = Instant::now() + LIMIT;
        while process.exists() {
            assert!(Instant::now() < deadline, "{} is there", process.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
