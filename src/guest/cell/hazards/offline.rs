//! The hazard of a memory block that goes offline, as before a memory module is
//! removed.
//!
//! The kernel empties the block first, by migration. That only works if
//! everything in it can move: in ZONE_MOVABLE. Without such a zone the kernel
//! refuses, because its own memory is in the block; with `kernelcore=504M` a
//! guest of a gigabyte has one, which begins at a block boundary. A pinned page
//! in the zone would block it for ever. So since Linux 5.13 a long-term pin
//! moves the page out of that zone first: the block in which the page was can
//! go offline, and the block in which it is now cannot. Linux 5.10 pins the
//! page where it is, and tries for ever to empty its block. A block in which
//! two zones or two nodes meet never goes offline.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{Moment, PagesSeen};

use super::context::HazardContext;
use crate::guest::cell::{Stop, pagemap, patience};

const BLOCKS: &str = "/sys/devices/system/memory";

/// File with the number of hugetlb pages: those in a block disappear with it.
const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

/// How long the kernel may try to empty a block; it would try for ever.
const LIMIT: Duration = Duration::from_millis(400);

/// Takes two blocks offline: the one in which the buffer's first page was when
/// it was laid out, and the one in which it is now.
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

/// Makes another process take a block offline, because the kernel tries until
/// it succeeds or the process is killed. The block is online again afterwards.
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
