//! Execution of the cells of the matrix.
//!
//! Each cell has its own process: this program, started with the argument
//! [`process::ARGUMENT`], which reads the cell from its standard input and
//! writes the evidence to its standard output, a line at a time. So a cell may
//! damage or end its process, or hang, and its evidence until then is known.
//!
//! | file | what is in it |
//! |---|---|
//! | [`runner`] | runs a cell for the host: starts its process, collects its evidence |
//! | [`process`] | the cell's own process: from its memory to the transfer |
//! | [`transfer`] | the transfer of a frame on Pinhole's card, or of one in each direction, and the hazard meanwhile |
//! | [`queues`] | the queues of its buffers: opened, set up, stopped |
//! | [`held`] | what the card holds back of a frame, until the hazard has happened |
//! | [`scheduled`] | the transfer of two buffers, step by step |
//! | [`any_driver`] | the transfer on a device of any driver |
//! | [`borrowed`] | settings of the guest that are changed for one cell |
//! | [`buffer`] | a buffer of the cell, and what is told of it |
//! | [`layouts`] | the memory of all the buffers of a cell |
//! | [`halted_pin`] | a pin that waits in the middle of the buffer |
//! | [`fail_nth`] | allocations that fail in one call |
//! | [`contention`] | several buffers, queued by several threads |
//! | [`contents`] | the contents of memory, as the process reads them |
//! | [`conversion`] | what a mem-to-mem device makes of a frame in its driver's own memory |
//! | [`memory`] | laying out memory of every kind |
//! | [`disks`] | the file systems on the guest's disks |
//! | [`virtiofs`] | the file system on a directory of the host |
//! | [`setup`] | setting up the guest for some kinds of memory |
//! | [`hazards`] | the hazards: what happens to the memory |
//! | [`idle`] | which pages were accessed |
//! | [`mappings`] | the card's DMA mappings |
//! | [`patience`] | time limits of waits |
//! | [`touched`] | what a device left as it was |
//! | [`device`] | a device |
//! | [`device_mirror`] | a device that takes memory to itself |
//! | [`fault_fd`] | page faults that another thread handles |
//! | [`io_uring`] | an io_uring's memory, and its registered buffers |
//! | [`fork`] | a child that shares the memory |
//! | [`pagemap`] | page frames and counters |
//! | [`span`] | ranges of addresses, and the system calls on them |
//! | [`evidence_writer`] | writing evidence for the agent |

mod any_driver;
mod borrowed;
mod buffer;
mod contention;
mod contents;
pub mod conversion;
pub mod device;
mod device_mirror;
mod disks;
mod evidence_writer;
mod fail_nth;
mod fault_fd;
mod fork;
mod halted_pin;
mod hazards;
mod held;
mod idle;
mod io_uring;
mod layouts;
pub mod mappings;
mod memory;
pub mod pagemap;
pub mod patience;
pub mod process;
mod queues;
pub mod runner;
mod scheduled;
mod setup;
pub mod span;
mod touched;
mod transfer;
mod virtiofs;

use std::io;

/// Why a cell stopped.
#[derive(Debug)]
pub enum Stop {
    /// This kernel or this machine does not support the memory or the hazard.
    Impossible(String),
    /// Something failed that should work.
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
