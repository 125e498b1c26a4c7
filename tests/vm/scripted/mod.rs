//! A guest whose card does what a test wants: to see what the driver makes of
//! a card that has all there is, and of one that tells lies.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use pinhole::agent::protocol::{Load, Log, Run, RunAnswer};
use pinhole::rig::kernel_log;
pub use pinhole::scripted::device::camera;
use pinhole::scripted::device::camera::Shared;
use pinhole::scripted::device::ioctl::Answers;
use pinhole::scripted::device::{self, Config, Opening};
use pinhole::vm::channel::Pending;
use pinhole::vm::command_line::{Hardware, VhostUser};
use pinhole::vm::images::{self, Catalog};
use pinhole::vm::machine::{BOOT_LIMIT, Machine, Spec, private_dir};
use pinhole::vm::overlay::Overlay;
use pinhole::vm::progress::Progress;
use pinhole::vm::qemu::{self, MEDIA_ID};

use crate::test_guest::{LIMIT, PARANOID, shell};

/// Where the driver is in the guest.
const DRIVER: &str = "/usr/lib/modules/pinhole.ko";

/// A scripted card of a driver that does nothing wrong.
pub struct Device(device::Device);

impl Device {
    /// Sends an event of the present session: what follows its header. Says that so
    /// many bytes were written, header included.
    pub fn send(&self, event: u32, body: &[u8], used: u32) {
        self.send_to(self.sessions(), event, body, used);
    }

    /// As [`Device::send`], of any session.
    pub fn send_to(&self, session: u32, event: u32, body: &[u8], used: u32) {
        self.0.send(session, event, body, used).unwrap();
    }

    /// Fills each event buffer of the present session until told to stop.
    pub fn flood(&self, event: u32, enough: &AtomicBool) {
        let sent = AtomicU64::new(0);
        self.0.flood(self.sessions(), event, enough, &sent);
    }

    /// Writes guest memory.
    pub fn write(&self, start: u64, bytes: &[u8]) {
        assert!(self.0.write(start, bytes), "no memory at {start:#x}");
    }

    /// Reads guest memory.
    pub fn read(&self, start: u64, length: u32) -> Vec<u8> {
        let bytes = self.0.read(start, length);
        bytes.unwrap_or_else(|| panic!("no memory at {start:#x}"))
    }

    /// Whether it leaves commands unanswered, for ever.
    pub fn be_silent(&self, silent: bool) {
        self.0.be_silent(silent);
    }

    /// Answers the next OPEN with what is no answer.
    pub fn open_with_garbage(&self) {
        self.0.open_with(Opening::Garbage);
    }

    /// Sessions that were opened so far.
    pub fn sessions(&self) -> u32 {
        self.0.sessions()
    }

    /// Waits for the end, once the machine is gone.
    fn join(self) {
        assert_eq!(
            self.0.faults(),
            [] as [String; 0],
            "what the driver did wrong"
        );
        assert!(self.0.join(LIMIT), "the device does not end");
    }
}

