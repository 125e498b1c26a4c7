//! Why a testbed could not be started or stopped.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::clients::ClientsError;
use crate::vm::channel::AgentError;
use crate::vm::images::OwnKernel;
use crate::vm::machine::MachineError;
use crate::vm::process::ProcessError;
use crate::vm::provision;

/// Why a testbed could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// Signals cannot be watched.
    #[error("cannot prepare for signals: {0}")]
    Signals(io::Error),
    /// A guest, a driver or a QEMU could not be provided.
    #[error(transparent)]
    Provision(#[from] provision::Error),
    /// The guest could not be booted.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The card could not be started or waited for.
    #[error("the card: {0}")]
    Card(#[from] ProcessError),
    /// The card's program is not beside this program.
    #[error(
        "the program pinhole, which is the card, is not beside this one: build it with `cargo build --release`"
    )]
    NoCard,
    /// The card's standard input cannot be passed on.
    #[error("cannot pass on what the card is to read: {0}")]
    Input(io::Error),
    /// A file for the card could not be created.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The card ended by itself.
    #[error("the card ended by itself ({status}): {log}")]
    CardEnded {
        /// Exit status of the card.
        status: String,
        /// The last line of its log.
        log: String,
    },
    /// The card does not listen.
    #[error("the card did not listen within {} s: {log}", limit.as_secs())]
    CardSilent {
        /// How long the rig waited.
        limit: Duration,
        /// The last line of its log.
        log: String,
    },
    /// The driver could not be loaded.
    #[error("the driver {driver} could not be loaded: {source}")]
    Load {
        /// Name of the driver.
        driver: String,
        /// The agent's error.
        source: AgentError,
    },
    /// The clients could not be installed.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The driver does not bind to the card.
    #[error(
        "the driver is loaded but there is no capture device in the guest; its kernel log:\n{log}"
    )]
    NoDevice {
        /// The last lines of the kernel log.
        log: String,
    },
    /// The guest has a video device before the driver is loaded.
    #[error(
        "the kernel has \"{name}\" in the card's place, /dev/video0: build it without, or as a \
         module"
    )]
    Occupied {
        /// Name of that device.
        name: String,
    },
    /// The user's own kernel cannot be tested.
    #[error("{0}")]
    Untestable(#[from] Untestable),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

/// The user's own kernel cannot be tested, and the kernel is the cause: it is
/// not a kernel, the driver cannot be built for it, it does not boot, or the
/// driver does not load.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be tested: {source}", kernel.display())]
pub struct Untestable {
    /// Path of the kernel.
    pub kernel: PathBuf,
    /// The cause.
    source: Box<TestbedError>,
}

impl TestbedError {
    /// Returns the same error, marked as untestable if the user's own kernel is
    /// the cause.
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
