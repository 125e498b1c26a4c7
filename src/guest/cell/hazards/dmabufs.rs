//! Hazards to a dma-buf, and to what it is of.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};

use rustix::fs::{FallocateFlags, fallocate, ftruncate};

use super::context::HazardContext;
use crate::guest::cell::Stop;
use crate::guest::cell::memory::buffers;
use crate::guest::cell::memory::exporters::{Dmabuf, Exporter};
use crate::guest::cell::span::check;
use crate::guest::modules;
use crate::wire::buffer::MEMORY_MMAP;

/// Closes the process's only descriptor of the dma-buf.
pub fn close(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let file = dmabuf(context)?.file.take();
    let file = file.ok_or_else(|| missing("descriptor of its own"))?;
    let close = || {
        // SAFETY: this value was the only owner of the descriptor, and gives it up.
        check(unsafe { libc::close(file.into_raw_fd()) })
    };
    Ok(context.writer.call("close the dma-buf", close)?)
}

/// Reads the memory as a program is to do it that shares it with devices
/// (Documentation/driver-api/dma-buf.rst, CPU access).
pub fn read_in_brackets(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    /// DMA_BUF_SYNC_READ, _END.
    const READ: u64 = 1;
    const END: u64 = 1 << 2;
    let (writer, access, buffer) = (context.writer, context.access, context.layout.buffer);
    let file = dmabuf(context)?.file.as_ref();
    let file = file.ok_or_else(|| missing("descriptor of its own"))?;
    let (number, end) = (file.as_raw_fd(), READ | END);
    writer.call("DMA_BUF_SYNC_START", || sync(number, READ))?;
    // Memory that cannot be read is evidence as well.
    let _ = writer.call("read", || access.read(buffer).map(drop));
    Ok(writer.call("DMA_BUF_SYNC_END", || sync(number, end))?)
}

/// DMA_BUF_IOCTL_SYNC of linux/dma-buf.h, on a dma-buf that is open.
fn sync(dmabuf: i32, flags: u64) -> io::Result<()> {
    const SYNC: u64 = 0x4008_6200;
    // SAFETY: struct dma_buf_sync is one word, and lives as long as the call.
    check(unsafe { libc::ioctl(dmabuf, SYNC, &raw const flags) })
}

/// Has the memfd cut to nothing. udmabuf takes none that can shrink (F_SEAL_SHRINK).
pub fn truncate(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let writer = context.writer;
    let (memfd, _) = memfd(context)?;
    // A refusal is what is expected.
    let _ = writer.call("ftruncate", || Ok(ftruncate(memfd, 0)?));
    Ok(())
}

/// Takes the buffer's pages out of the memfd: that it cannot shrink does not hinder it.
pub fn punch(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    context.layout.give_up_pages();
    let (writer, length) = (context.writer, context.layout.pages().len as u64);
    let (memfd, at) = memfd(context)?;
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let punch = || Ok(fallocate(memfd, how, at as u64, length)?);
    let _ = writer.call("fallocate PUNCH_HOLE", punch);
    Ok(())
}

/// Has the exporting device free its buffer.
pub fn free(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let writer = context.writer;
    let Some(Exporter::Device(device)) = &dmabuf(context)?.exporter else {
        return Err(missing("device that exports it"));
    };
    let free = || device.request_buffers(0, MEMORY_MMAP);
    writer.call("VIDIOC_REQBUFS of the exporter", free)?;
    Ok(())
}

/// Closes the file that the dma-buf is of.
pub fn close_exporter(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let exporter = dmabuf(context)?.exporter.take();
    let close = || match exporter {
        Some(Exporter::Device(device)) => device.close(),
        // SAFETY: the value was the only owner of the descriptor, and gives it up.
        Some(Exporter::Memfd { file, .. }) => check(unsafe { libc::close(file.into_raw_fd()) }),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    Ok(context.writer.call("close the exporter", close)?)
}

/// Unbinds the exporter's driver, which is vivid; it is bound again by the next cell
/// that needs it.
pub fn unbind_exporter(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let unbind = buffers::unbind_vivid;
    Ok(context.writer.call("unbind the exporter", unbind)?)
}

/// Closes the exporting device, and unloads its driver, which is vivid; it is loaded
/// again by the next cell that needs it.
pub fn unload_exporter(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    close_exporter(context)?;
    let unload = || {
        let unloaded = modules::unload("vivid");
        unloaded.map_err(|failure| io::Error::from_raw_os_error(failure.errno.unwrap_or(libc::EIO)))
    };
    let writer = context.writer;
    Ok(writer.call("unload the exporter's module", unload)?)
}

fn dmabuf<'a>(context: &'a mut HazardContext<'_>) -> Result<&'a mut Dmabuf, Stop> {
    let dmabuf = context.layout.dmabuf.as_mut();
    dmabuf.ok_or_else(|| Stop::Impossible("the memory is no dma-buf".into()))
}

/// Returns the memfd that the dma-buf is of, and where the buffer begins in it.
fn memfd<'a>(context: &'a mut HazardContext<'_>) -> Result<(&'a File, usize), Stop> {
    match &dmabuf(context)?.exporter {
        Some(Exporter::Memfd { file, at }) => Ok((file, *at)),
        _ => Err(missing("memfd")),
    }
}

fn missing(what: &str) -> Stop {
    Stop::Impossible(format!("the dma-buf has no {what}"))
}
