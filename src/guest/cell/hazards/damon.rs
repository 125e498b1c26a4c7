//! The hazard of DAMON, which looks for memory that nobody uses and has the kernel
//! reclaim it (Documentation/admin-guide/mm/damon/usage.rst).
//!
//! It is told to reclaim the buffer's page frames by their physical addresses
//! (`damon_pa_pageout()` in mm/damon/paddr.c), whoever has used them and however much:
//! no process asks for that, and no mapping is looked at before.

use std::fs;
use std::io;
use std::path::Path;

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::Moment;

use super::context::HazardContext;
use super::migration;
use crate::guest::cell::patience::{self, FRAME_LIMIT};
use crate::guest::cell::setup::knob;
use crate::guest::cell::{Stop, borrowed, pagemap};

/// Where DAMON is told what to do, since Linux 5.18.
const KDAMONDS: &str = "/sys/kernel/mm/damon/admin/kdamonds";

/// Microseconds between two of its looks at a page, and between two of its decisions.
const INTERVALS: [(&str, u32); 2] = [("sample_us", 1000), ("aggr_us", 5000)];

/// The switch of DAMON's statistics, which some kernels have on from their boot. Nobody
/// else has DAMON then (`damon_start()` of mm/damon/core.c: EBUSY).
const STATISTICS: &str = "/sys/module/damon_stat/parameters/enabled";

/// Has DAMON for this cell; returns an error if the kernel has none that can be told.
pub fn prepare() -> Result<(), Stop> {
    if !Path::new(KDAMONDS).exists() {
        return Err(Stop::Impossible(format!(
            "this kernel has no DAMON: there is no {KDAMONDS}"
        )));
    }
    match Path::new(STATISTICS).exists() {
        true => borrowed::set(STATISTICS, "N"),
        false => Ok(()),
    }
}

/// Has DAMON reclaim the buffer's page frames.
pub fn page_out(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let seen = pagemap::look(Moment::Queued, context.layout.buffer)?;
    let mut frames: Vec<u64> = seen.frames().flatten().collect();
    frames.sort_unstable();
    frames.dedup();
    if frames.is_empty() {
        return Err(Stop::Impossible("no page of the buffer is present".into()));
    }
    // DAMON passes by a page that a processor has yet to put into the lists of reclaim.
    context.writer.must("move_pages", migration::fill_lists)?;
    let kdamond = Kdamond::to_page_out(&frames)?;
    let [tried, applied] = context.writer.must("DAMON", || kdamond.run(frames.len()))?;
    context.writer.note(format!(
        "DAMON tried {tried} bytes, and the kernel reclaimed {applied}"
    ));
    Ok(())
}

/// DAMON's thread and its orders. They are taken back when this is dropped.
struct Kdamond;

impl Kdamond {
    /// Prepares to reclaim those page frames, which are in order.
    fn to_page_out(frames: &[u64]) -> Result<Self, Stop> {
        knob(&format!("{KDAMONDS}/nr_kdamonds"), "1")?;
        let orders = Self;
        let set = |path: &str, value: &str| knob(&format!("{KDAMONDS}/0/{path}"), value);
        set("contexts/nr_contexts", "1")?;
        let context = |path: &str, value: &str| set(&format!("contexts/0/{path}"), value);
        context("operations", "paddr")?;
        for (name, interval) in INTERVALS {
            let path = format!("monitoring_attrs/intervals/{name}");
            context(&path, &interval.to_string())?;
        }
        context("targets/nr_targets", "1")?;
        let regions = regions(frames);
        let nr = regions.len().to_string();
        context("targets/0/regions/nr_regions", &nr)?;
        for (number, [start, end]) in regions.iter().enumerate() {
            let region = format!("targets/0/regions/{number}");
            context(&format!("{region}/start"), &start.to_string())?;
            context(&format!("{region}/end"), &end.to_string())?;
        }
        context("schemes/nr_schemes", "1")?;
        context("schemes/0/action", "pageout")?;
        for what in ["sz", "nr_accesses", "age"] {
            let most = format!("schemes/0/access_pattern/{what}/max");
            context(&most, &u32::MAX.to_string())?;
        }
        Ok(orders)
    }

    /// Lets the thread run until it has tried all of so many page frames. Returns how
    /// many bytes it has tried, and how many of those were reclaimed.
    fn run(&self, frames: usize) -> io::Result<[u64; 2]> {
        let state = format!("{KDAMONDS}/0/state");
        fs::write(&state, "on")?;
        patience::wait_until(patience::of(FRAME_LIMIT), || {
            fs::write(&state, "update_schemes_stats")?;
            Ok(bytes("sz_tried")? >= (frames * PAGE) as u64)
        })?;
        Ok([bytes("sz_tried")?, bytes("sz_applied")?])
    }
}

impl Drop for Kdamond {
    fn drop(&mut self) {
        // It is off already if it never ran.
        let _ = fs::write(format!("{KDAMONDS}/0/state"), "off");
        let _ = fs::write(format!("{KDAMONDS}/nr_kdamonds"), "0");
    }
}

/// Returns one of the numbers of bytes that DAMON counts.
fn bytes(name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("{KDAMONDS}/0/contexts/0/schemes/0/stats/{name}"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// Returns the ranges of physical addresses of page frames, which are in order.
fn regions(frames: &[u64]) -> Vec<[u64; 2]> {
    let page = PAGE as u64;
    let runs = frames.chunk_by(|one, next| *next == one + 1);
    runs.filter_map(|run| Some([run.first()? * page, (run.last()? + 1) * page]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_frames_in_a_row_are_one_region() {
        assert_eq!(regions(&[]), [[0; 2]; 0]);
        assert_eq!(
            regions(&[1, 2, 5, 7, 8]),
            [[0x1000, 0x3000], [0x5000, 0x6000], [0x7000, 0x9000]]
        );
    }
}
