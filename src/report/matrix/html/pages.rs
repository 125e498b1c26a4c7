//! The drawing of a buffer's pages, in three lanes: those that the process had
//! mapped, those that the card was given, and the blocks that are read; beside
//! them the bytes that nobody may write to.

use maud::{Markup, html};

use super::super::pages::{Pages, State, count, runs};
use super::svg::short;
use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{CanarySeen, CanaryState, Place};

/// Position of the first page, and width of all pages together.
const LEFT: f64 = 120.0;
const WIDTH: f64 = 520.0;
/// Width of a canary, and of the gap beside it.
const CANARY: f64 = 46.0;
const GAP: f64 = 6.0;
/// Height of a lane, and distance from one lane to the next.
const LANE: f64 = 18.0;
const STEP: f64 = 24.0;
/// Maximal number of pages for which each has its own border.
const BORDERS: usize = 64;

/// Draws the pages, with a description in words below; returns only the
/// description if `drawn` is false.
pub fn draw(pages: &Pages, canaries: &[CanarySeen], drawn: bool) -> Markup {
    if !drawn {
        return html! { figure { figcaption { (caption(pages, canaries)) } } };
    }
    let scale = WIDTH / pages.count.max(1) as f64;
    let lanes = [
        ("mapped", &pages.mapped, 0.0),
        ("card", &pages.given, 0.0),
        ("read", &pages.blocks, pages.within as f64 / PAGE as f64),
    ];
    let mut boxes = Boxes::default();
    for (number, (_, states, from)) in lanes.iter().enumerate() {
        boxes.lane(
            states,
            number as f64 * STEP + 3.0,
            LEFT + from * scale,
            scale,
        );
    }
    for canary in canaries {
        boxes.canary(canary);
    }
    let view = format!("0 0 {} {}", LEFT + WIDTH + GAP + CANARY + 2.0, 3.0 * STEP);
    html! {
        figure {
            svg viewBox=(view) {
                @for (number, (name, ..)) in lanes.into_iter().enumerate() {
                    text y=(short(number as f64 * STEP + 16.0)) { (name) }
                }
                (boxes.draw())
                (borders(pages, scale))
            }
            figcaption { (caption(pages, canaries)) }
        }
    }
}

/// Boxes of each state, as one path for each state, and marks on them.
#[derive(Debug, Default)]
struct Boxes {
    same: String,
    other: String,
    nothing: String,
    marks: Vec<(f64, f64)>,
}

impl Boxes {
    fn add(&mut self, state: State, left: f64, top: f64, width: f64) {
        let path = match state {
            State::Same => &mut self.same,
            State::Other => &mut self.other,
            State::Nothing => &mut self.nothing,
        };
        let (x, y, width_said) = (short(left), short(top), short(width));
        *path += &format!("M{x} {y}h{width_said}v{LANE}H{x}z");
        if state == State::Other && width > 12.0 {
            self.marks.push((left + width / 2.0 - 4.0, top + 13.0));
        }
    }

    /// Adds a box for each run of equal states. The last block may end before
    /// its page.
    fn lane(&mut self, states: &[State], top: f64, left: f64, scale: f64) {
        if states.is_empty() {
            self.add(State::Nothing, LEFT, top, WIDTH);
        }
        for (place, length, state) in runs(states) {
            let x = left + place as f64 * scale;
            let width = (length as f64 * scale).min(LEFT + WIDTH - x).max(0.0);
            self.add(state, x, top, width);
        }
    }

    fn canary(&mut self, canary: &CanarySeen) {
        let left = match canary.place {
            Place::Before => LEFT - GAP - CANARY,
            Place::After => LEFT + WIDTH + GAP,
        };
        let state = match canary.state {
            CanaryState::Intact => State::Same,
            CanaryState::Changed { .. } => State::Other,
            CanaryState::Unreadable => State::Nothing,
        };
        self.add(state, left, 2.0 * STEP + 3.0, CANARY);
    }

    fn draw(&self) -> Markup {
        html! {
            @for (class, path) in [("k", &self.same), ("o", &self.other), ("x", &self.nothing)] {
                @if !path.is_empty() { path class=(class) d=(path) {} }
            }
            @for (x, y) in &self.marks { text.r x=(short(*x)) y=(short(*y)) { "≠" } }
        }
    }
}

/// Returns the borders of pages, in bold where a segment of the card's list
/// begins.
fn borders(pages: &Pages, scale: f64) -> Markup {
    let line = |page: usize, top: f64, height: f64| {
        format!("M{} {top}v{height}", short(LEFT + page as f64 * scale))
    };
    let mut fine = String::new();
    if pages.count <= BORDERS {
        fine.extend((1..pages.count).map(|page| line(page, 3.0, 3.0 * STEP - 9.0)));
    }
    let segments = pages.segments.iter().filter(|page| **page < pages.count);
    let bold: String = segments
        .take(BORDERS)
        .map(|page| line(*page, STEP + 1.0, LANE + 4.0))
        .collect();
    html! {
        @if !fine.is_empty() { path.g d=(fine) {} }
        @if !bold.is_empty() { path.s d=(bold) {} }
    }
}

/// Returns the description of the drawing in words.
fn caption(pages: &Pages, canaries: &[CanarySeen]) -> String {
    let mut said = vec![format!(
        "{} of {} pages mapped",
        count(&pages.mapped, State::Same),
        pages.count
    )];
    said.push(match pages.given.len() {
        0 => "page frames of the card: none to compare".to_owned(),
        all => format!(
            "the card was given {} in {} segments, {} of them those of the pagemap",
            all - count(&pages.given, State::Nothing),
            pages.segments.len(),
            count(&pages.given, State::Same)
        ),
    });
    if !pages.blocks.is_empty() {
        let same = count(&pages.blocks, State::Same);
        let mut blocks = format!("{same} of {} blocks read as written", pages.blocks.len());
        if let Some(first) = pages.blocks.iter().position(|state| *state != State::Same) {
            blocks += &format!(", the first that is not at byte {}", first * PAGE);
        }
        said.push(blocks);
    }
    let changed = |one: &&CanarySeen| matches!(one.state, CanaryState::Changed { .. });
    if !canaries.is_empty() {
        said.push(match canaries.iter().filter(changed).count() {
            0 => "nothing beside it was touched".to_owned(),
            _ => "bytes beside it were changed".to_owned(),
        });
    }
    said.join("; ")
}
