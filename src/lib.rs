//! Pinhole: a virtual capture card for testing how Linux hands a program's own
//! memory to hardware.
//!
//! The modules, from the wire up. A module may only import from those above it
//! in this list, and no two files import each other:
//!
//! | module | what it is | knows nothing of |
//! |---|---|---|
//! | [`wire`] | virtio-media on the wire: bytes <-> types, no policy | everything else |
//! | [`scripted`] | the two ends of virtio-media, scripted: a driver without a guest, a device whose answers are given | the card |
//! | [`source`] | the sources of pixels: formats, layouts, patterns | memory, virtio |
//! | [`sink`] | where the frames of an output card go: films, raw files | memory, virtio |
//! | [`dma`] | scatter lists resolved against guest memory; the copy; the digests | V4L2, virtqueues |
//! | [`card`] | the card, which captures or shows frames: a state machine driven by a command and a tick | sockets, virtqueues, threads |
//! | [`m2m`] | the mem-to-mem card, which converts frames; what it has in common with the others is theirs | sockets, virtqueues, threads |
//! | [`vhost`] | the vhost-user daemon: virtqueues in, card calls out | pixels |
//! | [`control`] | the control socket: access from the host to a running card's statistics and settings | virtqueues |
//! | [`sandbox`] | the restrictions of the running card's process | everything else |
//! | [`agent`] | the protocol between the guest's init and the host; the cells of the matrix | the card, but for its kind |
//! | [`guest`] | what runs in a guest: its init, the server of the host's requests, the cells; but for the init, on any machine | the host, the card |
//! | [`vm`] | QEMU, kernels, guest images, the console, QMP, the agent's channel | V4L2, the card |
//! | [`rig`] | the testbed; captures and plays, the matrix, frame vectors, and the oracles that judge them | the terminal |
//! | [`conformance`] | the clauses of virtio-media, and the suites that hold a device or a driver against them | the terminal |
//! | [`report`] | JSON, tables and pictures for people | how the results were obtained |
//! | [`cli`] | one file a subcommand | |
//!
//! A frame travels one way: descriptor chain, [`wire`], [`card`], [`dma`],
//! guest memory, event.

pub mod agent;
pub mod card;
pub mod cli;
pub mod conformance;
pub mod control;
pub mod dma;
pub mod guest;
pub mod m2m;
pub mod report;
pub mod rig;
pub mod sandbox;
pub mod scripted;
pub mod sink;
pub mod source;
pub mod vhost;
pub mod vm;
pub mod wire;
