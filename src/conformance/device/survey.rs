//! What the device has, found out before the clauses are tried.

use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};

use super::layout::Layout;
use super::stop::Stop;
use super::subject::Subject;
use super::{DeviceError, Settings};
use crate::scripted::driver::memory::PAGE;
use crate::scripted::driver::v4l2::{
    self, Fields, G_FMT, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, QUERY_EXT_CTRL, REQBUFS,
    S_FMT, With, payload,
};
use crate::scripted::driver::{Driver, Fault, Log, Memory, Options};

/// Buffers that are asked for to stream: drivers of hardware keep one or two
/// until there are others, and begin with two or three.
pub const FRAMES: u32 = 4;

/// Buffers' room in guest memory that is left behind them.
pub const SPARE: u64 = 2;

/// Bytes of the configuration.
pub const CONFIG: u32 = 40;

/// V4L2_CTRL_FLAG_NEXT_CTRL.
const NEXT_CTRL: u32 = 0x8000_0000;
/// V4L2_CTRL_FLAG_DISABLED, _GRABBED, _READ_ONLY, _INACTIVE, _WRITE_ONLY,
/// _VOLATILE: what cannot be set, or read back.
const UNUSABLE: u32 = 0x1 | 0x2 | 0x4 | 0x10 | 0x40 | 0x80;
/// V4L2_CTRL_TYPE_INTEGER.
const INTEGER: u32 = 1;
/// Most controls that are looked at.
const CONTROLS: usize = 200;

/// Memory for frames in any case.
const LEAST: u64 = 2 << 20;
/// More is not taken from this machine.
const MOST: u64 = 256 << 20;

/// An integer control that can be set and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Its id.
    pub id: u32,
    /// Two values that it can have.
    pub values: [i32; 2],
}

/// What the device has.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// The virtio features that it offers.
    pub features: u64,
    /// The protocol features that it offers.
    pub protocol: u64,
    /// Number of queues, where it tells.
    pub queues: Option<u64>,
    /// The configuration space, where it can be read.
    pub config: Option<Vec<u8>>,
    /// Size of shared memory region 0.
    pub region: Option<u64>,
    /// The type of its buffers.
    pub layout: Option<Layout>,
    /// Bytes of a frame of the format that it has at first, and of the smallest.
    frame: u64,
    /// For each type of memory of buffers, `None` if it takes it, else the errno.
    refused: [(u32, Option<u32>); 3],
    /// An integer control.
    pub control: Option<Control>,
    /// How many controls there are.
    controls: usize,
}

impl Survey {
    /// Finds out what the device has.
    ///
    /// # Errors
    /// It cannot be reached, or does not even open a session.
    pub fn make(
        subject: &mut Subject,
        settings: &Settings,
        log: &Log,
    ) -> Result<Self, DeviceError> {
        subject.make_ready(settings.limit)?;
        let name = subject.to_string();
        let no_device = |fault| DeviceError::NoDevice {
            subject: name.clone(),
            fault,
        };
        let options = Options {
            region: settings.region,
            limit: settings.limit,
            ..Options::default()
        };
        let stream = subject.connect(settings.limit)?;
        let memory =
            Memory::new(LEAST).map_err(|error| no_device(Fault::system("guest memory", error)))?;
        let mut driver =
            Driver::connect(stream, memory, options, log.clone()).map_err(no_device)?;
        let mut survey = Self {
            features: driver.connection.features,
            protocol: driver.connection.offered,
            region: driver.region.as_ref().map(|region| region.size()),
            ..Self::default()
        };
        survey.look(&mut driver).map_err(no_device)?;
        drop(driver);
        Ok(survey)
    }

    fn look(&mut self, driver: &mut Driver) -> Result<(), Fault> {
        if driver.connection.has(VhostUserProtocolFeatures::MQ) {
            let queues = driver
                .connection
                .message("GET_QUEUE_NUM", |front| front.get_queue_num())?;
            self.queues = Some(queues);
        }
        driver.start()?;
        // It may be refused: a clause is about that.
        self.config = config(driver, 0, CONFIG).ok();
        let caps = self.config.as_ref().map_or(0, |config| config.le32(0));
        self.layout = Layout::of(caps);
        let session = driver.open()?;
        if let Some(layout) = self.layout {
            self.look_at_buffers(driver, session, layout)?;
        }
        self.look_at_controls(driver, session)
    }

