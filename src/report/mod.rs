//! Reports of results, for people and for machines.

pub mod bench;
pub mod cases;
pub mod compliance;
pub mod conformance;
pub mod controls;
pub mod folder;
pub mod frame_vector;
pub mod matrix;
#[cfg(feature = "films")]
pub mod picture;
#[cfg(not(feature = "films"))]
#[path = "without_pictures.rs"]
pub mod picture;
pub mod plain;
pub mod statistics;
pub mod table;