/// `VIRTIO_MEDIA_EVT_DQBUF`: a buffer of a `V4L2_BUF_TYPE_*`. Of each plane it says
/// bytesused and data_offset, and that there are `count`.
pub fn returned_planes(
    kind: u32,
    index: u32,
    count: u32,
    flags: u32,
    planes: &[(u32, u32)],
) -> Vec<u8> {
    let mut bytes = vec![0; 88 + 8 * 64];
    let mut put = |at: usize, value: u32| {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    put(0, index);
    put(4, kind);
    put(12, flags);
    put(60, 2);
    put(72, count);
    for (plane, (used, offset)) in planes.iter().enumerate() {
        put(88 + 64 * plane, *used);
        put(88 + 64 * plane + 16, *offset);
    }
    bytes
}

/// A running guest with a scripted card.
pub struct Scripted {
    // The guest first: it must not see its hardware die.
    pub machine: Machine,
    pub device: Device,
    _dir: tempfile::TempDir,
}

impl Scripted {
    /// Boots a guest with a card of these `device_caps`, and loads the driver.
    pub fn boot(device_caps: u32, answers: Answers) -> Self {
        let kernel = Catalog::builtin().default_id().to_owned();
        Self::boot_on(&kernel, device_caps, answers, Vec::new())
    }

    /// As [`Scripted::boot`], with that kernel and more files: where each is in
    /// the guest, and what it is here.
    pub fn boot_on(
        kernel: &str,
        device_caps: u32,
        answers: Answers,
        mut files: Vec<(String, PathBuf)>,
    ) -> Self {
        let progress = Progress::silent();
        let recipe = Catalog::builtin().get(kernel).unwrap();
        // It has no region, as a device for media has to have.
        let qemu = qemu::ensure_generic(None, &progress).unwrap();
        let guest = images::ensure_guest(&recipe, &progress).unwrap();
        let driver = images::ensure_driver(&guest, &progress).unwrap();
        files.push((DRIVER.to_owned(), driver));

        let dir = private_dir().unwrap();
        let socket = dir.path().join("card");
        let config = Config {
            patience: LIMIT,
            ..Config::new(device_caps)
        };
        let device = Device(device::Device::serve(&socket, config, answers).unwrap());
        let properties = vec![
            format!("virtio-id={}", qemu.virtio_id),
            "num_vqs=2".to_owned(),
            "config_size=40".to_owned(),
        ];
        let machine = Machine::boot(&Spec {
            qemu: qemu.clone(),
            kernel: guest.kernel,
            initramfs: guest.initramfs,
            overlay: Overlay {
                files,
                ..Overlay::default()
            },
            append: PARANOID.to_owned(),
            hardware: Hardware {
                vhost_user: vec![VhostUser {
                    socket,
                    device: qemu.device.to_owned(),
                    properties,
                }],
                ..Hardware::default()
            },
            console_log: None,
            boot_limit: BOOT_LIMIT,
        })
        .unwrap();
        let load = Load {
            module: DRIVER.to_owned(),
            params: match qemu.virtio_id {
                MEDIA_ID => String::new(),
                id => format!("standin_id={id}"),
            },
        };
        machine.agent().call(load, LIMIT).unwrap();
        Self {
            machine,
            device,
            _dir: dir,
        }
    }

    /// Runs a command line in the guest's shell.
    pub fn run(&self, line: &str) -> RunAnswer {
        shell(&self.machine, line)
    }

    /// Starts a stream of v4l2-ctl with two buffers, and waits until the device has
    /// both.
    pub fn stream(&self, camera: &Shared, args: &str) -> Pending<Run> {
        let line = format!("v4l2-ctl -d /dev/video0 {args}");
        let run = Run::new(["sh", "-c", &line]);
        let pending = self.machine.agent().start(run).unwrap();
        self.wait("the stream starts", || {
            let camera = camera.get();
            camera.streaming && camera.queued.len() == 2
        });
        pending
    }

    /// Runs a command line that must succeed; returns all it printed.
    pub fn must(&self, line: &str) -> String {
        let answer = self.run(line);
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(answer.status.success(), "{line}: {}\n{said}", answer.status);
        said
    }

    /// The kernel's log so far; nothing in the kernel is broken.
    pub fn log(&self) -> String {
        let log = self.machine.agent().call(Log { since: 0 }, LIMIT).unwrap();
        let all: Vec<_> = log.records.iter().map(kernel_log::line).collect();
        let all = all.join("\n");
        let splats = kernel_log::splats(&log.records);
        assert!(splats.is_empty(), "{splats:#?}\n{all}");
        all
    }

    /// Waits until something holds.
    pub fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < LIMIT, "{what}\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Turns the guest off, and the card with it.
    pub fn finish(mut self) {
        self.log();
        self.machine.power_off(LIMIT);
        drop(self.machine);
        self.device.join();
    }
}
