//! The queues of a cell's buffers on Pinhole's card: opened, set up, stopped.

use crate::agent::cell::{Cell, FrameSize};
use crate::card::Direction;

use super::Stop;
use super::buffer::CellBuffer;
use super::device::Device;
use super::evidence_writer::EvidenceWriter;

/// Opens the device, once for each file of the buffers.
pub fn open(
    path: &str,
    buffers: &mut [CellBuffer<'_>],
    writer: &EvidenceWriter,
) -> Result<(), Stop> {
    let failed = |error| Stop::Failed(format!("open {path}: {error}"));
    for file in 0..2 {
        let mut of_file = buffers.iter_mut().filter(|one| one.end.file == file);
        let Some(first) = of_file.next() else {
            break;
        };
        let direction = first.end.direction;
        let open = || Device::open(path, direction);
        let device = writer.call("open", open).map_err(failed)?;
        // A further buffer of the same queue has none of its own.
        for other in of_file.filter(|other| other.end.direction != direction) {
            other.queue = Some(device.queue_of(other.end.direction).map_err(failed)?);
        }
        first.queue = Some(device);
    }
    Ok(())
}

/// Sets the formats, that of what is read first, as it sets the other; and has frames
/// turned upside down if the cell does.
pub fn set_formats(
    cell: &Cell,
    size: FrameSize,
    buffers: &mut [CellBuffer<'_>],
    writer: &EvidenceWriter,
) -> Result<(), Stop> {
    for direction in [Direction::Output, Direction::Capture] {
        for (buffer, queue) in with_queues(buffers) {
            if buffer.end.direction == direction {
                set_format(buffer, queue, size, writer)?;
            }
        }
    }
    if cell.flow.turns_frames() {
        for file in files(buffers) {
            writer.must("Vertical Flip", || file.turn_frames())?;
        }
        for buffer in buffers {
            buffer.turn_frames(size.width as usize);
        }
    }
    Ok(())
}

fn set_format(
    buffer: &CellBuffer<'_>,
    queue: &Device,
    size: FrameSize,
    writer: &EvidenceWriter,
) -> Result<(), Stop> {
    let sizeimage = writer.must("VIDIOC_S_FMT", || queue.set_format(size))?;
    match buffer.layout.buffer.len {
        len if len == sizeimage => Ok(()),
        len => Err(Stop::Failed(format!(
            "the device makes frames of {sizeimage} bytes, not of {len}"
        ))),
    }
}

/// Requests that many buffers of each queue.
pub fn request(
    count: u32,
    buffers: &[CellBuffer<'_>],
    writer: &EvidenceWriter,
) -> Result<(), Stop> {
    for (buffer, queue) in with_queues(buffers) {
        let request = || queue.request_buffers(count, buffer.memory_type());
        writer.must("VIDIOC_REQBUFS", request)?;
    }
    Ok(())
}

/// Ends the streams, and frees the buffers.
pub fn stop(buffers: &[CellBuffer<'_>], writer: &EvidenceWriter) {
    for queue in all(buffers) {
        // Some devices do not release a failed stream.
        let _ = writer.call("VIDIOC_STREAMOFF", || queue.stream_off());
    }
    for (buffer, queue) in with_queues(buffers) {
        let free = || queue.request_buffers(0, buffer.memory_type());
        let _ = writer.call("VIDIOC_REQBUFS", free);
    }
}

/// Returns all queues of files that are open.
pub fn all<'b>(buffers: &'b [CellBuffer<'_>]) -> impl Iterator<Item = &'b Device> {
    buffers.iter().filter_map(|one| one.queue.as_ref())
}

/// Returns the buffers whose files are open, with their queues.
pub fn with_queues<'b, 'c>(
    buffers: &'b [CellBuffer<'c>],
) -> impl Iterator<Item = (&'b CellBuffer<'c>, &'b Device)> {
    let buffers = buffers.iter();
    buffers.filter_map(|one| Some((one, one.queue.as_ref()?)))
}

/// Returns one queue of each file that is open.
pub fn files<'b>(buffers: &'b [CellBuffer<'_>]) -> impl Iterator<Item = &'b Device> {
    let files = (0..2).map(|file| {
        let of_it = buffers.iter().find(|one| one.end.file == file)?;
        of_it.queue.as_ref()
    });
    files.flatten()
}
