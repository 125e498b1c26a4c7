//! The driver of the capture device: taken from the card, and given it back.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pinhole::agent::protocol::driver_file;

use crate::cell::Stop;

/// A driver, bound to the device of which it has made a video node, and as it
/// was when that was looked up.
pub struct Driver {
    /// Its name, as in /sys/module.
    name: CString,
    /// Where its module is in sysfs.
    module: PathBuf,
    /// Where it is on its bus there.
    dir: PathBuf,
    /// The device's name on its bus.
    device: String,
    /// Whether the bus tries new drivers on its devices by itself.
    autoprobe: PathBuf,
    /// The module.
    file: File,
    /// The parameters that it has.
    params: CString,
}

impl Driver {
    /// The driver of a video device, by the path of its node.
    pub fn of(node: &str) -> Result<Self, Stop> {
        let node = Path::new(node).file_name().unwrap_or_default();
        let device = Path::new("/sys/class/video4linux")
            .join(node)
            .join("device");
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

    /// Whether it is bound to the device.
    pub fn is_bound(&self) -> bool {
        self.dir.join(&self.device).exists()
    }

    /// Whether its module is loaded.
    pub fn is_loaded(&self) -> bool {
        self.module.exists()
    }

    /// What binds it to the device.
    pub fn binder(&self) -> io::Result<Order> {
        self.order("bind")
    }

    /// What takes it from the device.
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

    /// Removes it, and takes it from its devices.
    pub fn unload(&self) -> io::Result<()> {
        let flags = libc::O_NONBLOCK;
        Ok(rustix::system::delete_module(&self.name, flags)?)
    }

    /// Has the bus bind a driver that is loaded to its devices, or leave that to
    /// who asks for it.
    pub fn bind_when_loaded(&self, bind: bool) -> io::Result<()> {
        fs::write(&self.autoprobe, if bind { "1" } else { "0" })
    }

    /// Loads it anew, whatever has become of it, and sees to it that it is
    /// bound.
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

/// A file of sysfs to which a device's name is written.
pub struct Order {
    file: File,
    device: String,
}

impl Order {
    /// Writes it.
    pub fn give(&mut self) -> io::Result<()> {
        self.file.write_all(self.device.as_bytes())
    }
}

/// The parameters of a loaded module, as on a kernel command line; of those that
/// cannot be read it has the defaults.
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
        fs::write(dir.join("native_userptr"), "N\n").unwrap();
        assert_eq!(
            parameters(module.path()).unwrap(),
            "native_userptr=N standin_id=30"
        );
    }

    #[test]
    fn a_device_without_a_driver_is_no_failure_of_the_cell() {
        let stop = Driver::of("/dev/no-such-node").map(|_| ()).unwrap_err();
        assert!(matches!(stop, Stop::Impossible(_)), "{stop:?}");
    }
}
