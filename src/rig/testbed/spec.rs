//! What card and guest are to be like.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::driver::OtherDriver;
use crate::card::BufferApi;
use crate::vm::accelerator::Accelerator;
use crate::vm::images::OwnKernel;

/// What card and guest are to be like.
#[derive(Debug, Clone, Default)]
pub struct TestbedSpec {
    /// Whose the card is, if there is one.
    pub card: CardProcess,
    /// The guest by its name in the catalogue; the catalogue's default if none.
    pub kernel: Option<String>,
    /// A kernel of the user's own, in place of that guest's.
    pub own_kernel: Option<OwnKernel>,
    /// A driver in place of Pinhole's own.
    pub driver: Option<OtherDriver>,
    /// A QEMU to use in place of one that is found.
    pub qemu: Option<PathBuf>,
    /// The accelerator; the best there is if none.
    pub accelerator: Option<Accelerator>,
    /// The guest's memory in MiB; 1024 if none.
    pub ram_mib: Option<u32>,
    /// Its processors; 2 if none.
    pub cpus: Option<u32>,
    /// What is added to its kernel's command line.
    pub append: String,
    /// What the card's camera sees; the card's default if none.
    pub source: Option<String>,
    /// What the card reads from standard input, as the source `y4m:-` does.
    pub card_input: Option<Arc<OwnedFd>>,
    /// Which of V4L2's two APIs the card has.
    pub planes: BufferApi,
    /// Let the card fill buffers as fast as they come.
    pub free_running: bool,
    /// The most frames a second that the guest may set; the card's own limit if
    /// none.
    pub max_fps: Option<u32>,
    /// Where the card is to write its witness.
    pub witness: Option<PathBuf>,
    /// Where to keep what the card logs.
    pub card_log: Option<PathBuf>,
    /// Where to keep what the guest's console says.
    pub console_log: Option<PathBuf>,
    /// Raw images: /dev/vda and so on.
    pub disks: Vec<PathBuf>,
    /// Give the guest real applications ([`clients`](super::clients)).
    pub clients: bool,
    /// Load the build of the driver that has deliberate bugs to choose from.
    pub mutants: bool,
    /// Put bounce buffers between the guest's memory and the card: it is given
    /// DMA addresses (VIRTIO_F_ACCESS_PLATFORM), and they are those of swiotlb.
    pub bounce_buffers: bool,
    /// More arguments for the card.
    pub card_arguments: Vec<OsString>,
    /// More arguments for QEMU.
    pub qemu_arguments: Vec<OsString>,
}

impl TestbedSpec {
    /// Whether it has what only one testbed at a time can have.
    pub fn is_unique(&self) -> bool {
        matches!(self.card, CardProcess::Running { .. })
            || self.card_input.is_some()
            || self.card_log.is_some()
            || self.console_log.is_some()
            || !self.disks.is_empty()
            || !self.qemu_arguments.is_empty()
    }
}

/// Whose the card is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CardProcess {
    /// The testbed's: this program once more, started and ended with the guest,
    /// as the [`TestbedSpec`] says.
    #[default]
    Own,
    /// Somebody else's, who started it and will end it: what the
    /// [`TestbedSpec`] says of the card is for them to see to.
    Running {
        /// Where it listens.
        socket: PathBuf,
        /// Where it writes its witness.
        witness: PathBuf,
    },
    /// Nobody's: the guest has no card. Its driver is of something else, and
    /// finds no capture device.
    Absent,
}
