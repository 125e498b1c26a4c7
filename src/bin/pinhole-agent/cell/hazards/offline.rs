//! A block of memory goes offline, as before a module of it is pulled out.
//!
//! The kernel empties the block first, by migration, which only works where
//! all in it can move: in ZONE_MOVABLE. Without such a zone it refuses, because
//! of its own memory there; with `kernelcore=504M` a guest of a gigabyte has
//! one, which begins with a block of memory. A page there that is pinned would
//! stay in the way for ever. So since Linux 5.13 a long-term pin moves the page
//! out of that zone first: the block where the page was may go, and the one
//! where it is now may not. Linux 5.10 pins it where it is, and tries for ever
//! to empty its block. One in which two zones or two nodes meet never goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pinhole::agent::cell::PAGE;
use pinhole::agent::cell::evidence::{Moment, PagesSeen};

use super::context::HazardContext;
use crate::cell::{Stop, pagemap, patience};

const BLOCKS: &str = "/sys/devices/system/memory";

/// How many pages of hugetlb there are: those in a block go with it.
const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

/// How long the kernel tries to empty a block: it would try for ever.
const LIMIT: Duration = Duration::from_millis(400);

/// The block that the buffer's first page was in when it was laid out is to go
/// offline, and the one that it is in now.
pub fn offline(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let now = pagemap::look(Moment::AfterHazard, context.layout.buffer)?;
    let first = |seen: &PagesSeen| seen.frames().flatten().next();
    let frames = [first(context.laid_out), first(&now)];
    if frames == [None, None] {
        return Err(Stop::Impossible("no page of the buffer is present".into()));
    }
    let size = fs::read_to_string(format!("{BLOCKS}/block_size_bytes"))?;
    let size = u64::from_str_radix(size.trim(), 16)
        .map_err(|error| Stop::Failed(format!("block_size_bytes: {error}")))?;
    let [was_in, is_in] = frames.map(|frame| Some(frame? * PAGE as u64 / size.max(1)));
    let huge_pages = fs::read_to_string(HUGE_PAGES)?;
    for block in BTreeSet::from([was_in, is_in]).into_iter().flatten() {
        let what = match is_in == Some(block) {
            true => "where the first page is",
            false => "where the first page was before it was pinned",
        };
        let came = try_one(block)?;
        context
            .writer
            .note(format!("memory block {block}, {what}: {came}"));
    }
    fs::write(HUGE_PAGES, huge_pages.trim())?;
    Ok(())
}

/// Has another process try, as the kernel tries until it succeeds or the
/// process is killed. The block is online again afterwards.
fn try_one(block: u64) -> Result<String, Stop> {
    let state = format!("{BLOCKS}/memory{block}/state");
    if !Path::new(&state).exists() {
        return Err(Stop::Impossible(format!("there is no {state}")));
    }
    let zones = fs::read_to_string(format!("{BLOCKS}/memory{block}/valid_zones"));
    let zones = zones.unwrap_or_default();
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "echo offline >$0", &state])
        .stderr(Stdio::piped())
        .spawn()?;
    let begin = Instant::now();
    let mut tries = true;
    while tries && begin.elapsed() < patience::of(LIMIT) {
        std::thread::sleep(Duration::from_millis(5));
        tries = writer.try_wait()?.is_none();
    }
    if tries {
        writer.kill()?;
    }
    let said = String::from_utf8_lossy(&writer.wait_with_output()?.stderr).into_owned();
    let went = fs::read_to_string(&state)?.trim() == "offline";
    if went {
        fs::write(&state, "online_movable")?;
    }
    let came = match (went, tries) {
        (true, _) => "it went",
        (false, true) => "it could not be emptied",
        (false, false) => said.trim(),
    };
    Ok(format!("zones {}, {came}", zones.trim()))
}
