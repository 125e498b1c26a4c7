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
use crate::vm::qemu::MEDIA_ID;
use crate::vm::virtiofsd::ShareError;

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
    /// The directory could not be shared with the guest.
    #[error("the directory that the guest is to share: {0}")]
    Share(#[from] ShareError),
    /// What shares it ended by itself.
    #[error("virtiofsd ended by itself ({status}): {log}")]
    ShareEnded {
        /// Exit status of the process.
        status: String,
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
    /// The USB camera could not be plugged in.
    #[error("the USB camera: {0}")]
    Camera(AgentError),
    /// The clients could not be installed.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The driver does not bind to the card.
    #[error(
        "the driver {driver} is loaded but there is no capture device in the guest{}; its kernel \
         log:\n{log}",
        told_to_bind(*stand_in)
    )]
    NoDevice {
        /// Name of the driver.
        driver: String,
        /// The virtio id that the card has in place of a media device's, if the
        /// driver is one that the rig does not tell of it.
        stand_in: Option<u32>,
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

/// Returns how to make a driver bind to a card with another id.
fn told_to_bind(stand_in: Option<u32>) -> String {
    stand_in.map_or_else(String::new, |id| {
        format!(
            ": QEMU shows the card with the virtio id {id} and not with a media device's, \
             {MEDIA_ID}, so make the driver bind {id}, by a parameter (--driver-args) or in its \
             table of ids"
        )
    })
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
            Self::Load { .. } | Self::Camera(_) | Self::NoDevice { .. } | Self::Occupied { .. } => {
                true
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_does_not_bind_the_stand_in_is_told_of_it() {
        let error = |stand_in| TestbedError::NoDevice {
            driver: "their_driver".into(),
            stand_in,
            log: "  x".into(),
        };
        let said = error(Some(30)).to_string();
        assert!(
            said.contains("make the driver bind 30, by a parameter"),
            "{said}"
        );
        assert_eq!(
            error(None).to_string(),
            "the driver their_driver is loaded but there is no capture device in the guest; its \
             kernel log:\n  x"
        );
    }
}
