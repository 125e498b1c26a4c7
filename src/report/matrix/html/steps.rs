//! The steps of a schedule, as they were made.

use maud::{Markup, html};

use crate::agent::cell::CellAnswer;
use crate::agent::cell::evidence::{CountersSeen, Moment};
use crate::agent::cell::schedule::{Schedule, letter};

/// Returns where the hazard stands in the schedule, and when each step was made; with the
/// number of pages that were pinned after it, if the kernel counts them.
pub fn facts(order: Schedule, answer: &CellAnswer) -> Markup {
    let before = answer.counters_at(Moment::LaidOut);
    let before = before.and_then(CountersSeen::pinned);
    // The evidence may be of a process that has not kept to the schedule.
    let steps = answer.steps.iter().take(order.course().count());
    html! {
        dt { "when" }
        dd {
            (order) ": QBUF (q), DMA (d), done (r) and DQBUF (x) of the first buffer, in \
            capitals of the second, and the hazard (!)"
        }
        dt { "steps" }
        dd.n {
            @for (number, seen) in steps.enumerate() {
                @if number > 0 { ", " }
                (format!("{:.1} ", seen.at_us as f64 / 1e3))
                b { (letter(seen.step)) }
                @if let (Some(before), Some(pinned)) = (before, seen.pinned) {
                    " (" (pinned.saturating_sub(before)) " pinned)"
                }
            }
            " (ms)"
        }
    }
}