    fn look_at_buffers(
        &mut self,
        driver: &mut Driver,
        session: u32,
        layout: Layout,
    ) -> Result<(), Fault> {
        if let Ok(format) = driver.ioctl(session, G_FMT, &layout.format())? {
            let small = format.clone().with(8, 64).with(12, 64);
            let set = driver.ioctl(session, S_FMT, &small)?.unwrap_or(format);
            self.frame = layout
                .sizes(&set)
                .iter()
                .map(|size| u64::from(*size) + 2 * PAGE)
                .sum();
        }
        self.refused = [MEMORY_USERPTR, MEMORY_MMAP, MEMORY_DMABUF].map(|memory| (memory, Some(0)));
        for (memory, refused) in &mut self.refused {
            let ask = |count| v4l2::request_buffers(count, layout.kind, *memory);
            *refused = driver.ioctl(session, REQBUFS, &ask(1))?.err();
            if refused.is_none() {
                let _ = driver.ioctl(session, REQBUFS, &ask(0))?;
            }
        }
        Ok(())
    }

    fn look_at_controls(&mut self, driver: &mut Driver, session: u32) -> Result<(), Fault> {
        let mut last = 0;
        while self.controls < CONTROLS {
            let ask = payload(QUERY_EXT_CTRL).with(0, last | NEXT_CTRL);
            let Ok(found) = driver.ioctl(session, QUERY_EXT_CTRL, &ask)? else {
                break;
            };
            let (id, kind, flags) = (found.le32(0), found.le32(4), found.le32(72));
            if id <= last {
                break;
            }
            last = id;
            self.controls += 1;
            let bound = |at: usize| i32::try_from(found.le64(at) as i64);
            let bounds = (bound(40), bound(48), i32::try_from(found.le64(56)));
            if kind == INTEGER
                && flags & UNUSABLE == 0
                && self.control.is_none()
                && let (Ok(low), Ok(high), Ok(step)) = bounds
                && step > 0
                && low.checked_add(step).is_some_and(|next| next <= high)
            {
                let values = [low, low + step];
                self.control = Some(Control { id, values });
            }
        }
        Ok(())
    }

    /// Returns whether the device makes frames by itself: it captures, and needs
    /// no frames to make them of.
    pub fn captures(&self) -> bool {
        // V4L2_CAP_VIDEO_CAPTURE, _CAPTURE_MPLANE.
        self.capabilities() & 0x1001 != 0
    }

    /// Returns whether the device returns buffers by itself: it captures and needs
    /// no frames to make others of, or shows frames and makes none of them.
    fn returns_buffers(&self) -> bool {
        // V4L2_CAP_VIDEO_OUTPUT, _OUTPUT_MPLANE.
        self.captures() || self.capabilities() & 0x2002 != 0
    }

    /// Returns whether the values of the controls are a session's own, as they are
    /// of a device that converts frames (V4L2_CAP_VIDEO_M2M, _M2M_MPLANE).
    pub fn has_contexts(&self) -> bool {
        self.capabilities() & 0xc000 != 0
    }

    fn capabilities(&self) -> u32 {
        self.config.as_ref().map_or(0, |config| config.le32(0))
    }

    /// Returns the errno with which buffers of that memory are refused.
    fn refused(&self, memory: u32) -> Option<u32> {
        let found = self.refused.iter().find(|(one, _)| *one == memory);
        found.map_or(Some(0), |(_, refused)| *refused)
    }

    fn why_refused(&self, memory: &str, errno: u32) -> String {
        match self.layout {
            Some(_) => format!("REQBUFS of {memory} is refused with errno {errno}"),
            None => "device_caps names no type of buffers".into(),
        }
    }

    /// Returns whether the device takes buffers of that memory (a V4L2_MEMORY_*).
    pub fn takes(&self, memory: u32) -> bool {
        self.refused(memory).is_none()
    }

