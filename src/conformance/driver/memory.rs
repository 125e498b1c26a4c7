//! Memory that the device has, when the program that it was for is gone.

use std::time::Duration;

use super::capture;
use super::finding::{Finding, Findings, PROMPTLY, told};
use super::image::{Image, MARK};
use super::stand::{Broken, Stand};
use super::subject::kind;
use super::traffic::no_user_pointers;
use crate::scripted::device::Held;
use crate::scripted::device::record::What;
use crate::wire::Ioctl;

/// How long what a program has left behind is watched.
const WATCHED: Duration = Duration::from_millis(800);

/// Programs are killed while the device has a command of theirs, and while it has a
/// buffer.
pub fn kept(stand: &mut Stand) -> Result<Findings, Broken> {
    let finding = match command(stand)? {
        Some(failed) => failed,
        None => match frame(stand)? {
            Some(failed) => failed,
            None => Finding::passed(Vec::new()),
        },
    };
    Ok(vec![("GV-10", finding)])
}

/// A command is not answered; returns what is wrong.
fn command(stand: &Stand) -> Result<Option<Finding>, Broken> {
    let subject = &stand.plain;
    let mark = subject.device.mark();
    let mut image = Image::default();
    image.format(Ioctl::TryFmt, kind(subject));
    subject.device.hold(Held::Ioctl(Ioctl::TryFmt as u32));
    let pending = stand.start_ioctls(image, subject.node(), PROMPTLY)?;
    let held = stand.holds(PROMPTLY, || subject.device.held() > 0);
    stand.kill(pending.id());
    let mut changed = Vec::new();
    if held {
        stand.holds(WATCHED, || {
            changed = subject.device.changed();
            !changed.is_empty()
        });
    }
    subject.device.release();
    stand.ioctls_end(&pending, PROMPTLY)?;
    stand.check()?;
    let evidence = || told(&subject.device.record(mark));
    if !held {
        return Ok(Some(Finding::not_reached(
            "TRY_FMT does not come to the device",
        )));
    }
    Ok(changed.first().map(|changed| {
        Finding::failed(
            "the request in memory as it was made available, until it is answered",
            format!("another after its program was killed; it was {changed}"),
            evidence(),
        )
    }))
}

/// A buffer is not given back, and nothing that would take it back is answered;
/// returns what is wrong.
fn frame(stand: &Stand) -> Result<Option<Finding>, Broken> {
    let subject = &stand.plain;
    if no_user_pointers(stand, subject)?.is_some() {
        return Ok(None);
    }
    let mark = subject.device.mark();
    let capture = capture::start(stand, subject, 2 * PROMPTLY)?;
    let Some(queued) = capture.wait(stand, subject) else {
        capture.end(stand)?;
        return Ok(Some(Finding::not_reached("no stream starts")));
    };
    subject.device.hold(Held::All);
    stand.kill(capture.id());
    // The driver asks for its buffer, or does not.
    stand.holds(WATCHED, || subject.device.held() > 0);
    let record = subject.device.record(mark);
    let stopped = record
        .iter()
        .any(|entry| matches!(entry.what, What::Stopped { .. }));
    // Nobody writes to the buffer any more, unless its pages are somebody else's.
    let whole = |&(start, length): &(u64, u32)| {
        let bytes = subject.device.read(start, length);
        bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == MARK))
    };
    let given_away = !stopped && !queued.memory.iter().flatten().all(whole);
    if !stopped && !given_away {
        subject.fill(&queued, 1);
    }
    subject.device.release();
    capture.end(stand)?;
    // Pages that were free while the device wrote to them are told of now.
    stand.sweep()?;
    stand.check()?;
    if given_away {
        return Ok(Some(Finding::failed(
            "a buffer's memory as it was, as long as the device has the buffer",
            "other contents when its program was killed: the pages were given away",
            told(&subject.device.record(mark)),
        )));
    }
    Ok(None)
}
