//! Memory that is given to the driver as a dma-buf. V4L2 takes a dma-buf from its first
//! byte on, so that the buffer begins a page, and its frame ends where it ends.
//!
//! The process's mapping is of what the dma-buf is made of where it can be: the mapping
//! of most dma-bufs does not show its pages (VM_PFNMAP).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::agent::cell::PAGE;
use crate::card::Direction;
use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE};
use rustix::fs::MemfdFlags;
use rustix::io::fcntl_dupfd_cloexec;

use super::exporters::{self, Dmabuf, Exporter};
use super::layout::{Layout, Want, fill};
use super::{buffers, huge, shared, swap};
use crate::guest::cell::span::{self, MemoryAccess, Span};
use crate::guest::cell::{Stop, mappings, setup};

/// Access rights of all mappings here.
const ACCESS: i32 = PROT_READ | PROT_WRITE;

/// Returns the length in bytes of the pages of a frame and of one more behind it.
fn with_canary(want: Want) -> usize {
    want.pages() + PAGE
}

/// Creates a memfd of that many bytes, and maps and fills it.
fn filled_memfd(len: usize, access: &MemoryAccess) -> Result<(File, Span), Stop> {
    let memfd = exporters::memfd(len, MemfdFlags::empty())?;
    let mapping = span::map_file(len, ACCESS, MAP_SHARED, memfd.as_fd(), 0)?;
    fill(access, mapping)?;
    Ok((memfd, mapping))
}

/// Lays out pages of a memfd, which the process has mapped.
pub fn udmabuf(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = with_canary(want);
    let (memfd, mapping) = filled_memfd(len, access)?;
    let dmabuf = Dmabuf::new(exporters::udmabuf(&memfd, 0, len)?);
    let exporter = Exporter::Memfd { file: memfd, at: 0 };
    Ok(Layout::at_start(mapping, want).given_as(dmabuf.of(exporter)))
}

/// Lays out pages of a memfd that nobody has written to; udmabuf has the kernel make
/// them.
pub fn untouched(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = with_canary(want);
    let memfd = exporters::memfd(len, MemfdFlags::empty())?;
    let mapping = span::map_file(len, ACCESS, MAP_SHARED, memfd.as_fd(), 0)?;
    let dmabuf = Dmabuf::new(exporters::udmabuf(&memfd, 0, len)?);
    access.read(mapping)?;
    let exporter = Exporter::Memfd { file: memfd, at: 0 };
    Ok(Layout::at_start(mapping, want).given_as(dmabuf.of(exporter)))
}

/// Lays out pages of a memfd, which the process has mapped as the dma-buf shows them.
pub fn mapped(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = with_canary(want);
    let memfd = exporters::memfd(len, MemfdFlags::empty())?;
    let dmabuf = exporters::udmabuf(&memfd, 0, len)?;
    let exporter = Exporter::Memfd { file: memfd, at: 0 };
    shown(dmabuf, Some(exporter), want, access)
}

/// Lays out some pages in the middle of a memfd; the dma-buf is of no others.
pub fn at_an_offset(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let (memfd, mapping) = filled_memfd(want.with_canaries(), access)?;
    let dmabuf = Dmabuf::new(exporters::udmabuf(&memfd, PAGE, want.pages())?);
    let exporter = Exporter::Memfd {
        file: memfd,
        at: PAGE,
    };
    Ok(Layout::amid(mapping, want).given_as(dmabuf.of(exporter)))
}

/// Lays out the pages of a memfd from the last to the first: so the dma-buf has them,
/// and so the process has them mapped.
pub fn reversed(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = with_canary(want);
    let memfd = exporters::memfd(len, MemfdFlags::empty())?;
    let places: Vec<usize> = (0..len).step_by(PAGE).rev().collect();
    let mapping = span::map(len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS)?;
    for (page, place) in places.iter().enumerate() {
        let page = mapping.part(page * PAGE, PAGE);
        span::map_at(page, ACCESS, MAP_SHARED, Some(memfd.as_fd()), *place)?;
    }
    fill(access, mapping)?;
    let dmabuf = Dmabuf::new(exporters::udmabuf_of_pages(&memfd, &places)?);
    // The page behind the buffer is the first of the memfd.
    let exporter = Exporter::Memfd {
        file: memfd,
        at: PAGE,
    };
    Ok(Layout::at_start(mapping, want).given_as(dmabuf.of(exporter)))
}

