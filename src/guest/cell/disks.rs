//! The file systems on the guest's disks, each of which the host makes on a disk of its
//! own, and what is laid over one of them. The first cell that needs one mounts it, and
//! it stays.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use super::Stop;
use super::setup::{PMEM, module, mounted, permit, pmem};
use super::span::check;

/// A file system on a disk.
struct OnDisk {
    /// Its name in mount(2), which is that of its module.
    name: &'static str,
    /// Mount point.
    dir: &'static str,
    /// Where on the disk its superblock has its magic number.
    magic_at: u64,
    magic: &'static [u8],
    /// What makes it on the host.
    made_by: &'static str,
}

const EXT4: OnDisk = OnDisk {
    name: "ext4",
    dir: "/run/cell/ext4",
    magic_at: 1024 + 56,
    magic: &[0x53, 0xef],
    made_by: "mke2fs of the package e2fsprogs",
};

const XFS: OnDisk = OnDisk {
    name: "xfs",
    dir: "/run/cell/xfs",
    magic_at: 0,
    magic: b"XFSB",
    made_by: "mkfs.xfs of the package xfsprogs",
};

const BTRFS: OnDisk = OnDisk {
    name: "btrfs",
    dir: "/run/cell/btrfs",
    magic_at: (64 << 10) + 64,
    magic: b"_BHRfS_M",
    made_by: "mkfs.btrfs of the package btrfs-progs",
};

/// Mount point of the ext4 with direct access.
const DAX: &str = "/run/cell/dax";

/// Mount point of the overlayfs.
const OVERLAY: &str = "/run/cell/overlay";
/// Its lower layer.
const LOWER: &str = "/run/cell/lower";
/// Its upper layer and its working directory, as on most machines with containers on
/// the file system that everything is on.
const UPPER: [&str; 2] = ["/run/cell/ext4/upper", "/run/cell/ext4/work"];
const LAYERS: &CStr =
    c"lowerdir=/run/cell/lower,upperdir=/run/cell/ext4/upper,workdir=/run/cell/ext4/work";

/// Returns the directory of an ext4.
pub fn ext4() -> Result<&'static Path, Stop> {
    EXT4.ensure()
}

/// Returns the directory of an xfs.
pub fn xfs() -> Result<&'static Path, Stop> {
    XFS.ensure()
}

/// Returns the directory of a btrfs.
pub fn btrfs() -> Result<&'static Path, Stop> {
    BTRFS.ensure()
}

/// Returns the directory of an overlayfs, whose upper layer is on the ext4.
pub fn overlayfs() -> Result<&'static Path, Stop> {
    permit("mounting an overlayfs")?;
    let dir = Path::new(OVERLAY);
    if !mounted(OVERLAY)? {
        EXT4.ensure()?;
        module("overlay", "")?;
        for layer in UPPER.into_iter().chain([LOWER, OVERLAY]) {
            fs::create_dir_all(layer)?;
        }
        mount("overlay", dir, "overlay", MountFlags::empty(), LAYERS)
            .map_err(|error| Stop::Impossible(format!("mount an overlayfs: {error}")))?;
    }
    Ok(dir)
}

/// Returns the directory of an ext4 on persistent memory, with direct access.
pub fn dax() -> Result<&'static Path, Stop> {
    permit("mounting an ext4 on persistent memory")?;
    let dir = Path::new(DAX);
    if !mounted(DAX)? {
        pmem()?;
        // Without the freeze, a copy of a mounted file system would mix several
        // states.
        let _frozen = match mounted(EXT4.dir)? {
            true => Some(Frozen::new(EXT4.dir)?),
            false => None,
        };
        copy(&EXT4.disk()?, PMEM)?;
        EXT4.mount(PMEM, dir, c"dax")?;
    }
    Ok(dir)
}

