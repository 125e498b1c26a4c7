//! Sessions: their ids, their end, and their death.

use super::lab::{EVENTS, Lab, OrFailed, Stop, Tested, ensure, failed};
use super::stream::Stream;
use crate::scripted::driver::v4l2::{G_CTRL, G_FMT, MEMORY_USERPTR, S_CTRL, With, payload};
use crate::scripted::driver::{Driver, Event, Fault};

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
    let session = match memory {
        Some(memory) => {
            let stream = Stream::open(lab, &mut driver, memory, 2)?;
            for index in 0..stream.count {
                stream.queue(&mut driver, index)?;
            }
            stream.session
        }
        None => driver.open()?,
    };
    let reply = driver.close(session).or_failed("CLOSE comes back")?;
    ensure(
        reply.bytes.is_empty(),
        "a used length of 0, as there was nothing to write to",
        format!("{} bytes", reply.bytes.len()),
    )?;
    let asked = lab.layout()?.format();
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

/// Makes the device give up a session, and returns it.
fn given_up(lab: &Lab, driver: &mut Driver) -> Result<u32, Stop> {
    let Some(id) = lab.settings.error_control else {
        let why = "no way is known to make it give up a session (--error-control)";
        return Err(Stop::NotOffered(why.into()));
    };
    let session = driver.open()?;
    let press = payload(S_CTRL).with(0, id).with(4, 1);
    if let Err(errno) = driver.ioctl(session, S_CTRL, &press)? {
        let why = format!("control {id:#x} is refused with errno {errno}");
        return Err(Stop::NotOffered(why));
    }
    for _ in 0..EVENTS {
        match driver.event_within(driver.options.limit)? {
            Some(Event::Error { session: of, .. }) if of == session => return Ok(session),
            Some(_) => {}
            None => {
                let why = format!("control {id:#x} makes no error event");
                return Err(Stop::NotOffered(why));
            }
        }
    }
    Err(Stop::NotReached(format!(
        "{EVENTS} events, and no error among them"
    )))
}

/// MD-10.
pub fn dead_ids_are_not_used(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let dead = given_up(lab, &mut driver)?;
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
    let dead = given_up(lab, &mut driver)?;
    let format = lab.layout()?.format();
    let control = payload(G_CTRL).with(0, 0x0098_0900);
    let expected = "an error for every command on the session that was given up";
    for (ioctl, asked) in [(G_FMT, format), (G_CTRL, control)] {
        let answer = driver.ioctl(dead, ioctl, &asked)?;
        ensure(answer.is_err(), expected, format!("success of {ioctl:?}"))?;
    }
    driver.close(dead).map(drop).map_err(Stop::from)
}
