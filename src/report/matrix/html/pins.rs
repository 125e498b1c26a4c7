//! The drawing of pins: how many more pages were pinned at each moment than
//! before the cell.

use maud::{Markup, html};

use super::svg::short;
use crate::agent::cell::CellAnswer;
use crate::agent::cell::evidence::{CountersSeen, Moment};

/// Width of a moment, and height of the greatest count.
const STEP: f64 = 84.0;
const HEIGHT: f64 = 34.0;
/// Vertical position of a count of 0.
const GROUND: f64 = 52.0;

/// Draws the pins of a cell on a kernel that counts them, with so many buffers that are
/// queued at first; returns only their number if `drawn` is false.
pub fn draw(answer: &CellAnswer, queued: usize, drawn: bool) -> Markup {
    let counts = counts(answer);
    let further = answer.further.iter().map(|seen| seen.memory);
    let buffers = [answer.memory].into_iter().chain(further);
    let buffers = buffers.take(queued).flatten();
    let pages = buffers.map(|memory| memory.pages());
    let pages = pages.fold(0, u64::saturating_add);
    let have = match queued {
        1 => "the buffer has",
        _ => "the buffers have",
    };
    let most = counts.iter().map(|(_, pins)| pins.unsigned_abs()).max();
    let most = most.unwrap_or(0).max(1);
    // Without a pin there is nothing to draw.
    let pinned = counts.iter().any(|(_, pins)| *pins != 0);
    let view = format!("0 0 {} 72", counts.len() as f64 * STEP);
    html! {
        @if pinned && !drawn {
            figure.pins { figcaption {
                "pinned pages: "
                @for (number, (moment, pins)) in counts.iter().enumerate() {
                    @if number > 0 { ", " } (pins) " " (moment.name())
                }
            } }
        }
        @else if pinned {
            figure.pins {
                svg viewBox=(view) {
                    @for (number, (moment, pins)) in counts.iter().enumerate() {
                        @let left = number as f64 * STEP;
                        @let height = pins.unsigned_abs() as f64 / most as f64 * HEIGHT;
                        @let class = if *pins < 0 { "o" } else { "k" };
                        rect class=(class) x=(short(left + 4.0)) y=(short(GROUND - height)) width="60" height=(short(height.max(1.0))) {}
                        text x=(short(left + 4.0)) y=(short(GROUND - height - 4.0)) { (pins) }
                        text.t x=(short(left + 4.0)) y="66" { (moment.name()) }
                    }
                }
                figcaption { "pinned pages, more than before the cell; " (have) " " (pages) }
            }
        }
        @else if !counts.is_empty() {
            figure.pins { figcaption { "no page was pinned at any look" } }
        }
    }
}

/// Returns the pins at each moment, minus those at the first.
fn counts(answer: &CellAnswer) -> Vec<(Moment, i128)> {
    let looks = answer.counters.iter().take(8);
    let pins: Vec<_> = looks
        .filter_map(|seen| Some((seen.moment, pinned(seen)?)))
        .collect();
    let before = pins.first().map_or(0, |(_, pins)| *pins);
    let more = pins
        .into_iter()
        .map(|(moment, pins)| (moment, pins - before));
    more.collect()
}

fn pinned(seen: &CountersSeen) -> Option<i128> {
    let value = |name| seen.values.get(name).map(|value| i128::from(*value));
    Some(value("nr_foll_pin_acquired")? - value("nr_foll_pin_released")?)
}
