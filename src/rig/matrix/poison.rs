//! Poisoned pages: memory that was written to after it was freed, attributed to
//! the cells in which the card wrote to it.
//!
//! The kernel fills freed pages with a pattern, and looks at the pattern when it
//! gives the page away again (`page_poison`). That may be in a later cell. So
//! after a group of cells nearly all free memory is used once, and every report
//! is moved to the cell whose card wrote to the page last.

use std::collections::BTreeSet;
use std::time::Duration;

use super::error::MatrixError;
use super::guest::CellGuest;
use super::health::GuestState;
use super::outcome::CellOutcome;
use super::witness;
use crate::agent::cell::CellAnswer;
use crate::agent::cell::evidence::Moment;
use crate::agent::checks::Sweep;
use crate::agent::protocol::LogRecord;
use crate::card::Direction;
use crate::vm::channel::AgentError;

/// How long a sweep may take on a kernel of usual speed.
const LIMIT: Duration = Duration::from_secs(120);

/// The first line of the kernel's report of a page (mm/page_poison.c), of which
/// there are two kinds, and the last.
const FIRST: [&str; 2] = [
    "pagealloc: memory corruption",
    "pagealloc: single bit error",
];
const LAST: &str = "page dumped because: pagealloc";

/// Largest number of lines of a report: the whole page, and a stack.
const LONGEST: usize = 400;

/// A report of a page that was written to while it was free.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    /// The lines.
    lines: Vec<LogRecord>,
    /// Number of the page frame.
    frame: u64,
}

/// Has the guest use its free memory, and moves all reports since the cell
/// `since` to the cells that they are of. `cells` holds all cells that were run in
/// that guest, in their order; those that change are judged again. Returns the
/// state of the guest.
///
/// # Errors
///
/// [`MatrixError::Interrupted`].
pub(super) fn sweep(
    guest: &mut CellGuest,
    cells: &mut [CellOutcome],
    since: usize,
    state: GuestState,
) -> Result<GuestState, MatrixError> {
    // A machine in use needs its free memory.
    let is_broken = matches!(state, GuestState::Broken(_));
    if is_broken || cells.is_empty() || guest.place.is_here() {
        return Ok(state);
    }
    let agent = guest.place.agent();
    let swept = agent
        .call(Sweep {}, LIMIT * guest.patience)
        .and_then(|swept| {
            log::debug!("{} MiB of free memory were used", swept.bytes >> 20);
            guest.place.new_records()
        });
    let mut records = match swept {
        Ok(records) => records,
        Err(AgentError::Interrupted) => return Err(MatrixError::Interrupted),
        Err(error) => {
            log::warn!("the guest's free memory was not looked at: {error}");
            return Ok(GuestState::Broken(error.to_string()));
        }
    };
    let state = match state {
        GuestState::Fit => guest.state(&records)?,
        state => state,
    };
    let mut reports: Vec<_> = take(&mut records)
        .into_iter()
        .map(|report| (cells.len(), report))
        .collect();
    for (finder, cell) in cells.iter_mut().enumerate().skip(since) {
        if let Some(answer) = &mut cell.answer {
            let found = take(&mut answer.log).into_iter();
            reports.extend(found.map(|report| (finder, report)));
        }
    }
    let Some(last) = cells.iter().rposition(|cell| cell.answer.is_some()) else {
        if !reports.is_empty() || !records.is_empty() {
            log::warn!("memory was overwritten, and no cell has run that could have done it");
        }
        return Ok(state);
    };
    let mut changed = Vec::new();
    for (finder, report) in reports {
        let of = writer(cells, finder, report.frame)
            .filter(|of| cells[*of].answer.is_some())
            .unwrap_or(finder.min(last));
        changed.extend([of, finder.min(last)]);
        if let Some(answer) = &mut cells[of].answer {
            answer.log.extend(report.lines);
        }
    }
    if let Some(answer) = cells[last].answer.as_mut().filter(|_| !records.is_empty()) {
        answer.log.extend(records);
        changed.push(last);
    }
    changed.sort_unstable();
    changed.dedup();
    for cell in changed {
        guest.judge_again(&mut cells[cell]);
    }
    Ok(state)
}

