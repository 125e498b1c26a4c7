//! `--planes`, as several subcommands take it.

use clap::ValueEnum;

use crate::card::BufferApi;

/// Which of V4L2's two APIs the card has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanesArg {
    /// A frame lies in one piece of memory.
    Single,
    /// Formats that want it have each plane in memory of its own.
    Multi,
}

impl From<PlanesArg> for BufferApi {
    fn from(planes: PlanesArg) -> Self {
        match planes {
            PlanesArg::Single => Self::Single,
            PlanesArg::Multi => Self::Multi,
        }
    }
}
