//! The conformance suites: a virtio-media device or driver, held against the
//! clauses of its specification.
//!
//! | file | what is in it |
//! |---|---|
//! | [`clause`] | a clause: its number, its source, and what it says |
//! | [`clauses`] | the table of the clauses that the suites test, and their numbers |
//! | [`device`] | the suite for devices |
//! | [`driver`] | the suite for drivers |
//! | [`verdict`] | what became of a clause, and the outcome of a suite |

pub mod clause;
pub mod clauses;
pub mod device;
pub mod driver;
pub mod verdict;
