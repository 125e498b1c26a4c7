//! Which driver a testbed's guest is given, and what it takes to load it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agent::protocol::{Load, driver_file};
use crate::vm::images::{Guest, modules};
use crate::vm::provision::Error;
use crate::vm::qemu::{MEDIA_ID, Qemu};

/// The name of Pinhole's own driver.
const OURS: &str = "pinhole";

/// A driver in place of Pinhole's own.
#[derive(Debug, Clone)]
pub struct OtherDriver {
    /// The module, of the guest's kernel.
    pub path: PathBuf,
    /// Its parameters. On a QEMU without the media device they must make it
    /// take the stand-in's virtio id.
    pub params: String,
}

/// A driver for a guest.
#[derive(Debug)]
pub struct Driver {
    /// The module's name, as in /sys/module.
    pub name: String,
    /// The files that the guest is to have: where each is in it, and what it is
    /// here.
    pub files: Vec<(String, PathBuf)>,
    /// What to load, in this order, the driver last.
    pub loads: Vec<Load>,
}

impl Driver {
    /// Pinhole's own driver, out of the file `module`.
    pub fn ours(module: PathBuf, qemu: &Qemu) -> Self {
        let params = match qemu.virtio_id {
            MEDIA_ID => String::new(),
            id => format!("standin_id={id}"),
        };
        let mut driver = Self {
            name: OURS.to_owned(),
            files: Vec::new(),
            loads: Vec::new(),
        };
        driver.add(driver_file(OURS), module, params);
        driver
    }

    /// Another driver, with the modules that it needs and the guest does not
    /// load at boot; what of these must be written to a file is written to
    /// `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Own`] where it is no module, [`Error::Contents`] where the
    /// kernel has not what it needs, and others where files cannot be read or
    /// written.
    pub fn other(spec: &OtherDriver, guest: &Guest, dir: &Path) -> Result<Self, Error> {
        let module = modules::read_module(&spec.path)?;
        let mut driver = Self {
            name: module.name,
            files: Vec::new(),
            loads: Vec::new(),
        };
        for needed in guest.modules()?.load_order(&module.depends)? {
            let inside = format!("/lib/modules/{}/{}", guest.release, needed.path);
            if !guest.boot_modules.contains(&inside) {
                let file = written(dir, &needed.name, &needed.contents)?;
                // A file's way must not lead over a link, which /lib is.
                driver.add(format!("/usr{inside}"), file, String::new());
            }
        }
        let file = written(dir, &driver.name, &module.contents)?;
        driver.add(driver_file(&driver.name), file, spec.params.clone());
        Ok(driver)
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
