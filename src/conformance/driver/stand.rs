//! The guest in which the driver is, with four scripted devices: one as small as a
//! media device may be, one with planes, one with VIRTIO_F_ACCESS_PLATFORM, and one
//! with a larger configuration space. A driver need not take each of them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::image::Image;
use super::subject::{PLANES, Place, Subject};
use crate::agent::ioctls::{Ioctls, IoctlsAnswer};
use crate::agent::protocol::{Kill, Log, LogRecord, Run, RunAnswer};
use crate::rig::kernel_log;
use crate::rig::testbed::{CardProcess, Testbed, TestbedError, TestbedSpec};
use crate::scripted::device::Config;
use crate::scripted::device::camera::{MULTI, SINGLE};
use crate::vm::channel::{Agent, AgentError, Pending};
use crate::vm::machine::{MachineError, private_dir};
use crate::vm::progress::Progress;
use crate::vm::qemu;

/// How long the guest may take for what it does by itself.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How long a program may take beyond the time after which the guest kills it. What
/// is not gone then cannot be killed.
const GRACE: Duration = Duration::from_secs(10);

/// Kernel parameters that show a use after free: freed memory is poisoned, and
/// checked when it is used again.
const PARANOID: &str = "slub_debug=FZP page_poison=1";

/// Lines of the console that are told.
const CONSOLE: usize = 20;

/// Bytes of the larger configuration space.
const LARGE_CONFIG: u32 = 64;

/// Slots of the ports that the other devices are behind, on the guest's root bus.
const PLANES_SLOT: u32 = 0x1e;
const PLATFORM_SLOT: u32 = 0x1d;
const LARGE_SLOT: u32 = 0x1c;

/// Prints a line for each capture device: node, virtio device, driver, PCI path.
const PLACES: &str = r#"
for video in /sys/class/video4linux/video*; do
    [ -e "$video" ] || continue
    device=$(readlink -f "$video/device")
    driver=$(readlink -f "$device/driver")
    echo "/dev/${video##*/} ${device##*/} $driver $device"
done
"#;

/// Why the suite cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StandError {
    /// The guest, or the driver in it.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The scripted device.
    #[error("the scripted device: {0}")]
    Device(std::io::Error),
}

impl From<MachineError> for StandError {
    fn from(error: MachineError) -> Self {
        Self::Testbed(error.into())
    }
}

/// What broke the guest, so that nothing can be said of the driver in it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// A process cannot be killed, or the agent does not answer.
    Stuck(String),
    /// The kernel complains.
    Complaint(Vec<String>),
    /// The driver sends more than anything takes.
    Flood,
    /// Nobody answers any more; the console's end.
    Gone(String, Vec<String>),
}

/// The guest.
pub struct Stand {
    /// Until another is to boot in its place.
    testbed: Option<Testbed>,
    driver: String,
    release: String,
    /// The small device.
    pub plain: Subject,
    /// The one with planes.
    pub planes: Subject,
    /// The one with VIRTIO_F_ACCESS_PLATFORM.
    pub platform: Subject,
    /// The one with a larger configuration space. Nothing is done with it.
    pub large: Subject,
    /// What the kernel complained of before the driver came.
    pub complaints_before: Vec<String>,
    /// Number of the kernel's next record that was not looked at.
    seen: Cell<u64>,
    /// Whether a suite had it before.
    used: bool,
    /// Whether one of its devices is gone.
    spent: Cell<bool>,
    _dir: TempDir,
}

