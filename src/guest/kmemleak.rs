//! Memory that the kernel has leaked, as found by kmemleak
//! (Documentation/dev-tools/kmemleak.rst, mm/kmemleak.c).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::agent::cell::instruments::LeakSeen;
use crate::agent::checks::LeaksAnswer;

use crate::guest::failure::Failure;

const FILE: &str = "/sys/kernel/debug/kmemleak";

/// Least age of an object that kmemleak reports (MSECS_MIN_AGE), plus one tick
/// of the slowest clock.
const MIN_AGE: Duration = Duration::from_millis(5_010);

/// Largest number of objects in an answer.
const MOST: usize = 64;

/// Largest number of functions in a backtrace; the kernel keeps no more
/// (MAX_TRACE).
const DEEPEST: usize = 32;

/// Returns whether kmemleak works; once it could not record an allocation it
/// stops for good. The call also stops kmemleak's automatic scans, so that it
/// finds nothing before it is asked.
pub fn is_on() -> io::Result<bool> {
    match command("scan=off") {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether this kernel has kmemleak.
pub fn is_there() -> bool {
    Path::new(FILE).exists()
}

/// Returns the leaks so far, and clears them.
pub fn look() -> Result<LeaksAnswer, Failure> {
    let failed = |what| move |error| Failure::io(format_args!("{what} {FILE}"), error);
    let begin = Instant::now();
    // The first scan only takes the checksum of an object: one that changes
    // between two scans is in use.
    command("scan").map_err(failed("scan by"))?;
    // The delay is necessary: kmemleak does not report younger objects.
    std::thread::sleep(MIN_AGE.saturating_sub(begin.elapsed()));
    command("scan").map_err(failed("scan by"))?;
    let text = fs::read(FILE).map_err(failed("read"))?;
    let mut leaks = parse(&String::from_utf8_lossy(&text));
    command("clear").map_err(failed("clear"))?;
    let more = leaks.len().saturating_sub(MOST) as u64;
    leaks.truncate(MOST);
    Ok(LeaksAnswer {
        leaks,
        more,
        elapsed_ms: begin.elapsed().as_millis() as u64,
    })
}

fn command(command: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(FILE)?;
    file.write_all(command.as_bytes())
}

/// Parses the objects in the file, as written by print_unreferenced(): a line
/// that begins an object, a line about its allocation, a dump of its first
/// bytes, a backtrace.
fn parse(text: &str) -> Vec<LeakSeen> {
    let mut leaks: Vec<LeakSeen> = Vec::new();
    let mut in_trace = false;
    for line in text.lines() {
        if line.starts_with("unreferenced object") {
            leaks.push(LeakSeen {
                size: between(line, "(size ", ")").unwrap_or_default(),
                ..LeakSeen::default()
            });
            in_trace = false;
            continue;
        }
        let Some(leak) = leaks.last_mut() else {
            continue;
        };
        let line = line.trim_start();
        if let Some((comm, rest)) = line
            .strip_prefix("comm \"")
            .and_then(|line| line.rsplit_once("\", pid "))
        {
            leak.comm = comm.to_owned();
            leak.pid = between(rest, "", ",").unwrap_or_default();
            // Before Linux 6.10 the object's age follows.
            let ticks = rest.split_once("jiffies ").map_or("", |(_, ticks)| ticks);
            leak.jiffies = between(ticks, "", " ").unwrap_or_default();
        } else if line.starts_with("backtrace") {
            in_trace = true;
        } else if in_trace && leak.trace.len() < DEEPEST {
            leak.trace.push(function(line).to_owned());
        }
    }
    leaks
}

/// Returns the number between two texts, or after the first at the end of the
/// line.
fn between<T: std::str::FromStr>(line: &str, before: &str, after: &str) -> Option<T> {
    let (_, rest) = line.split_once(before)?;
    let number = rest.split_once(after).map_or(rest, |(number, _)| number);
    number.parse().ok()
}

/// Returns the place in a line of a backtrace, without the address that
/// precedes it before Linux 5.15.
fn function(line: &str) -> &str {
    match line.split_once("] ") {
        Some((address, function)) if address.starts_with("[<") => function,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_with_who_allocated_it() {
        let text = "\
unreferenced object 0xffff888003c2a000 (size 192):
  comm \"v4l2\", pid 7\", pid 88, jiffies 4294904999
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 22 01 00 00 00 00 ad de  ........\".......
  backtrace (crc 5f2c1d2):
    __kmalloc_cache_noprof+0x2a0/0x3c0
    pinhole_cmd_alloc+0x40/0x1a0 [pinhole]
unreferenced object 0xffff888003c2b000 (size 64):
  comm \"kworker/0:1\", pid 9, jiffies 4294905001 (age 12.345s)
  backtrace:
    [<00000000a1b2c3d4>] kmem_cache_alloc_trace+0x2a0/0x3c0
";
        let first = LeakSeen {
            size: 192,
            comm: "v4l2\", pid 7".into(),
            pid: 88,
            jiffies: 4_294_904_999,
            trace: vec![
                "__kmalloc_cache_noprof+0x2a0/0x3c0".into(),
                "pinhole_cmd_alloc+0x40/0x1a0 [pinhole]".into(),
            ],
            again: None,
        };
        let leaks = parse(text);
        assert_eq!(leaks[0], first);
        assert_eq!(leaks.len(), 2);
        assert_eq!((leaks[1].pid, leaks[1].jiffies), (9, 4_294_905_001));
        assert_eq!(leaks[1].trace, ["kmem_cache_alloc_trace+0x2a0/0x3c0"]);
    }

    #[test]
    fn nothing_lost_is_an_empty_file() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("garbage\n  backtrace:\n"), []);
    }
}
