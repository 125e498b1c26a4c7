//! Why there is no testbed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::clients::ClientsError;
use crate::vm::channel::AgentError;
use crate::vm::images::OwnKernel;
use crate::vm::machine::MachineError;
use crate::vm::process::ProcessError;
use crate::vm::provision;

/// Why there is no testbed.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// Signals cannot be waited for.
    #[error("cannot prepare for signals: {0}")]
    Signals(io::Error),
    /// A guest, a driver or a QEMU could not be provided.
    #[error(transparent)]
    Provision(#[from] provision::Error),
    /// The guest could not be booted.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The card could not be started or followed.
    #[error("the card: {0}")]
    Card(#[from] ProcessError),
    /// The card's program is missing.
    #[error(
        "the program pinhole, which is the card, is not beside this one: build it with `cargo build --release`"
    )]
    NoCard,
    /// The card cannot be given its standard input.
    #[error("cannot pass on what the card is to read: {0}")]
    Input(io::Error),
    /// A file of the card could not be made.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The card ended by itself.
    #[error("the card ended by itself ({status}): {log}")]
    CardEnded {
        /// How.
        status: String,
        /// Its last words.
        log: String,
    },
    /// The card does not listen.
    #[error("the card did not listen within {} s: {log}", limit.as_secs())]
    CardSilent {
        /// How long it was waited for.
        limit: Duration,
        /// Its last words.
        log: String,
    },
    /// The driver could not be loaded.
    #[error("the driver {driver} could not be loaded: {source}")]
    Load {
        /// Its name.
        driver: String,
        /// Why not.
        source: AgentError,
    },
    /// The clients are not there.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The driver does not take the card.
    #[error(
        "the driver is loaded but there is no capture device in the guest; its kernel log:\n{log}"
    )]
    NoDevice {
        /// The last lines of the kernel log.
        log: String,
    },
    /// The guest has a video device before the driver is there.
    #[error(
        "the kernel has \"{name}\" in the card's place, /dev/video0: build it without, or as a \
         module"
    )]
    Occupied {
        /// What the device calls itself.
        name: String,
    },
    /// With the user's own kernel there is no testbed.
    #[error("{0}")]
    Untestable(#[from] Untestable),
    /// SIGINT or SIGTERM came.
    #[error("interrupted")]
    Interrupted,
}

/// A kernel of the user's own does not come so far that anything can be told of
/// it: it is no kernel, the driver cannot be built for it, it does not boot, or
/// the driver does not load.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be tested: {source}", kernel.display())]
pub struct Untestable {
    /// The kernel.
    pub kernel: PathBuf,
    /// Why not.
    source: Box<TestbedError>,
}

impl TestbedError {
    /// The same, for what the user's own kernel is to blame for.
    pub(crate) fn of(self, own: Option<&OwnKernel>) -> Self {
        let kernels = match &self {
            Self::Provision(error) => !error.is_the_systems(),
            Self::Machine(error) => matches!(
                error,
                MachineError::Ended { .. }
                    | MachineError::TimedOut { .. }
                    | MachineError::Agent { .. }
            ),
            Self::Load { .. } | Self::NoDevice { .. } | Self::Occupied { .. } => true,
            _ => false,
        };
        match own {
            Some(own) if kernels => Self::Untestable(Untestable {
                kernel: own.path().to_owned(),
                source: Box::new(self),
            }),
            _ => self,
        }
    }
}
