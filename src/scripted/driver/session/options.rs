//! What a driver is made like.

use std::time::Duration;

use super::super::front::{EVENT_IDX, INDIRECT_DESC, PROTOCOL_FEATURES, VERSION_1};

/// How the driver lays out its chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chains {
    /// A descriptor for what is read and one for what is written.
    Plain,
    /// Small pieces that do not respect any structure's borders.
    Split,
    /// As `Split`, in an indirect table.
    Indirect,
}

/// What a driver is made like.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which of the features that it knows it wants; it accepts those that are
    /// offered.
    pub features: u64,
    /// Whether EVENT_IDX is among them.
    pub event_idx: bool,
    /// How chains are laid out. Indirect tables take their feature.
    pub chains: Chains,
    /// Event buffers posted at first, each posted anew when it was used.
    pub event_buffers: usize,
    /// The front end maps memory into region 0.
    pub region: bool,
    /// How long an answer may take.
    pub limit: Duration,
    /// Whether the driver sleeps until it is notified. If not, it also looks at
    /// the rings now and then, so that a device that forgets to notify is slow,
    /// and no more.
    pub relies_on_calls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            features: VERSION_1 | PROTOCOL_FEATURES | INDIRECT_DESC | EVENT_IDX,
            event_idx: true,
            chains: Chains::Plain,
            event_buffers: 40,
            region: false,
            limit: Duration::from_secs(5),
            relies_on_calls: false,
        }
    }
}

impl Options {
    pub(super) fn accepts(&self, offered: u64) -> u64 {
        let unwanted = if self.event_idx { 0 } else { EVENT_IDX };
        offered & self.features & !unwanted
    }
}
