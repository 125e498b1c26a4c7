//! The protocol between the guest's init (the agent) and the host.
//!
//! The agent itself is the binary `pinhole-agent` (`src/bin/pinhole-agent/`),
//! whose folders have the same names. The library holds only the definitions
//! that both ends share, so that they cannot diverge.

pub mod bench;
pub mod bytes;
pub mod cell;
pub mod checks;
pub mod frame_vector;
pub mod ioctls;
pub mod kernel_log;
pub mod location;
pub mod protocol;
pub mod status;