impl Stand {
    /// Boots a guest with the driver that `spec` has.
    ///
    /// # Errors
    ///
    /// [`StandError`] if it does not boot, or the driver takes neither device.
    pub fn boot(spec: &TestbedSpec, progress: &Progress) -> Result<Self, StandError> {
        let qemu =
            qemu::ensure_generic(spec.qemu.as_deref(), progress).map_err(TestbedError::from)?;
        let dir = private_dir()?;
        let socket = |name: &str| dir.path().join(name);
        let serve = |name: &str, caps, access_platform, planes: &[u32]| {
            let config = Config {
                card: name.to_owned(),
                access_platform,
                ..Config::new(caps)
            };
            Subject::serve(&socket(name), config, planes).map_err(StandError::Device)
        };
        let plain = serve("plain", SINGLE, false, &[])?;
        let planes = serve("planes", MULTI, false, &PLANES)?;
        let platform = serve("platform", SINGLE, true, &[])?;
        let large = serve("large", SINGLE, false, &[])?;
        let device = |name: &str, slot: u32, properties: &str| {
            let path = socket(name);
            [
                "-chardev".to_owned(),
                format!("socket,id={name},path={}", path.display()),
                "-device".to_owned(),
                format!("pcie-root-port,id={name}port,chassis={slot},addr={slot:#x}"),
                "-device".to_owned(),
                format!(
                    "{},id={name}dev,bus={name}port,chardev={name},virtio-id={},num_vqs=2,\
                     {properties}",
                    qemu.device, qemu.virtio_id
                ),
            ]
        };
        let others = [
            device("planes", PLANES_SLOT, "config_size=40"),
            device(
                "platform",
                PLATFORM_SLOT,
                "config_size=40,iommu_platform=on",
            ),
            device("large", LARGE_SLOT, &format!("config_size={LARGE_CONFIG}")),
        ];
        let spec = TestbedSpec {
            card: CardProcess::Running {
                socket: socket("plain"),
                witness: socket("witness"),
            },
            generic_device: true,
            append: format!("{PARANOID} {}", spec.append),
            qemu_arguments: others.concat().into_iter().map(Into::into).collect(),
            ..spec.clone()
        };
        let testbed = Testbed::start(&spec, progress)?;
        let mut stand = Self {
            driver: testbed.driver.clone(),
            release: testbed.machine.hello().release.clone(),
            plain,
            planes,
            platform,
            large,
            seen: Cell::new(testbed.first_record),
            complaints_before: testbed.complaints_before.clone(),
            testbed: Some(testbed),
            used: false,
            spent: Cell::new(false),
            _dir: dir,
        };
        stand.find();
        Ok(stand)
    }

    /// Boots another guest in place of one that is broken. The new one has the
    /// driver's parameters that `spec` has.
    pub fn boot_again(
        &mut self,
        spec: &TestbedSpec,
        progress: &Progress,
    ) -> Result<(), StandError> {
        // A machine that is dropped is killed: two at once would take twice the memory.
        self.testbed = None;
        *self = Self::boot(spec, progress)?;
        Ok(())
    }

    /// The devices.
    pub fn subjects(&self) -> [&Subject; 4] {
        [&self.plain, &self.planes, &self.platform, &self.large]
    }

    /// Learns which node each device has.
    fn find(&mut self) {
        let places = self.run(PLACES, LIMIT).map(|answer| answer.stdout);
        let places = places.unwrap_or_default();
        let slots = [PLANES_SLOT, PLATFORM_SLOT, LARGE_SLOT];
        let find = |slot: Option<u32>| {
            places.lines().find_map(|line| {
                let mut words = line.split(' ').map(str::to_owned);
                let place = Place {
                    node: words.next()?,
                    virtio: words.next()?,
                    driver: words.next()?,
                };
                let path = words.next().filter(|path| path.contains("/virtio"))?;
                let behind = |slot: &u32| path.contains(&format!(":{slot:x}.0/"));
                (slots.into_iter().find(behind) == slot).then_some(place)
            })
        };
        for (subject, slot) in [
            (&mut self.plain, None),
            (&mut self.planes, Some(PLANES_SLOT)),
            (&mut self.platform, Some(PLATFORM_SLOT)),
            (&mut self.large, Some(LARGE_SLOT)),
        ] {
            subject.place = find(slot);
            if subject.place.is_some() {
                subject.bound = subject.place.clone();
            }
        }
    }

