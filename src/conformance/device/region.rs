//! Shared memory region 0.

use std::io;

use super::lab::Lab;
use super::stop::{OrFailed, Stop, Tested, ensure, failed};
use super::stream::{BUFFER, PLANE, Stream};
use super::survey::FRAMES;
use crate::scripted::driver::Driver;
use crate::scripted::driver::memory::Segment;
use crate::scripted::driver::region::Region;
use crate::scripted::driver::v4l2::{Fields, MEMORY_MMAP, RESPONSE, mmap_command, munmap_command};

/// VIRTIO_MEDIA_MMAP_FLAG_RW.
const WRITE: u32 = 1;

/// Bytes of the answer to MMAP.
const ANSWER: usize = RESPONSE + 16;

/// The offset and the length of each plane of a buffer.
fn planes(stream: &Stream, driver: &mut Driver, index: u32) -> Result<Vec<(u32, u32)>, Stop> {
    let buffer = stream.query(driver, index)?;
    Ok(match stream.layout.is_planar() {
        false => vec![(buffer.le32(64), buffer.le32(72))],
        true => {
            let count = buffer.le32(72) as usize;
            if count == 0 {
                return Err(Stop::NotReached("QUERYBUF tells of no planes".into()));
            }
            let planes = buffer[BUFFER..].chunks(PLANE).take(count);
            planes.map(|plane| (plane.le32(8), plane.le32(4))).collect()
        }
    })
}

/// Most bytes of a mapping that are looked at, at its beginning and at its end:
/// how long it is, the device says.
const LOOKED_AT: u32 = 64 << 10;

/// The parts of a mapping that are looked at.
fn ends(at: u64, len: u32) -> Vec<Segment> {
    match len <= 2 * LOOKED_AT {
        true => vec![(at, len)],
        false => vec![
            (at, LOOKED_AT),
            (at + u64::from(len - LOOKED_AT), LOOKED_AT),
        ],
    }
}

fn unreadable(error: io::Error) -> Stop {
    Stop::NotReached(format!("the mapping cannot be used: {error}"))
}

fn fill(driver: &Driver, at: u64, len: u32, byte: u8) -> Tested {
    for (at, len) in ends(at, len) {
        let filled = region(driver)?.fill(at, len as usize, byte);
        filled.map_err(unreadable)?;
    }
    Ok(())
}

/// Returns whether the mapping holds nothing but that byte, where it is looked
/// at.
fn holds(region: &Region, at: u64, len: u32, byte: u8) -> io::Result<bool> {
    for (at, len) in ends(at, len) {
        if region
            .read(at, len as usize)?
            .iter()
            .any(|one| *one != byte)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// MMAP: the address in the region, and the length.
fn map(driver: &mut Driver, session: u32, flags: u32, offset: u32) -> Result<(u64, u64), Stop> {
    let reply = driver.command(&mmap_command(session, flags, offset), ANSWER)?;
    match reply.status() {
        Some(0) if reply.bytes.len() == ANSWER => Ok((reply.bytes.le64(8), reply.bytes.le64(16))),
        Some(0) => Err(Stop::NotReached(format!(
            "MMAP answers {} bytes",
            reply.bytes.len()
        ))),
        status => Err(Stop::NotReached(format!("MMAP has the status {status:?}"))),
    }
}

fn region(driver: &Driver) -> Result<&Region, Stop> {
    driver
        .region
        .as_ref()
        .ok_or_else(|| Stop::NotReached("the region is gone".into()))
}

/// MD-6.
pub fn length(lab: &mut Lab) -> Tested {
    lab.survey.needs_mapping()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, MEMORY_MMAP, 2)?;
    for index in 0..stream.count {
        for (offset, len) in planes(&stream, &mut driver, index)? {
            let (_, mapped) = map(&mut driver, stream.session, 0, offset)?;
            let expected = format!("the length that QUERYBUF tells, {len}");
            ensure(mapped == u64::from(len), expected, mapped)?;
        }
    }
    Ok(())
}

/// MP-13.
pub fn where_and_how(lab: &mut Lab) -> Tested {
    lab.survey.needs_mapping()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, MEMORY_MMAP, FRAMES)?;
    let (offset, len) = planes(&stream, &mut driver, 0)?[0];
    // A device may refuse two mappings of a buffer at once.
    for (flags, writable) in [(0, false), (WRITE, true)] {
        let (at, _) = map(&mut driver, stream.session, flags, offset)?;
        let found = region(&driver)?.mapping(at, len.into());
        let expected = format!("{len} bytes mapped from the driver_addr on that MMAP answers");
        let Some((_, mapping)) = found else {
            let mappings = region(&driver)?.mappings();
            let mappings = mappings.iter().map(|(start, one)| (*start, one.len));
            let mappings: Vec<_> = mappings.take(16).collect();
            let seen = format!("{at:#x} answered, mapped: {mappings:x?}");
            return Err(failed(expected, seen));
        };
        let (expected, seen) = match writable {
            true => (
                "a mapping to be written, as MMAP_FLAG_RW asks for",
                "read-only",
            ),
            false => (
                "a read-only mapping, without MMAP_FLAG_RW",
                "it can be written",
            ),
        };
        ensure(mapping.writable == writable, expected, seen)?;
        if let Some(anomaly) = driver.take_anomalies().first() {
            return Err(failed("requests of region 0 that make sense", anomaly));
        }
        if writable && lab.survey.captures() {
            shows_frames(&stream, &mut driver, at, len)?;
        }
        unmap(&mut driver, at)?;
    }
    Ok(())
}

