//! Results for people and machines.

pub mod compliance;
pub mod folder;
pub mod picture;
pub mod table;
