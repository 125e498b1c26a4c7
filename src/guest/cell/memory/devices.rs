//! Memory that belongs to a device, or that the kernel cannot access.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use crate::agent::cell::PAGE;
use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use rustix::fs::{MemfdFlags, ftruncate};

use super::exporters;
use super::layout::{Layout, Want, fill};
use crate::guest::cell::span::{self, MemoryAccess, Span, check};
use crate::guest::cell::{Stop, setup};

/// Access rights of all mappings here.
const ACCESS: i32 = PROT_READ | PROT_WRITE;

/// Lays out memory that the kernel itself cannot access (memfd_secret(2)).
pub fn secret(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    check(fd as i32).map_err(|error| {
        Stop::Impossible(format!(
            "there is no secret memory (before Linux 6.5 boot with secretmem.enable=1): {error}"
        ))
    })?;
    // SAFETY: the system call returned a new descriptor, which has no other
    // owner.
    let file = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let len = want.with_canaries();
    ftruncate(&file, len as u64)?;
    // Secret memory is locked, and every process may lock some.
    let mapping = span::map_file(len, ACCESS, MAP_SHARED, file.as_fd(), 0)
        .map_err(|error| Stop::Impossible(format!("no more memory can be locked: {error}")))?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out pages of a memfd, mapped through a dma-buf made of them.
pub fn udmabuf(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let (buffer, mapping) = made_by_udmabuf(want.with_canaries())?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).keeping(buffer))
}

/// Creates a dma-buf of `len` bytes, which are whole pages, and maps it.
pub fn made_by_udmabuf(len: usize) -> Result<(OwnedFd, Span), Stop> {
    let file = exporters::memfd(len, MemfdFlags::empty())?;
    let buffer = exporters::udmabuf(&file, 0, len)?;
    let mapping = span::map_file(len, ACCESS, MAP_SHARED, buffer.as_fd(), 0)?;
    Ok((buffer, mapping))
}

/// Lays out a buffer of the DMA heap of the system's memory, through which programs
/// get memory that devices share (Documentation/userspace-api/dma-buf-heaps.rst).
pub fn dma_heap(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = want.with_canaries();
    let buffer = exporters::allocated(exporters::SYSTEM_HEAP, len)?;
    let mapping = span::map_file(len, ACCESS, MAP_SHARED, buffer.as_fd(), 0)?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).keeping(buffer))
}

/// Lays out registers of a PCI device, which have addresses but no struct
/// pages.
pub fn pci_bar(want: Want) -> Result<Layout, Stop> {
    // The device is QEMU's "edu": a megabyte of registers, and no driver.
    let mapping = bar("0x1234", "0x11e8", 0, "edu", want)?;
    // Registers are not used as canaries, because their values may change.
    Ok(Layout::bare(mapping.part(PAGE + want.offset, want.length)))
}

/// Lays out memory on a PCI device, for which the kernel has no struct pages.
pub fn ivshmem(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = bar("0x1af4", "0x1110", 2, "ivshmem-plain", want)?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Maps a BAR of a PCI device through sysfs.
fn bar(vendor: &str, device: &str, bar: u32, name: &str, want: Want) -> Result<Span, Stop> {
    let path = pci_device(vendor, device)?.ok_or_else(|| {
        Stop::Impossible(format!("there is no PCI device {name}, run QEMU with one"))
    })?;
    setup::permit(format_args!("enabling the PCI device {name}"))?;
    // The device answers only after its address decoding is enabled.
    fs::write(path.join("enable"), "1")?;
    let resource = path.join(format!("resource{bar}"));
    let file = OpenOptions::new().read(true).write(true).open(&resource)?;
    span::map_file(want.with_canaries(), ACCESS, MAP_SHARED, file.as_fd(), 0)
        .map_err(|error| Stop::Impossible(format!("map {}: {error}", resource.display())))
}

fn pci_device(vendor: &str, device: &str) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir("/sys/bus/pci/devices")? {
        let path = entry?.path();
        let is = |file: &str, id: &str| {
            fs::read_to_string(path.join(file)).is_ok_and(|text| text.trim() == id)
        };
        if is("vendor", vendor) && is("device", device) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Lays out persistent memory, mapped through its own device.
pub fn dax(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// Alignment of mappings of the device.
    const ALIGNMENT: usize = 2 << 20;
    let file = setup::open(setup::device_dax()?)?;
    let len = want.with_canaries().next_multiple_of(ALIGNMENT);
    let whole = span::map_file(len, ACCESS, MAP_SHARED, file.as_fd(), 0)?;
    let mapping = whole.part(0, want.with_canaries());
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).keeping(file))
}
