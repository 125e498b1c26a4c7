//! Buffers: what comes back of them, and when.

use super::lab::{EVENTS, Lab, OrFailed, Stop, Tested, ensure, failed};
use super::stream::{BUFFER, PLANE, POINTER, Stream};
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

/// Three pieces of a plane, with room between them, the last one first.
fn pieces((at, len): Segment) -> Vec<Segment> {
    let third = len / 3;
    let lens = [third, third, len - 2 * third];
    let room = u64::from(third) / 8;
    let mut place = at + 2 * (u64::from(third) + room);
    let mut list = Vec::new();
    for len in lens {
        list.push((place, len));
        place = place.saturating_sub(u64::from(third) + room);
    }
    // The last piece may be longer than those before it.
    list.retain(|(_, len)| *len > 0);
    list
}

/// MP-10.
pub fn segments(lab: &mut Lab) -> Tested {
    lab.survey.needs_shared_pages()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, MEMORY_USERPTR, 2)?;
    if stream.sizes.iter().any(|size| *size < 64) {
        return Err(Stop::NotReached(
            "its planes are too small to be cut".into(),
        ));
    }
    // Twice the room, so that no piece lies in another's.
    let mut at = HIGH;
    let mut lists = Vec::new();
    for size in &stream.sizes {
        lists.push(pieces((at, *size)));
        at += 2 * u64::from(*size).next_multiple_of(PAGE);
    }
    let covered = "a list that covers the buffer's length is taken";
    let reply = stream.queue_at(&mut driver, 0, &lists).or_failed(covered)?;
    let seen = format!("status {:?}", reply.status());
    ensure(reply.status() == Some(0), covered, seen)?;
    if lab.survey.captures() {
        stream.start(&mut driver)?;
        let (_, buffer, planes) = stream.next(&mut driver)?;
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
        let stream = Stream::open(lab, &mut driver, memory, 1)?;
        let expected = format!("memory {memory}, as REQBUFS had it");
        let said = stream.query(&mut driver, 0)?.le32(60);
        ensure(said == memory, &expected, format!("{said} by QUERYBUF"))?;
        let said = stream.queue(&mut driver, 0)?.le32(60);
        ensure(said == memory, &expected, format!("{said} by QBUF"))?;
        if lab.survey.captures() {
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

/// MP-16.
pub fn each_comes_back_once(lab: &mut Lab) -> Tested {
    let memory = lab.survey.memory_for_frames()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, memory, 3)?;
    for index in 0..stream.count {
        stream.queue(&mut driver, index)?;
    }
    stream.start(&mut driver)?;
    driver.take_anomalies();
    let mut seen = Vec::new();
    let expected = "each buffer back once, in the order of the events";
    for _ in 0..stream.count {
        let (session, buffer, _) = stream.next(&mut driver).map_err(|stop| match stop {
            Stop::NotReached(why) => failed(expected, format!("{seen:?}, then {why}")),
            other => other,
        })?;
        let own = "events of the session that queued the buffer";
        ensure(session == stream.session, own, format!("session {session}"))?;
        seen.push(buffer.index);
    }
    nothing_more(lab, &mut driver, expected, &mut seen)?;
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    let all: Vec<_> = (0..stream.count).collect();
    ensure(sorted == all, expected, format!("{seen:?}"))?;
    // Once more, since nothing is left of the first time.
    stream.queue(&mut driver, 0)?;
    let (_, again, _) = stream.next(&mut driver)?;
    ensure(
        again.index == 0,
        "buffer 0 back",
        format!("buffer {}", again.index),
    )?;
    for anomaly in driver.take_anomalies() {
        if let Anomaly::Short { .. } | Anomaly::Event(_) = anomaly {
            return Err(failed("events with eight planes and nothing else", anomaly));
        }
    }
    for index in 0..stream.count {
        stream.queue(&mut driver, index)?;
    }
    stream.stop(&mut driver)?;
    driver.forget_events()?;
    let expected = "no buffer back after the answer to STREAMOFF";
    nothing_more(lab, &mut driver, expected, &mut Vec::new())
}

/// Checks that no buffer comes back for a while.
fn nothing_more(lab: &Lab, driver: &mut Driver, expected: &str, seen: &mut Vec<u32>) -> Tested {
    for _ in 0..EVENTS {
        let Some(event) = driver.event_within(lab.settings.quiet)? else {
            break;
        };
        if let Event::Dqbuf { buffer, .. } = event {
            seen.push(buffer.index);
            return Err(failed(expected, format!("{seen:?}")));
        }
    }
    Ok(())
}

/// MP-17.
pub fn no_pointers_in_events(lab: &mut Lab) -> Tested {
    let memory = lab.survey.memory_for_frames()?;
    let mut driver = lab.driver()?;
    let stream = Stream::open(lab, &mut driver, memory, 1)?;
    let is_planar = stream.layout.is_planar();
    if memory != MEMORY_USERPTR && !is_planar {
        let why = "its buffers have offsets instead of pointers";
        return Err(Stop::NotOffered(why.into()));
    }
    stream.queue(&mut driver, 0)?;
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
