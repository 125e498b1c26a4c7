//! The range of memory over which a frame vector is tried.

use std::ffi::c_void;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::ptr;

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::Moment;
use crate::agent::frame_vector::{
    Area, Filled, FrameVector, HUGE_PAGES, Kind, RANGE_PAGES_MAX, REPEATED_PAGES,
};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, mprotect,
    munmap,
};

use super::counters;
use super::device::{Device, MAP_IO, MAP_PFNMAP};
use super::meanwhile::{self, Action};
use super::userfault::Filler;
use crate::guest::cell::pagemap;
use crate::guest::cell::span::Span;
use crate::guest::failure::Failure;

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// Size of a huge page in bytes.
const HUGE: usize = HUGE_PAGES as usize * PAGE;

/// A laid out range, with an inaccessible page at each end.
pub struct Range {
    /// Address of the first page.
    first: *mut c_void,
    pages: u32,
    /// The action when memory is used that waits to be filled.
    action: Option<Action>,
    filler: Option<Filler>,
    /// The first page that is a device's memory, the number of such pages, and
    /// the PFN of the first.
    device: Option<(u32, u32, u64)>,
    /// The mapped parts. Holes are not unmapped, because other memory may be
    /// mapped there by then.
    mapped: Vec<Place>,
    /// Files that were created for the range.
    files: Vec<PathBuf>,
}

impl Range {
    /// Lays out the areas, one after another.
    pub fn new(request: &FrameVector, device: &Device) -> Result<Self, Failure> {
        let areas = &request.areas;
        let pages: u64 = areas.iter().map(|area| u64::from(area.pages)).sum();
        if pages > RANGE_PAGES_MAX || areas.iter().any(|area| area.pages == 0) {
            return Err(Failure::new(format!(
                "a range has up to {RANGE_PAGES_MAX} pages, and none of its areas is empty"
            )));
        }
        let pages = pages as u32;
        let reserved = Place::reserve((pages as usize + 2) * PAGE, is_huge(areas))?;
        let mut range = Self {
            first: reserved.address.wrapping_byte_add(PAGE),
            pages,
            action: None,
            filler: None,
            device: None,
            mapped: vec![reserved],
            files: Vec::new(),
        };
        if let Some(what) = request.meanwhile {
            range.action = Some(meanwhile::prepare(what, range.address(0))?);
        }
        let mut page = 0;
        for area in areas {
            range.lay_out(area, page, device)?;
            page += area.pages;
        }
        Ok(range)
    }

    /// Returns the length of the range in pages.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Returns the address of a page, which may be beyond the end.
    pub fn address(&self, page: u32) -> u64 {
        self.at(page) as u64
    }

    /// Returns the PFN of a page; zero if no page is present, or if only the
    /// driver that mapped it knows the PFN.
    pub fn pfn(&self, page: u32) -> Result<u64, Failure> {
        match self.device {
            Some((first, pages, pfn)) if (first..first + pages).contains(&page) => {
                Ok(pfn + u64::from(page - first))
            }
            _ => counters::pfn(self.address(page)),
        }
    }

    /// Writes to the first `count` pages, which must be writable.
    pub fn touch(&self, count: u32) {
        let bytes = count.min(self.pages) as usize * PAGE;
        let address = self.first;
        Place { address, bytes }.touch();
    }

    /// Tries to lock the first page with mlock(2).
    pub fn lock(&self) -> std::io::Result<()> {
        // SAFETY: locking memory does not change its content.
        unsafe { mlock(self.first, PAGE) }.map_err(Into::into)
    }

    /// Ends the thread that fills memory, if there is one; returns what it did.
    pub fn finish(&mut self) -> Result<Option<Filled>, Failure> {
        self.filler.take().map(Filler::finish).transpose()
    }

    fn at(&self, page: u32) -> *mut c_void {
        self.first.wrapping_byte_add(page as usize * PAGE)
    }

