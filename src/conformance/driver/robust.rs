//! Devices that say too much, are late, are slow, or die: no clause forbids a driver
//! to fail then, nor where a device lies, but it has to fail with an error, in bounded
//! time, and with the guest as it was. When the driver is bound anew, a device that
//! keeps the rules works.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::finding::{Finding, Findings, PROMPTLY, result, told};
use super::image::{Image, number};
use super::stand::{Broken, LIMIT, Stand};
use super::subject::kind;
use super::traffic::no_user_pointers;
use crate::scripted::device::{Held, Opening};
use crate::wire::Ioctl;
use crate::wire::protocol::CMD_OPEN;

/// How long a driver may wait for a device before a program has its error.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Events without which there was no flood.
const FLOOD: u64 = 2000;

/// Ends an experiment: the guest is as it was, and the driver works with a device that
/// keeps the rules.
pub fn over(stand: &mut Stand, id: &'static str, finding: Finding) -> Result<Findings, Broken> {
    stand.check()?;
    stand.bind_again()?;
    let subject = &stand.plain;
    let mark = subject.device.mark();
    let mut image = Image::default();
    let call = image.format(Ioctl::GFmt, kind(subject));
    let answer = stand.ioctls(image, subject.node(), LIMIT)?;
    let width = answer.as_ref().and_then(|answer| {
        let made = answer.calls.get(call).filter(|made| made.errno.is_none())?;
        Some(number(&made.payload.0, 8))
    });
    let finding = match width {
        Some(64) => finding,
        _ => Finding::failed(
            "a device that works when the driver is bound to it anew",
            match answer.and_then(|answer| {
                answer
                    .open_errno
                    .or(answer.calls.first().and_then(|one| one.errno))
            }) {
                Some(errno) => format!("{} for G_FMT", result(Some(errno))),
                None => "no answer to G_FMT".to_owned(),
            },
            told(&subject.device.record(mark)),
        ),
    };
    Ok(vec![(id, finding)])
}

/// Events come without an end.
pub fn flood(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = &stand.plain;
    let session = subject.device.session().unwrap_or(1);
    let enough = AtomicBool::new(false);
    let line = format!("for i in 1 2 3; do v4l2-ctl -d {} -V; done", subject.node());
    let sent = AtomicU64::new(0);
    let said = std::thread::scope(|scope| {
        scope.spawn(|| subject.device.flood(session, 99, &enough, &sent));
        let said = stand.run(&line, LIMIT);
        // A fast machine is done with its programs before.
        stand.holds(PROMPTLY, || sent.load(Ordering::Relaxed) >= FLOOD);
        enough.store(true, Ordering::Relaxed);
        said
    })?;
    let sent = sent.into_inner();
    let finding = match said.stdout.matches("64/48").count() {
        3 if sent < FLOOD => Finding::not_reached(format!(
            "the driver gave event buffers back for {sent} events only"
        )),
        3 => Finding::passed(vec![format!("{sent} events")]),
        answers => Finding::failed(
            format!(
                "three programs that get their answers within {} s",
                LIMIT.as_secs()
            ),
            format!("{answers}"),
            said.stdout.lines().map(str::to_owned).collect(),
        ),
    };
    over(stand, "DV-5", finding)
}

/// A command is not answered, and then too late.
pub fn silent(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = &stand.plain;
    let mark = subject.device.mark();
    let mut image = Image::default();
    let call = image.format(Ioctl::TryFmt, kind(subject));
    subject.device.hold(Held::Ioctl(Ioctl::TryFmt as u32));
    let begun = Instant::now();
    let pending = stand.start_ioctls(image, subject.node(), PATIENCE)?;
    let held = stand.holds(PATIENCE, || subject.device.held() > 0);
    let answer = stand.ioctls_end(&pending, PATIENCE)?;
    let took = begun.elapsed();
    // Too late: its program is gone.
    subject.device.release();
    let evidence = told(&subject.device.record(mark));
    let finding = match answer.as_ref().and_then(|answer| answer.calls.get(call)) {
        _ if !held => Finding::not_reached("TRY_FMT does not come to the device"),
        Some(made) => match made.errno {
            Some(errno) => Finding::passed(
                [
                    evidence,
                    vec![format!(
                        "{} after {:.1} s",
                        result(Some(errno)),
                        took.as_secs_f64()
                    )],
                ]
                .concat(),
            ),
            None => Finding::failed("an error", "success of what nobody answered", evidence),
        },
        None => Finding::failed(
            format!("an error within {} s", PATIENCE.as_secs()),
            "a program that had to be killed",
            evidence,
        ),
    };
    over(stand, "DV-6", finding)
}

/// Each answer takes its time.
pub fn slow(stand: &mut Stand) -> Result<Findings, Broken> {
    const DELAY: Duration = Duration::from_millis(30);
    let subject = &stand.plain;
    let mark = subject.device.mark();
    let enough = AtomicBool::new(false);
    let line = format!(
        "v4l2-ctl -d {0} -V -c number=70; v4l2-ctl -d {0} -C number",
        subject.node()
    );
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                subject.device.hold(Held::All);
                std::thread::sleep(DELAY);
                subject.device.release();
            }
        });
        let said = stand.run(&format!("({line}) 2>&1"), LIMIT);
        enough.store(true, Ordering::Relaxed);
        said
    })?;
    let good = ["64/48", "number: 70"]
        .iter()
        .all(|one| said.stdout.contains(one));
    let mut evidence = told(&subject.device.record(mark));
    evidence.extend(said.stdout.lines().map(str::to_owned));
    let finding = match good {
        true => Finding::passed(evidence),
        false => Finding::failed(
            format!("answers, though each takes {} ms", DELAY.as_millis()),
            "others",
            evidence,
        ),
    };
    over(stand, "DV-7", finding)
}

