//! How long it takes to pin memory.

use std::io;
use std::time::{Duration, Instant};

use crate::agent::bench::{PageSize, Pin, PinAnswer, Pinner};
use crate::agent::cell::PAGE;
use crate::agent::frame_vector::WRITE;
use crate::card::Direction;
use crate::wire::buffer::MEMORY_USERPTR;

use super::stream::code;
use crate::guest::cell::device::{Device, Memory};
use crate::guest::cell::span::{self, Span};
use crate::guest::failure::Failure;
use crate::guest::frame_vector::device::{Device as Probe, Request};

/// Size in bytes of a huge page of x86-64.
const HUGE: usize = 2 << 20;

/// In which order small pages are touched: that many pages lie between one and
/// the next. It is a prime number, so that all pages get their turn.
const STRIDE: usize = 7919;

/// Pins memory and releases it, as often as that is wanted.
///
/// # Errors
///
/// [`Failure`] if there is too little memory, or it cannot be pinned.
pub fn measure(request: &Pin) -> Result<PinAnswer, Failure> {
    let bytes = usize::try_from(request.bytes)
        .ok()
        .filter(|bytes| *bytes > 0 && bytes % PAGE == 0)
        .ok_or_else(|| Failure::new(format!("{} bytes are no whole pages", request.bytes)))?;
    let pinner = OpenPinner::open(&request.by)?;
    let mut answer = PinAnswer {
        huge_bytes: u64::MAX,
        pin_ns: Vec::new(),
        release_ns: Vec::new(),
    };
    // The first time is not like the others: the kernel has yet to get what it
    // keeps for the next, and an emulator to translate its code.
    for run in 0..=request.runs.max(1) {
        let memory = Pages::lay_out(bytes, request.pages)
            .map_err(|error| Failure::io(format_args!("lay out {bytes} bytes"), error))?;
        let huge = huge_bytes()?;
        let (pinned, released) = pinner.pin(memory.buffer)?;
        if run == 0 {
            continue;
        }
        answer.huge_bytes = answer.huge_bytes.min(huge);
        answer.pin_ns.push(pinned.as_nanos() as u64);
        answer.release_ns.push(released.as_nanos() as u64);
    }
    Ok(answer)
}

/// Mapped memory, all of whose pages are there; unmapped on drop.
struct Pages {
    mapping: Span,
    buffer: Span,
}

impl Pages {
    /// Lays out memory that begins where a huge page does.
    fn lay_out(bytes: usize, pages: PageSize) -> io::Result<Self> {
        let mapping = span::anonymous(bytes.next_multiple_of(HUGE) + HUGE)?;
        let at = mapping.start.next_multiple_of(HUGE) - mapping.start;
        let laid_out = Self {
            mapping,
            buffer: mapping.part(at, bytes),
        };
        let (advice, stride) = match pages {
            PageSize::Small => (libc::MADV_NOHUGEPAGE, STRIDE),
            PageSize::Huge => (libc::MADV_HUGEPAGE, 1),
        };
        span::advise(mapping, advice)?;
        laid_out.touch(stride);
        Ok(laid_out)
    }

    /// Writes to every page, in steps of `stride` pages.
    fn touch(&self, stride: usize) {
        let count = self.buffer.len / PAGE;
        for turn in 0..count {
            let page = match count % stride {
                0 => turn,
                _ => turn * stride % count,
            };
            let byte = (self.buffer.start + page * PAGE) as *mut u8;
            // SAFETY: the page lies in the mapping, which is private, can be
            // written, and into which there is no reference.
            unsafe { byte.write_volatile(1) };
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // It is what was mapped, so that this cannot fail.
        let _ = span::unmap(self.mapping);
    }
}

/// Returns how much of this process's memory is in transparent huge pages.
fn huge_bytes() -> Result<u64, Failure> {
    const PATH: &str = "/proc/self/smaps_rollup";
    let text = std::fs::read_to_string(PATH)
        .map_err(|error| Failure::io(format_args!("read {PATH}"), error))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("AnonHugePages:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) << 10)
}

/// What pins memory, opened.
enum OpenPinner {
    Device(Device),
    FrameVector(Probe),
}

impl OpenPinner {
    fn open(by: &Pinner) -> Result<Self, Failure> {
        match by {
            Pinner::FrameVector => Probe::open().map(Self::FrameVector),
            Pinner::Device {
                path,
                format,
                width,
                height,
            } => {
                let device = Device::open(path, Direction::Capture)
                    .map_err(|error| Failure::io(format_args!("open {path}"), error))?;
                device
                    .set_pixels(code(format)?, *width, *height)
                    .map_err(|error| {
                        Failure::io(format_args!("set the format of {path}"), error)
                    })?;
                Ok(Self::Device(device))
            }
        }
    }

    /// Pins memory, and releases it; returns how long each took.
    fn pin(&self, memory: Span) -> Result<(Duration, Duration), Failure> {
        match self {
            Self::Device(device) => {
                let failed = |what, error| Failure::io(format_args!("VIDIOC_{what}"), error);
                let count = device.request_buffers(1, MEMORY_USERPTR);
                count.map_err(|error| failed("REQBUFS", error))?;
                let begin = Instant::now();
                let queued = device.queue(0, Memory::User(memory));
                let pinned = begin.elapsed();
                queued.map_err(|error| failed("QBUF", error))?;
                let begin = Instant::now();
                let count = device.request_buffers(0, MEMORY_USERPTR);
                let released = begin.elapsed();
                count.map_err(|error| failed("REQBUFS", error))?;
                Ok((pinned, released))
            }
            Self::FrameVector(probe) => {
                let pages = (memory.len / PAGE) as u32;
                let call = |request, start, nr, flags| {
                    let called = probe.call(request, start, nr, flags);
                    called.map(|(returned, _)| returned).map_err(|errno| {
                        let error = io::Error::from_raw_os_error(errno);
                        Failure::io(format_args!("{request:?} of a frame vector"), error)
                    })
                };
                call(Request::Create, 0, pages, 0)?;
                let begin = Instant::now();
                let returned = call(Request::Get, memory.start as u64, pages, WRITE)?;
                let pinned = begin.elapsed();
                let begin = Instant::now();
                call(Request::Put, 0, 0, 0)?;
                let released = begin.elapsed();
                call(Request::Destroy, 0, 0, 0)?;
                match u32::try_from(returned) == Ok(pages) {
                    true => Ok((pinned, released)),
                    false => Err(Failure::new(format!(
                        "get_vaddr_frames() of {pages} pages returned {returned}"
                    ))),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_laid_out_memory_is_there() {
        for pages in PageSize::ALL {
            for count in [1, 3, STRIDE] {
                let memory = Pages::lay_out(count * PAGE, pages).unwrap();
                assert_eq!(memory.buffer.start % HUGE, 0);
                for page in 0..count {
                    let byte = (memory.buffer.start + page * PAGE) as *const u8;
                    // SAFETY: as in touch().
                    assert_eq!(unsafe { byte.read_volatile() }, 1, "{count}, {page}");
                }
            }
        }
    }

    #[test]
    fn memory_of_no_whole_pages_is_refused() {
        let request = Pin {
            by: Pinner::FrameVector,
            bytes: 4097,
            pages: PageSize::Small,
            runs: 1,
            limit_ms: 1,
        };
        let said = measure(&request).unwrap_err().message;
        assert_eq!(said, "4097 bytes are no whole pages");
    }
}
