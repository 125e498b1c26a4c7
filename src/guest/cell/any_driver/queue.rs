//! A queue of the device, and its buffers.

use std::io;

use crate::agent::cell::{Cell, End};
use crate::card::CardKind;

use crate::guest::cell::device::Device;

/// Least number of buffers of a device that only writes, or only reads: with one, many a
/// device has none left while the process has it.
const BUFFERS_MIN: usize = 2;

/// A queue of the device.
pub struct Queue {
    /// Its open file, and which way its frames go.
    pub end: End,
    /// The open file, as this queue has it; `None` while it is not open.
    pub device: Option<Device>,
    /// The number of each of its buffers among the cell's, by their index in the queue. The
    /// first is that of the queue itself among the cell's.
    pub buffers: Vec<usize>,
    /// Whether its stream is on.
    pub streams: bool,
}

impl Queue {
    /// Returns the queue of an end whose buffer has that number, not open yet.
    pub fn of(end: End, number: usize) -> Self {
        Self {
            end,
            device: None,
            buffers: vec![number],
            streams: false,
        }
    }

    /// Returns the open file as this queue has it.
    ///
    /// # Errors
    ///
    /// EBADF if it is not open.
    pub fn device(&self) -> io::Result<&Device> {
        let closed = || io::Error::from_raw_os_error(libc::EBADF);
        self.device.as_ref().ok_or_else(closed)
    }
}

/// Returns the least number of buffers that a cell has in each queue. A mem-to-mem device
/// takes one buffer of each queue for a job, and does nothing without.
pub fn least(cell: &Cell) -> usize {
    match cell.flow.card() {
        CardKind::M2m => 1,
        CardKind::Capture | CardKind::Output => BUFFERS_MIN,
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::cell::{Ends, Flow, Kind};

    use super::*;

    #[test]
    fn a_queue_has_as_many_buffers_as_its_device_needs() {
        let of = |flow| {
            least(&Cell {
                flow,
                ..Cell::new(Kind::Heap)
            })
        };
        assert_eq!(of(Flow::Capture), 2);
        assert_eq!(of(Flow::Output), 2);
        assert_eq!(of(Flow::M2m(Ends::TwoFiles)), 1);
        let end = Flow::M2m(Ends::Read).ends()[1];
        let closed = Queue::of(end, 1).device().unwrap_err();
        assert_eq!(closed.raw_os_error(), Some(libc::EBADF));
    }
}
