//! Captures, and the oracles that judge them.

pub mod testbed;
