//! The driver of the capture device: unbinding it from the card, and binding it
//! again.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::agent::protocol::driver_file;

use crate::guest::cell::Stop;
use crate::guest::cell::device::sysfs_of;

/// A driver, as it was while bound to the device of a video node.
pub struct Driver {
    /// Name, as in /sys/module.
    name: CString,
    /// Directory of its module in sysfs.
    module: PathBuf,
    /// Directory of the driver on its bus in sysfs.
    dir: PathBuf,
    /// Name of the device on its bus.
    device: String,
    /// File that controls whether the bus binds new drivers to its devices by
    /// itself.
    autoprobe: PathBuf,
    /// The module's file.
    file: File,
    /// The module's parameters.
    params: CString,
}

impl Driver {
    /// Returns the driver of a video device, given the path of its node.
    pub fn of(node: &str) -> Result<Self, Stop> {
        let device = sysfs_of(node).join("device");
        let link = |path: PathBuf| {
            let real = path.canonicalize();
            real.map_err(|error| Stop::Impossible(format!("{}: {error}", path.display())))
        };
        let dir = link(device.join("driver"))?;
        let module = link(dir.join("module"))?;
        let name = name_of(&module);
        let path = driver_file(&name);
        let file =
            File::open(&path).map_err(|error| Stop::Impossible(format!("open {path}: {error}")))?;
        Ok(Self {
            params: text(parameters(&module)?)?,
            name: text(name)?,
            device: name_of(&link(device)?),
            autoprobe: link(dir.join("../../drivers_autoprobe"))?,
            module,
            dir,
            file,
        })
    }

    /// Returns whether the driver is bound to the device.
    pub fn is_bound(&self) -> bool {
        self.dir.join(&self.device).exists()
    }

    /// Returns whether its module is loaded.
    pub fn is_loaded(&self) -> bool {
        self.module.exists()
    }

    /// Returns the order that binds it to the device.
    pub fn binder(&self) -> io::Result<Order> {
        self.order("bind")
    }

    /// Returns the order that unbinds it from the device.
    pub fn unbinder(&self) -> io::Result<Order> {
        self.order("unbind")
    }

    fn order(&self, name: &str) -> io::Result<Order> {
        Ok(Order {
            file: OpenOptions::new().write(true).open(self.dir.join(name))?,
            device: self.device.clone(),
        })
    }

    /// Loads the module.
    pub fn load(&self) -> io::Result<()> {
        Ok(rustix::system::finit_module(&self.file, &self.params, 0)?)
    }

    /// Removes the module, which unbinds it from its devices.
    pub fn unload(&self) -> io::Result<()> {
        let flags = libc::O_NONBLOCK;
        Ok(rustix::system::delete_module(&self.name, flags)?)
    }

    /// Sets whether the bus binds a driver to its devices when it is loaded, or
    /// only on request.
    pub fn bind_when_loaded(&self, bind: bool) -> io::Result<()> {
        fs::write(&self.autoprobe, if bind { "1" } else { "0" })
    }

    /// Reloads the module, whatever its state, and makes sure that it is bound.
    pub fn renew(&self) -> io::Result<()> {
        self.bind_when_loaded(true)?;
        if self.is_loaded() {
            self.unload()?;
        }
        self.load()?;
        match self.is_bound() {
            true => Ok(()),
            false => self.binder()?.give(),
        }
    }
}

/// An order: a file of sysfs to which a device's name is written.
pub struct Order {
    file: File,
    device: String,
}

impl Order {
    /// Gives the order.
    pub fn give(&mut self) -> io::Result<()> {
        self.file.write_all(self.device.as_bytes())
    }
}

/// Returns the parameters of a loaded module, as on a kernel command line; a
/// parameter that cannot be read is left out, so that it gets its default.
fn parameters(module: &Path) -> io::Result<String> {
    let dir = module.join("parameters");
    if !dir.exists() {
        return Ok(String::new());
    }
    let mut parameters = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Ok(value) = fs::read_to_string(entry.path()) {
            parameters.push(format!("{}={}", entry.file_name().display(), value.trim()));
        }
    }
    parameters.sort();
    Ok(parameters.join(" "))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().display().to_string()
}

fn text(text: String) -> Result<CString, Stop> {
    CString::new(text).map_err(|error| Stop::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_loaded_again_as_it_was() {
        let module = tempfile::tempdir().unwrap();
        assert_eq!(parameters(module.path()).unwrap(), "");
        let dir = module.path().join("parameters");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("standin_id"), "30\n").unwrap();
        fs::write(dir.join("userptr"), "sg\n").unwrap();
        assert_eq!(
            parameters(module.path()).unwrap(),
            "standin_id=30 userptr=sg"
        );
    }

    #[test]
    fn a_device_without_a_driver_is_no_failure_of_the_cell() {
        let stop = Driver::of("/dev/no-such-node").map(|_| ()).unwrap_err();
        assert!(matches!(stop, Stop::Impossible(_)), "{stop:?}");
    }
}
