//! The card, and a guest that has it: started together, ended together.

mod card;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

pub use card::CardProcess;

use super::clients::{self, ClientsError};
use super::driver::{Driver, OtherDriver};
use crate::agent::protocol::{Load, Log, Read};
use crate::card::Planes;
use crate::vm::accelerator::Accelerator;
use crate::vm::channel::AgentError;
use crate::vm::command_line::{Disk, Hardware, VhostUser};
use crate::vm::images::clients::Clients;
use crate::vm::images::{self, Catalog, Guest, OwnKernel};
use crate::vm::interrupt;
use crate::vm::machine::{BOOT_LIMIT, Machine, MachineError, Off, Spec, private_dir};
use crate::vm::overlay::Overlay;
use crate::vm::process::{Process, ProcessError};
use crate::vm::progress::Progress;
use crate::vm::provision;
use crate::vm::qemu::{self, Qemu};

/// What shows that the driver has found the card.
const DEVICE: &str = "/sys/class/video4linux/video0/name";

/// How long the guest may take to load the driver, and to turn itself off.
const GUEST_LIMIT: Duration = Duration::from_secs(60);

/// What card and guest are to be like.
#[derive(Debug, Clone, Default)]
pub struct TestbedSpec {
    /// Whose the card is.
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
    pub planes: Planes,
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
    /// Give the guest real applications ([`clients`]).
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
    #[error("the card did not listen within {} s: {log}", card::LIMIT.as_secs())]
    CardSilent {
        /// Its last words.
        log: String,
    },
    /// The driver could not be loaded.
    #[error("the driver could not be loaded: {0}")]
    Load(AgentError),
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
            Self::Load(_) | Self::NoDevice { .. } | Self::Occupied { .. } => true,
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

/// A running guest with the card in it and the driver loaded. Dropped, both are
/// killed.
#[derive(Debug)]
pub struct Testbed {
    // The guest first: it must not see its hardware die.
    /// The machine.
    pub machine: Machine,
    /// The card's process, if it is the testbed's own.
    pub card: Option<Process>,
    /// The card as QEMU was told of it.
    pub device: VhostUser,
    /// The guest.
    pub guest: Guest,
    /// The driver's name, as in /sys/module.
    pub driver: String,
    /// The QEMU.
    pub qemu: Qemu,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// When the machine was started.
    pub started: SystemTime,
    card_log: PathBuf,
    _dir: TempDir,
}

/// What is left to be told of a testbed that was ended.
#[derive(Debug)]
pub struct Finished {
    /// The guest.
    pub guest: Guest,
    /// Its kernel's release, as the kernel itself gave it.
    pub release: String,
    /// The QEMU.
    pub qemu: Qemu,
    /// What ran the guest's instructions.
    pub accelerator: Accelerator,
    /// Time from QEMU's start until the guest could be spoken to.
    pub boot: Duration,
    /// When the machine was started.
    pub started: SystemTime,
    /// How the machine was turned off.
    pub off: Off,
}

impl Testbed {
    /// Provides what is missing, starts the card and the machine, and loads the
    /// driver.
    ///
    /// # Errors
    ///
    /// [`TestbedError`]; whatever had been started is ended by then.
    pub fn start(spec: &TestbedSpec, progress: &Progress) -> Result<Self, TestbedError> {
        // From here on SIGINT and SIGTERM are waited for: they must not end
        // this program before what it started.
        interrupt::watch().map_err(TestbedError::Signals)?;
        let catalog = Catalog::builtin();
        let id = spec.kernel.as_deref().unwrap_or(catalog.default_id());
        let recipe = catalog.get(id)?;
        let qemu = qemu::ensure(spec.qemu.as_deref(), progress)?;
        let own = spec.own_kernel.as_ref();
        let guest = match own {
            None => images::ensure_guest(&recipe, progress)?,
            Some(own) => {
                let tree = images::ensure_user_land(&recipe, progress)?;
                let guest = own.guest(&recipe, &tree, progress);
                guest.map_err(|error| TestbedError::from(error).of(Some(own)))?
            }
        };
        let dir = private_dir()?;
        let driver = match &spec.driver {
            Some(other) => Driver::other(other, &guest, dir.path())
                .map_err(|error| TestbedError::from(error).of(own))?,
            None => {
                let module = match spec.mutants {
                    true => images::ensure_mutants(&guest, progress),
                    false => images::ensure_driver(&guest, progress),
                };
                let module = module.map_err(|error| TestbedError::from(error).of(own))?;
                Driver::ours(module, &qemu)
            }
        };
        let clients = match spec.clients {
            true => Some(images::clients::ensure(progress)?),
            false => None,
        };

        let step = progress.step(format!("booting {} ({})", guest.id, guest.release));
        let card_log = spec.card_log.clone().unwrap_or(dir.path().join("card.log"));
        let (card, socket) = match &spec.card {
            CardProcess::Own => {
                let socket = dir.path().join("card");
                (Some(card::start(spec, &socket, &card_log)?), socket)
            }
            CardProcess::Running { socket, .. } => (None, socket.clone()),
        };
        let device = card::device(&qemu, socket, spec.bounce_buffers);
        let defaults = Hardware::default();
        let hardware = Hardware {
            accelerator: spec.accelerator.unwrap_or(defaults.accelerator),
            cpus: spec.cpus.unwrap_or(defaults.cpus),
            memory_mib: spec.ram_mib.unwrap_or(defaults.memory_mib),
            vhost_user: vec![device.clone()],
            disks: disks(&spec.disks, clients.as_ref()),
            extra: spec.qemu_arguments.clone(),
        };
        let accelerator = hardware.accelerator;
        let started = SystemTime::now();
        let machine = Machine::boot(&Spec {
            qemu: qemu.clone(),
            kernel: guest.kernel.clone(),
            initramfs: guest.initramfs.clone(),
            overlay: Overlay {
                files: driver.files,
                ..Overlay::default()
            },
            append: match spec.bounce_buffers {
                true => format!("swiotlb=force {}", spec.append),
                false => spec.append.clone(),
            },
            hardware,
            console_log: spec.console_log.clone(),
            boot_limit: BOOT_LIMIT,
        });
        let mut testbed = Self {
            machine: machine.map_err(|error| interrupted(error).of(own))?,
            card,
            device,
            guest,
            driver: driver.name,
            qemu,
            accelerator,
            started,
            card_log,
            _dir: dir,
        };
        step.update("loading the driver");
        testbed.load(driver.loads).map_err(|error| error.of(own))?;
        if clients.is_some() {
            step.update("mounting the clients");
            clients::mount(testbed.machine.agent())?;
        }
        step.done();
        Ok(testbed)
    }