/// Takes the reports out of a log. One that does not tell the page frame stays, as
/// nobody knows whose it is: before Linux 5.13 they do not.
fn take(log: &mut Vec<LogRecord>) -> Vec<Report> {
    let is_first = |record: &LogRecord| FIRST.iter().any(|first| record.text.contains(first));
    let mut reports = Vec::new();
    let mut at = 0;
    while let Some(found) = log[at..].iter().position(&is_first) {
        let begin = at + found;
        let rest = log[begin + 1..].iter().take(LONGEST);
        let rest = rest.take_while(|record| !is_first(record));
        let length = rest.map(|record| record.text.contains(LAST));
        let end = length
            .collect::<Vec<_>>()
            .iter()
            .position(|is_last| *is_last);
        let end = end.map(|lines| begin + 1 + lines);
        let frame = end.and_then(|end| log[begin..=end].iter().find_map(page_frame));
        match (end, frame) {
            (Some(end), Some(frame)) => {
                let lines = log.drain(begin..=end).collect();
                reports.push(Report { lines, frame });
                at = begin;
            }
            _ => at = begin + 1,
        }
    }
    reports
}

/// Returns the page frame that a line of dump_page() names.
fn page_frame(record: &LogRecord) -> Option<u64> {
    let (_, number) = record.text.split_once("pfn:0x")?;
    let end = number.find(|c: char| !c.is_ascii_hexdigit());
    u64::from_str_radix(&number[..end.unwrap_or(number.len())], 16).ok()
}

/// Returns the last cell, up to the one during which a page was found, whose card
/// wrote to the page. That very cell is not the one if it still has the page in one
/// of its buffers: it was the first to use it again.
fn writer(cells: &[CellOutcome], finder: usize, frame: u64) -> Option<usize> {
    let wrote = |cell: &CellOutcome| wrote(cell, frame);
    let kept = |cell: &CellOutcome| cell.answer.as_ref().is_some_and(|kept| keeps(kept, frame));
    let cells = cells
        .iter()
        .enumerate()
        .take(finder.saturating_add(1))
        .rev();
    let mut writers =
        cells.filter(|(place, cell)| wrote(cell) && (*place != finder || !kept(cell)));
    writers.next().map(|(place, _)| place)
}

/// Returns whether a cell's card wrote to a page.
fn wrote(cell: &CellOutcome, frame: u64) -> bool {
    let ends = cell.cell.ends().iter().enumerate();
    let mut written = ends.filter(|(_, end)| end.direction == Direction::Capture);
    written.any(|(number, _)| {
        let frames = cell.card_frames.of_buffer(number);
        let planes = frames.frames().iter();
        let mut pages = planes.flat_map(|(_, plane)| witness::pages(plane, usize::MAX));
        pages.any(|(page, _)| page == frame)
    })
}

