//! V4L2's events.

use super::lab::{EVENTS, Lab, Stop, Tested, ensure, failed};
use crate::scripted::driver::v4l2::{
    Fields, S_CTRL, SUBSCRIBE_EVENT, UNSUBSCRIBE_EVENT, With, payload, subscription,
};
use crate::scripted::driver::{Driver, Event, Fault};

/// V4L2_EVENT_CTRL.
const CONTROL: u32 = 3;

/// MP-18.
pub fn to_subscribers(lab: &mut Lab) -> Tested {
    let control = lab.survey.needs_control()?;
    let mut driver = lab.driver()?;
    let one = driver.open()?;
    let other = match driver.open() {
        Ok(other) => other,
        Err(Fault::Refused { .. }) => {
            let why = "it has one session at a time, which is not told of its own changes";
            return Err(Stop::NotOffered(why.into()));
        }
        Err(fault) => return Err(fault.into()),
    };
    let ask = subscription(CONTROL, control.id, 0);
    if let Err(errno) = driver.ioctl(one, SUBSCRIBE_EVENT, &ask)? {
        let why = format!("SUBSCRIBE_EVENT is refused with errno {errno}");
        return Err(Stop::NotOffered(why));
    }
    // Whatever its value was, it changes by one of these.
    let expected = "an event of the control for the session that subscribed to it";
    let mut events = Vec::new();
    for value in control.values {
        set(&mut driver, other, control.id, value)?;
        let limit = driver.options.limit;
        let wait = match value == control.values[0] {
            // It may have had this value.
            true => lab.settings.quiet,
            false => limit,
        };
        if let Some(event) = driver.event_within(wait)? {
            events.push(event);
        }
    }
    while events.len() < EVENTS
        && let Some(event) = driver.event_within(lab.settings.quiet)?
    {
        events.push(event);
    }
    ensure(!events.is_empty(), expected, "none")?;
    for event in &events {
        match event {
            Event::V4l2 { session, event } => {
                let seen = format!("an event of type {} for session {session}", event.le32(0));
                ensure(*session == one && event.le32(0) == CONTROL, expected, seen)?;
            }
            other => return Err(failed(expected, format!("{other:?}"))),
        }
    }
    let unsubscribed = driver.ioctl(one, UNSUBSCRIBE_EVENT, &ask)?;
    if unsubscribed.is_err() {
        return Err(Stop::NotReached("UNSUBSCRIBE_EVENT is refused".into()));
    }
    set(&mut driver, other, control.id, control.values[0])?;
    let expected = "no event after UNSUBSCRIBE_EVENT";
    match driver.event_within(lab.settings.quiet)? {
        None => Ok(()),
        Some(event) => Err(failed(expected, format!("{event:?}"))),
    }
}

fn set(driver: &mut Driver, session: u32, id: u32, value: i32) -> Tested {
    let ask = payload(S_CTRL).with(0, id).with(4, value as u32);
    match driver.ioctl(session, S_CTRL, &ask)? {
        Ok(_) => Ok(()),
        Err(errno) => Err(Stop::NotReached(format!(
            "control {id:#x} is refused the value {value} with errno {errno}"
        ))),
    }
}
