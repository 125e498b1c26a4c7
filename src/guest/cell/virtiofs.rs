//! The file system on a directory that the host shares with the guest. The first cell
//! that needs it mounts it, and it stays until the system sleeps.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::Stop;
use super::setup::{knob, module, mounted, permit};
use crate::agent::protocol::SHARED_TAG;

/// Mount point.
const DIR: &str = "/run/cell/virtiofs";
/// The devices of the bus.
const DEVICES: &str = "/sys/bus/virtio/devices";
/// The driver, with the files that bind and unbind a device.
const DRIVER: &str = "/sys/bus/virtio/drivers/virtiofs";
/// The device's id in sysfs: VIRTIO_ID_FS of linux/virtio_ids.h.
const ID: &str = "0x001a";

/// Returns the mounted directory.
///
/// # Errors
///
/// [`Stop::Impossible`] if the kernel has no virtiofs, or the host shares nothing.
pub fn directory() -> Result<&'static Path, Stop> {
    permit("mounting a virtiofs")?;
    let dir = Path::new(DIR);
    if !mounted(DIR)? {
        module("virtiofs", "")?;
        let shared = device(Path::new(DEVICES)).ok_or_else(|| {
            Stop::Impossible(
                "the host shares no directory: it takes a virtiofsd, of the package virtiofsd"
                    .into(),
            )
        })?;
        if !shared.join("driver").exists() {
            switch("bind", &shared)?;
        }
        fs::create_dir_all(dir)?;
        mount(SHARED_TAG, dir, "virtiofs", MountFlags::empty(), c"")
            .map_err(|error| Stop::Impossible(format!("mount a virtiofs: {error}")))?;
    }
    Ok(dir)
}

/// Takes the device from its driver, which does not let the system sleep
/// (`virtio_fs_freeze()`), until a cell needs the directory.
pub fn let_sleep() -> Result<(), Stop> {
    if mounted(DIR)? {
        unmount(DIR, UnmountFlags::empty())
            .map_err(|error| Stop::Impossible(format!("unmount the virtiofs: {error}")))?;
    }
    match device(Path::new(DEVICES)) {
        Some(shared) if shared.join("driver").exists() => switch("unbind", &shared),
        _ => Ok(()),
    }
}

/// Returns the device in the directory of all, if there is one.
fn device(devices: &Path) -> Option<PathBuf> {
    let mut paths = fs::read_dir(devices).ok()?.flatten().map(|it| it.path());
    paths.find(|path| fs::read_to_string(path.join("device")).is_ok_and(|id| id.trim() == ID))
}

/// Writes the device's name to a file of the driver's.
fn switch(file: &str, device: &Path) -> Result<(), Stop> {
    let name = device.file_name().unwrap_or_default().display().to_string();
    knob(&format!("{DRIVER}/{file}"), &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_known_by_its_id() {
        let bus = tempfile::tempdir().unwrap();
        let add = |name: &str, id: &str| {
            let dir = bus.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("device"), id).unwrap();
            dir
        };
        add("virtio0", "0x0003\n");
        assert_eq!(device(bus.path()), None);
        let shared = add("virtio1", "0x001a\n");
        assert_eq!(device(bus.path()), Some(shared));
        assert_eq!(device(&bus.path().join("none")), None);
    }
}
