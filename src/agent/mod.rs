//! What the guest's init and its host say to each other.
//!
//! The agent itself is the binary `pinhole-agent` (`src/bin/pinhole-agent/`), with
//! folders of the same names. The library holds only what both ends share, so
//! that they cannot drift apart.

pub mod bytes;
pub mod cell;
pub mod checks;
pub mod frame_vector;
pub mod kernel_log;
pub mod protocol;
pub mod status;
