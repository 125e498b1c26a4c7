//! Pinhole: a virtual capture card for testing how Linux hands a program's own
//! memory to hardware.
//!
//! The house, from the wire up. An import may only point upwards in this list, and
//! outside of [`source`] no two files import each other:
//!
//! | module | what it is | knows nothing of |
//! |---|---|---|
//! | [`wire`] | virtio-media on the wire: bytes <-> types, no policy | everything else |
//! | [`source`] | where pixels come from: formats, layouts, patterns | memory, virtio |
//! | [`dma`] | scatter lists resolved against guest memory; the copy; the digests | V4L2, virtqueues |
//! | [`card`] | the capture card: a state machine driven by a command and a tick | sockets, virtqueues, threads |
//! | [`vhost`] | the vhost-user daemon: virtqueues in, card calls out | pixels |
//! | [`control`] | the control socket: a running card's statistics and settings, for the host | virtqueues |
//! | [`sandbox`] | what the running card may still do to the host | everything else |
//! | [`agent`] | what the guest's init (`src/bin/pinhole-agent/`) and its host say to each other; the cells of the matrix | the card |
//! | [`vm`] | QEMU, kernels, guest images, the console, QMP, the agent's channel | V4L2, the card |
//! | [`rig`] | the testbed; captures, the matrix, frame vectors, and the oracles that judge them; knows both ends | the terminal |
//! | [`report`] | JSON, tables and pictures for a person | how they came about |
//! | [`cli`] | one file a subcommand | |
//!
//! A frame travels one way: descriptor chain, [`wire`], [`card`], [`dma`],
//! guest memory, event.

pub mod agent;
pub mod card;
pub mod cli;
pub mod control;
pub mod dma;
pub mod report;
pub mod rig;
pub mod sandbox;
pub mod source;
pub mod vhost;
pub mod vm;
pub mod wire;
