//! Memory that is a buffer of a capture device, mapped by mmap(2).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::agent::cell::FrameSize;
use crate::card::Direction;
use crate::wire::buffer::MEMORY_MMAP;
use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};

use super::layout::{Layout, Want, fill};
use crate::guest::cell::device::Device;
use crate::guest::cell::span::{self, MemoryAccess, Span};
use crate::guest::cell::{Stop, setup};

/// Lays out a buffer that vivid, a capture device without hardware, allocated
/// and lets applications map.
pub fn vivid(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = want.with_canaries();
    let device = vivid_with_buffer(len)?;
    let mapping = mapped(&device, len)?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).keeping(device))
}

/// Has vivid allocate a buffer of at least `len` bytes.
pub fn vivid_with_buffer(len: usize) -> Result<Device, Stop> {
    // The parameters create one capture device; its first input is a webcam.
    setup::module("vivid", "n_devs=1 node_types=0x1")?;
    if node(is_vivid)?.is_none() {
        // A cell before this one has unbound it.
        setup::knob(&format!("{VIVID_DRIVER}/bind"), VIVID_DEVICE)?;
    }
    let node =
        node(is_vivid)?.ok_or_else(|| Stop::Impossible("vivid makes no capture device".into()))?;
    let device = Device::open(&node.path, Direction::Capture)?;
    make_buffer(&device, len)?;
    Ok(device)
}

/// The directory of sysfs that is about vivid as a driver.
const VIVID_DRIVER: &str = "/sys/bus/platform/drivers/vivid";
/// The device that vivid makes for its first cards, to which it binds itself.
const VIVID_DEVICE: &str = "vivid.0";

/// Unbinds vivid from its device.
pub fn unbind_vivid() -> io::Result<()> {
    fs::write(format!("{VIVID_DRIVER}/unbind"), VIVID_DEVICE)
}

/// Returns whether an entry of /sys/class/video4linux is of vivid.
pub fn is_vivid(node: &Path) -> bool {
    let name = fs::read_to_string(node.join("name"));
    name.is_ok_and(|name| name.starts_with("vivid"))
}

/// Lays out a buffer in the card's own memory, which the driver maps through the
/// card's shared memory region. The buffer itself is freed again, so that others
/// can be made of the process's memory: the mapping keeps what it shows.
pub fn card(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = want.with_canaries();
    let node = card_node()?;
    let mapping = {
        let _switch = Switch::on(&node.entry.join(PARAMETER))?;
        let device = Device::open(&node.path, want.direction)?;
        make_buffer(&device, len)?;
        let mapping = mapped(&device, len)?;
        device.request_buffers(0, MEMORY_MMAP)?;
        mapping
    };
    if !span::is_page_frames(mapping) {
        return Err(Stop::Impossible(
            "the card shows no memory of its own, run a QEMU that has its shared memory region"
                .into(),
        ));
    }
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Has the card's driver allocate a buffer of at least `len` bytes in the guest's memory
/// and export it as a dma-buf; the buffer itself is freed again.
pub fn exported_by_card(len: usize, direction: Direction) -> Result<OwnedFd, Stop> {
    let device = Device::open(&card_node()?.path, direction)?;
    make_buffer(&device, len)?;
    let dmabuf = device.export(0, libc::O_RDWR)?;
    device.request_buffers(0, MEMORY_MMAP)?;
    Ok(dmabuf)
}

/// The driver's parameter that has MMAP buffers made in the card's memory, in the
/// directory of the node.
const PARAMETER: &str = "device/driver/module/parameters/device_memory";

/// Returns the node of the card.
fn card_node() -> Result<Node, Stop> {
    node(|node| node.join(PARAMETER).exists())?
        .ok_or_else(|| Stop::Impossible("the driver has no parameter device_memory".into()))
}

/// Has the device make a buffer of at least `len` bytes.
fn make_buffer(device: &Device, len: usize) -> Result<(), Stop> {
    let size = FrameSize {
        width: 1280,
        height: 720,
    };
    let sizeimage = device.set_format(size)?;
    if sizeimage < len {
        return Err(Stop::Failed(format!(
            "the device's buffer is of {sizeimage} bytes only"
        )));
    }
    device.request_buffers(1, MEMORY_MMAP)?;
    Ok(())
}

/// Maps the first `len` bytes of the device's buffer.
pub fn mapped(device: &Device, len: usize) -> io::Result<Span> {
    let offset = device.mmap_offset(0)?;
    let access = PROT_READ | PROT_WRITE;
    span::map_file(len, access, MAP_SHARED, device.as_fd(), offset)
}

/// A node of a video device.
struct Node {
    /// Its entry in sysfs.
    entry: PathBuf,
    /// Its path in /dev.
    path: String,
}

/// Returns the first node whose entry in sysfs satisfies `is_one`.
fn node(is_one: impl Fn(&Path) -> bool) -> io::Result<Option<Node>> {
    for entry in fs::read_dir("/sys/class/video4linux")? {
        let entry = entry?;
        if is_one(&entry.path()) {
            return Ok(Some(Node {
                path: format!("/dev/{}", entry.file_name().display()),
                entry: entry.path(),
            }));
        }
    }
    Ok(None)
}

/// A parameter of a module that is on; as it was before when dropped.
struct Switch {
    parameter: String,
    before: String,
}

impl Switch {
    fn on(parameter: &Path) -> Result<Self, Stop> {
        let switch = Self {
            before: fs::read_to_string(parameter)?.trim().to_owned(),
            parameter: parameter.display().to_string(),
        };
        setup::knob(&switch.parameter, "Y").map(|()| switch)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Buffers in the process's memory, as all others are, do not depend on it.
        let _ = setup::knob(&self.parameter, &self.before);
    }
}
