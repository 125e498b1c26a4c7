//! Results for people and machines.

pub mod folder;
pub mod picture;
pub mod table;