    /// The guest's kernel, as it calls itself.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The driver's name, as in /sys/module.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    fn agent(&self) -> Result<&Agent, Broken> {
        let testbed = self.testbed.as_ref();
        let agent = testbed.map(|testbed| testbed.machine.agent());
        agent.ok_or_else(|| Broken::Stuck("there is no guest".to_owned()))
    }

    /// A device of it is gone: it is of no more use.
    pub fn spend(&self) {
        self.spent.set(true);
    }

    /// Returns whether a device of it is gone.
    pub fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// A suite has had it.
    pub fn use_up(&mut self) {
        self.used = true;
    }

    /// Returns whether a suite has had it, so that the driver has to be bound anew.
    pub fn was_used(&self) -> bool {
        self.used
    }

    /// Starts a command line in the guest's shell, which is killed after `limit`.
    pub fn start(&self, line: &str, limit: Duration) -> Result<Pending<Run>, Broken> {
        let run = Run {
            timeout_ms: Some(limit.as_millis() as u64),
            ..Run::new(["sh", "-c", line])
        };
        self.agent()?.start(run).map_err(gone)
    }

    /// Waits for the end of a command line that is killed after `limit`.
    pub fn wait(&self, pending: &Pending<Run>, limit: Duration) -> Result<RunAnswer, Broken> {
        pending.wait(limit + GRACE).map_err(gone)
    }

    /// Runs a command line.
    pub fn run(&self, line: &str, limit: Duration) -> Result<RunAnswer, Broken> {
        self.wait(&self.start(line, limit)?, limit)
    }

    /// Starts ioctls on a device; the process is killed after `limit`.
    pub fn start_ioctls(
        &self,
        image: Image,
        node: &str,
        limit: Duration,
    ) -> Result<Pending<Ioctls>, Broken> {
        let request = image.request(node, limit);
        self.agent()?.start(request).map_err(gone)
    }

    /// Waits for the end of the ioctls; `None` if their process had to be killed.
    pub fn ioctls_end(
        &self,
        pending: &Pending<Ioctls>,
        limit: Duration,
    ) -> Result<Option<IoctlsAnswer>, Broken> {
        match pending.wait(limit + GRACE) {
            Ok(answer) => Ok(Some(answer)),
            Err(AgentError::Failed { .. }) => Ok(None),
            Err(error) => Err(gone(error)),
        }
    }

    /// Makes ioctls on a device.
    pub fn ioctls(
        &self,
        image: Image,
        node: &str,
        limit: Duration,
    ) -> Result<Option<IoctlsAnswer>, Broken> {
        self.ioctls_end(&self.start_ioctls(image, node, limit)?, limit)
    }

    /// Kills a process that the guest runs.
    pub fn kill(&self, target: u64) {
        // It may be gone by itself.
        let kill = Kill {
            target,
            signal: libc::SIGKILL,
        };
        let _ = self.agent().map(|agent| agent.call(kill, LIMIT));
    }

    /// Has the kernel look at memory that was freed.
    pub fn sweep(&self) -> Result<(), Broken> {
        let swept = self
            .agent()?
            .call(crate::agent::checks::Sweep {}, LIMIT + GRACE);
        match swept {
            Ok(_) | Err(AgentError::Failed { .. }) => Ok(()),
            Err(error) => Err(gone(error)),
        }
    }

    /// Returns the kernel's records since the last look.
    fn fresh(&self) -> Result<Vec<LogRecord>, Broken> {
        let log = Log {
            since: self.seen.get(),
        };
        let log = self.agent()?.call(log, LIMIT);
        let records = log.map_err(gone)?.records;
        if let Some(last) = records.last() {
            self.seen.set(last.sequence.saturating_add(1));
        }
        Ok(records)
    }

    /// Returns what is broken in the kernel, if anything is since the last look.
    pub fn check(&self) -> Result<(), Broken> {
        let mut subjects = self.subjects().into_iter();
        if subjects.any(|subject| subject.device.is_flooded()) {
            return Err(Broken::Flood);
        }
        let complaints = kernel_log::splats(&self.fresh()?);
        match complaints.is_empty() {
            true => Ok(()),
            false => Err(Broken::Complaint(complaints)),
        }
    }

    /// Returns what is broken, with what the kernel says of it, or the console's end
    /// where nobody answers any more.
    pub fn explained(&self, broken: Broken) -> Broken {
        let Broken::Stuck(what) = broken else {
            return broken;
        };
        match self.check() {
            Ok(()) => Broken::Stuck(what),
            Err(Broken::Complaint(lines)) => Broken::Complaint([lines, vec![what]].concat()),
            Err(Broken::Flood) => Broken::Flood,
            Err(_) => {
                let machine = self.testbed.as_ref().map(|testbed| &testbed.machine);
                let console = machine.map(|machine| machine.console().tail(CONSOLE));
                Broken::Gone(what, console.unwrap_or_default())
            }
        }
    }

    /// Takes the driver from the devices, one after the other, and binds it again:
    /// devices and cameras are as at the start.
    pub fn bind_again(&mut self) -> Result<(), Broken> {
        self.plain.reset(&[]);
        self.planes.reset(&PLANES);
        self.platform.reset(&[]);
        self.large.reset(&[]);
        let mut line = String::new();
        for subject in self.subjects() {
            if let Some(Place { virtio, driver, .. }) = &subject.bound {
                line +=
                    &format!("echo {virtio} > {driver}/unbind; echo {virtio} > {driver}/bind\n");
            }
        }
        let answer = self.run(&line, LIMIT)?;
        log::debug!("bound anew with\n{line}{}", answer.stderr);
        if answer.timed_out {
            return Err(Broken::Stuck("unbinding the driver".to_owned()));
        }
        self.find();
        self.check()
    }

    /// Waits until something holds, and returns whether it does within `limit`.
    pub fn holds(&self, limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        while !holds() {
            if begun.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Turns the guest off.
    pub fn finish(self) {
        if let Some(Err(error)) = self.testbed.map(Testbed::finish) {
            log::warn!("{error}");
        }
    }
}

fn gone(error: AgentError) -> Broken {
    Broken::Stuck(match error {
        AgentError::TimedOut(limit) => format!(
            "a process does not end, {} s after it was killed at the latest",
            limit.as_secs()
        ),
        other => format!("the guest does not answer: {other}"),
    })
}
