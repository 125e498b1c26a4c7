//! The evidence from a kernel that checks itself: DMA mappings, idle pages,
//! lost memory.

use maud::{Markup, html};

use crate::agent::cell::CellAnswer;
use crate::agent::cell::instruments::{IdleMoment, IdleSeen, LeakSeen, MappingsSeen};

/// Maximal number of a list's elements that are written out.
const MOST: usize = 12;

/// Returns what such a kernel reported of a cell.
pub fn facts(answer: &CellAnswer) -> Markup {
    html! {
        @for seen in answer.mappings.iter().take(MOST) {
            dt { "mapped, " (seen.moment.name()) }
            dd { (mappings(seen)) }
        }
        @if !answer.idle.is_empty() {
            dt { "idle pages" }
            dd {
                @for (number, seen) in answer.idle.iter().take(MOST).enumerate() {
                    @if number > 0 { ", " }
                    (idle(seen))
                }
            }
        }
        @match answer.leaks.as_deref() {
            None => {},
            Some([]) => { dt { "lost memory" } dd { "none" } },
            Some(leaks) => @for lost in leaks.iter().take(MOST) {
                dt { "lost memory" }
                dd { (leak(lost)) }
            },
        }
    }
}

fn mappings(seen: &MappingsSeen) -> Markup {
    html! {
        @if seen.mappings.is_empty() { "nothing more than before the cell" }
        @else {
            (seen.mappings.len()) " by the DMA API: "
            span.n {
                @for mapping in seen.mappings.iter().take(MOST) {
                    (format!("{:#x}", mapping.physical)) "+" (mapping.length) " "
                }
                @if seen.mappings.len() > MOST { "and " (seen.mappings.len() - MOST) " more" }
            }
            @let mut directions: Vec<_> = seen.mappings.iter().map(|it| it.direction.as_str()).collect();
            @let () = { directions.sort_unstable(); directions.dedup() };
            @for direction in directions.iter().take(MOST) { " " (direction) }
        }
        @if seen.gone > 0 { ", " (seen.gone) " of those before are gone" }
    }
}

fn idle(seen: &IdleSeen) -> Markup {
    let known = seen.idle.iter().flatten();
    let (known, idle) = (known.clone().count(), known.filter(|idle| **idle).count());
    html! {
        @match seen.moment {
            IdleMoment::Marked => "marked before the DMA",
            IdleMoment::Written => "written or read by the card",
            IdleMoment::Read => "read by the process",
        }
        ": " (idle) " of " (known)
        @if known < seen.idle.len() { " (" (seen.idle.len() - known) " are not tracked)" }
    }
}

fn leak(lost: &LeakSeen) -> Markup {
    html! {
        (lost.size) " bytes, allocated by " (lost.comm) " (process " (lost.pid) ")"
        @match lost.again {
            Some(true) => ", again when the cell was run once more",
            Some(false) => ", not when the cell was run once more",
            None => {},
        }
        pre { @for function in lost.trace.iter().take(MOST + MOST) { (function) "\n" } }
    }
}
