//! The evidence of a cell.

use maud::{Markup, html};

use super::super::pages::{self, Pages};
use super::{anchor, checked, device, pages as drawing, pins, steps, verdict};
use crate::agent::cell::evidence::{CanaryState, Ended, InjectedSeen, Moment, PagesSeen, Place};
use crate::agent::cell::{CellAnswer, Flow, Hazard, PAGE};
use crate::card::Direction;
use crate::rig::kernel::errno_name;
use crate::rig::kernel_log;
use crate::rig::matrix::outcome::{CellOutcome, KernelOutcome, Verdict};
use crate::rig::matrix::witness::CardFrames;
use crate::rig::matrix::{CellName, Mutant};

/// Maximal number of a list's elements that are written out.
const MOST: usize = 12;
/// Maximal number of lines of the kernel log, so that a splat of a page of
/// lines is not cut short.
const LINES: usize = 200;

/// Returns a cell that unfolds to its evidence. A cell with findings is
/// unfolded, and always drawn.
pub fn folded(outcome: &KernelOutcome, cell: &CellOutcome, drawn: bool) -> Markup {
    let red = cell.verdict == Verdict::Finding;
    let kernel = &outcome.kernel;
    let again = device::again(outcome, &cell.cell);
    let place = anchor(kernel, &cell.cell);
    details(red, drawn || red, &place, kernel, &again, cell)
}

/// Returns a cell of one of two runs, whose name is `run`.
pub fn of_run(run: &str, outcome: &KernelOutcome, cell: &CellOutcome) -> Markup {
    let red = cell.verdict == Verdict::Finding;
    let kernel = &outcome.kernel;
    let again = device::again(outcome, &cell.cell);
    let place = format!("{run}:{}", anchor(kernel, &cell.cell));
    details(red, true, &place, &format!("{run}, {kernel}"), &again, cell)
}

/// Returns a cell of a driver with a bug.
pub fn of_mutant(outcome: &KernelOutcome, mutant: Mutant, cell: &CellOutcome) -> Markup {
    let kernel = &outcome.kernel;
    let place = format!("{kernel}:{mutant}:{}", cell.cell);
    let again = format!("{} --mutant {mutant}", device::command(outcome));
    let name = cell.cell.to_string();
    details(false, true, &place, &name, &again, cell)
}

/// Returns the folded evidence of a cell; `name` distinguishes it from its
/// neighbours.
fn details(
    open: bool,
    drawn: bool,
    place: &str,
    name: &str,
    again: &str,
    cell: &CellOutcome,
) -> Markup {
    html! {
        details class=[open.then_some("red")] open[open] {
            summary { (verdict(cell)) " " small { (name) } }
            div.cell id=(place) { (evidence(again, cell, drawn)) }
        }
    }
}

fn evidence(again: &str, cell: &CellOutcome, drawn: bool) -> Markup {
    html! {
        code { (again) }
        @if let Some(reason) = &cell.reason { p { (reason) } }
        @if !cell.findings.is_empty() {
            ul.findings {
                @for finding in &cell.findings {
                    li { span.bad { "✗ " (finding.severity) ", " (finding.oracle) } " " (finding.what) }
                }
            }
        }
        @if let Some(answer) = &cell.answer {
            div.drawings {
                @for number in 0..cell.cell.ends().len() {
                    @if let Some(pages) = Pages::of(cell, number) {
                        @if number > 0 { p.soft { (cell.cell.flow.name_of(cell.cell.schedule, number)) } }
                        (drawing::draw(&pages, &answer.of_buffer(number).canaries, drawn))
                    }
                }
                @if cell.cell.schedule.is_none() {
                    (pins::draw(answer, cell.cell.ends().len(), drawn))
                }
            }
            dl { (facts(&cell.cell, answer, &cell.card_frames)) }
        }
        @else { p.soft { "Nothing was seen: the guest did not answer." } }
    }
}

