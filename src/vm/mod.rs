//! Virtual machines: kernels, images, QEMU and what is said to them.

pub mod accelerator;
pub mod images;
pub mod interrupt;
pub mod progress;
pub mod provision;
pub mod qemu;
