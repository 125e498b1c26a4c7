//! The matrix: kinds of memory, hazards and kernels, each judged alone.
//!
//! A cell ([`CellName`]) is run by the agent ([`crate::agent::cell`]), which
//! tells what it saw; the card tells what it wrote. [`observation`] puts the
//! two together, [`expectation`] says what should have been, and the oracles
//! ([`oracle`]) hold what must be true whatever the cell. What differs is a
//! finding.
//!
//! | file | what is in it |
//! |---|---|
//! | [`name`] | the names of cells |
//! | [`cells`] | which cells there are |
//! | [`cell_job`] | running the cells of a kernel, however guests end |
//! | [`jobs`] | several guests at once |
//! | [`equipment`] | what a guest must have so that all kinds of memory can be laid out in it |
//! | [`expectation`] | what is expected of a cell on a kernel, and why |
//! | [`guest`] | a guest in which cells run |
//! | [`health`] | whether a guest is good for what follows |
//! | [`leaks`] | memory that was lost, laid to the cells that lost it |
//! | [`mutant`] | drivers with one bug each, which the oracles must see |
//! | [`mutation`] | running the mutants |
//! | [`observation`] | what a cell came to |
//! | [`oracle`] | data, addresses, pins, mappings, dirty and idle pages, fences, leaks, the kernel's log |
//! | [`outcome`] | results, as they are reported |
//! | [`run`] | running it: the cells, then the mutants |
//! | [`spec`] | what is to be run on one kernel |
//! | [`witness`] | following what the card testifies |

mod cell_job;
pub mod cells;
mod equipment;
pub mod expectation;
pub mod guest;
mod health;
mod jobs;
mod leaks;
pub mod mutant;
mod mutation;
pub mod name;
pub mod observation;
pub mod oracle;
pub mod outcome;
pub mod run;
mod spec;
pub mod witness;

pub use mutant::Mutant;
pub use name::{CellName, Pinning};
