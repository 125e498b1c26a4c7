//! Where in physical memory a file lies.

use std::fs::File;
use std::os::fd::AsFd;

use crate::agent::cell::PAGE;
use crate::agent::cell::pagemap::frame;
use crate::agent::protocol::{Locate, Location, Segment};

use crate::guest::cell::pagemap;
use crate::guest::cell::span;
use crate::guest::failure::Failure;

/// Returns where part of a file lies.
pub fn locate(request: &Locate) -> Result<Location, Failure> {
    let what = || format!("locate {}", request.path);
    let failed = |error| Failure::io(what(), error);
    let file = File::open(&request.path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let bytes = length.saturating_sub(request.from).min(request.limit);
    if bytes == 0 {
        return Ok(Location::default());
    }
    let (from, len) = match (usize::try_from(request.from), usize::try_from(bytes)) {
        (Ok(from), Ok(len)) => (from, len),
        _ => return Err(Failure::new(format!("{}: it is too long", what()))),
    };
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    let mapped = span::map_file(len, libc::PROT_READ, flags, file.as_fd(), from);
    let mapped = mapped.map_err(failed)?;
    let entries = pagemap::entries(mapped);
    span::unmap(mapped).map_err(failed)?;
    let segments = segments(&entries.map_err(failed)?, bytes);
    let segments = segments.ok_or_else(|| Failure::new(format!("{}: not in memory", what())))?;
    Ok(Location { segments })
}

/// Returns the segments of `bytes` bytes, given the entries of /proc/PID/pagemap
/// for their pages; `None` if a page is not present, or the kernel does not tell
/// its frame (it tells 0).
fn segments(entries: &[u64], bytes: u64) -> Option<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut left = bytes;
    for &entry in entries {
        let start = frame(entry).filter(|frame| *frame > 0)? * PAGE as u64;
        let bytes = left.min(PAGE as u64);
        left -= bytes;
        match segments.last_mut() {
            Some(last) if last.start + last.bytes == start => last.bytes += bytes,
            _ => segments.push(Segment { start, bytes }),
        }
    }
    (left == 0).then_some(segments)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PRESENT: u64 = 1 << 63;

    #[test]
    fn neighbours_are_one_segment_and_the_last_page_counts_in_part() {
        let entries = [7, 8, 3, 4, 9].map(|frame| PRESENT | frame);
        let page = PAGE as u64;
        let expected = [(7, 2 * page), (3, 2 * page), (9, 100)];
        let expected = expected.map(|(frame, bytes)| Segment {
            start: frame * page,
            bytes,
        });
        assert_eq!(segments(&entries, 4 * page + 100).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_has_no_segments() {
        let page = PAGE as u64;
        assert_eq!(segments(&[PRESENT | 7, 8], 2 * page), None, "not present");
        assert_eq!(segments(&[PRESENT], page), None, "no frame");
        assert_eq!(segments(&[PRESENT | 7], page + 1), None, "too few");
    }

    #[test]
    fn a_part_behind_the_end_is_empty_and_a_missing_file_is_an_error() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 10]).unwrap();
        let ask = |path: &str, from| {
            locate(&Locate {
                path: path.to_owned(),
                from,
                limit: 1 << 30,
            })
        };
        let path = file.path().to_str().unwrap();
        assert_eq!(ask(path, PAGE as u64).unwrap(), Location::default());
        let error = ask("/no/such/file", 0).unwrap_err();
        assert_eq!(error.errno, Some(libc::ENOENT));
    }
}