/// A chain is given back that the device was not given.
pub fn wrong_chain(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = &stand.plain;
    let mark = subject.device.mark();
    let mut image = Image::default();
    let call = image.format(Ioctl::TryFmt, kind(subject));
    // Whatever session the program's file takes is opened as ever.
    subject.device.give_back_another(Ioctl::TryFmt as u32);
    let answer = stand.ioctls(image, subject.node(), PATIENCE)?;
    let record = subject.device.record(mark);
    let evidence = told(&record);
    let mut commands = record.iter().filter_map(|entry| entry.command());
    let came = commands.any(|one| one.code() == Some(Ioctl::TryFmt as u32));
    let finding = match answer {
        _ if !came => Finding::not_reached("TRY_FMT does not come to the device"),
        Some(answer) => match answer.calls.get(call).map(|made| made.errno) {
            Some(None) => Finding::failed("an error", "success", evidence),
            _ => Finding::passed(evidence),
        },
        None => Finding::failed(
            format!("an error within {} s", PATIENCE.as_secs()),
            "a program that had to be killed",
            evidence,
        ),
    };
    over(stand, "DV-8", finding)
}

/// The device opens no session, or answers with garbage when it is to.
pub fn no_session(stand: &mut Stand) -> Result<Findings, Broken> {
    let mut finding = Finding::passed(Vec::new());
    for opening in [Opening::Refusal(16), Opening::Garbage] {
        let subject = &stand.plain;
        let mark = subject.device.mark();
        let Some(place) = subject.place.clone() else {
            finding = Finding::not_reached("the device has no node");
            break;
        };
        subject.device.open_with(opening);
        let line = format!(
            "echo {0} > {1}/unbind; echo {0} > {1}/bind; v4l2-ctl -d {2} -V",
            place.virtio, place.driver, place.node
        );
        let said = stand.run(&format!("({line}) > /dev/null 2>&1"), PATIENCE)?;
        if said.timed_out {
            finding = Finding::failed(
                format!("an error within {} s", PATIENCE.as_secs()),
                "a program that had to be killed",
                told(&subject.device.record(mark)),
            );
            break;
        }
        stand.check()?;
        let record = stand.plain.device.record(mark);
        let mut commands = record.iter().filter_map(|entry| entry.command());
        let Some(open) = commands.find(|one| one.command() == Some(CMD_OPEN)) else {
            finding = Finding::not_reached("no OPEN comes to the device");
            break;
        };
        // What the refusal and the garbage have where a session's id is.
        let answered = open.start;
        let believed = commands
            .find(|one| one.start == answered && matches!(one.session(), Some(0 | u32::MAX)));
        if let Some(believed) = believed {
            finding = Finding::failed(
                "no command in a session that was not opened",
                believed.to_string(),
                told(&record),
            );
            break;
        }
    }
    stand.plain.device.open_with(Opening::Session);
    over(stand, "DV-9", finding)
}

/// The device is gone in the middle of a stream, and does not come back.
pub fn dead(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = match stand.platform.place {
        Some(_) => &stand.platform,
        None => &stand.plain,
    };
    let streams = no_user_pointers(stand, subject)?.is_none();
    let mark = subject.device.mark();
    let node = subject.node().to_owned();
    let stream = match streams {
        true => "--stream-user=2",
        false => "--wait-for-event=ctrl=number",
    };
    let line = format!("v4l2-ctl -d {node} {stream} > /dev/null 2>&1");
    let pending = stand.start(&line, PATIENCE)?;
    if streams {
        stand.holds(PROMPTLY, || {
            let camera = subject.camera.get();
            camera.streaming && camera.queued.len() == 2
        });
    }
    subject.device.die();
    // Nothing tells the driver, so that a program which waits for a frame waits on,
    // until it is killed, as it would for a frame that takes that long.
    stand.kill(pending.id());
    stand.wait(&pending, PATIENCE)?;
    // Each step may take what a command may.
    let mut steps = vec![format!("v4l2-ctl -d {node} -V")];
    if let Some(place) = &subject.place {
        steps.push(format!("echo {} > {}/unbind", place.virtio, place.driver));
    }
    let mut timed_out = false;
    for step in steps {
        // v4l2-ctl makes several commands for the format.
        let said = stand.run(&format!("({step}) > /dev/null 2>&1"), 2 * PATIENCE)?;
        timed_out |= said.timed_out;
    }
    let evidence = told(&subject.device.record(mark));
    stand.spend();
    stand.check()?;
    let finding = match timed_out {
        false => Finding::passed(evidence),
        true => Finding::failed(
            format!(
                "errors, and a driver that lets go, within {} s each",
                2 * PATIENCE.as_secs()
            ),
            "a program that had to be killed",
            evidence,
        ),
    };
    Ok(vec![("DV-10", finding)])
}
