//! Buffers: what comes back of them, and when.

use std::collections::BTreeSet;
use std::time::Instant;

use super::lab::Lab;
use super::stop::{OrFailed, Stop, Tested, ensure, failed};
use super::stream::{BUFFER, PLANE, POINTER, Stream};
use super::survey::FRAMES;
use crate::scripted::driver::memory::{HIGH, PAGE, Segment};
use crate::scripted::driver::v4l2::{
    self, ENOTTY, Fields, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, QBUF, RESPONSE, With,
};
use crate::scripted::driver::{Anomaly, Driver, Event};

/// V4L2_BUF_FLAG_ERROR.
const ERROR: u32 = 0x40;

/// VIDIOC_EXPBUF and the size of its payload.
const EXPBUF: (u32, usize) = (16, 64);

/// MD-8.
pub fn userptr_comes_back(lab: &mut Lab) -> Tested {
    lab.survey.needs_shared_pages()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, MEMORY_USERPTR, 2)?;
    let answer = stream.queue(&mut driver, 0)?;
    let pointers: Vec<u64> = match stream.layout.is_planar() {
        false => vec![answer.le64(64)],
        true => {
            let planes = answer[BUFFER..].chunks(PLANE);
            planes.map(|plane| plane.le64(8)).collect()
        }
    };
    for pointer in pointers {
        let expected = format!("m.userptr {POINTER:#x}, as it was given");
        ensure(pointer == POINTER, expected, format!("{pointer:#x}"))?;
    }
    Ok(())
}

/// MD-9.
pub fn descriptors_come_back(lab: &mut Lab) -> Tested {
    const GIVEN: u32 = 0x7fff_ff0b;
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let layout = lab.layout()?;
    let expected = format!("the placeholder fd {GIVEN:#x}, as it was given");
    let mut tried = false;

    // A buffer of its own becomes an object.
    let stream = match lab.survey.takes(MEMORY_MMAP) {
        true => Some(Stream::on(lab, &mut driver, session, MEMORY_MMAP, 1)?),
        false => None,
    };
    let asked = vec![0; EXPBUF.1].with(0, layout.kind).with(16, GIVEN);
    let mut command = v4l2::ioctl_command(session, EXPBUF.0, &asked);
    // Room for the UUID, in both parts.
    command.extend([0; 16]);
    let exported = driver.command(&command, RESPONSE + EXPBUF.1 + 16)?;
    if exported.status() == Some(0) {
        tried = true;
        let seen = exported.payload().le32(16);
        ensure(seen == GIVEN, &expected, format!("{seen:#x}"))?;
    }
    if let Some(stream) = stream {
        stream.release(&mut driver)?;
    }

    // An object becomes a buffer, if only to be refused.
    if lab.survey.takes(MEMORY_DMABUF) {
        let stream = Stream::on(lab, &mut driver, session, MEMORY_DMABUF, 1)?;
        let mut asked = stream.structure(0, 0);
        let fields: Vec<usize> = match layout.is_planar() {
            false => vec![64],
            true => (0..stream.sizes.len())
                .map(|plane| BUFFER + PLANE * plane + 8)
                .collect(),
        };
        for field in &fields {
            asked = asked.with(*field, GIVEN);
        }
        let reply = stream.ioctl(&mut driver, QBUF.code, &asked, &[0x5a; 16])?;
        for field in fields {
            if reply.payload().len() >= field + 4 {
                tried = true;
                let seen = reply.payload().le32(field);
                ensure(seen == GIVEN, &expected, format!("{seen:#x}"))?;
            }
        }
    }
    match tried {
        true => Ok(()),
        false => Err(Stop::NotOffered(match exported.status() {
            Some(ENOTTY) => "EXPBUF is answered with ENOTTY, REQBUFS of DMABUF refused".into(),
            status => format!("EXPBUF has the status {status:?}"),
        })),
    }
}

/// A plane from `at` on in pieces as a driver makes them: the first one ends at
/// the end of a page, the last one begins at the beginning of one, the others are
/// whole pages. They lie in memory the other way round, a page apart; the next
/// free address comes with them.
fn pieces(at: u64, len: u32) -> (Vec<Segment>, u64) {
    const WHOLE: u32 = PAGE as u32;
    let first = match len / 2 % WHOLE {
        0 => WHOLE.min(len / 2),
        rest => rest,
    };
    let middle = (len - first) / 2 / WHOLE * WHOLE;
    let mut lens = vec![first, middle, len - first - middle];
    lens.retain(|len| *len > 0);
    let mut list = Vec::new();
    let mut at = at;
    for (number, len) in lens.iter().enumerate().rev() {
        let end = at + u64::from(*len).next_multiple_of(PAGE);
        // The first one is at the end of its page.
        let start = if number == 0 {
            end - u64::from(*len)
        } else {
            at
        };
        list.insert(0, (start, *len));
        at = end + PAGE;
    }
    (list, at)
}

