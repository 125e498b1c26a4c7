//! The specification of a card and a guest.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::driver::OtherDriver;
use crate::card::{BufferApi, CardKind};
use crate::vm::accelerator::Accelerator;
use crate::vm::images::OwnKernel;

/// The specification of a card and a guest.
#[derive(Debug, Clone, Default)]
pub struct TestbedSpec {
    /// The origin of the card's process, if there is a card.
    pub card: CardProcess,
    /// Name of the guest in the catalogue; the catalogue's default if `None`.
    pub kernel: Option<String>,
    /// The user's own kernel, which replaces that guest's.
    pub own_kernel: Option<OwnKernel>,
    /// A driver that replaces Pinhole's own.
    pub driver: Option<OtherDriver>,
    /// Parameters of Pinhole's own driver, besides the one that the machine
    /// needs.
    pub driver_args: String,
    /// QEMU to use instead of searching for one.
    pub qemu: Option<PathBuf>,
    /// The accelerator; the best available one by default.
    pub accelerator: Option<Accelerator>,
    /// The guest's memory in MiB; 1024 by default.
    pub ram_mib: Option<u32>,
    /// Memory in MiB that the guest has besides, for files in its memory.
    pub spare_mib: u32,
    /// Number of processors; 2 by default.
    pub cpus: Option<u32>,
    /// Text to append to the kernel's command line.
    pub append: String,
    /// Source of the card's pictures; the card's default if `None`.
    pub source: Option<String>,
    /// Standard input of the card, which the source `y4m:-` reads.
    pub card_input: Option<Arc<OwnedFd>>,
    /// What the card is for.
    pub kind: CardKind,
    /// V4L2's single-planar or multi-planar API.
    pub planes: BufferApi,
    /// Whether the card fills buffers as fast as they come.
    pub free_running: bool,
    /// Whether the card lacks the controls that make errors happen: programs in
    /// the guest that try every control would try those, too.
    pub harmless: bool,
    /// Highest rate in frames per second that the guest may set; the card's own
    /// limit by default.
    pub max_fps: Option<u32>,
    /// File to which the card writes its witness.
    pub witness: Option<PathBuf>,
    /// File in which to keep the card's log.
    pub card_log: Option<PathBuf>,
    /// File in which to keep the guest's console output.
    pub console_log: Option<PathBuf>,
    /// Raw disk images, which become /dev/vda and so on.
    pub disks: Vec<PathBuf>,
    /// Directory of this machine that the guest can mount ([`SHARED_TAG`]), if this
    /// machine has a virtiofsd.
    ///
    /// [`SHARED_TAG`]: crate::agent::protocol::SHARED_TAG
    pub shared: Option<PathBuf>,
    /// Whether the guest gets real applications ([`clients`](super::clients)).
    pub clients: bool,
    /// Whether the guest gets frame_vector_probe.ko beside the driver.
    pub probe: bool,
    /// Whether to load the build of the driver with selectable deliberate bugs.
    pub mutants: bool,
    /// Whether bounce buffers lie between the guest's memory and the card: the
    /// card gets DMA addresses (VIRTIO_F_ACCESS_PLATFORM), and they are those
    /// of swiotlb.
    pub bounce_buffers: bool,
    /// Whether QEMU's generic device carries the card, also where there is one for
    /// media devices: it passes on all that a card offers.
    pub generic_device: bool,
    /// Further arguments for the card.
    pub card_arguments: Vec<OsString>,
    /// Further arguments for QEMU.
    pub qemu_arguments: Vec<OsString>,
}

impl TestbedSpec {
    /// Returns whether the testbed uses a resource that only one at a time can
    /// have.
    pub fn is_unique(&self) -> bool {
        matches!(self.card, CardProcess::Running { .. })
            || self.card_input.is_some()
            || self.card_log.is_some()
            || self.console_log.is_some()
            || !self.disks.is_empty()
            || !self.qemu_arguments.is_empty()
    }
}

/// The origin of the card's process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CardProcess {
    /// The testbed's own: this program, started and ended with the guest, as
    /// the [`TestbedSpec`] describes.
    #[default]
    Own,
    /// A process that somebody else started and will end; the [`TestbedSpec`]'s
    /// settings of the card do not apply to it.
    Running {
        /// Socket on which it listens.
        socket: PathBuf,
        /// File to which it writes its witness.
        witness: PathBuf,
    },
    /// No process: the guest has no card. Its driver is for another device, and
    /// no capture device is expected.
    Absent,
}
