//! What the driver does with a session that the device gives up.

use std::time::{Duration, Instant};

use super::capture;
use super::finding::{Finding, Findings, PROMPTLY, told};
use super::image::Image;
use super::rings::after_errors;
use super::stand::{Broken, Stand};
use super::subject::NUMBER;
use super::traffic::no_user_pointers;
use crate::scripted::device::EVENT_ERROR;
use crate::vm::channel::Pending;
use crate::wire::protocol::CMD_CLOSE;

/// Bytes of `struct virtio_media_event_error`.
const ERROR_SIZE: u32 = 16;

/// How long the program lives: longer than all that is waited for meanwhile, since a
/// driver with a session a file closes it when the program is gone.
const ALIVE: Duration = Duration::from_secs(30);

/// Says why what a program's end brings with it may have come already, if it may.
fn late(begun: Instant) -> Option<String> {
    (begun.elapsed() >= ALIVE).then(|| "the program was over before its session was".to_owned())
}

/// The session of a program that waits is given up.
pub fn given_up(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = &stand.plain;
    let streams = no_user_pointers(stand, subject)?.is_none();
    let mark = subject.device.mark();
    let begun = Instant::now();
    let (session, capture, waiting) = match streams {
        true => {
            let capture = capture::start(stand, subject, ALIVE)?;
            let queued = capture.wait(stand, subject);
            (queued.map(|queued| queued.session), Some(capture), None)
        }
        // Without a stream, a program waits for an event.
        false => {
            let mut image = Image::default();
            image.wait_for_event(NUMBER);
            let waiting = stand.start_ioctls(image, subject.node(), ALIVE)?;
            // SUBSCRIBE_EVENT.
            let is = |entry: &crate::scripted::device::record::Entry| {
                entry.command().is_some_and(|one| one.code() == Some(90))
            };
            let subscribed = subject.device.wait_for(mark, PROMPTLY, is);
            let session = subscribed.and_then(|one| one.command()?.session());
            (session.or(subject.device.session()), None, Some(waiting))
        }
    };
    let sent = session.map(|session| {
        let body = 5_u64.to_le_bytes();
        subject.device.send(session, EVENT_ERROR, &body, ERROR_SIZE)
    });
    let closed = session.and_then(|session| {
        subject.device.wait_for(mark, 2 * PROMPTLY, |entry| {
            let close = entry
                .command()
                .filter(|one| one.command() == Some(CMD_CLOSE));
            close.is_some_and(|one| one.session() == Some(session))
        })
    });
    let late = late(begun);
    // A program that the driver told nothing waits on.
    if closed.is_none() {
        let id = capture.as_ref().map(capture::Capture::id);
        if let Some(id) = id.or(waiting.as_ref().map(Pending::id)) {
            stand.kill(id);
        }
    }
    // The record decides the clauses also where the guest breaks.
    let mut killed = false;
    let ended = match (capture, &waiting) {
        (Some(capture), _) => capture.end(stand).map(|ended| killed = ended.is_none()),
        (None, Some(waiting)) => stand
            .ioctls_end(waiting, ALIVE)
            .map(|ended| killed = ended.is_none()),
        (None, None) => Ok(()),
    };
    let ended = ended
        .and_then(|()| stand.check())
        .map_err(|broken| stand.explained(broken));
    if ended.is_err() {
        stand.spend();
    }

    let record = subject.device.record(mark);
    let evidence = told(&record);
    let survived = match &ended {
        Ok(()) => Finding::passed(evidence.clone()),
        Err(broken) => Finding::broken(broken),
    };
    let unreached = match (session, sent) {
        (Some(_), Some(Ok(()))) => None,
        (Some(_), Some(Err(error))) => Some(error.to_string()),
        _ => Some("no program uses a session".to_owned()),
    };
    let unreached = unreached.or(late);
    let (Some(session), None) = (session, &unreached) else {
        let finding = Finding::not_reached(unreached.unwrap_or_default());
        return Ok(["MV-5", "MP-20", "DV-11"]
            .map(|id| (id, finding.clone()))
            .into());
    };
    let close = match closed {
        Some(_) => Finding::passed(evidence.clone()),
        None => Finding::failed(
            format!("CLOSE of session {session} after its error event"),
            format!(
                "none within {} s, while its program lives",
                2 * PROMPTLY.as_secs()
            ),
            evidence.clone(),
        ),
    };
    let used = after_errors(&record).into_iter().find_map(|(_, commands)| {
        let mut others = commands.into_iter();
        others
            .find(|one| one.command() != Some(CMD_CLOSE))
            .map(ToString::to_string)
    });
    let left_alone = match used {
        None if closed.is_none() && killed => {
            Finding::not_reached("no program was told, and none tried to use the session")
        }
        None => Finding::passed(evidence),
        Some(used) => Finding::failed(
            format!("nothing but CLOSE in session {session} after its error event"),
            used,
            evidence,
        ),
    };
    Ok(vec![
        ("MV-5", close),
        ("MP-20", left_alone),
        ("DV-11", survived),
    ])
}