/// Lays out a buffer across huge pages of a memfd.
pub fn of_huge_pages(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = huge::across_len(want);
    let memfd = exporters::memfd(len, MemfdFlags::HUGETLB)
        .map_err(|error| Stop::Impossible(format!("no memfd of huge pages: {error}")))?;
    let whole =
        span::map_file(len, ACCESS, MAP_SHARED, memfd.as_fd(), 0).map_err(huge::none_left)?;
    let mapping = huge::middle_of(whole, want);
    let at = mapping.start - whole.start + PAGE;
    let layout = huge::across(whole, want, access)?;
    let dmabuf = Dmabuf::new(exporters::udmabuf(&memfd, at, want.pages())?);
    let exporter = Exporter::Memfd { file: memfd, at };
    Ok(layout.given_as(dmabuf.of(exporter)))
}

/// Lays out pages of a memfd that nobody may write to any more.
pub fn sealed(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = with_canary(want);
    let memfd = exporters::memfd(len, MemfdFlags::empty())?;
    let mapping = shared::seal(&memfd, len, access)?;
    let made = exporters::udmabuf(&memfd, 0, len).map_err(|stop| match stop {
        Stop::Impossible(why) => Stop::Impossible(why),
        Stop::Failed(why) => Stop::Impossible(format!(
            "udmabuf takes no memfd that is sealed against writing: {why}"
        )),
    });
    let exporter = Exporter::Memfd { file: memfd, at: 0 };
    Ok(Layout::at_start(mapping, want).given_as(Dmabuf::new(made?).of(exporter)))
}

/// Lays out pages of a memfd that were in swap when udmabuf took them.
pub fn swapped(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    setup::swap()?;
    let len = with_canary(want);
    let (memfd, mapping) = filled_memfd(len, access)?;
    swap::file_out(mapping)?;
    let dmabuf = Dmabuf::new(exporters::udmabuf(&memfd, 0, len)?);
    // They are in memory again, but not mapped.
    access.read(mapping)?;
    let exporter = Exporter::Memfd { file: memfd, at: 0 };
    Ok(Layout::at_start(mapping, want).given_as(dmabuf.of(exporter)))
}

/// Lays out a dma-buf of the system's DMA heap.
pub fn system_heap(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let dmabuf = exporters::allocated(exporters::SYSTEM_HEAP, with_canary(want))?;
    shown(dmabuf, None, want, access)
}

/// Lays out a dma-buf of a DMA heap whose memory is in one piece.
pub fn cma_heap(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let heap = exporters::heap_in_one_piece()?;
    let dmabuf = exporters::allocated(&heap, with_canary(want))?;
    shown(dmabuf, None, want, access)
}

/// Lays out a buffer that vivid has allocated and exports.
pub fn vivid(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let device = buffers::vivid_with_buffer(with_canary(want))?;
    let dmabuf = device.export(0, libc::O_RDWR)?;
    shown(dmabuf, Some(Exporter::Device(device)), want, access)
}

/// Lays out a buffer of vivid; the dma-buf may only be read, and the process writes to
/// the memory through vivid.
pub fn read_only(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = with_canary(want);
    let device = buffers::vivid_with_buffer(len)?;
    let mapping = buffers::mapped(&device, len)?;
    fill(access, mapping)?;
    let dmabuf = Dmabuf::new(device.export(0, libc::O_RDONLY)?);
    Ok(Layout::at_start(mapping, want).given_as(dmabuf.of(Exporter::Device(device))))
}

/// Lays out a buffer of the driver's own, which it has freed since it exported it: the
/// queue is free for other memory then.
pub fn own(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    // The card's device has the memory mapped as the exporter's, to write to, and would
    // have it once more as the importer's (add_dma_entry(), kernel/dma/debug.c).
    if want.direction == Direction::Capture && mappings::are_tracked() {
        return Err(Stop::Impossible(
            "DMA_API_DEBUG warns of memory that a device has mapped twice to write to".into(),
        ));
    }
    let dmabuf = buffers::exported_by_card(with_canary(want), want.direction)?;
    shown(dmabuf, None, want, access)
}

