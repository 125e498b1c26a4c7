//! Shared memory region 0.

use super::lab::{Lab, OrFailed, Stop, Tested, ensure, failed};
use super::stream::{BUFFER, PLANE, Stream};
use crate::scripted::driver::Driver;
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
            let planes = buffer[BUFFER..].chunks(PLANE);
            planes.map(|plane| (plane.le32(8), plane.le32(4))).collect()
        }
    })
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
    let stream = Stream::open(lab, &mut driver, MEMORY_MMAP, 2)?;
    let (offset, len) = planes(&stream, &mut driver, 0)?[0];
    for (flags, writable) in [(0, false), (WRITE, true)] {
        let (at, _) = map(&mut driver, stream.session, flags, offset)?;
        let mappings = region(&driver)?.mappings();
        let expected = format!("a mapping of {len} bytes at the driver_addr that MMAP answers");
        let Some(mapping) = mappings.get(&at) else {
            let seen = format!("{at:#x} answered, mapped: {:x?}", mappings.keys());
            return Err(failed(expected, seen));
        };
        let seen = format!("{} bytes", mapping.len);
        ensure(mapping.len >= u64::from(len), expected, seen)?;
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
            return Err(failed("requests of whole pages of region 0", anomaly));
        }
        if writable && lab.survey.captures() {
            shows_frames(&stream, &mut driver, at, len)?;
        }
        // A device may have one mapping of a buffer at a time.
        unmap(lab, &mut driver, at)?;
    }
    Ok(())
}

/// Checks that a frame is seen in the mapping of the first buffer.
fn shows_frames(stream: &Stream, driver: &mut Driver, at: u64, len: u32) -> Tested {
    let unreadable = |error| Stop::NotReached(format!("the mapping cannot be used: {error}"));
    region(driver)?
        .fill(at, len as usize, 0xa5)
        .map_err(unreadable)?;
    stream.queue(driver, 0)?;
    stream.start(driver)?;
    stream.next(driver)?;
    let bytes = region(driver)?.read(at, len as usize).map_err(unreadable)?;
    stream.stop(driver)?;
    driver.forget_events()?;
    let is_new = bytes.iter().any(|byte| *byte != 0xa5);
    ensure(is_new, "the frame in the mapping", "what was there before")
}

/// MUNMAP, after which the front end has been told.
fn unmap(lab: &Lab, driver: &mut Driver, at: u64) -> Tested {
    let expected = "success of MUNMAP, and SHMEM_UNMAP";
    let reply = driver
        .command(&munmap_command(at), RESPONSE)
        .or_failed(expected)?;
    let seen = format!("status {:?}", reply.status());
    ensure(reply.status() == Some(0), expected, seen)?;
    let gone = region(driver)?.wait_gone(at, lab.settings.limit);
    ensure(gone, expected, "no SHMEM_UNMAP")
}

/// MD-7.
pub fn until_munmap(lab: &mut Lab) -> Tested {
    lab.survey.needs_mapping()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, MEMORY_MMAP, 2)?;
    let (offset, len) = planes(&stream, &mut driver, 0)?[0];
    let (at, _) = map(&mut driver, stream.session, WRITE, offset)?;
    let unreadable = |error| Stop::NotReached(format!("the mapping cannot be used: {error}"));
    region(&driver)?
        .fill(at, len as usize, 0x5a)
        .map_err(unreadable)?;
    let stays = |driver: &Driver, when: &str| -> Tested {
        let expected = format!("the mapping as it was {when}");
        let region = region(driver)?;
        ensure(
            region.mappings().contains_key(&at),
            &expected,
            "SHMEM_UNMAP",
        )?;
        match region.read(at, len as usize) {
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0x5a) => Ok(()),
            Ok(_) => Err(failed(&expected, "other bytes")),
            Err(error) => Err(failed(&expected, error)),
        }
    };
    // A device may refuse this while there is a mapping.
    stream.release(&mut driver)?;
    stays(&driver, "after REQBUFS(0)")?;
    driver.close(stream.session)?;
    stays(&driver, "after CLOSE")?;
    // Another session's buffers lie elsewhere, and its frames go elsewhere.
    let other = Stream::open(lab, &mut driver, MEMORY_MMAP, 2)?;
    for (offset, _) in planes(&other, &mut driver, 0)? {
        map(&mut driver, other.session, 0, offset)?;
    }
    if lab.survey.captures() {
        other.queue(&mut driver, 0)?;
        other.start(&mut driver)?;
        other.next(&mut driver)?;
        other.stop(&mut driver)?;
    }
    lab.is_quiet(|| false);
    stays(&driver, "with another session's buffers mapped")?;
    unmap(lab, &mut driver, at)
}
