//! Memory that is a buffer of a capture device, mapped by mmap(2).

use std::fs;
use std::io;
use std::os::fd::AsFd;
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
    // The parameters create one capture device; its first input is a webcam.
    setup::module("vivid", "n_devs=1 node_types=0x1")?;
    let node =
        node(is_vivid)?.ok_or_else(|| Stop::Impossible("vivid makes no capture device".into()))?;
    let device = Device::open(&node.path, Direction::Capture)?;
    let mapping = mapped(&device, want)?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).keeping(device))
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
    /// The driver's parameter that has MMAP buffers made in the card's memory.
    const PARAMETER: &str = "device/driver/module/parameters/device_memory";
    let node = node(|node| node.join(PARAMETER).exists())?
        .ok_or_else(|| Stop::Impossible("the driver has no parameter device_memory".into()))?;
    let mapping = {
        let _switch = Switch::on(&node.entry.join(PARAMETER))?;
        let device = Device::open(&node.path, want.direction)?;
        let mapping = mapped(&device, want)?;
        device.request_buffers(0, MEMORY_MMAP)?;
        mapping
    };
    if !is_page_frames(&fs::read_to_string("/proc/self/smaps")?, mapping) {
        return Err(Stop::Impossible(
            "the card shows no memory of its own, run a QEMU that has its shared memory region"
                .into(),
        ));
    }
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Has the device make a buffer, and maps as much of it as is wanted.
fn mapped(device: &Device, want: Want) -> Result<Span, Stop> {
    let size = FrameSize {
        width: 1280,
        height: 720,
    };
    let sizeimage = device.set_format(size)?;
    let len = want.with_canaries();
    if sizeimage < len {
        return Err(Stop::Failed(format!(
            "the device's buffer is of {sizeimage} bytes only"
        )));
    }
    device.request_buffers(1, MEMORY_MMAP)?;
    let offset = device.mmap_offset(0)?;
    let access = PROT_READ | PROT_WRITE;
    Ok(span::map_file(
        len,
        access,
        MAP_SHARED,
        device.as_fd(),
        offset,
    )?)
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

/// Returns whether a mapping is of page frames without struct pages, by the text
/// of /proc/self/smaps: its flags contain "pf" (VM_PFNMAP).
fn is_page_frames(smaps: &str, mapping: Span) -> bool {
    let head = format!("{:x}-{:x} ", mapping.start, mapping.end());
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&head));
    let flags = lines.find_map(|line| line.strip_prefix("VmFlags:"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "pf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_of_page_frames_has_their_flag() {
        let mapping = |start| Span::new(start, 0x2000);
        let smaps = "7f0000001000-7f0000003000 rw-s 00000000 00:05 12 /dev/video0\n\
                     Size:                  8 kB\n\
                     VmFlags: rd wr sh mr mw me ms pf io de dd \n\
                     7f0000005000-7f0000007000 rw-s 00000000 00:05 12 /dev/video0\n\
                     VmFlags: rd wr sh mr mw me ms de \n";
        assert!(is_page_frames(smaps, mapping(0x7f00_0000_1000)));
        assert!(!is_page_frames(smaps, mapping(0x7f00_0000_5000)));
        assert!(!is_page_frames(smaps, mapping(0x7f00_0000_2000)));
    }

    #[test]
    fn ordinary_memory_is_not_of_page_frames() {
        let mapping = span::anonymous(0x2000).unwrap();
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!is_page_frames(&smaps, mapping));
    }
}