/// Lays out a dma-buf that has no room for the frame's last bytes.
pub fn short(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let (memfd, mapping) = filled_memfd(with_canary(want), access)?;
    let dmabuf = Dmabuf::new(exporters::udmabuf(&memfd, 0, want.pages() - PAGE)?);
    Ok(Layout::at_start(mapping, want).given_as(dmabuf))
}

/// Lays out a memfd that is given as if it were a dma-buf.
pub fn none(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let (memfd, mapping) = filled_memfd(with_canary(want), access)?;
    Ok(Layout::at_start(mapping, want).given_as(Dmabuf::new(memfd.into())))
}

/// Lays out a memfd, and gives a number that no file of the process has.
pub fn closed(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// A number that no other file of the cell's process comes to.
    const HIGH: i32 = 900;
    let number = {
        let file = exporters::memfd(PAGE, MemfdFlags::empty())?;
        fcntl_dupfd_cloexec(&file, HIGH)?.as_raw_fd()
    };
    let mapping = span::anonymous(with_canary(want))?;
    fill(access, mapping)?;
    Ok(Layout::at_start(mapping, want).given_as(Dmabuf::numbered(number)))
}

/// Returns the layout of a buffer that the process has mapped as the dma-buf shows it.
fn shown(
    dmabuf: OwnedFd,
    exporter: Option<Exporter>,
    want: Want,
    access: &MemoryAccess,
) -> Result<Layout, Stop> {
    let len = with_canary(want);
    let mapping = span::map_file(len, ACCESS, MAP_SHARED, dmabuf.as_fd(), 0)?;
    fill(access, mapping)?;
    let mut dmabuf = Dmabuf::new(dmabuf);
    dmabuf.exporter = exporter;
    Ok(Layout::at_start(mapping, want).given_as(dmabuf))
}

#[cfg(test)]
mod tests {
    use std::fs::read_link;

    use super::*;
    use crate::agent::cell::evidence::{CanaryState, Place};
    use crate::guest::cell::device::Memory;

    const WANT: Want = Want {
        offset: 0,
        length: 3 * PAGE + 100,
        roomy: false,
        direction: Direction::Capture,
    };

    fn number(layout: &Layout) -> i32 {
        match layout.memory() {
            Memory::Dmabuf(number, length) => {
                assert_eq!(length, WANT.length);
                number
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_given_in_the_place_of_the_address() {
        let access = MemoryAccess::new().unwrap();
        let layout = none(WANT, &access).unwrap();
        let file = read_link(format!("/proc/self/fd/{}", number(&layout))).unwrap();
        assert!(
            file.to_string_lossy().starts_with("/memfd:cell"),
            "{file:?}"
        );
        // Another queue is given the same.
        let again = layout.again();
        assert_eq!(
            (number(&again), again.buffer),
            (number(&layout), layout.buffer)
        );
        assert_eq!(again.canaries(&access).count(), 0);
    }

    #[test]
    fn a_number_of_no_file_stays_one() {
        let access = MemoryAccess::new().unwrap();
        let layout = closed(WANT, &access).unwrap();
        let file = format!("/proc/self/fd/{}", number(&layout));
        assert!(read_link(file).is_err());
    }

    #[test]
    fn what_is_behind_the_frame_is_watched() {
        let access = MemoryAccess::new().unwrap();
        let mut layout = none(WANT, &access).unwrap();
        layout.note_canaries(&access);
        let buffer = layout.buffer;
        access.write(buffer.start, &vec![1; buffer.len]).unwrap();
        let canary = |layout: &Layout| {
            let seen: Vec<_> = layout.canaries(&access).collect();
            assert_eq!((seen.len(), seen[0].place), (1, Place::After));
            assert_eq!(seen[0].length as usize, with_canary(WANT) - buffer.len);
            seen[0].state
        };
        assert_eq!(canary(&layout), CanaryState::Intact);
        // A device that writes all of the dma-buf.
        access.write(buffer.end(), &[0x5a; PAGE]).unwrap();
        assert_ne!(canary(&layout), CanaryState::Intact);
    }
}
