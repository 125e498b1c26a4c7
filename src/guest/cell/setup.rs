//! Sets up what some kinds of memory need in the guest: swap, file systems,
//! devices. The first cell that needs a part sets it up, and it stays. On a machine
//! that is no guest nothing is set up.

use std::ffi::CStr;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::cell::{PAGE, Scope};
use crate::agent::protocol::Load;
use rustix::mount::{MountFlags, mount};

use super::Stop;
use super::span::check;
use crate::guest::modules;

/// Mount point of the ext4 on a disk.
const EXT4: &str = "/run/cell/ext4";
/// Mount point of the tmpfs of huge pages.
const HUGE_TMPFS: &str = "/run/cell/huge";
/// Mount point of the ext4 with direct access.
const DAX: &str = "/run/cell/dax";
/// Device of that ext4: the first memory range that the kernel's command line
/// declares persistent (`memmap=SIZE!START`).
const PMEM: &str = "/dev/pmem0";
/// The second range, which is a device for direct access.
const DEVICE_DAX: &str = "/dev/dax1.0";

/// The device of the swap.
const ZRAM: &str = "/dev/zram0";
const ZRAM_PATH: &CStr = c"/dev/zram0";

/// Size of the swap in bytes.
const SWAP: u64 = 64 << 20;

/// Whether the machine may be changed. The process runs only one cell.
static MAY_CHANGE: AtomicBool = AtomicBool::new(true);

/// Sets what this process may do to the machine from now on.
pub fn limit_to(scope: Scope) {
    MAY_CHANGE.store(scope.is_guest(), Ordering::Relaxed);
}

/// Permits a change of the machine, which `what` names.
///
/// # Errors
///
/// [`Stop::Impossible`] if the machine must not be changed.
pub fn permit(what: impl Display) -> Result<(), Stop> {
    match MAY_CHANGE.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err(Stop::Impossible(format!(
            "{what} would change this machine, which is no guest: run the cell in one"
        ))),
    }
}

/// Loads a module, unless it is loaded or built in.
pub fn module(name: &str, params: &str) -> Result<(), Stop> {
    permit(format_args!("loading {name}"))?;
    let load = Load {
        module: name.to_owned(),
        params: params.to_owned(),
    };
    match modules::load(&load) {
        Err(failure) if failure.errno != Some(libc::EEXIST) => {
            Err(Stop::Impossible(failure.message))
        }
        _ => Ok(()),
    }
}

/// Writes to a file of /proc or /sys.
pub fn knob(path: &str, value: &str) -> Result<(), Stop> {
    permit(format_args!("{value} in {path}"))?;
    fs::write(path, value).map_err(|error| Stop::Impossible(format!("{value} to {path}: {error}")))
}

/// Sets up swap in compressed memory.
pub fn swap() -> Result<(), Stop> {
    permit("swap")?;
    if fs::read_to_string("/proc/swaps")?.contains(ZRAM) {
        return Ok(());
    }
    module("zram", "")?;
    knob("/sys/block/zram0/disksize", &SWAP.to_string())?;
    let device = OpenOptions::new().write(true).open(ZRAM)?;
    device.write_all_at(&swap_header(), 0)?;
    drop(device);
    swap_on().map_err(|error| Stop::Impossible(format!("swapon {ZRAM}: {error}")))
}

/// Gives the swap to the kernel again; swapon(2).
pub fn swap_on() -> io::Result<()> {
    // SAFETY: the path is a string that ends in a zero byte.
    check(unsafe { libc::swapon(ZRAM_PATH.as_ptr(), 0) })
}

/// Takes the swap away from the kernel, which reads back all that is in it;
/// swapoff(2).
pub fn swap_off() -> io::Result<()> {
    // SAFETY: the path is a string that ends in a zero byte.
    check(unsafe { libc::swapoff(ZRAM_PATH.as_ptr()) })
}

/// Returns a `union swap_header` of linux/swap.h: version and number of the
/// last page after the boot block, and the signature at the end of the page.
fn swap_header() -> Vec<u8> {
    let mut header = vec![0; PAGE];
    header[1024..1028].copy_from_slice(&1u32.to_le_bytes());
    let last = (SWAP / PAGE as u64 - 1) as u32;
    header[1028..1032].copy_from_slice(&last.to_le_bytes());
    header[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    header
}

/// Returns the directory of an ext4 on a disk.
pub fn ext4() -> Result<&'static Path, Stop> {
    permit("mounting an ext4")?;
    let dir = Path::new(EXT4);
    if !mounted(EXT4)? {
        mount_ext4(&disk()?, dir, c"")?;
    }
    Ok(dir)
}

