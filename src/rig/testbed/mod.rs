//! The card, and a guest that uses it: started together, ended together.

mod card;
pub mod clients;
pub mod driver;
mod error;
mod spec;

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use self::driver::{Driver, OtherDriver};
pub use self::error::{TestbedError, Untestable};
pub use self::spec::{CardProcess, TestbedSpec};
use crate::agent::protocol::{Load, Log, PlugCamera, Read};
use crate::rig::kernel_log;
use crate::vm::accelerator::Accelerator;
use crate::vm::channel::AgentError;
use crate::vm::command_line::{Disk, Hardware, VhostUser};
use crate::vm::images::clients::Clients;
use crate::vm::images::{self, Catalog, Guest, OwnKernel};
use crate::vm::interrupt;
use crate::vm::machine::{BOOT_LIMIT, Machine, MachineError, Off, Spec, private_dir};
use crate::vm::overlay::Overlay;
use crate::vm::process::Process;
use crate::vm::progress::Progress;
use crate::vm::qemu::{self, MEDIA_ID, Qemu};
use crate::vm::virtiofsd::Virtiofsd;

/// A file that exists if the driver has found the card.
const DEVICE: &str = "/sys/class/video4linux/video0/name";

/// A file that names the driver that is bound to the card (DRIVER=).
const BOUND: &str = "/sys/class/video4linux/video0/device/uevent";

/// How long the guest may take to load the driver, and to power off.
const GUEST_LIMIT: Duration = Duration::from_secs(60);

/// A running guest with the card in it and the driver loaded. If it is dropped,
/// both are killed.
#[derive(Debug)]
pub struct Testbed {
    // The guest is dropped first: it must not see its hardware disappear.
    /// The machine.
    pub machine: Machine,
    /// The card's process, if the testbed started it.
    pub card: Option<Process>,
    /// What shares a directory of this machine with the guest, if anything does.
    _virtiofsd: Option<Virtiofsd>,
    /// The card as a device of QEMU, if there is one.
    pub device: Option<VhostUser>,
    /// The guest.
    pub guest: Guest,
    /// Name of the driver, as in /sys/module.
    pub driver: String,
    /// Names by which the driver speaks in the kernel's log: that of the module,
    /// and that of the driver which is bound to the card.
    pub names: Vec<String>,
    /// The QEMU.
    pub qemu: Qemu,
    /// The accelerator that runs the guest.
    pub accelerator: Accelerator,
    /// The guest's memory in MiB, without that for files.
    pub memory_mib: u32,
    /// When the machine was started.
    pub started: SystemTime,
    /// Number of the kernel's first record since the driver was to be loaded.
    pub first_record: u64,
    /// What the kernel complained of before that.
    pub complaints_before: Vec<String>,
    card_log: PathBuf,
    _dir: TempDir,
}

/// Information about a testbed that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The guest.
    pub guest: Guest,
    /// Release of its kernel, as the kernel itself reported it.
    pub release: String,
    /// Names of the driver, as in [`Testbed::names`].
    pub names: Vec<String>,
    /// The QEMU.
    pub qemu: Qemu,
    /// The accelerator that ran the guest.
    pub accelerator: Accelerator,
    /// The guest's memory in MiB, without that for files.
    pub memory_mib: u32,
    /// Time from QEMU's start until the agent introduced itself.
    pub boot: Duration,
    /// When the machine was started.
    pub started: SystemTime,
    /// How the machine was turned off.
    pub off: Off,
}