impl OnDisk {
    /// Returns the directory where it is mounted, and mounts it unless it is.
    fn ensure(&self) -> Result<&'static Path, Stop> {
        permit(format_args!("mounting {}", self.name))?;
        let dir = Path::new(self.dir);
        if !mounted(self.dir)? {
            self.mount(&self.disk()?, dir, c"")?;
        }
        Ok(dir)
    }

    /// Returns the disk that holds it.
    fn disk(&self) -> Result<String, Stop> {
        for entry in fs::read_dir("/sys/block")? {
            let name = entry?.file_name().display().to_string();
            let path = format!("/dev/{name}");
            if name.starts_with("vd") && self.is_on(&path)? {
                return Ok(path);
            }
        }
        Err(Stop::Impossible(format!(
            "no disk holds a file system of {}, which the host makes by {}",
            self.name, self.made_by
        )))
    }

    /// Checks for the magic number of the superblock.
    fn is_on(&self, path: &str) -> io::Result<bool> {
        let mut magic = vec![0; self.magic.len()];
        let count = File::open(path)?.read_at(&mut magic, self.magic_at)?;
        Ok(count == magic.len() && magic == self.magic)
    }

    fn mount(&self, device: &str, dir: &Path, options: &CStr) -> Result<(), Stop> {
        // Older kernels look up the checksum when the module is loaded (libcrc32c_mod_init()),
        // or when it is mounted. Not every kernel has this as a separate module; if it is
        // missing, the one or the other reports it.
        let _ = module("crc32c_generic", "");
        module(self.name, "")?;
        fs::create_dir_all(dir)?;
        mount(device, dir, self.name, MountFlags::empty(), options)
            .map_err(|error| Stop::Impossible(format!("mount {} on {device}: {error}", self.name)))
    }
}

/// A file system that is frozen against writes; thawed when dropped.
struct Frozen(File);

impl Frozen {
    /// FIFREEZE of linux/fs.h.
    const FREEZE: u64 = 0xc004_5877;
    /// FITHAW.
    const THAW: u64 = 0xc004_5878;

    fn new(dir: &str) -> io::Result<Self> {
        let frozen = Self(File::open(dir)?);
        frozen.ioctl(Self::FREEZE).map(|()| frozen)
    }

    fn ioctl(&self, request: u64) -> io::Result<()> {
        // SAFETY: the request takes no argument.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), request, 0) })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The file system is frozen, and is thawed only here.
        let _ = self.ioctl(Self::THAW);
    }
}

/// Copies the blocks that are not zero from a device that is not mounted for
/// writing.
fn copy(from: &str, to: &str) -> Result<(), Stop> {
    let (from, to) = (File::open(from)?, OpenOptions::new().write(true).open(to)?);
    let mut block = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        match from.read_at(&mut block, at)? {
            0 => return Ok(()),
            count => {
                if block[..count].iter().any(|byte| *byte != 0) {
                    to.write_all_at(&block[..count], at)?;
                }
                at += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::Scope;
    use crate::guest::cell::setup::{self, device_dax, limit_to, swap};
    use crate::guest::cell::virtiofs;

    /// Nothing else in this process depends on it: other tests set nothing up.
    #[test]
    fn a_machine_that_is_no_guest_is_left_as_it_is() {
        let knob = tempfile::NamedTempFile::new().unwrap();
        let path = knob.path().to_str().unwrap();
        let why = |done: Result<(), Stop>| match done {
            Err(Stop::Impossible(why)) => why,
            other => panic!("{other:?}"),
        };
        limit_to(Scope::Machine);
        let refused = [
            setup::knob(path, "1"),
            module("pinhole-no-such-module", ""),
            swap(),
            ext4().map(drop),
            xfs().map(drop),
            btrfs().map(drop),
            overlayfs().map(drop),
            virtiofs::directory().map(drop),
            dax().map(drop),
            device_dax().map(drop),
        ];
        limit_to(Scope::Guest);
        for refused in refused {
            let why = why(refused);
            assert!(why.contains("would change this machine"), "{why}");
        }
        assert_eq!(fs::read(path).unwrap(), b"");
        setup::knob(path, "1").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"1");
    }
}
