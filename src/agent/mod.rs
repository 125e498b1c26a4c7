//! The protocol between the guest's init (the agent) and the host.
//!
//! The agent itself is [`crate::guest`], whose folders have the same names. Here are
//! only the definitions that both ends share, so that they cannot diverge.

pub mod bench;
pub mod bytes;
pub mod cell;
pub mod checks;
pub mod frame_vector;
pub mod ioctls;
pub mod kernel_log;
pub mod location;
pub mod protocol;
pub mod status;
pub mod survey;
pub mod usb_camera;