fn facts(cell: &CellName, answer: &CellAnswer, card_frames: &CardFrames) -> Markup {
    html! {
        @if let Flow::M2m(ends) = cell.flow { dt { "buffers" } dd { (ends.what()) } }
        @if cell.hazard != Hazard::None {
            dt { "memory" } dd { (cell.kind.what()) }
            @match cell.schedule {
                Some(order) => (steps::facts(order, answer)),
                None => { dt { "when" } dd { (cell.point.what()) } },
            }
        }
        @if let Some(why) = &answer.failed { dt { "failed" } dd.bad { (why) } }
        @match answer.ended {
            Ended::Finished => {},
            Ended::Stuck => { dt { "ended" } dd.bad { "not at all: the kernel does not let it go" } },
            Ended::TimedOut => { dt { "ended" } dd { "killed: its time was up" } },
            Ended::Early(status) => { dt { "ended" } dd { (format!("{status:?}")) } },
        }
        @if !answer.calls.is_empty() { dt { "calls" } dd.n { (calls(answer)) } }
        @for (number, end) in cell.ends().iter().enumerate() {
            @if cell.ends().len() > 1 { dt { "of" } dd { b { (cell.flow.name_of(cell.schedule, number)) } } }
            (buffer(end.direction, &answer.of_buffer(number), &card_frames.of_buffer(number)))
            (device::facts(&answer.of_buffer(number)))
        }
        (failures(&answer.injected))
        (checked::facts(answer))
        (counters(answer))
        @for note in &answer.notes { dt { "hazard" } dd { (note) } }
        @if !answer.log.is_empty() {
            dt { "kernel log" }
            dd {
                pre {
                    @for record in answer.log.iter().take(LINES) { (kernel_log::line(record)) "\n" }
                    @if answer.log.len() > LINES { "and " (answer.log.len() - LINES) " lines more" }
                }
            }
        }
        @if answer.log_lost { dt { "kernel log" } dd.bad { "part of it was lost" } }
    }
}

/// Returns what was seen of a buffer.
fn buffer(direction: Direction, answer: &CellAnswer, card_frames: &CardFrames) -> Markup {
    html! {
        @if let Some(memory) = answer.memory {
            dt { "buffer" }
            dd.n {
                (format!("{:#x}", memory.address)) ", " (memory.length) " bytes, byte "
                (memory.address % PAGE as u64) " of its page, "
                (memory.width) "x" (memory.height)
                @if card_frames.is_witnessed() { " GREY" }
            }
        }
        (given(direction, card_frames))
        (looks(&answer.pages))
        (differing(direction, answer, card_frames))
        (contents(direction, answer, card_frames))
        (beside(answer))
    }
}

/// Returns the state of the bytes beside the buffer, with the place of the
/// first that changed, if any did.
fn beside(answer: &CellAnswer) -> Markup {
    html! {
        @if !answer.canaries.is_empty() {
            dt { "beside it" }
            dd {
                @for (number, canary) in answer.canaries.iter().take(MOST).enumerate() {
                    @if number > 0 { ", " }
                    (canary.length) " bytes "
                    @match canary.place { Place::Before => "before", Place::After => "after" } " "
                    @match canary.state {
                        CanaryState::Intact => "untouched",
                        CanaryState::Unreadable => "not to be read",
                        CanaryState::Changed { first, bytes } => span.bad {
                            (bytes) " of them changed, the first at " (format!("{first:#x}"))
                        },
                    }
                }
            }
        }
    }
}

/// Returns the injected failures: the call's result, the place, and the numbers
/// of the failures there.
fn failures(injected: &[InjectedSeen]) -> Markup {
    let mut places: Vec<(Option<i32>, String, Vec<u32>)> = Vec::new();
    for seen in injected {
        let callers = seen.callers().iter().take(4).map(String::as_str);
        let place = callers.collect::<Vec<_>>().join(" ← ");
        let mut known = places.iter_mut();
        match known.find(|(errno, at, _)| (*errno, at) == (seen.errno, &place)) {
            Some((.., numbers)) => numbers.push(seen.nth),
            None => places.push((seen.errno, place, vec![seen.nth])),
        }
    }
    html! {
        @if !injected.is_empty() {
            dt { "failures" }
            dd {
                (injected.len()) " were injected into the call" br;
                @for (errno, place, numbers) in &places {
                    @match errno {
                        Some(errno) => b { (errno_name(*errno)) },
                        None => "no error",
                    }
                    " from " span.n { @if place.is_empty() { "where the kernel does not say" } @else { (place) } }
                    ": " (ranges(numbers)) br;
                }
            }
        }
        @for seen in injected.iter().filter(|seen| !seen.aftermath.is_empty()) {
            dt { "after " (seen.nth) }
            dd { (seen.aftermath.join("; ")) }
        }
    }
}

/// Returns the numbers, with consecutive ones as `3-7`.
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let runs = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run.iter().map(u32::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(", ")
}

/// Returns the calls, each with the time of its end in milliseconds.
fn calls(answer: &CellAnswer) -> Markup {
    html! {
        @for (number, call) in answer.calls.iter().take(LINES).enumerate() {
            @if number > 0 { ", " }
            (format!("{:.1} ", call.at_us as f64 / 1e3)) (call.name)
            @if let Some(errno) = call.errno { " " b { (errno_name(errno)) } }
        }
        @if answer.calls.len() > LINES { ", and " (answer.calls.len() - LINES) " more" }
        " (ms)"
    }
}

