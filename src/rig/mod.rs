//! Captures, and the oracles that judge them.
//!
//! A capture ([`capture`]) puts card and guest on a [`testbed`], runs an
//! [`application`] in the guest, and has what it read judged by oracles that
//! know nothing of each other: the data ([`data`]), the kernel's log
//! ([`kernel_log`]), its counters of pinned pages, and a kprobe on the function
//! under test ([`probe`]). What comes of it is an [`outcome`].
//!
//! The guest's [`driver`] is Pinhole's own, or another that is to be judged.
//!
//! [`clients`] are applications that others wrote, and [`compliance`] is what
//! the V4L2 project's own has to say. [`frame_vector`] asks the function under
//! test itself.

pub mod application;
pub mod capture;
pub mod cell_guest;
pub mod clients;
pub mod compliance;
pub mod data;
pub mod disk;
pub mod driver;
pub mod folder;
pub mod frame_vector;
pub mod kernel_log;
pub mod matrix;
pub mod outcome;
pub mod probe;
pub mod psnr;
pub mod room;
pub mod testbed;
pub mod tool;
