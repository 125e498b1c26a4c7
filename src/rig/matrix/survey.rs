//! The survey of a device that is judged without a witness: what it is, how cells use
//! it, and what can be seen of it.

use std::time::{Duration, Instant};

use rustix::fs::{Access, FileType};
use rustix::io::Errno;

use super::error::MatrixError;
use super::expectation::Unwitnessed;
use super::oracle::{self, Oracle};
use super::outcome::Device;
use super::place::Place;
use super::spec::Judged;
use crate::agent::cell::{CellAnswer, Ends, Flow, Scope, Subject};
use crate::agent::protocol::{Read, ReadAnswer};
use crate::agent::survey::{Survey, SurveyAnswer};
use crate::card::{CardKind, Direction};
use crate::rig::testbed::driver::{self, DriverModule};
use crate::rig::testbed::{CardProcess, TestbedSpec};
use crate::vm::channel::AgentError;
use crate::vm::wait;

/// How long a survey may take on a kernel of usual speed, and, below, how much longer
/// its answer may.
const LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long a driver may take from its loading until it has made the device's node,
/// and the interval between two looks.
const NODE_LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// What there is to know of a device that refuses memory in several pieces.
const IN_PIECES: &str = "It refused ordinary memory, which may lie in several pieces, and is \
                         expected to take memory in one piece alone.";

/// A device that was surveyed, and can be used by cells.
pub(super) struct Surveyed {
    /// Path of its node.
    pub(super) device: String,
    /// What cells may do to the machine.
    pub(super) scope: Scope,
    /// How cells use it.
    pub(super) subject: Subject,
    /// The flow of the cells that it is for.
    pub(super) flow: Flow,
    /// Names by which its driver speaks in the kernel's log.
    pub(super) names: Vec<String>,
    /// Whether it takes memory that lies in several pieces, as far as is known.
    pub(super) scatters: bool,
    /// What was found of it.
    pub(super) answer: SurveyAnswer,
}

impl Surveyed {
    /// Surveys a device; all limits are `patience` times longer than usual.
    ///
    /// # Errors
    ///
    /// [`MatrixError::NoSubject`] if it is not there, or no cell can use it;
    /// [`MatrixError::Interrupted`].
    pub(super) fn of(place: &Place, judged: &Judged, patience: u32) -> Result<Self, MatrixError> {
        let device = &match place.is_here() {
            true => reach(&judged.device)?,
            false => {
                wait_for(place, &judged.device, NODE_LIMIT * patience)?;
                judged.device.clone()
            }
        };
        let limit = LIMIT * patience;
        let survey = Survey {
            device: device.clone(),
            limit_ms: limit.as_millis() as u64,
            patience,
        };
        let answer = place.agent().call(survey, limit + ANSWER_LIMIT * patience);
        let answer = answer.map_err(|error| no_subject(device, error))?;
        let unsuitable = || MatrixError::NoSubject {
            device: device.clone(),
            why: unsuitable(&answer),
        };
        let flow = match answer.kind {
            Some(CardKind::Capture) => Flow::Capture,
            Some(CardKind::Output) => Flow::Output,
            Some(CardKind::M2m) => Flow::M2m(Ends::Read),
            None => return Err(unsuitable()),
        };
        Ok(Self {
            device: device.clone(),
            scope: match place.is_here() {
                true => Scope::Machine,
                false => Scope::Guest,
            },
            subject: answer.subject.clone().ok_or_else(unsuitable)?,
            flow,
            names: names(place, device, &answer),
            scatters: true,
            answer,
        })
    }

    /// Returns what is known of it for its expectations.
    pub(super) fn expects(&self) -> Unwitnessed {
        let length = |direction| self.subject.of(direction).sizeimage as usize;
        Unwitnessed {
            still: self.answer.picture.is_some(),
            scatters: self.scatters,
            read: length(Direction::Output),
            written: length(Direction::Capture),
        }
    }

    /// Returns the same for a cell: nobody knows what a mem-to-mem device makes of its
    /// frame if it could not be asked.
    pub(super) fn expects_of(&self, answer: &CellAnswer) -> Unwitnessed {
        let asked = || {
            let further = answer.further.iter().flat_map(|seen| &seen.contents);
            let mut contents = answer.contents.iter().chain(further);
            contents.any(|seen| seen.made.is_some())
        };
        let known = self.answer.kind != Some(CardKind::M2m) || asked();
        let device = self.expects();
        Unwitnessed {
            still: device.still && known,
            ..device
        }
    }