/// Returns the directory of a tmpfs whose files have huge pages.
pub fn huge_tmpfs() -> Result<&'static Path, Stop> {
    permit("mounting a tmpfs")?;
    let dir = Path::new(HUGE_TMPFS);
    if !mounted(HUGE_TMPFS)? {
        fs::create_dir_all(dir)?;
        mount("tmpfs", dir, "tmpfs", MountFlags::empty(), c"huge=always")
            .map_err(|error| Stop::Impossible(format!("mount a tmpfs of huge pages: {error}")))?;
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
        let _frozen = match mounted(EXT4)? {
            true => Some(Frozen::new(EXT4)?),
            false => None,
        };
        copy(&disk()?, PMEM)?;
        mount_ext4(PMEM, dir, c"dax")?;
    }
    Ok(dir)
}

/// Returns the device for direct access to persistent memory.
pub fn device_dax() -> Result<&'static str, Stop> {
    permit("writing to persistent memory")?;
    if Path::new(DEVICE_DAX).exists() {
        return Ok(DEVICE_DAX);
    }
    pmem()?;
    module("dax_pmem", "")?;
    module("device_dax", "")?;
    const NAMESPACE: &str = "namespace1.0";
    const SEED: &str = "/sys/bus/nd/devices/dax1.0";
    let bound = format!("/sys/bus/nd/drivers/nd_pmem/{NAMESPACE}");
    if Path::new(&bound).exists() {
        knob("/sys/bus/nd/drivers/nd_pmem/unbind", NAMESPACE)?;
    }
    // These are the steps of ndctl-create-namespace(1) for the mode devdax.
    knob(
        &format!("{SEED}/uuid"),
        "70696e68-6f6c-4d65-8d61-747269780001",
    )?;
    knob(&format!("{SEED}/mode"), "ram")?;
    knob(&format!("{SEED}/align"), &(2 << 20).to_string())?;
    knob(&format!("{SEED}/namespace"), NAMESPACE)?;
    knob("/sys/bus/nd/drivers/dax_pmem/bind", "dax1.0")?;
    match Path::new(DEVICE_DAX).exists() {
        true => Ok(DEVICE_DAX),
        false => Err(Stop::Impossible(format!("{DEVICE_DAX} does not appear"))),
    }
}

/// Creates devices for the ranges of persistent memory.
fn pmem() -> Result<(), Stop> {
    module("nd_e820", "")?;
    module("nd_pmem", "")?;
    match Path::new(PMEM).exists() {
        true => Ok(()),
        false => Err(Stop::Impossible(format!(
            "there is no {PMEM}, boot with memmap=SIZE!START"
        ))),
    }
}

/// Returns the disk with an ext4.
fn disk() -> Result<String, Stop> {
    for entry in fs::read_dir("/sys/block")? {
        let name = entry?.file_name().display().to_string();
        let path = format!("/dev/{name}");
        if name.starts_with("vd") && holds_ext4(&path)? {
            return Ok(path);
        }
    }
    Err(Stop::Impossible("no disk holds an ext4".into()))
}

/// Checks for the magic number of the superblock.
fn holds_ext4(path: &str) -> io::Result<bool> {
    let mut magic = [0; 2];
    let count = File::open(path)?.read_at(&mut magic, 1024 + 56)?;
    Ok(count == 2 && u16::from_le_bytes(magic) == 0xef53)
}

fn mount_ext4(device: &str, dir: &Path, options: &CStr) -> Result<(), Stop> {
    module("ext4", "")?;
    // Not every kernel has this as a separate module; if it is missing, the
    // mount reports it.
    let _ = module("crc32c_generic", "");
    fs::create_dir_all(dir)?;
    mount(device, dir, "ext4", MountFlags::empty(), options)
        .map_err(|error| Stop::Impossible(format!("mount the ext4 on {device}: {error}")))
}

fn mounted(dir: &str) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    Ok(mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(dir)))
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
            self::knob(path, "1"),
            module("pinhole-no-such-module", ""),
            swap(),
            ext4().map(drop),
            dax().map(drop),
            device_dax().map(drop),
        ];
        limit_to(Scope::Guest);
        for refused in refused {
            let why = why(refused);
            assert!(why.contains("would change this machine"), "{why}");
        }
        assert_eq!(fs::read(path).unwrap(), b"");
        self::knob(path, "1").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"1");
    }
}
