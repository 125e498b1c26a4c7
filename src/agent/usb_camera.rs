//! A USB camera made of software, for the kernel's own driver of cameras.

use serde::{Deserialize, Serialize};

/// Request to plug a USB camera into the guest, which stays until it is turned off. The
/// module `vhci_hcd` must be loaded; `uvcvideo` may be before or afterwards. Answered
/// once the kernel has chosen the camera's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlugCamera {
    /// Time limit in milliseconds.
    pub limit_ms: u64,
}

/// The module of the host controller that the camera is plugged into.
pub const CONTROLLER: &str = "vhci_hcd";

/// The kernel's driver of such cameras.
pub const DRIVER: &str = "uvcvideo";