    /// Ends a test that is about buffers in guest memory, if there are none.
    ///
    /// # Errors
    /// There are none.
    pub fn needs_shared_pages(&self) -> Result<(), Stop> {
        match self.refused(MEMORY_USERPTR) {
            None => Ok(()),
            Some(errno) => Err(Stop::NotOffered(self.why_refused("SHARED_PAGES", errno))),
        }
    }

    /// Ends a test that is about buffers of the device's, if there are none that
    /// can be mapped.
    ///
    /// # Errors
    /// There are none.
    pub fn needs_mapping(&self) -> Result<(), Stop> {
        if self.region.is_none() {
            return Err(Stop::NotOffered("it has no shared memory region 0".into()));
        }
        match self.refused(MEMORY_MMAP) {
            None => Ok(()),
            Some(errno) => Err(Stop::NotOffered(self.why_refused("MMAP", errno))),
        }
    }

    /// Returns an integer control.
    ///
    /// # Errors
    /// There is none.
    pub fn needs_control(&self) -> Result<Control, Stop> {
        self.control
            .ok_or_else(|| Stop::NotOffered("it has no integer control that can be set".into()))
    }

    /// Ends a test that is about frames, if the device returns no buffers by itself.
    ///
    /// # Errors
    /// It returns none.
    pub fn needs_frames(&self) -> Result<(), Stop> {
        match self.returns_buffers() {
            true => Ok(()),
            false => Err(Stop::NotOffered(
                "it returns no buffers by itself: device_caps has neither capture nor output"
                    .into(),
            )),
        }
    }

    /// The memory of buffers that frames can be seen in: the guest's rather than
    /// the device's.
    ///
    /// # Errors
    /// There is neither.
    pub fn memory_for_frames(&self) -> Result<u32, Stop> {
        self.needs_frames()?;
        [MEMORY_USERPTR, MEMORY_MMAP]
            .into_iter()
            .find(|memory| self.takes(*memory))
            .ok_or_else(|| Stop::NotOffered("it takes neither SHARED_PAGES nor MMAP".into()))
    }

    /// Bytes of guest memory for frames: eight buffers, within bounds. Where not
    /// even those fit that are streamed with, memory would be of no use.
    pub fn memory(&self) -> u64 {
        match (u64::from(FRAMES) + SPARE) * self.frame {
            needed if needed > MOST => LEAST,
            _ => (8 * self.frame).clamp(LEAST, MOST),
        }
    }

    /// Returns what is to be known of the device, for a report.
    pub fn properties(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut add = |name: &str, what: String| all.push((name.to_owned(), what));
        if let Some(config) = &self.config {
            let card = &config[8..];
            let end = card
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(card.len());
            let card = String::from_utf8_lossy(&card[..end]);
            let (caps, kind) = (config.le32(0), config.le32(4));
            add(
                "card",
                format!("{card}, device_caps {caps:#010x}, type {kind}"),
            );
        }
        let memory = [
            (MEMORY_USERPTR, "SHARED_PAGES"),
            (MEMORY_MMAP, "MMAP"),
            (MEMORY_DMABUF, "VIRTIO_OBJECT"),
        ];
        let memory = memory.iter().filter(|(memory, _)| self.takes(*memory));
        let memory: Vec<_> = memory.map(|(_, name)| *name).collect();
        add(
            "memory",
            match memory.is_empty() {
                true => "none".into(),
                false => memory.join(", "),
            },
        );
        add(
            "region 0",
            match self.region {
                Some(size) => format!("{} MiB", size >> 20),
                None => "none".into(),
            },
        );
        add("controls", self.controls.to_string());
        add("features", format!("{:#x}", self.features));
        add("protocol features", format!("{:#x}", self.protocol));
        all
    }
}

/// Reads the configuration space.
///
/// # Errors
/// The device does not let it be read.
pub fn config(driver: &Driver, offset: u32, len: u32) -> Result<Vec<u8>, Fault> {
    driver.connection.message("GET_CONFIG", |front| {
        let flags = VhostUserConfigFlags::empty();
        let room = vec![0; len as usize];
        let (_, mut bytes) = front.get_config(offset, len, flags, &room)?;
        bytes.resize(len as usize, 0);
        Ok(bytes)
    })
}
