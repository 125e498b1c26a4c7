//! The cells of the matrix, run.
//!
//! Each has a process of its own, this program once more with the argument
//! [`process::ARGUMENT`], which is told the cell on its standard input and tells the
//! evidence on its standard output, a line at a time. So a cell may
//! damage or end its process, or hang, and what it saw until then is known.
//!
//! | file | what is in it |
//! |---|---|
//! | [`runner`] | runs a cell for the host: starts its process, collects what it tells |
//! | [`process`] | the cell's own process: from the layout to the last look |
//! | [`fail_nth`] | allocations that fail in one call |
//! | [`contention`] | several buffers, queued by several threads |
//! | [`contents`] | what memory holds, as the process reads it |
//! | [`memory`] | laying out memory of every kind |
//! | [`setup`] | what some memory needs of the guest |
//! | [`hazards`] | what happens to the memory |
//! | [`idle`] | which pages were accessed |
//! | [`mappings`] | the card's DMA mappings |
//! | [`patience`] | how long is waited |
//! | [`device`] | the capture device |
//! | [`fork`] | a child that shares the memory |
//! | [`pagemap`] | page frames and counters |
//! | [`span`] | ranges of addresses, and the system calls on them |
//! | [`evidence_writer`] | what is told to the agent |

mod contention;
mod contents;
mod device;
mod evidence_writer;
mod fail_nth;
mod fork;
mod hazards;
mod idle;
mod mappings;
mod memory;
pub mod pagemap;
mod patience;
pub mod process;
pub mod runner;
mod setup;
pub mod span;

use std::io;

/// Why a cell goes no further.
#[derive(Debug)]
pub enum Stop {
    /// This kernel or this machine has no such memory, or no such hazard.
    Impossible(String),
    /// Something that should work does not.
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}