impl Testbed {
    /// Builds what is missing, starts the card and the machine, and loads the
    /// driver.
    ///
    /// # Errors
    ///
    /// [`TestbedError`]; everything that was started has ended by then.
    pub fn start(spec: &TestbedSpec, progress: &Progress) -> Result<Self, TestbedError> {
        // From here on SIGINT and SIGTERM are watched: they must not end this
        // program before the processes that it started.
        interrupt::watch().map_err(TestbedError::Signals)?;
        let catalog = Catalog::builtin();
        let id = spec.kernel.as_deref().unwrap_or(catalog.default_id());
        let recipe = catalog.get(id)?;
        let own = spec.own_kernel.as_ref();
        // Before a minute is spent on what is unpacked for them.
        let checked = own.map_or(Ok(()), OwnKernel::check);
        let checked =
            checked.and_then(|()| spec.driver.as_ref().map_or(Ok(()), OtherDriver::check));
        checked.map_err(|error| TestbedError::from(error).of(own))?;
        let qemu = match spec.bounce_buffers || spec.generic_device {
            // The media device does not pass VIRTIO_F_ACCESS_PLATFORM on.
            true => qemu::ensure_generic(spec.qemu.as_deref(), progress)?,
            false => qemu::ensure(spec.qemu.as_deref(), progress)?,
        };
        let guest = match own {
            None => images::ensure_guest(&recipe, progress)?,
            Some(own) => {
                let tree = images::ensure_user_land(&recipe, progress)?;
                let guest = own.guest(&recipe, &tree, progress);
                guest.map_err(|error| TestbedError::from(error).of(Some(own)))?
            }
        };
        let dir = private_dir()?;
        let mut driver = match &spec.driver {
            Some(other) => Driver::other(other, &guest, dir.path())
                .map_err(|error| TestbedError::from(error).of(own))?,
            None => {
                let module = match spec.mutants {
                    true => images::ensure_mutants(&guest, progress),
                    false => images::ensure_driver(&guest, progress),
                };
                let module = module.map_err(|error| TestbedError::from(error).of(own))?;
                Driver::ours(module, &qemu, &spec.driver_args)
            }
        };
        if spec.probe {
            let probe = images::ensure_probe(&guest, progress);
            driver.add_probe(probe.map_err(|error| TestbedError::from(error).of(own))?);
        }
        let clients = match spec.clients {
            true => Some(images::clients::ensure(progress)?),
            false => None,
        };

        let step = progress.step(format!("booting {} ({})", guest.id, guest.release));
        let card_log = spec.card_log.clone().unwrap_or(dir.path().join("card.log"));
        let (card, socket) = match &spec.card {
            CardProcess::Own => {
                let socket = dir.path().join("card");
                (Some(card::start(spec, &socket, &card_log)?), Some(socket))
            }
            CardProcess::Running { socket, .. } => (None, Some(socket.clone())),
            CardProcess::Absent => (None, None),
        };
        let device = socket.map(|socket| card::device(&qemu, socket, spec.bounce_buffers));
        let virtiofsd_log = dir.path().join("virtiofsd.log");
        let mut virtiofsd = match &spec.shared {
            Some(shared) => Virtiofsd::start(shared, dir.path(), &virtiofsd_log)?,
            None => None,
        };
        let shared = virtiofsd.as_ref().map(|virtiofsd| &virtiofsd.device);
        let defaults = Hardware::default();
        let memory_mib = spec.ram_mib.unwrap_or(defaults.memory_mib);
        let hardware = Hardware {
            accelerator: spec.accelerator.unwrap_or(defaults.accelerator),
            cpus: spec.cpus.unwrap_or(defaults.cpus),
            memory_mib: memory_mib.saturating_add(spec.spare_mib),
            // The card is the first, as its port tells.
            vhost_user: device.iter().chain(shared).cloned().collect(),
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
        let status = virtiofsd
            .as_mut()
            .and_then(|virtiofsd| virtiofsd.process.try_wait());
        if let (Err(error), Some(status)) = (&machine, status)
            && is_for_want_of_virtiofsd(error, status)
        {
            return Err(TestbedError::ShareEnded {
                status: status.to_string(),
                log: card::last_words(&virtiofsd_log),
            });
        }
        let mut testbed = Self {
            machine: machine.map_err(|error| interrupted(error).of(own))?,
            card,
            _virtiofsd: virtiofsd,
            device,
            guest,
            names: vec![driver.name.clone()],
            driver: driver.name,
            qemu,
            accelerator,
            memory_mib,
            started,
            first_record: 0,
            complaints_before: Vec::new(),
            card_log,
            _dir: dir,
        };
        step.update("loading the driver");
        testbed
            .load(driver.loads, spec.driver.is_some())
            .map_err(|error| error.of(own))?;
        if spec.driver.as_ref().is_some_and(|other| other.usb_camera) {
            step.update("plugging the camera in");
            testbed.plug_camera().map_err(|error| error.of(own))?;
        }
        testbed.learn_names();
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
            names: self.names,
            guest: self.guest,
            qemu: self.qemu,
            accelerator: self.accelerator,
            memory_mib: self.memory_mib,
            started: self.started,
            off,
        })
    }

    /// Loads the driver, and checks that it has found the card; `other` is whether
    /// the driver replaces Pinhole's own.
    fn load(&mut self, loads: Vec<Load>, other: bool) -> Result<(), TestbedError> {
        let device = self.device.as_ref().map(|_| Read {
            path: DEVICE.to_owned(),
            limit: 256,
        });
        if let Some(device) = device.clone()
            && let Ok(name) = self.machine.agent().call(device, GUEST_LIMIT)
        {
            let name = name.text.trim().to_owned();
            return Err(TestbedError::Occupied { name });
        }
        // What the kernel has against its own boot is not the driver's.
        let log = self.machine.agent().call(Log { since: 0 }, GUEST_LIMIT);
        let records = log.map(|log| log.records).unwrap_or_default();
        let last = records.last();
        self.first_record = last.map_or(0, |last| last.sequence.saturating_add(1));
        self.complaints_before = kernel_log::splats(&records);
        for load in loads {
            if let Err(error) = self.machine.agent().call(load, GUEST_LIMIT) {
                return Err(match (self.card_status(), error) {
                    (Some(status), _) => self.card_ended(status),
                    (None, AgentError::Interrupted) => TestbedError::Interrupted,
                    (None, source) => TestbedError::Load {
                        driver: self.driver.clone(),
                        source,
                    },
                });
            }
        }
        let Some(device) = device else {
            return Ok(());
        };
        match self.machine.agent().call(device, GUEST_LIMIT) {
            Ok(_) => Ok(()),
            Err(AgentError::Interrupted) => Err(TestbedError::Interrupted),
            Err(_) => match self.card_status() {
                Some(status) => Err(self.card_ended(status)),
                None => Err(TestbedError::NoDevice {
                    driver: self.driver.clone(),
                    stand_in: Some(self.qemu.virtio_id).filter(|id| other && *id != MEDIA_ID),
                    log: self.kernel_log(),
                }),
            },
        }
    }

    /// Plugs a USB camera into the guest.
    fn plug_camera(&self) -> Result<(), TestbedError> {
        let plug = PlugCamera {
            limit_ms: GUEST_LIMIT.as_millis() as u64,
        };
        let plugged = self.machine.agent().call(plug, 2 * GUEST_LIMIT);
        plugged.map_err(|error| match error {
            AgentError::Interrupted => TestbedError::Interrupted,
            source => TestbedError::Camera(source),
        })
    }

    /// Adds the name of the driver that is bound to the card, if it is another
    /// than the module's.
    fn learn_names(&mut self) {
        let look = Read {
            path: BOUND.to_owned(),
            limit: 4096,
        };
        let Ok(read) = self.machine.agent().call(look, GUEST_LIMIT) else {
            return;
        };
        let bound = driver::bound(&read.text);
        if let Some(bound) = bound.filter(|bound| *bound != self.driver) {
            self.names.push(bound.to_owned());
        }
    }

    /// Returns the exit status of the card, if it has ended.
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

/// Returns the requested disks in their order, followed by the clients' disk.
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

/// Returns whether a machine did not start because its virtiofsd had ended, which ends with
/// the machine, too, whatever ended that.
fn is_for_want_of_virtiofsd(error: &MachineError, status: ExitStatus) -> bool {
    let never_ran = matches!(error, MachineError::Start { .. } | MachineError::Qmp(_));
    never_ran && !status.success()
}

fn interrupted(error: MachineError) -> TestbedError {
    match error {
        MachineError::Interrupted => TestbedError::Interrupted,
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_end_of_virtiofsd_is_the_cause_only_of_a_machine_that_never_ran() {
        let start = || MachineError::Start {
            status: "exit status: 1".into(),
            log: String::new(),
        };
        let [ended, failed] = [0, 1 << 8].map(ExitStatus::from_raw);
        assert!(is_for_want_of_virtiofsd(&start(), failed));
        assert!(!is_for_want_of_virtiofsd(&start(), ended));
        assert!(!is_for_want_of_virtiofsd(
            &MachineError::Interrupted,
            failed
        ));
        let panicked = MachineError::Ended {
            status: "exit status: 0".into(),
            console: String::new(),
        };
        assert!(!is_for_want_of_virtiofsd(&panicked, failed));
    }
}
