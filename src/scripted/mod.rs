//! The two ends of virtio-media, scripted: whoever has one decides what it says,
//! and sees what the other end said.
//!
//! They speak to peers that may do anything. Nothing that a peer does makes them
//! panic: it is recorded, or an error.
//!
//! | folder | what it is |
//! |---|---|
//! | [`device`] | a vhost-user media back end, and a camera that answers for it |
//! | [`driver`] | a driver without a guest: memory, rings, and a vhost-user front end |

pub mod device;
pub mod driver;
