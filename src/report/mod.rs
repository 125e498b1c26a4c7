//! Results for people and machines.

pub mod picture;
