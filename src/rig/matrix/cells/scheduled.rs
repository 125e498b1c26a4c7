//! The cells with a schedule: every order of the steps of two buffers, with the hazard at
//! every place.
//!
//! One hazard of each direction is enough: what a hazard does to a kind of memory is the
//! business of the other cells, and here it is the order that may go wrong.

use crate::agent::cell::{Hazard, Kind, Schedule};
use crate::rig::matrix::name::CellName;

/// Takes the pages from the process: nothing but the pin keeps them for the card.
const TO_CAPTURES: Hazard = Hazard::Munmap;

/// Has the process write to the page that the card has: what the card reads tells whether
/// that came before the DMA or after it.
const TO_OUTPUTS: Hazard = Hazard::ForkParentWrites;

/// Returns the cells, in the order in which they are run.
pub fn all() -> Vec<CellName> {
    let captures = of(TO_CAPTURES);
    let outputs = of(TO_OUTPUTS).map(CellName::of_output);
    captures.chain(outputs).collect()
}

fn of(hazard: Hazard) -> impl Iterator<Item = CellName> {
    let schedules = Schedule::all().into_iter();
    schedules.map(move |schedule| CellName {
        hazard,
        schedule: Some(schedule),
        ..CellName::plain(Kind::AnonTouched)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::{Flow, Point};
    use crate::rig::kernel::Version;
    use crate::rig::matrix::expectation::expect;

    #[test]
    fn what_comes_of_a_cell_depends_on_where_the_hazard_stands() {
        let cells = all();
        assert_eq!(cells.len(), 224);
        for cell in cells {
            assert_eq!(cell.check(), Ok(()));
            let outcomes = expect(&cell.first_alone(), Version(6, 12)).outcomes;
            let came = match (cell.flow == Flow::Output, cell.schedule.unwrap().point()) {
                (_, None) => "data",
                (false, Some(_)) => "unreadable",
                (true, Some(Point::BeforeDma)) => "later data",
                (true, Some(_)) => "data",
            };
            let told: Vec<_> = outcomes.iter().map(ToString::to_string).collect();
            assert_eq!(told, [came], "{cell}");
        }
    }
}
