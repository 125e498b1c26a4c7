//! The matrix: kinds of memory, hazards and kernels, each judged alone.
//!
//! The agent runs a cell ([`CellName`]; see [`crate::agent::cell`]) and returns
//! its evidence; the card's witness records what the card wrote.
//! [`observation`] combines the two, [`expectation`] says what the result
//! should be, and the oracles ([`oracle`]) check what must be true of every
//! cell. A difference is a finding.
//!
//! | file | what is in it |
//! |---|---|
//! | [`name`] | the names of cells |
//! | [`cells`] | the list of all cells |
//! | [`cell_job`] | running the cells of a kernel, and replacing guests |
//! | [`jobs`] | distributing work to several guests at once |
//! | [`equipment`] | the equipment that a guest needs for all kinds of memory |
//! | [`error`] | why the matrix could not be run |
//! | [`expectation`] | the expected outcome of a cell on a kernel, and the reason |
//! | [`guest`] | a guest in which cells run |
//! | [`health`] | whether a guest is usable for the next cell |
//! | [`leaks`] | leaked memory, attributed to the cells that leaked it |
//! | [`mutant`] | drivers with one bug each, which the oracles must detect |
//! | [`mutation`] | running the mutants |
//! | [`objection`] | the oracles' objections, and how bad each is |
//! | [`observation`] | the observed outcome of a cell |
//! | [`oracle`] | data, addresses, pins, mappings, dirty and idle pages, fences, leaks, the kernel's log |
//! | [`outcome`] | results, in the form of the report |
//! | [`pictures`] | what the card shows |
//! | [`place`] | where cells run: in a guest, or on this machine |
//! | [`poison`] | pages written to after they were freed, attributed to the cells that wrote |
//! | [`repeat`] | judging the runs of a cell that was run several times as one |
//! | [`run`] | running the cells, then the mutants |
//! | [`spec`] | the cells and mutants to run on one kernel |
//! | [`survey`] | what is known of a device that is judged without a witness |
//! | [`testimony`] | the card's witness, or a survey |
//! | [`trial`] | a cell in advance, which shows whether the driver has a use for them |
//! | [`unwitnessed`] | what a device wrote that has no witness, as far as the process can tell |
//! | [`witness`] | following the card's witness while it is written |

mod cell_job;
pub mod cells;
mod equipment;
pub mod error;
pub mod expectation;
pub mod guest;
mod health;
mod jobs;
mod leaks;
pub mod mutant;
mod mutation;
pub mod name;
pub mod objection;
pub mod observation;
pub mod oracle;
pub mod outcome;
mod pictures;
mod place;
mod poison;
mod repeat;
pub mod run;
mod spec;
mod survey;
mod testimony;
mod trial;
mod unwitnessed;
pub mod witness;

pub use mutant::Mutant;
pub use name::{CellName, Pinning};
