//! The steps of two buffers in every order, each forced by the card's holds.

use pinhole::agent::cell::schedule::letter;
use pinhole::agent::cell::{Hazard, Kind, Schedule};
use pinhole::rig::matrix::CellName;
use pinhole::rig::matrix::outcome::{CellOutcome, Verdict};
use pinhole::rig::matrix::run::MatrixSpec;
use pinhole::rig::testbed::TestbedSpec;

use crate::judging;

const KERNEL: &str = "trixie";

/// Number of orders, and of places for the hazard in each.
const ORDERS: usize = 14;
const PLACES: usize = 8;

/// Returns every order once, with the hazard at one place after the other, but the last of
/// them with the hazard at every place.
fn schedules() -> Vec<Schedule> {
    let all = Schedule::all();
    assert_eq!(all.len(), ORDERS * PLACES);
    let (others, last) = all.split_at(all.len() - PLACES);
    let orders = others.chunks(PLACES).enumerate();
    let mut schedules: Vec<_> = orders.map(|(number, of)| of[number % PLACES]).collect();
    schedules.extend(last);
    schedules
}

/// Returns the steps that were made in a cell, and checks that they came one after the
/// other.
fn steps(cell: &CellOutcome) -> String {
    let steps = &cell.answer.as_ref().unwrap().steps;
    assert!(steps.is_sorted_by(|one, next| one.at_us < next.at_us));
    steps.iter().map(|seen| letter(seen.step)).collect()
}

#[test]
#[ignore = "boots a guest"]
fn every_order_of_two_buffers_comes_as_it_is_asked_for() {
    let schedules = schedules();
    assert_eq!(schedules.len(), ORDERS - 1 + PLACES);
    let cells = schedules.iter().map(|schedule| CellName {
        hazard: Hazard::Munmap,
        schedule: Some(*schedule),
        ..CellName::plain(Kind::AnonTouched)
    });
    let outcome = judging::outcome(&MatrixSpec {
        judged: None,
        testbed: TestbedSpec {
            kernel: Some(KERNEL.into()),
            ..TestbedSpec::default()
        },
        cells: cells.collect(),
        mutants: Vec::new(),
        jobs: 1,
    });
    assert_eq!(outcome.cells.len(), schedules.len());
    for (cell, schedule) in outcome.cells.iter().zip(schedules) {
        assert_eq!(cell.cell.schedule, Some(schedule));
        assert_eq!(cell.verdict, Verdict::Expected, "{}: {cell:?}", cell.cell);
        assert_eq!(steps(cell), schedule.to_string());
        // The process has the frame if the hazard came after it.
        let came = cell.observation.unwrap().to_string();
        let expected = match schedule.point() {
            Some(_) => "unreadable",
            None => "data",
        };
        assert_eq!(came, expected, "{}", cell.cell);
        // The card wrote one frame into each buffer.
        for buffer in 0..2 {
            assert_eq!(cell.card_frames.of_buffer(buffer).frames().len(), 1);
        }
    }
}