    /// Returns what the report says of it, and of the guest that it is in, if it is in
    /// one.
    pub(super) fn report(&self, testbed: &TestbedSpec) -> Device {
        let answer = &self.answer;
        let mut missing = oracle::missing(answer);
        if self.scope == Scope::Machine {
            let why = "memory that is lost on a machine in use may be anybody's";
            missing.push((Oracle::Leaks, why.to_owned()));
        }
        let mut notes = answer.notes.clone();
        if !self.scatters {
            notes.push(IN_PIECES.to_owned());
        }
        Device {
            driver: answer.driver.clone(),
            card: answer.card.clone(),
            bus: answer.bus.clone(),
            version: answer.version.clone(),
            node: self.device.clone(),
            module: module(testbed).filter(|_| self.scope.is_guest()),
            usb_camera: testbed
                .driver
                .as_ref()
                .is_some_and(|driver| driver.usb_camera),
            missing,
            notes,
        }
    }
}

/// Returns the module that is loaded in a guest without a card, and its parameters.
fn module(testbed: &TestbedSpec) -> Option<(String, String)> {
    let driver = testbed.driver.as_ref();
    let driver = driver.filter(|_| testbed.card == CardProcess::Absent)?;
    let name = match &driver.module {
        DriverModule::OfKernel(name) => name.clone(),
        DriverModule::File(path) => path.display().to_string(),
    };
    Some((name, driver.params.clone()))
}

/// Returns why no cell can use a device, a part of a sentence.
fn unsuitable(answer: &SurveyAnswer) -> String {
    match &answer.notes[..] {
        [] => "no cell has a use for such a device".to_owned(),
        notes => notes.join("; "),
    }
}

/// Returns the error of a survey that failed.
fn no_subject(device: &str, error: AgentError) -> MatrixError {
    let why = match error {
        AgentError::Interrupted => return MatrixError::Interrupted,
        AgentError::Failed { message, .. } => message,
        error => error.to_string(),
    };
    MatrixError::NoSubject {
        device: device.to_owned(),
        why,
    }
}

/// The number of the video devices' driver among those of character devices
/// (Documentation/admin-guide/devices.txt).
const VIDEO_MAJOR: u32 = 81;

/// Checks that this process can open a device of this machine. Returns the path of its
/// node, to which `device` may be a link, as those in /dev/v4l are.
fn reach(device: &str) -> Result<String, MatrixError> {
    let refused = |why: String| MatrixError::NoSubject {
        device: device.to_owned(),
        why,
    };
    let stat = rustix::fs::stat(device).map_err(|error| match error {
        Errno::NOENT => refused("there is no such device".into()),
        error => refused(error.to_string()),
    })?;
    let is_node = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_node || rustix::fs::major(stat.st_rdev) != VIDEO_MAJOR {
        return Err(refused("it is no video device".into()));
    }
    let open = rustix::fs::access(device, Access::READ_OK | Access::WRITE_OK);
    open.map_err(|error| match error {
        Errno::ACCESS => refused(
            "this user may not open it; root may, and who is in its group, which is video in most \
             systems"
                .into(),
        ),
        error => refused(error.to_string()),
    })?;
    node(device).map_err(|error| refused(error.to_string()))
}

/// Returns the path that `device` is a link to, if it is one.
fn node(device: &str) -> std::io::Result<String> {
    let path = std::fs::canonicalize(device)?;
    let path = path.into_os_string().into_string();
    path.map_err(|path| std::io::Error::other(format!("{} is no UTF-8", path.display())))
}

/// Waits until a guest's driver has made the device's node: some find their devices
/// after they were loaded.
fn wait_for(place: &Place, device: &str, limit: Duration) -> Result<(), MatrixError> {
    let deadline = Instant::now() + limit;
    loop {
        match attribute(place, device, "name") {
            Err(AgentError::Failed { .. }) if Instant::now() < deadline => {
                // There is no descriptor to wait for but that of SIGINT and SIGTERM.
                let _ = wait::readable(&[], Some(Instant::now() + LOOK));
            }
            Err(AgentError::Failed { .. }) => {
                let why = format!(
                    "the driver {} is loaded, and has made no such device within {} s",
                    place.module().unwrap_or_default(),
                    limit.as_secs()
                );
                return Err(MatrixError::NoSubject {
                    device: device.to_owned(),
                    why,
                });
            }
            Err(error) => return Err(no_subject(device, error)),
            Ok(_) => return Ok(()),
        }
    }
}

/// Returns the names by which a device's driver speaks in the kernel's log: those of
/// the driver as V4L2 and the driver core know it, and that of the device itself
/// (v4l2_device::name), which is the last part of where it is on a bus of the driver's
/// own.
fn names(place: &Place, device: &str, answer: &SurveyAnswer) -> Vec<String> {
    let mut names = place.names();
    names.push(answer.driver.clone());
    let bound = attribute(place, device, "device/uevent");
    let bound = bound.map(|read| read.text).unwrap_or_default();
    names.extend(driver::bound(&bound).map(str::to_owned));
    let (_, of_bus) = answer.bus.split_once(':').unwrap_or_default();
    names.push(of_bus.to_owned());
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names
}

