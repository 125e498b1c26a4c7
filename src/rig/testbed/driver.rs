//! The driver of a testbed's guest, and the modules needed to load it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agent::protocol::{Load, driver_file};
use crate::agent::usb_camera;
use crate::vm::images::{Guest, modules};
use crate::vm::provision::Error;
use crate::vm::qemu::{MEDIA_ID, Qemu};

/// Name of Pinhole's own driver.
const OURS: &str = "pinhole";

/// Name of the module that calls the functions of the frame vector.
const PROBE: &str = "frame_vector_probe";

/// A driver that replaces Pinhole's own.
#[derive(Debug, Clone)]
pub struct OtherDriver {
    /// The module.
    pub module: DriverModule,
    /// Parameters of the module. On a QEMU without the media device they must
    /// make the driver of a card accept the stand-in's virtio id.
    pub params: String,
    /// Whether a USB camera made of software is plugged into the guest once the driver is
    /// loaded. Pinhole's own driver has no use for one, so that no testbed of it has.
    pub usb_camera: bool,
}

/// The origin of a driver's module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverModule {
    /// A file, built for the guest's kernel.
    File(PathBuf),
    /// One of the modules that the guest's kernel comes with, by its name.
    OfKernel(String),
}

/// A driver for a guest.
#[derive(Debug)]
pub struct Driver {
    /// Name of the module, as in /sys/module.
    pub name: String,
    /// The files to add to the guest: pairs of a path in the guest and a file
    /// of the host.
    pub files: Vec<(String, PathBuf)>,
    /// The modules to load, in this order: the driver after what it needs.
    pub loads: Vec<Load>,
}

impl OtherDriver {
    /// Returns a driver with those parameters, and no camera.
    pub fn new(module: DriverModule, params: impl Into<String>) -> Self {
        Self {
            module,
            params: params.into(),
            usb_camera: false,
        }
    }

    /// Checks that a file is a module, which takes no guest.
    ///
    /// # Errors
    ///
    /// [`Error::Own`] where it is no module.
    pub fn check(&self) -> Result<(), Error> {
        match &self.module {
            DriverModule::File(path) => modules::read_module(path).map(drop),
            DriverModule::OfKernel(_) => Ok(()),
        }
    }
}

impl Driver {
    /// Returns Pinhole's own driver, from the file `module`, with those
    /// parameters besides the one that the machine needs.
    pub fn ours(module: PathBuf, qemu: &Qemu, params: &str) -> Self {
        let params = match qemu.virtio_id {
            MEDIA_ID => params.to_owned(),
            id => format!("standin_id={id} {params}"),
        };
        let mut driver = Self {
            name: OURS.to_owned(),
            files: Vec::new(),
            loads: Vec::new(),
        };
        driver.add(driver_file(OURS), module, params);
        driver
    }

    /// Returns another driver, with the modules that it needs and the guest
    /// does not load at boot, and before it those that its device needs. Files that
    /// have to be written are written to `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Own`] if the file is not a module, [`Error::Contents`] if the
    /// kernel lacks the module, or one that it needs, and others if files cannot
    /// be read or written.
    pub fn other(spec: &OtherDriver, guest: &Guest, dir: &Path) -> Result<Self, Error> {
        let modules = guest.modules()?;
        let controller = spec.usb_camera.then(|| usb_camera::CONTROLLER.to_owned());
        let mut wanted: Vec<_> = controller.into_iter().collect();
        let (module, needed) = match &spec.module {
            DriverModule::File(path) => {
                let module = modules::read_module(path)?;
                wanted.extend_from_slice(&module.depends);
                (module, modules.load_order(&wanted)?)
            }
            DriverModule::OfKernel(name) => {
                wanted.push(name.clone());
                let mut needed = modules.load_order(&wanted)?;
                let at = needed.iter().position(|module| module.is_called(name));
                let module = at
                    .map(|at| needed.remove(at))
                    .ok_or_else(|| Error::Contents {
                        what: guest.id.clone(),
                        why: format!("{name} is built into its kernel, and is no module"),
                    })?;
                (module, needed)
            }
        };
        let mut driver = Self {
            name: module.name,
            files: Vec::new(),
            loads: Vec::new(),
        };
        for needed in needed {
            let inside = format!("/lib/modules/{}/{}", guest.release, needed.path);
            if !guest.boot_modules.contains(&inside) {
                let file = written(dir, &needed.name, &needed.contents)?;
                // The path of an added file must not lead over a link, and /lib
                // is one.
                driver.add(format!("/usr{inside}"), file, String::new());
            }
        }
        let file = written(dir, &driver.name, &module.contents)?;
        driver.add(driver_file(&driver.name), file, spec.params.clone());
        Ok(driver)
    }

    /// Adds the module `probe`, which is loaded after the driver.
    pub fn add_probe(&mut self, probe: PathBuf) {
        self.add(driver_file(PROBE), probe, String::new());
    }

    fn add(&mut self, inside: String, file: PathBuf, params: String) {
        self.files.push((inside.clone(), file));
        self.loads.push(Load {
            module: inside,
            params,
        });
    }
}

fn written(dir: &Path, name: &str, contents: &[u8]) -> Result<PathBuf, Error> {
    let path = dir.join(format!("{name}.ko"));
    fs::write(&path, contents).map_err(|source| Error::Io {
        action: "write",
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Returns the driver that a device's uevent names.
pub fn bound(uevent: &str) -> Option<&str> {
    let mut lines = uevent.lines();
    lines.find_map(|line| line.strip_prefix("DRIVER="))
}