/// MP-10.
pub fn segments(lab: &mut Lab) -> Tested {
    lab.survey.needs_shared_pages()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, MEMORY_USERPTR, FRAMES)?;
    if stream.sizes.iter().any(|size| *size < 64) {
        return Err(Stop::NotReached(
            "its planes are too small to be cut".into(),
        ));
    }
    let mut at = stream.spare();
    let mut lists = Vec::new();
    for size in &stream.sizes {
        let (list, next) = pieces(at, *size);
        lists.push(list);
        at = next;
    }
    let covered = "a list that covers the buffer's length is taken";
    let reply = stream.queue_at(&mut driver, 0, &lists).or_failed(covered)?;
    let seen = format!("status {:?}", reply.status());
    ensure(reply.status() == Some(0), covered, seen)?;
    if lab.survey.captures() {
        stream.queue_others(&mut driver, Some(0))?;
        stream.start(&mut driver)?;
        let (buffer, planes) = stream.next_of(&mut driver, 0)?;
        let used = |plane: usize| match stream.layout.is_planar() {
            false => buffer.bytesused,
            true => planes.le32(PLANE * plane),
        };
        if buffer.flags & ERROR == 0 {
            for (plane, list) in lists.iter().enumerate() {
                is_filled(&driver, list, used(plane))?;
            }
        }
        stream.stop(&mut driver)?;
        driver.forget_events()?;
        for list in &lists {
            driver.memory.accept_segments(list);
        }
        for index in 1..stream.count {
            driver.memory.accept_segments(&stream.places(index));
        }
        let elsewhere = driver.memory.check_range(HIGH..u64::MAX);
        let expected = "frames in the listed segments, and nowhere else";
        elsewhere.map_err(|stray| failed(expected, stray))?;
    }
    // One that is too short for the length that the structure names.
    let mut short: Vec<_> = stream
        .places(1)
        .into_iter()
        .map(|place| vec![place])
        .collect();
    if let Some(last) = short.last_mut() {
        *last = last.iter().map(|(at, len)| (*at, len / 2)).collect();
    }
    let expected = "an error for a list that covers half of the buffer";
    let reply = stream
        .queue_at(&mut driver, 1, &short)
        .or_failed(expected)?;
    ensure(reply.status() != Some(0), expected, "success")
}

/// Checks that the first `used` bytes of the segments are not what memory held
/// before: one byte of each at least.
fn is_filled(driver: &Driver, list: &[Segment], used: u32) -> Tested {
    let mut left = used;
    for (at, len) in list {
        let here = (*len).min(left);
        left -= here;
        // A few bytes may be the same by chance.
        if here < 16 {
            continue;
        }
        let range = *at..*at + u64::from(here);
        let expected = format!("a part of the {used} bytes of the frame at {at:#x}");
        let is_written = driver.memory.check_range(range).is_err();
        ensure(is_written, expected, "memory as it was before")?;
    }
    Ok(())
}

/// MP-14.
pub fn memory_types(lab: &mut Lab) -> Tested {
    let offered = [MEMORY_USERPTR, MEMORY_MMAP].map(|memory| (memory, lab.survey.takes(memory)));
    if offered.iter().all(|(_, takes)| !takes) {
        return Err(Stop::NotOffered(
            "it takes neither SHARED_PAGES nor MMAP".into(),
        ));
    }
    for (memory, takes) in offered {
        if !takes {
            continue;
        }
        let mut driver = lab.driver()?;
        let stream = Stream::open(lab, &mut driver, memory, FRAMES)?;
        let expected = format!("memory {memory}, as REQBUFS had it");
        let said = stream.query(&mut driver, 0)?.le32(60);
        ensure(said == memory, &expected, format!("{said} by QUERYBUF"))?;
        let said = stream.queue(&mut driver, 0)?.le32(60);
        ensure(said == memory, &expected, format!("{said} by QBUF"))?;
        if lab.survey.captures() {
            stream.queue_others(&mut driver, Some(0))?;
            stream.start(&mut driver)?;
            let said = stream.next(&mut driver)?.1.memory;
            ensure(
                said == memory,
                &expected,
                format!("{said} in a DQBUF event"),
            )?;
        }
    }
    Ok(())
}

/// Buffers that are to come back in the test of MP-16, one after the other.
const BACK: usize = 16;

