//! The two ends of virtio-media, scripted: each says what it is told to say, and
//! trusts nothing that the other end does.
//!
//! | file | what is in it |
//! |---|---|
//! | [`driver`] | a driver without a guest |

pub mod driver;
