//! The card's promises, held against the real binary on a real socket, without
//! a virtual machine: the tests play the guest's driver.

mod harness;
#[path = "../program/mod.rs"]
mod program;

mod buffers;
mod capture;
mod control;
mod controls;
mod conventions;
mod daemon;
mod films;
mod footprint;
mod hostile;
mod m2m;
mod malformed;
mod memory_table;
mod negotiation;
mod outputs;
mod overload;
mod pace;
mod pause;
mod planes;
mod quiet;
mod region;
mod sandbox;
mod sessions;
