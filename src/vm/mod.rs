//! Virtual machines: kernels, images, QEMU and what is said to them.