    fn lay_out(&mut self, area: &Area, page: u32, device: &Device) -> Result<(), Failure> {
        let at = Place {
            address: self.at(page),
            bytes: area.pages as usize * PAGE,
        };
        match &area.kind {
            Kind::Touched => {
                at.private()?.touch();
            }
            Kind::Untouched => {
                at.private()?;
            }
            Kind::ReadOnly => at.private()?.touch().read_only()?,
            Kind::SharedReadOnly => {
                at.file(memfd(area.pages)?.as_fd(), 0)?
                    .touch()
                    .read_only()?;
            }
            Kind::Shared => {
                at.file(memfd(area.pages)?.as_fd(), 0)?.touch();
            }
            Kind::Repeated => {
                let file = memfd(REPEATED_PAGES)?;
                let bytes = REPEATED_PAGES as usize * PAGE;
                for offset in (0..at.bytes).step_by(bytes) {
                    let part = Place {
                        address: at.address.wrapping_byte_add(offset),
                        bytes: bytes.min(at.bytes - offset),
                    };
                    part.file(file.as_fd(), 0)?.touch();
                }
            }
            Kind::File { path } => {
                let file = self.open(path, at.bytes as u64)?;
                at.file(file.as_fd(), 0)?.touch();
            }
            Kind::HugeTlb => {
                at.huge()?.touch();
            }
            Kind::TransparentHuge => at.transparent_huge()?,
            Kind::Hole => {
                // SAFETY: this part of the reserved range is not in use yet.
                unsafe { munmap(at.address, at.bytes) }
                    .map_err(|error| Failure::io("make a hole", error))?;
                self.split(at);
            }
            Kind::NoAccess => {}
            Kind::Bar => {
                let (file, address) = bar(at.bytes as u64)?;
                at.file(file.as_fd(), 0)?;
                self.device = Some((page, area.pages, address / PAGE as u64));
            }
            Kind::UncountedPages => {
                at.file(device.as_fd(), MAP_PFNMAP)?;
            }
            Kind::IoPages => {
                at.file(device.as_fd(), MAP_IO)?;
            }
            Kind::Userfault => {
                at.private()?;
                self.filler = Some(Filler::start(
                    at.address as u64,
                    area.pages,
                    self.action.take(),
                )?);
            }
        }
        Ok(())
    }

    /// Removes a hole from the mapped parts; holes come in ascending order.
    fn split(&mut self, hole: Place) {
        let Some(last) = self.mapped.last_mut() else {
            return;
        };
        let end = last.address as usize + last.bytes;
        last.bytes = hole.address as usize - last.address as usize;
        let address = hole.address.wrapping_byte_add(hole.bytes);
        self.mapped.push(Place {
            address,
            bytes: end - address as usize,
        });
    }

    /// Opens a file; creates it if it does not exist.
    fn open(&mut self, path: &str, bytes: u64) -> Result<File, Failure> {
        let failed = |error| Failure::io(format_args!("open {path}"), error);
        let new = !Path::new(path).exists();
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(path).map_err(failed)?;
        if new {
            self.files.push(path.into());
            file.set_len(bytes).map_err(failed)?;
        }
        Ok(file)
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // The caller has already asked for the result.
        let _ = self.finish();
        for place in &self.mapped {
            // SAFETY: nothing refers to the range when it is dropped.
            let _ = unsafe { munmap(place.address, place.bytes) };
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

/// A part of the reserved range.
#[derive(Clone, Copy)]
struct Place {
    address: *mut c_void,
    bytes: usize,
}

impl Place {
    /// Reserves inaccessible memory of a length. If `huge` is set, its second
    /// page is where a huge page may begin.
    fn reserve(bytes: usize, huge: bool) -> Result<Self, Failure> {
        let failed = |error| Failure::io("reserve a range of memory", error);
        let spare = if huge { HUGE } else { 0 };
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses an unused address.
        let all =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes + spare, ProtFlags::empty(), flags) }
                .map_err(failed)?;
        let before = match huge {
            true => (all as usize + PAGE).next_multiple_of(HUGE) - PAGE - all as usize,
            false => 0,
        };
        let address = all.wrapping_byte_add(before);
        for (start, bytes) in [
            (all, before),
            (address.wrapping_byte_add(bytes), spare - before),
        ] {
            if bytes > 0 {
                // SAFETY: this memory was just mapped, and is not used.
                unsafe { munmap(start, bytes) }.map_err(failed)?;
            }
        }
        Ok(Self { address, bytes })
    }

    /// Maps private memory in hugetlb pages.
    fn huge(self) -> Result<Self, Failure> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_HUGETLB;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: this part of the reserved range is not in use yet.
        let mapped = unsafe { libc::mmap(self.address, self.bytes, access, flags, -1, 0) };
        match mapped {
            libc::MAP_FAILED => Err(Failure::io(
                "map huge pages (boot with hugepages=N)",
                std::io::Error::last_os_error(),
            )),
            _ => Ok(self),
        }
    }

    /// Maps private memory in transparent huge pages, and writes to it.
    fn transparent_huge(self) -> Result<(), Failure> {
        let failed = |error| Failure::io("map transparent huge pages", error);
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: this part of the reserved range is not in use yet.
        unsafe { mmap_anonymous(self.address, self.bytes, READ_WRITE, flags) }
            .map_err(|error| failed(error.into()))?;
        // SAFETY: this memory was just mapped.
        unsafe { madvise(self.address, self.bytes, Advice::LinuxHugepage) }
            .map_err(|error| failed(error.into()))?;
        let span = Span::new(self.address as usize, self.touch().bytes);
        let seen = pagemap::look(Moment::LaidOut, span).map_err(failed)?;
        match seen.flags.iter().all(|flags| flags & pagemap::THP != 0) {
            true => Ok(()),
            false => Err(Failure::new(
                "the kernel gave no transparent huge pages".to_owned(),
            )),
        }
    }

