//! How a cell uses a device: the buffers of its queues, and what it is told of them.

use std::io;

use crate::agent::cell::Subject;
use crate::card::{BufferApi, BufferType, Direction};
use crate::wire::buffer::MEMORY_USERPTR;
use crate::wire::format::PixFormat;

use super::failed::failed;
use super::format;
use crate::guest::cell::device::Device;

/// Most buffers that a cell can have: V4L2's VIDEO_MAX_FRAME.
const BUFFERS_MAX: u32 = 32;

/// Most bytes that all buffers of a cell have together.
const BYTES_MAX: u64 = 256 << 20;

/// Finds out how a cell uses a device that only writes, or only reads; a sentence if none
/// can.
pub fn look(
    device: &Device,
    type_: BufferType,
    notes: &mut Vec<String>,
) -> Result<Subject, String> {
    let format = format::choose(device, false)?;
    if let Some(note) = format::field_note(&format) {
        notes.push(note);
    }
    let buffers = buffers(device, type_.direction)?;
    let bytes = u64::from(buffers) * u64::from(format.sizeimage.get());
    check_bytes(&format!("its {buffers} buffers"), bytes)?;
    let is_compressed = format::is_compressed(&device.formats(), format.pixelformat.get());
    Ok(described(&format, is_compressed, type_.api, buffers))
}

/// Returns how many buffers of a process's memory the device has at least; a sentence if
/// it takes none.
pub fn buffers(device: &Device, direction: Direction) -> Result<u32, String> {
    let what = "it takes no memory of a process, VIDIOC_REQBUFS of V4L2_MEMORY_USERPTR";
    least(device, direction).map_err(|error| failed(what, &error))
}

fn least(device: &Device, direction: Direction) -> io::Result<u32> {
    /// V4L2_CID_MIN_BUFFERS_FOR_CAPTURE and _OUTPUT of linux/v4l2-controls.h.
    const MIN_FOR_CAPTURE: u32 = 0x0098_0927;
    const MIN_FOR_OUTPUT: u32 = 0x0098_0928;
    let made = device.request_buffers(1, MEMORY_USERPTR)?;
    device.request_buffers(0, MEMORY_USERPTR)?;
    let least = device.get_control(match direction {
        Direction::Capture => MIN_FOR_CAPTURE,
        Direction::Output => MIN_FOR_OUTPUT,
    });
    // Few devices have the control.
    let least = least.map_or(0, |least| least.max(0) as u32);
    Ok(made.max(least).clamp(1, BUFFERS_MAX))
}

/// Checks that a cell has memory for `bytes` bytes, which are those of `what`.
pub fn check_bytes(what: &str, bytes: u64) -> Result<(), String> {
    match bytes <= BYTES_MAX {
        true => Ok(()),
        false => Err(format!(
            "{what} are {bytes} bytes, a cell has {BYTES_MAX} for them"
        )),
    }
}

/// Returns what a cell is told of a queue in that format, with so many buffers.
pub fn described(format: &PixFormat, is_compressed: bool, api: BufferApi, buffers: u32) -> Subject {
    Subject {
        api,
        pixelformat: format.pixelformat.get(),
        width: format.width.get(),
        height: format.height.get(),
        bytesperline: match is_compressed {
            true => 0,
            false => format.bytesperline.get(),
        },
        line: format::line(format),
        sizeimage: format.sizeimage.get(),
        buffers,
        made: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_format_has_no_lines() {
        let format = PixFormat {
            bytesperline: 640.into(),
            ..zerocopy::FromZeros::new_zeroed()
        };
        let lines =
            |is_compressed| described(&format, is_compressed, BufferApi::Single, 1).bytesperline;
        assert_eq!([lines(true), lines(false)], [0, 640]);
    }

    #[test]
    fn buffers_must_fit_into_a_cell() {
        assert_eq!(check_bytes("its buffers", BYTES_MAX), Ok(()));
        let why = check_bytes("its 2 buffers", BYTES_MAX + 1).unwrap_err();
        assert!(
            why.starts_with("its 2 buffers are 268435457 bytes"),
            "{why}"
        );
    }
}