/// Reads what sysfs says of a video device.
fn attribute(place: &Place, device: &str, name: &str) -> Result<ReadAnswer, AgentError> {
    let node = device.rsplit('/').next().unwrap_or_default();
    let read = Read {
        path: format!("/sys/class/video4linux/{node}/{name}"),
        limit: 4096,
    };
    place.agent().call(read, ANSWER_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::survey::Powers;
    use crate::rig::testbed::driver::OtherDriver;

    #[test]
    fn what_is_no_device_is_refused_in_a_sentence() {
        let why = |device: &str| reach(device).unwrap_err().to_string();
        for (device, said) in [
            ("/dev/nosuch", "there is no such device"),
            ("/dev/null", "it is no video device"),
            ("/proc/self/status", "it is no video device"),
            ("/dev", "it is no video device"),
            ("/dev/null/x", "Not a directory (os error 20)"),
        ] {
            assert_eq!(why(device), format!("{device} cannot be judged: {said}"));
        }
    }

    #[test]
    fn a_link_to_a_node_stands_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("by-path");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(node(link.to_str().unwrap()).unwrap(), "/dev/null");
        assert_eq!(node("/dev/null").unwrap(), "/dev/null");
        assert!(node("/dev/nosuch").is_err());
    }

    #[test]
    fn a_driver_is_known_by_its_uevent() {
        let uevent = "DRIVER=uvcvideo\nDEVTYPE=usb_interface\n";
        assert_eq!(driver::bound(uevent), Some("uvcvideo"));
        assert_eq!(driver::bound("DEVTYPE=usb_interface\n"), None);
    }

    fn surveyed(scope: Scope, scatters: bool) -> Surveyed {
        Surveyed {
            device: "/dev/video0".into(),
            scope,
            subject: Subject {
                api: crate::card::BufferApi::Single,
                pixelformat: 0x5659_5559,
                width: 320,
                height: 180,
                bytesperline: 640,
                line: Some(640),
                sizeimage: 115_200,
                buffers: 2,
                made: None,
            },
            flow: Flow::Capture,
            names: Vec::new(),
            scatters,
            answer: SurveyAnswer {
                driver: "vivid".into(),
                card: "vivid".into(),
                bus: "platform:vivid-000".into(),
                version: "6.12.107".into(),
                kind: Some(CardKind::Capture),
                subject: None,
                notes: vec!["It has no control.".into()],
                picture: None,
                powers: Powers::default(),
            },
        }
    }

    #[test]
    fn the_report_says_what_is_missing_and_what_is_expected() {
        let guest = surveyed(Scope::Guest, true);
        assert!(guest.expects().scatters && !guest.expects().still);
        let oracles = |surveyed: &Surveyed| {
            let missing = surveyed.report(&TestbedSpec::default()).missing.into_iter();
            missing.map(|(oracle, _)| oracle).collect::<Vec<_>>()
        };
        assert_eq!(
            oracles(&guest),
            [Oracle::Data, Oracle::Address, Oracle::Idle]
        );
        let of_guest = TestbedSpec {
            card: CardProcess::Absent,
            driver: Some(OtherDriver::new(
                DriverModule::OfKernel("vivid".into()),
                "n_devs=2",
            )),
            ..TestbedSpec::default()
        };
        let report = guest.report(&of_guest);
        assert_eq!(report.notes, ["It has no control."]);
        let module = Some(("vivid".to_owned(), "n_devs=2".to_owned()));
        assert_eq!((report.module, &*report.node), (module, "/dev/video0"));
        assert!(!report.usb_camera);
        let mut of_camera = of_guest.clone();
        of_camera.driver.as_mut().unwrap().usb_camera = true;
        assert!(guest.report(&of_camera).usb_camera);
        assert_eq!(guest.report(&TestbedSpec::default()).module, None);
        let here = surveyed(Scope::Machine, false);
        assert_eq!(
            oracles(&here),
            [Oracle::Data, Oracle::Address, Oracle::Idle, Oracle::Leaks]
        );
        let report = here.report(&of_guest);
        assert_eq!(report.notes, ["It has no control.", IN_PIECES]);
        assert_eq!(report.module, None);
    }

    #[test]
    fn a_device_that_no_cell_can_use_says_why() {
        let mut answer = surveyed(Scope::Guest, true).answer;
        answer.notes.push("It takes no memory of a process.".into());
        let why = unsuitable(&answer);
        assert_eq!(why, "It has no control.; It takes no memory of a process.");
        answer.notes.clear();
        assert_eq!(unsuitable(&answer), "no cell has a use for such a device");
        let failed = AgentError::Failed {
            message: "open /dev/video0: Device or resource busy".into(),
            errno: Some(libc::EBUSY),
        };
        assert_eq!(
            no_subject("/dev/video0", failed).to_string(),
            "/dev/video0 cannot be judged: open /dev/video0: Device or resource busy"
        );
    }
}