/// Returns what the card reported of each frame.
fn given(direction: Direction, card_frames: &CardFrames) -> Markup {
    let way = match direction {
        Direction::Capture => "into",
        Direction::Output => "out of",
    };
    html! {
        @let told = card_frames.frames().iter().filter(|_| card_frames.is_witnessed());
        @for (sequence, plane) in told.take(MOST) {
            dt { "the card" }
            dd {
                "frame " (sequence) ", " (plane.bytes) " bytes " (way) " "
                (plane.segments.len()) " segments: "
                span.n {
                    @for (start, length) in plane.segments.iter().take(MOST) {
                        (format!("{start:#x}")) "+" (length) " "
                    }
                    @if plane.segments.len() > MOST { "and " (plane.segments.len() - MOST) " more" }
                }
            }
        }
        @if card_frames.frames().len() > MOST {
            dt { "the card" } dd { "and " (card_frames.frames().len() - MOST) " frames more" }
        }
        @if card_frames.late() > 0 {
            dt { "the card" }
            dd.bad { (card_frames.late()) " frames while no stream was on" }
        }
    }
}

/// Returns the looks at the pages; a look that saw the same as the one before
/// it says so.
fn looks(looks: &[PagesSeen]) -> Markup {
    // The agent's own look repeats the last of the process.
    let looks = looks.iter().filter(|look| look.moment != Moment::Ended);
    let looks: Vec<_> = looks.take(MOST).collect();
    let before = [None].into_iter().chain(looks.iter().map(Some));
    html! {
        @for (look, before) in looks.iter().zip(before) {
            dt {
                "pages, " (look.moment.name())
                @if look.buffer > 0 { ", buffer " (look.buffer) }
            }
            dd {
                @let frames = before.is_some_and(|before| before.pagemap == look.pagemap);
                @let flags = before.is_some_and(|before| (&before.flags, &before.count) == (&look.flags, &look.count));
                @if frames && flags { "as before" }
                @else {
                    @if frames { "the same page frames" }
                    @else { span.n { (pages::page_frames(&look.pagemap, MOST)) } }
                    "; " span.n { (pages::flags(&look.flags)) }
                    @let mapped = look.count.iter().copied().max().unwrap_or_default();
                    @if mapped > 1 { "; mapped up to " (mapped) " times" }
                }
            }
        }
    }
}

/// Returns the first block of the first frame in which the process read
/// something other than what the card wrote, or the other way round.
fn differing(direction: Direction, answer: &CellAnswer, card_frames: &CardFrames) -> Markup {
    let (process, card) = match direction {
        Direction::Capture => ("reads", "wrote"),
        Direction::Output => ("wrote", "read"),
    };
    let frame = answer.frames.first();
    let both = frame.and_then(|frame| Some((frame, card_frames.frame(frame)?)));
    let first = both.and_then(|(frame, written)| {
        let mut pairs = frame.own().iter().zip(&written.digests).enumerate();
        pairs.find(|(_, (seen, written))| **seen != Some(**written))
    });
    html! {
        @if let Some((block, (Some(seen), written))) = first {
            dt { "first differs" }
            dd {
                "block " (block) ": the process " (process) " " span.n { (format!("{seen:?}")) }
                @if card_frames.is_witnessed() {
                    ", the card " (card) " " span.n { (format!("{written:?}")) }
                } @else { ", the device " (card) " something else, or nothing" }
            }
        }
    }
}

/// Returns the contents that were read at moments when no buffer is dequeued
/// any more.
fn contents(direction: Direction, answer: &CellAnswer, card_frames: &CardFrames) -> Markup {
    let did = match direction {
        Direction::Capture => "wrote",
        Direction::Output => "read",
    };
    let written = card_frames.frames().last();
    let written = written.map_or(&[][..], |(_, plane)| &plane.digests);
    html! {
        @for seen in answer.contents.iter().take(MOST) {
            dt { "read, " (seen.moment.name()) }
            dd {
                @let same = seen.digests.iter().zip(written).filter(|(seen, written)| **seen == Some(**written));
                (same.count()) " of " (seen.digests.len()) " blocks are what the card " (did)
                @let dark = seen.digests.iter().filter(|digest| digest.is_none()).count();
                @if dark > 0 { ", " (dark) " cannot be read" }
            }
        }
    }
}

/// Returns the counters that changed, except pins, which are drawn.
fn counters(answer: &CellAnswer) -> Markup {
    let names = answer.counters.first().map(|first| first.values.keys());
    let changed: Vec<_> = names
        .into_iter()
        .flatten()
        .filter(|name| !name.starts_with("nr_foll_pin"))
        .filter_map(|name| {
            let values = answer.counters.iter();
            let values: Vec<u64> = values.filter_map(|s| s.values.get(name).copied()).collect();
            let differs = values.windows(2).any(|two| two[0] != two[1]);
            differs.then_some((name, values))
        })
        .take(MOST)
        .collect();
    html! {
        @if !changed.is_empty() {
            dt { "counters" }
            dd.n {
                @for (name, values) in changed {
                    (name) @for value in values { " " (value) } br;
                }
            }
        }
    }
}
