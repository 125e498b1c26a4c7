//! Virtual machines: kernels, images, QEMU, and the channels to them.

pub mod accelerator;
pub mod channel;
pub mod command_line;
pub mod console;
#[cfg(test)]
#[path = "../../tests/program/executable.rs"]
mod executable;
pub mod images;
pub mod interrupt;
pub mod machine;
pub mod memory;
pub mod overlay;
pub mod process;
pub mod progress;
pub mod provision;
pub mod qemu;
pub mod qmp;
pub mod virtiofsd;
pub mod wait;
