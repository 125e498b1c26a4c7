//! What kind of device it is that is to be judged, and what can be seen of it.

use serde::{Deserialize, Serialize};

use super::cell::one;
use super::cell::picture::Picture;
use super::cell::subject::Subject;
use crate::card::CardKind;

/// Request to survey a device of any driver: to open it, choose a format with small
/// frames, make its picture still where its controls can, and capture by MMAP. The
/// device keeps the format and the controls, which the cells need as they are then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The device.
    pub device: String,
    /// Time limit in milliseconds.
    pub limit_ms: u64,
    /// Factor by which all waits for the device are longer than usual, as
    /// [`Cell::patience`](super::cell::Cell::patience).
    #[serde(default = "one")]
    pub patience: u32,
}

/// What was found of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyAnswer {
    /// Name of its driver (v4l2_capability::driver).
    pub driver: String,
    /// Name of the device (v4l2_capability::card).
    pub card: String,
    /// Where it is (v4l2_capability::bus_info).
    pub bus: String,
    /// Version of its driver, as `6.12.107`.
    pub version: String,
    /// What it is for; `None` if it is none of these.
    pub kind: Option<CardKind>,
    /// How a cell uses it; `None` if no cell can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Why no cell can use it, or why it shows no still picture, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What it wrote into memory of its own driver, the same each time; a mem-to-mem
    /// device, of the same frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
    /// What this process may see of the kernel.
    pub powers: Powers,
}

/// What a process may see of the kernel, each with the reason if it may not; a
/// sentence that says what it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Powers {
    /// The page frames in /proc/PID/pagemap (CAP_SYS_ADMIN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_frames: Option<String>,
    /// /proc/kpageflags and /proc/kpagecount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_page_flags: Option<String>,
    /// The counters of pins in /proc/vmstat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_pin_counters: Option<String>,
    /// The kernel's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_log: Option<String>,
    /// The DMA mappings in debugfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_mappings: Option<String>,
}