/// MP-16.
pub fn each_comes_back_once(lab: &mut Lab) -> Tested {
    let memory = lab.survey.memory_for_frames()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, memory, FRAMES)?;
    stream.queue_others(&mut driver, None)?;
    stream.start(&mut driver)?;
    driver.take_anomalies();
    let expected = "each buffer that was queued back once, when it is done";
    let mut queued: BTreeSet<_> = (0..stream.count).collect();
    let mut seen = Vec::new();
    // A buffer is queued again when the next one is back, so that a second event
    // of it stands out.
    let mut held = None;
    while seen.len() < BACK {
        let (session, buffer, _) = stream.next(&mut driver).map_err(|stop| match stop {
            Stop::NotReached(why) => Stop::NotReached(format!(
                "{seen:?} are back with {queued:?} queued, then {why}"
            )),
            other => other,
        })?;
        let own = "events of the session that queued the buffer";
        ensure(session == stream.session, own, format!("session {session}"))?;
        let was_queued = queued.remove(&buffer.index);
        seen.push(buffer.index);
        let told = || format!("{seen:?}, the last of which is not queued");
        ensure(was_queued, expected, told())?;
        if let Some(index) = held.replace(buffer.index) {
            stream.queue(&mut driver, index)?;
            queued.insert(index);
        }
    }
    for anomaly in driver.take_anomalies() {
        if let Anomaly::Short { .. } = anomaly {
            return Err(failed("events with eight planes and nothing else", anomaly));
        }
    }
    stream.stop(&mut driver)?;
    driver.forget_events()?;
    if memory == MEMORY_USERPTR {
        for index in 0..stream.count {
            driver.memory.accept_segments(&stream.places(index));
        }
    }
    nothing_more(lab, &mut driver)?;
    let expected = "no frame written after the answer to STREAMOFF";
    let untouched = driver.memory.check_range(HIGH..u64::MAX);
    untouched.map_err(|stray| failed(expected, stray))
}

/// Checks that no buffer comes back for a while.
fn nothing_more(lab: &Lab, driver: &mut Driver) -> Tested {
    let by = Instant::now() + lab.settings.quiet;
    loop {
        match driver.event_by(by)? {
            Some(Event::Dqbuf { buffer, .. }) => {
                let expected = "no buffer back after the answer to STREAMOFF";
                return Err(failed(expected, format!("buffer {}", buffer.index)));
            }
            Some(_) if Instant::now() < by => {}
            _ => return Ok(()),
        }
    }
}

/// MP-17.
pub fn no_pointers_in_events(lab: &mut Lab) -> Tested {
    let memory = lab.survey.memory_for_frames()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, memory, FRAMES)?;
    let is_planar = stream.layout.is_planar();
    if memory != MEMORY_USERPTR && !is_planar {
        let why = "its buffers have offsets instead of pointers";
        return Err(Stop::NotOffered(why.into()));
    }
    stream.queue_others(&mut driver, None)?;
    stream.start(&mut driver)?;
    let (_, buffer, planes) = stream.next(&mut driver)?;
    let expected = |what: &str| format!("NULL for {what} in a DQBUF event");
    let name = if is_planar { "m.planes" } else { "m.userptr" };
    let seen = format!("{:#x}", buffer.userptr);
    ensure(buffer.userptr == 0, expected(name), seen)?;
    if is_planar && memory == MEMORY_USERPTR {
        for plane in planes.chunks(PLANE).take(stream.sizes.len()) {
            let pointer = plane.le64(8);
            ensure(
                pointer == 0,
                expected("a plane's m.userptr"),
                format!("{pointer:#x}"),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_a_drivers_and_do_not_overlap() {
        for len in [
            64, 3072, 4096, 4097, 8192, 8200, 12288, 307_200, 460_800, 460_801,
        ] {
            let (list, end) = pieces(HIGH, len);
            assert_eq!(list.iter().map(|(_, len)| len).sum::<u32>(), len);
            assert!(list.len() > 1, "{len}: {list:?}");
            for (number, (at, of)) in list.iter().enumerate() {
                assert!(number == 0 || at % PAGE == 0, "{len}: {list:?}");
                let ends = at + u64::from(*of);
                assert!(
                    number + 1 == list.len() || ends % PAGE == 0,
                    "{len}: {list:?}"
                );
                assert!(*at >= HIGH && ends < end);
            }
            let apart = list
                .windows(2)
                .all(|pair| pair[1].0 + u64::from(pair[1].1) < pair[0].0);
            assert!(apart, "{len}: {list:?}");
            // As much as `Stream::spare` leaves for a plane.
            let spare = 2 * (u64::from(len).next_multiple_of(PAGE) + PAGE) + PAGE;
            assert!(end - HIGH <= spare, "{len}: {list:?}");
        }
    }
}
