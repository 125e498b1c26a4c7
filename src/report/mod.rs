//! Results for people and machines.

pub mod compliance;
pub mod controls;
pub mod folder;
pub mod frame_vector;
pub mod matrix;
pub mod picture;
pub mod statistics;
pub mod table;
