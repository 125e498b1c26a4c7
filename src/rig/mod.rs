//! Captures, and the oracles that judge them.