    /// Maps private memory in base pages.
    fn private(self) -> Result<Self, Failure> {
        let failed = |error| Failure::io("map private memory", error);
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: this part of the reserved range is not in use yet.
        unsafe { mmap_anonymous(self.address, self.bytes, READ_WRITE, flags) }.map_err(failed)?;
        // SAFETY: this memory was just mapped.
        unsafe { madvise(self.address, self.bytes, Advice::LinuxNoHugepage) }.map_err(failed)?;
        Ok(self)
    }

    /// Maps a file shared.
    fn file(self, file: BorrowedFd<'_>, offset: u64) -> Result<Self, Failure> {
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: this part of the reserved range is not in use yet.
        unsafe { mmap(self.address, self.bytes, READ_WRITE, flags, file, offset) }
            .map_err(|error| Failure::io("map a file", error))?;
        Ok(self)
    }

    /// Writes to every page.
    fn touch(self) -> Self {
        for offset in (0..self.bytes).step_by(PAGE) {
            let byte = self.address.wrapping_byte_add(offset).cast::<u8>();
            // SAFETY: this memory was just mapped, readable and writable, and
            // nothing else uses it; a file in memory is as long as its mapping.
            unsafe { byte.write_volatile(1) };
        }
        self
    }

    fn read_only(self) -> Result<(), Failure> {
        // SAFETY: this memory was just mapped, and nobody relies on writing to
        // it.
        unsafe { mprotect(self.address, self.bytes, MprotectFlags::READ) }
            .map_err(|error| Failure::io("make memory read-only", error))
    }
}

/// Returns whether a huge page must be able to begin at the start of the areas.
fn is_huge(areas: &[Area]) -> bool {
    let huge = |area: &Area| matches!(area.kind, Kind::HugeTlb | Kind::TransparentHuge);
    areas.iter().any(huge)
}

fn memfd(pages: u32) -> Result<File, Failure> {
    let failed = |error: std::io::Error| Failure::io("make a memfd", error);
    let file =
        memfd_create("pinhole", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let file = File::from(file);
    file.set_len(u64::from(pages) * PAGE as u64)
        .map_err(failed)?;
    Ok(file)
}

/// Opens the first memory resource of a PCI device that is long enough; returns
/// it with its address (Documentation/PCI/sysfs-pci.rst).
fn bar(bytes: u64) -> Result<(File, u64), Failure> {
    let devices = Path::new("/sys/bus/pci/devices");
    let failed = |error| Failure::io(format_args!("list {}", devices.display()), error);
    for device in fs::read_dir(devices).map_err(failed)? {
        let device = device.map_err(failed)?.path();
        let list = fs::read_to_string(device.join("resource")).unwrap_or_default();
        if let Some((index, address)) = first_memory(&list, bytes) {
            let path = device.join(format!("resource{index}"));
            let file = File::options().read(true).write(true).open(&path);
            return file
                .map(|file| (file, address))
                .map_err(|error| Failure::io(format_args!("open {}", path.display()), error));
        }
    }
    Err(Failure::new(format!(
        "no PCI device has memory of {bytes} bytes"
    )))
}

/// Searches a device's list of resources for memory that is long enough. Each
/// line has the first address, the last address and the flags.
fn first_memory(list: &str, bytes: u64) -> Option<(usize, u64)> {
    /// `IORESOURCE_MEM` of linux/ioport.h.
    const MEMORY: u64 = 0x200;
    list.lines().take(6).enumerate().find_map(|(index, line)| {
        let mut numbers = line
            .split_whitespace()
            .map(|field| u64::from_str_radix(field.trim_start_matches("0x"), 16).unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let (first, last, flags) = (next(), next(), next());
        let fits = flags & MEMORY != 0 && last.saturating_sub(first) + 1 >= bytes;
        fits.then_some((index, first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_memory_and_long_enough() {
        let list = "0x000000000000c000 0x000000000000c03f 0x0000000000040101\n\
                    0x00000000febd1000 0x00000000febd1fff 0x0000000000040200\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x00000000fe000000 0x00000000fe003fff 0x000000000014220c\n";
        assert_eq!(first_memory(list, 0x1000), Some((1, 0xfebd_1000)));
        assert_eq!(first_memory(list, 0x4000), Some((4, 0xfe00_0000)));
        assert_eq!(first_memory(list, 0x8000), None);
    }
}
