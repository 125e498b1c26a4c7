//! The capture card: a state machine driven by a command and a tick.

pub mod witness;
