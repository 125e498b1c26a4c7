//! V4L2's events.

use std::time::Instant;

use super::lab::Lab;
use super::stop::{Stop, Tested, ensure, failed};
use crate::scripted::driver::v4l2::{
    Fields, S_CTRL, SUBSCRIBE_EVENT, UNSUBSCRIBE_EVENT, With, payload, subscription,
};
use crate::scripted::driver::{Driver, Event, Fault};

/// V4L2_EVENT_CTRL.
const CONTROL: u32 = 3;
/// V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK.
const ALLOW_FEEDBACK: u32 = 2;

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
    // A session whose control no other can set is told of what it does itself, if
    // it asks for that.
    let (other, flags) = match lab.survey.has_contexts() {
        true => (one, ALLOW_FEEDBACK),
        false => (other, 0),
    };
    let ask = subscription(CONTROL, control.id, flags);
    if let Err(errno) = driver.ioctl(one, SUBSCRIBE_EVENT, &ask)? {
        let why = format!("SUBSCRIBE_EVENT is refused with errno {errno}");
        return Err(Stop::NotOffered(why));
    }
    // Whatever its value was, it changes by one of these.
    let expected = "an event of the control for the session that subscribed to it";
    let mut came = false;
    for value in control.values {
        set(&mut driver, other, control.id, value)?;
        let wait = match value == control.values[0] {
            // It may have had this value.
            true => lab.settings.quiet,
            false => driver.options.limit,
        };
        if let Some(event) = driver.event_within(wait)? {
            is_of(&event, one, control.id)?;
            came = true;
        }
    }
    ensure(came, expected, "none")?;
    let by = Instant::now() + lab.settings.quiet;
    while let Some(event) = driver.event_by(by)? {
        is_of(&event, one, control.id)?;
        if Instant::now() > by {
            return Err(failed(expected, "events without end"));
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

/// Checks that an event is a control's, for that session.
fn is_of(event: &Event, subscriber: u32, id: u32) -> Tested {
    let expected = "events of the control for the session that subscribed to it, and no others";
    match event {
        Event::V4l2 { session, event } => {
            // struct v4l2_event: type and id.
            let (kind, of) = (event.le32(0), event.le32(96));
            let seen = format!("an event of type {kind}, id {of:#x}, for session {session}");
            let is_of = *session == subscriber && (kind, of) == (CONTROL, id);
            ensure(is_of, expected, seen)
        }
        other => Err(failed(expected, format!("{other:?}"))),
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
