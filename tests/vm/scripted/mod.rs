//! A guest whose card does what a test wants: to see what the driver makes of
//! a card that has all there is, and of one that tells lies.

pub mod camera;
pub mod device;

use std::path::PathBuf;
use std::time::Instant;

use pinhole::agent::protocol::{Load, Log, RunAnswer};
use pinhole::rig::kernel_log;
use pinhole::vm::command_line::{Hardware, VhostUser};
use pinhole::vm::images::{self, Catalog};
use pinhole::vm::machine::{BOOT_LIMIT, Machine, Spec, private_dir};
use pinhole::vm::overlay::Overlay;
use pinhole::vm::progress::Progress;
use pinhole::vm::qemu::{self, MEDIA_ID};

use crate::test_guest::{LIMIT, PARANOID, shell};
use device::{Answers, Device};

/// Where the driver is in the guest.
const DRIVER: &str = "/usr/lib/modules/pinhole.ko";

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
        let qemu = qemu::ensure(None, &progress).unwrap();
        let guest = images::ensure_guest(&recipe, &progress).unwrap();
        let driver = images::ensure_driver(&guest, &progress).unwrap();
        files.push((DRIVER.to_owned(), driver));

        let dir = private_dir().unwrap();
        let socket = dir.path().join("card");
        let device = Device::serve(&socket, device_caps, answers);
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