/// Returns whether a page is in one of the buffers of a cell, as each was when the
/// cell's process looked at it last.
fn keeps(answer: &CellAnswer, frame: u64) -> bool {
    let looks = answer.looks_at_buffers();
    let mut looks = looks.map(|(_, pages)| pages.iter().rev());
    looks.any(|looks| {
        let own = looks.filter(|pages| pages.moment != Moment::Ended);
        let mut buffers = BTreeSet::new();
        let mut last = own.filter(|pages| buffers.insert(pages.buffer));
        last.any(|pages| pages.frames().any(|page| page == Some(frame)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::Kind;
    use crate::agent::cell::evidence::PagesSeen;
    use crate::card::witness::PlaneRecord;
    use crate::rig::matrix::name::CellName;

    fn record(text: &str) -> LogRecord {
        LogRecord {
            sequence: 1,
            level: 3,
            facility: 0,
            time_us: 1,
            text: text.into(),
        }
    }

    fn report(frame: u64) -> Vec<LogRecord> {
        [
            "pagealloc: memory corruption".to_owned(),
            "00000000da5cd4f7: 01 02 03".to_owned(),
            "Call Trace:".to_owned(),
            format!(
                "page: refcount:0 mapcount:0 mapping:0000000000000000 index:0x0 pfn:{frame:#x}"
            ),
            "page dumped because: pagealloc: corrupted page details".to_owned(),
        ]
        .map(|text| record(&text))
        .into()
    }

    #[test]
    fn reports_are_taken_out_of_a_log_with_all_their_lines() {
        let mut log = vec![record("before")];
        log.extend(report(0x4d11));
        log.push(record("between"));
        log.extend(report(0x20));
        // An older kernel does not say which page it is.
        log.extend([record(FIRST[1]), record("after")]);
        let reports = take(&mut log);
        let frames: Vec<_> = reports.iter().map(|report| report.frame).collect();
        assert_eq!(frames, [0x4d11, 0x20]);
        assert_eq!(reports[0].lines, report(0x4d11));
        let left: Vec<_> = log.iter().map(|record| record.text.as_str()).collect();
        assert_eq!(left, ["before", "between", FIRST[1], "after"]);
        assert!(take(&mut log).is_empty());
    }

    #[test]
    fn a_page_is_of_the_cell_whose_card_wrote_to_it_last() {
        let cell = |written: u64, kept: &[u64]| {
            let mut cell = CellOutcome::impossible(CellName::plain(Kind::Heap), String::new());
            let plane = PlaneRecord {
                segments: vec![(written * 4096, 4096)],
                ..PlaneRecord::default()
            };
            cell.card_frames.add(0, plane);
            cell.answer = Some(CellAnswer {
                pages: vec![PagesSeen {
                    moment: Moment::Stopped,
                    buffer: 0,
                    pagemap: kept.iter().map(|frame| 1 << 63 | frame).collect(),
                    flags: Vec::new(),
                    count: Vec::new(),
                }],
                ..CellAnswer::default()
            });
            cell
        };
        let cells = [cell(7, &[]), cell(8, &[]), cell(7, &[7])];
        assert_eq!(writer(&cells, 2, 8), Some(1));
        // The last has the page in its buffer: it was given it with the report.
        assert_eq!(writer(&cells, 2, 7), Some(0));
        assert_eq!(writer(&cells, 3, 7), Some(2));
        // A card that read it did not.
        let mut read = cell(7, &[]);
        read.cell = read.cell.of_output();
        assert_eq!(writer(&[cell(7, &[]), read], 1, 7), Some(0));
        let freed = [cell(7, &[]), cell(7, &[9])];
        assert_eq!(writer(&freed, 1, 7), Some(1));
        assert_eq!(writer(&freed, 1, 5), None);
    }

    #[test]
    fn what_is_in_any_of_a_cells_buffers_is_kept() {
        let look = |moment, buffer, frame: u64| PagesSeen {
            moment,
            buffer,
            pagemap: vec![1 << 63 | frame],
            flags: Vec::new(),
            count: Vec::new(),
        };
        // The process looks at every buffer while it is queued, later at the first
        // alone, which gets other pages meanwhile.
        let answer = CellAnswer {
            pages: vec![
                look(Moment::Queued, 0, 1),
                look(Moment::Queued, 1, 2),
                look(Moment::Queued, 2, 3),
                look(Moment::Stopped, 0, 4),
                look(Moment::Ended, 0, 5),
            ],
            ..CellAnswer::default()
        };
        let kept = (1..=5).filter(|frame| keeps(&answer, *frame));
        assert_eq!(kept.collect::<Vec<_>>(), [2, 3, 4]);
    }
}
