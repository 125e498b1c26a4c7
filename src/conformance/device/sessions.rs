//! Sessions: their ids, their end, and their death.

use std::time::Instant;

use super::lab::Lab;
use super::stop::{OrFailed, Stop, Tested, ensure, failed};
use super::stream::Stream;
use super::survey::FRAMES;
use crate::scripted::driver::memory::HIGH;
use crate::scripted::driver::v4l2::{
    CAPTURE, G_FMT, G_INPUT, MEMORY_USERPTR, QUERYCTRL, S_CTRL, With, payload,
};
use crate::scripted::driver::{Driver, Event, Fault};

/// V4L2_CTRL_FLAG_NEXT_CTRL.
const NEXT_CTRL: u32 = 0x8000_0000;

/// Sessions that are opened at once.
const AT_ONCE: usize = 8;

/// MD-1.
pub fn ids_differ(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let mut open = Vec::new();
    for _ in 0..AT_ONCE {
        match driver.open() {
            Ok(id) => open.push(id),
            // There may be an end.
            Err(Fault::Refused { .. }) if !open.is_empty() => break,
            Err(fault) => return Err(fault.into()),
        }
    }
    if open.len() < 2 {
        let why = "it has one session at a time: a second OPEN is refused";
        return Err(Stop::NotOffered(why.into()));
    }
    let mut ids = open.clone();
    ids.sort_unstable();
    ids.dedup();
    let expected = "ids that no other open session has";
    ensure(ids.len() == open.len(), expected, format!("{open:?}"))?;
    let closed = open.remove(0);
    driver.close(closed)?;
    let again = driver.open()?;
    let seen = format!("{again} again, with {open:?} open");
    ensure(!open.contains(&again), expected, seen)
}

/// MP-12.
pub fn close_frees(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let memory = match lab.survey.takes(MEMORY_USERPTR) {
        true => Some(MEMORY_USERPTR),
        false => lab.survey.memory_for_frames().ok(),
    };
    let held = match memory {
        Some(memory) => {
            let stream = Stream::open(lab, &mut driver, memory, FRAMES)?;
            stream.queue_others(&mut driver, None)?;
            if lab.survey.captures() {
                stream.start(&mut driver)?;
            }
            Ok(stream)
        }
        None => Err(driver.open()?),
    };
    let session = match &held {
        Ok(stream) => stream.session,
        Err(session) => *session,
    };
    let reply = driver.close(session).or_failed("CLOSE comes back")?;
    ensure(
        reply.bytes.is_empty(),
        "a used length of 0, as there was nothing to write to",
        format!("{} bytes", reply.bytes.len()),
    )?;
    if let Ok(stream) = held {
        is_gone(lab, &mut driver, &stream)?;
    }
    let asked = any_format(lab);
    let expected = "an error for an ioctl on the closed session";
    let answer = driver.ioctl(session, G_FMT, &asked)?;
    ensure(answer.is_err(), expected, "success")?;
    if let Some(memory) = memory {
        // What it held is another's to have.
        match Stream::open(lab, &mut driver, memory, 2) {
            Ok(_) => {}
            Err(Stop::NotReached(why)) => {
                return Err(failed("buffers for the next session", why));
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok(())
}

/// A request of G_FMT, of whatever type the device has.
fn any_format(lab: &Lab) -> Vec<u8> {
    let kind = lab.survey.layout.map_or(CAPTURE, |layout| layout.kind);
    payload(G_FMT).with(0, kind)
}

/// Checks that nothing more comes of a stream whose session is closed.
fn is_gone(lab: &Lab, driver: &mut Driver, stream: &Stream) -> Tested {
    let expected = "no buffer back after CLOSE, and none written";
    driver.forget_events()?;
    if stream.memory == MEMORY_USERPTR {
        for index in 0..stream.count {
            driver.memory.accept_segments(&stream.places(index));
        }
    }
    let by = Instant::now() + lab.settings.quiet;
    loop {
        match driver.event_by(by)? {
            Some(Event::Dqbuf {
                session, buffer, ..
            }) if session == stream.session => {
                return Err(failed(expected, format!("buffer {}", buffer.index)));
            }
            Some(_) if Instant::now() < by => {}
            _ => break,
        }
    }
    let untouched = driver.memory.check_range(HIGH..u64::MAX);
    untouched.map_err(|stray| failed(expected, stray))
}

/// Makes the device give up a session.
fn give_up(lab: &Lab, driver: &mut Driver, session: u32) -> Tested {
    let Some(id) = lab.settings.error_control else {
        let why = "no way is known to make it give up a session (--error-control)";
        return Err(Stop::NotOffered(why.into()));
    };
    let press = payload(S_CTRL).with(0, id).with(4, 1);
    if let Err(errno) = driver.ioctl(session, S_CTRL, &press)? {
        let why = format!("control {id:#x} is refused with errno {errno}");
        return Err(Stop::NotOffered(why));
    }
    let by = Instant::now() + driver.options.limit;
    loop {
        match driver.event_by(by)? {
            Some(Event::Error { session: of, .. }) if of == session => return Ok(()),
            Some(_) if Instant::now() < by => {}
            _ => {
                let why = format!("control {id:#x} makes no error event");
                return Err(Stop::NotOffered(why));
            }
        }
    }
}

/// MD-10.
pub fn dead_ids_are_not_used(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let dead = driver.open()?;
    give_up(lab, &mut driver, dead)?;
    for _ in 0..AT_ONCE {
        let id = match driver.open() {
            Ok(id) => id,
            Err(Fault::Refused { .. }) => break,
            Err(fault) => return Err(fault.into()),
        };
        let expected = format!("another id than {dead}, which is not closed");
        ensure(id != dead, expected, format!("OPEN returns {id}"))?;
        driver.close(id)?;
    }
    driver.close(dead)?;
    driver.open()?;
    Ok(())
}

/// MP-19.
pub fn a_dead_session_has_errors(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let dead = driver.open()?;
    let mut worked = Vec::new();
    for (ioctl, asked) in [
        (G_FMT, any_format(lab)),
        (G_INPUT, Vec::new()),
        (QUERYCTRL, payload(QUERYCTRL).with(0, NEXT_CTRL)),
    ] {
        if driver.ioctl(dead, ioctl, &asked)?.is_ok() {
            worked.push((ioctl, asked));
        }
    }
    give_up(lab, &mut driver, dead)?;
    if worked.is_empty() {
        let why = "no ioctl that is tried works before either";
        return Err(Stop::NotReached(why.into()));
    }
    let expected = "an error for every command on the session that was given up";
    for (ioctl, asked) in worked {
        let answer = driver.ioctl(dead, ioctl, &asked)?;
        ensure(answer.is_err(), expected, format!("success of {ioctl:?}"))?;
    }
    driver.close(dead).map(drop).map_err(Stop::from)
}
