//! What the guest's init and its host say to each other.
//!
//! The agent itself is the binary `pinhole-agent` (`src/agent/main.rs` and the
//! files beside it). The library holds only what both ends share, so that they
//! cannot drift apart.

pub mod bytes;
pub mod cell;
pub mod checks;
pub mod frame_vector;
pub mod protocol;
