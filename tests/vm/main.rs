//! What takes a virtual machine: a stock kernel, the driver, the card, and
//! everything between the application and the DMA.
//!
//! Each test boots guests under emulation and takes from ten seconds up, so
//! they are ignored by a plain `cargo test`; `make test` runs them. Guests that
//! are not in the cache are built first.

mod bench;
mod capture;
mod card_mutants;
mod checked;
mod clients;
mod compat;
mod compliance;
mod conformance;
mod contexts;
mod controls;
mod distrust;
mod dma;
mod drain;
mod films;
mod format_kept;
mod formats;
mod frame_vector;
mod full_disk;
mod hazards;
mod judge;
mod judged;
mod judged_m2m;
mod judging;
mod lists;
mod m2m;
mod matrix;
mod memory_unplug;
mod mutated;
mod other_driver;
mod output;
mod own_kernel;
mod own_memory;
mod planes;
mod play;
mod players;
mod process;
#[path = "../program/mod.rs"]
mod program;
mod recovery;
mod requeue;
mod schedules;
mod scripted;
mod seams;
mod sessions;
mod shell;
mod streamed;
mod studio;
mod test_guest;
mod truthful;
mod usb_camera;
mod waits;