    /// Turns the guest off, then ends the card.
    ///
    /// # Errors
    ///
    /// [`TestbedError::CardEnded`] if the card had ended before it was told to.
    pub fn finish(mut self) -> Result<Finished, TestbedError> {
        let ended = self.card_status();
        let off = self.machine.power_off(GUEST_LIMIT);
        if off != Off::ByGuest {
            log::warn!("the guest did not turn itself off, QEMU was ended");
        }
        if let Some(card) = &mut self.card {
            card.terminate(card::LIMIT);
        }
        if let Some(status) = ended {
            return Err(self.card_ended(status));
        }
        Ok(Finished {
            release: self.machine.hello().release.clone(),
            boot: self.machine.boot_time(),
            guest: self.guest,
            qemu: self.qemu,
            accelerator: self.accelerator,
            started: self.started,
            off,
        })
    }

    /// Loads the driver, and waits until it has found the card.
    fn load(&mut self, loads: Vec<Load>) -> Result<(), TestbedError> {
        let device = Read {
            path: DEVICE.to_owned(),
            limit: 256,
        };
        if let Ok(name) = self.machine.agent().call(device.clone(), GUEST_LIMIT) {
            let name = name.text.trim().to_owned();
            return Err(TestbedError::Occupied { name });
        }
        for load in loads {
            if let Err(error) = self.machine.agent().call(load, GUEST_LIMIT) {
                return Err(match (self.card_status(), error) {
                    (Some(status), _) => self.card_ended(status),
                    (None, AgentError::Interrupted) => TestbedError::Interrupted,
                    (None, error) => TestbedError::Load(error),
                });
            }
        }
        match self.machine.agent().call(device, GUEST_LIMIT) {
            Ok(_) => Ok(()),
            Err(AgentError::Interrupted) => Err(TestbedError::Interrupted),
            Err(_) => match self.card_status() {
                Some(status) => Err(self.card_ended(status)),
                None => Err(TestbedError::NoDevice {
                    log: self.kernel_log(),
                }),
            },
        }
    }

    /// How the card has ended, if it has.
    fn card_status(&mut self) -> Option<ExitStatus> {
        self.card.as_mut()?.try_wait()
    }

    fn kernel_log(&self) -> String {
        let log = self.machine.agent().call(Log { since: 0 }, GUEST_LIMIT);
        let records = log.map(|log| log.records).unwrap_or_default();
        let last = records.len().saturating_sub(10);
        let lines: Vec<_> = records[last..]
            .iter()
            .map(|record| format!("  {}", record.text))
            .collect();
        lines.join("\n")
    }

    fn card_ended(&self, status: ExitStatus) -> TestbedError {
        TestbedError::CardEnded {
            status: status.to_string(),
            log: card::last_words(&self.card_log),
        }
    }
}

/// The disks that were asked for, in their order, and the clients behind them.
fn disks(paths: &[PathBuf], clients: Option<&Clients>) -> Vec<Disk> {
    let disk = |(index, path): (usize, &PathBuf)| Disk {
        path: path.clone(),
        serial: format!("disk{index}"),
        read_only: false,
    };
    let clients = clients.map(|clients| Disk {
        path: clients.image.clone(),
        serial: clients::SERIAL.to_owned(),
        read_only: true,
    });
    paths.iter().enumerate().map(disk).chain(clients).collect()
}

fn interrupted(error: MachineError) -> TestbedError {
    match error {
        MachineError::Interrupted => TestbedError::Interrupted,
        other => other.into(),
    }
}