/// Checks that a frame is seen in the mapping of the first buffer.
fn shows_frames(stream: &Stream, driver: &mut Driver, at: u64, len: u32) -> Tested {
    fill(driver, at, len, 0xa5)?;
    stream.queue_others(driver, None)?;
    stream.start(driver)?;
    stream.next_of(driver, 0)?;
    let is_old = holds(region(driver)?, at, len, 0xa5).map_err(unreadable)?;
    stream.stop(driver)?;
    driver.forget_events()?;
    ensure(!is_old, "the frame in the mapping", "what was there before")
}

/// MUNMAP. When the device unmaps the memory is its own matter.
fn unmap(driver: &mut Driver, at: u64) -> Tested {
    let expected = "success of MUNMAP";
    let reply = driver
        .command(&munmap_command(at), RESPONSE)
        .or_failed(expected)?;
    let seen = format!("status {:?}", reply.status());
    ensure(reply.status() == Some(0), expected, seen)
}

/// MD-7.
pub fn until_munmap(lab: &mut Lab) -> Tested {
    lab.survey.needs_mapping()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, MEMORY_MMAP, 2)?;
    let (offset, len) = planes(&stream, &mut driver, 0)?[0];
    let (at, _) = map(&mut driver, stream.session, WRITE, offset)?;
    fill(&driver, at, len, 0x5a)?;
    let stays = |driver: &Driver, when: &str| -> Tested {
        let expected = format!("the mapping as it was {when}");
        let region = region(driver)?;
        let is_there = region.mapping(at, len.into()).is_some();
        ensure(is_there, &expected, "SHMEM_UNMAP")?;
        match holds(region, at, len, 0x5a) {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed(&expected, "other bytes")),
            Err(error) => Err(failed(&expected, error)),
        }
    };
    // A device may refuse this while there is a mapping.
    stream.release(&mut driver)?;
    stays(&driver, "after REQBUFS(0)")?;
    driver.close(stream.session)?;
    stays(&driver, "after CLOSE")?;
    // Another session's buffers lie elsewhere, and its frames go elsewhere.
    let other = Stream::open(lab, &mut driver, MEMORY_MMAP, FRAMES)?;
    for (offset, _) in planes(&other, &mut driver, 0)? {
        map(&mut driver, other.session, 0, offset)?;
    }
    if lab.survey.captures() {
        other.queue_others(&mut driver, None)?;
        other.start(&mut driver)?;
        other.next(&mut driver)?;
        other.stop(&mut driver)?;
    }
    lab.is_quiet(|| false);
    stays(&driver, "with another session's buffers mapped")?;
    unmap(&mut driver, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_mapping_without_end_little_is_looked_at() {
        assert_eq!(ends(0x1000, 9), [(0x1000, 9)]);
        let whole = 2 * LOOKED_AT;
        assert_eq!(ends(0, whole), [(0, whole)]);
        let both = [(0x1000, LOOKED_AT), (0x1000 + 0xfffe_ffff, LOOKED_AT)];
        assert_eq!(ends(0x1000, u32::MAX), both);
    }
}
