//! Why the matrix could not be run.

use super::equipment::EquipmentError;
use super::name::CellName;
use crate::rig::capture::witness::WitnessError;
use crate::rig::testbed::TestbedError;
use crate::vm::channel::AgentError;

/// Why the matrix could not be run. A guest that breaks is a finding, unless it
/// has just been booted.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// The card or the guest could not be started.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The equipment for the kinds of memory could not be provided.
    #[error(transparent)]
    Equipment(#[from] EquipmentError),
    /// The card's witness is missing or malformed.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The directory for the witness, or what is to be in it, could not be made.
    #[error("cannot make a folder for the card's files: {0}")]
    Folder(std::io::Error),
    /// The kernel's release has no version.
    #[error("the guest's kernel calls itself \"{0}\", which is no version")]
    Release(String),
    /// The guest does not report its kernel's checks.
    #[error("the guest does not tell what its kernel checks: {0}")]
    Checks(AgentError),
    /// The driver does not take an application's memory at all.
    #[error(
        "the driver {driver} cannot be judged, it gets no further than: {why}; it has to take \
         buffers of V4L2_MEMORY_USERPTR, for which some drivers need a parameter"
    )]
    NoUserPointers {
        /// Name of the driver.
        driver: String,
        /// The call that fails, and its error.
        why: String,
    },
    /// The device that is to be judged cannot be asked what it is, or no cell can use
    /// it.
    #[error("{device} cannot be judged: {why}")]
    NoSubject {
        /// Path of its node.
        device: String,
        /// The reason.
        why: String,
    },
    /// None of the cells is for a device of its kind.
    #[error("none of the cells is for {device}, which is a device of the kind {kind}")]
    NoCells {
        /// Path of its node.
        device: String,
        /// Its kind.
        kind: &'static str,
    },
    /// This machine does not serve the requests of cells.
    #[error("cells cannot be run on this machine: {0}")]
    Here(std::io::Error),
    /// A process on this machine hangs in the device's driver.
    #[error(
        "the kernel does not let go of process {process}, which hangs in the driver of {device} \
         since the cell {cell}: unplug the device, or reboot this machine"
    )]
    Stuck {
        /// Its number.
        process: i32,
        /// Path of the device's node.
        device: String,
        /// The cell.
        cell: CellName,
    },
    /// What serves the requests of cells on this machine does not any more.
    #[error("no further cells can be run on this machine since the cell {cell}: {why}")]
    Lost {
        /// The reason.
        why: String,
        /// The cell.
        cell: CellName,
    },
    /// A cell has damaged this machine's kernel.
    #[error("{why} after the cell {cell}: reboot this machine")]
    Damaged {
        /// What the kernel says.
        why: String,
        /// The cell.
        cell: CellName,
    },
    /// The driver's way of pinning could not be set.
    #[error("the driver cannot be switched: {0}")]
    Driver(AgentError),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

impl MatrixError {
    /// Returns whether it is the driver that has no use for the card.
    pub(super) fn is_of_the_driver(&self) -> bool {
        matches!(
            self,
            Self::NoUserPointers { .. } | Self::Testbed(TestbedError::NoDevice { .. })
        )
    }

    pub(super) fn checks(error: AgentError) -> Self {
        match error {
            AgentError::Interrupted => Self::Interrupted,
            error => Self::Checks(error),
        }
    }
}
