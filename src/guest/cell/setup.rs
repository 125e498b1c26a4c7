//! Sets up what some kinds of memory need in the guest: swap, a tmpfs, devices. The first
//! cell that needs a part sets it up, and it stays. On a machine that is no guest nothing
//! is set up.

use std::ffi::CStr;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::cell::{PAGE, Scope};
use crate::agent::protocol::Load;
use rustix::mount::{MountFlags, mount};

use super::Stop;
use super::span::check;
use crate::guest::modules;

/// Mount point of the tmpfs of huge pages.
const HUGE_TMPFS: &str = "/run/cell/huge";
/// The first memory range that the kernel's command line declares persistent
/// (`memmap=SIZE!START`): the device of an ext4 with direct access.
pub const PMEM: &str = "/dev/pmem0";
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

/// Opens a device that not every kernel has.
pub fn open(path: impl AsRef<Path>) -> Result<File, Stop> {
    let path = path.as_ref();
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| Stop::Impossible(format!("open {}: {error}", path.display())))
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
pub fn pmem() -> Result<(), Stop> {
    module("nd_e820", "")?;
    module("nd_pmem", "")?;
    match Path::new(PMEM).exists() {
        true => Ok(()),
        false => Err(Stop::Impossible(format!(
            "there is no {PMEM}, boot with memmap=SIZE!START"
        ))),
    }
}

/// Returns whether a file system is mounted there.
pub fn mounted(dir: &str) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    Ok(mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(dir)))
}
