//! Captures, the matrix and the contract of the frame vector: guests with the
//! card, and the oracles that judge the results.
//!
//! | module | what is in it |
//! |---|---|
//! | [`testbed`] | the card, and a guest that uses it: started and ended together |
//! | [`capture`] | an application streams in the guest, captures or plays, and independent oracles judge the result: the data, the kernel's log, its counters of pinned pages, a kprobe on the function under test |
//! | [`matrix`] | kinds of memory, hazards and kernels, each judged alone |
//! | [`frame_vector`] | the function under test itself, called by a module |
//! | [`compliance`] | the results of the V4L2 project's own tool for the driver |
//! | [`bench`] | measurements in a guest: streams, pins, timestamps, boots, cells |
//! | [`kernel`] | a kernel's version, and the names of its error numbers |
//! | [`kernel_log`] | the oracle for the kernel's log |
//! | [`plural`] | numbers of things, as they are said |
//! | [`room`] | reserving room on the host's disk |

pub mod bench;
pub mod capture;
pub mod compliance;
pub mod frame_vector;
pub mod kernel;
pub mod kernel_log;
pub mod matrix;
pub mod plural;
pub mod room;
pub mod testbed;
