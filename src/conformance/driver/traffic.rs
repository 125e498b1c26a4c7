//! What programs do every day, with devices that keep all rules: it has to work, and
//! its record shows most of what a driver puts on the rings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::capture;
use super::finding::{Finding, Findings, PROMPTLY, result, told};
use super::image::FRAME;
use super::image::{Image, MARK, SHIFT};
use super::stand::{Broken, LIMIT, Stand};
use super::subject::{Subject, kind, picture};
use crate::conformance::verdict::Verdict;
use crate::wire::Ioctl;

/// Frames that are captured.
const FRAMES: u32 = 3;

/// What is in front of the frames, in hexadecimal, on what programs say.
const CAPTURED: &str = "captured ";

/// Returns why the driver has no user pointers, if it has none.
pub fn no_user_pointers(stand: &Stand, subject: &Subject) -> Result<Option<String>, Broken> {
    let kind = kind(subject);
    let mut image = Image::default();
    image.reqbufs(kind, 1);
    image.reqbufs(kind, 0);
    let Some(answer) = stand.ioctls(image, subject.node(), LIMIT)? else {
        return Err(Broken::Stuck(
            "REQBUFS of user pointers does not come back".to_owned(),
        ));
    };
    let refused = match (answer.open_errno, answer.calls.first()) {
        (Some(errno), _) => Some(format!("open(2): {}", result(Some(errno)))),
        (None, Some(call)) => call
            .errno
            .map(|errno| format!("REQBUFS of V4L2_MEMORY_USERPTR: {}", result(Some(errno)))),
        (None, None) => None,
    };
    Ok(refused)
}

/// Has programs use both devices; finds whether all is as the devices said.
pub fn traffic(stand: &mut Stand) -> Result<Findings, Broken> {
    let mut finding = None;
    for subject in [&stand.plain, &stand.planes, &stand.platform] {
        // What a larger configuration space, or the feature, makes of a driver is
        // another clause's.
        if subject.place.is_none() {
            continue;
        }
        let found = used(stand, subject)?;
        match found.verdict {
            Verdict::Passed => {
                finding.get_or_insert(found);
            }
            _ => finding = Some(found),
        }
    }
    let finding = finding.unwrap_or_else(|| Finding::not_reached("no device has a node"));
    Ok(vec![("DV-1", finding)])
}

fn used(stand: &Stand, subject: &Subject) -> Result<Finding, Broken> {
    let mark = subject.device.mark();
    let faults = subject.device.faults().len();
    let no_user = no_user_pointers(stand, subject)?;
    let node = subject.node();
    let mut line = format!(
        "n={node}; v4l2-ctl -d $n --all -L; v4l2-ctl -d $n -c number=60,wide=7,text=both; \
         v4l2-ctl -d $n -C number,text; "
    );
    if no_user.is_none() {
        line += &format!(
            "v4l2-ctl -d $n --stream-user=2 --stream-count={FRAMES} --stream-to=/tmp/frames; \
             echo; echo {CAPTURED}$(od -An -v -tx1 /tmp/frames | tr -d ' \\n'); \
             rm -f /tmp/frames; "
        );
    }
    line += "v4l2-ctl -d $n -V";
    let enough = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        scope.spawn(|| subject.film(&enough));
        let said = stand.run(&format!("({line}) 2>&1"), LIMIT);
        enough.store(true, Ordering::Relaxed);
        said
    })?;
    narrow_format(stand, subject)?;
    let misplaced = match no_user {
        None => at_an_odd_address(stand, subject)?,
        Some(_) => None,
    };
    stand.check()?;

    let wanted = [
        "64/48".to_owned(),
        "number: 60".into(),
        "text: 'both'".into(),
    ];
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|one| !said.stdout.contains(one))
        .collect();
    if said.timed_out || !missing.is_empty() {
        let mut evidence = told(&subject.device.record(mark));
        let lines = said.stdout.lines();
        let lines = lines.filter(|line| !line.starts_with(CAPTURED));
        evidence.extend(lines.map(str::to_owned));
        let seen = match said.timed_out {
            true => format!("not done in {} s", LIMIT.as_secs()),
            false => format!("v4l2-ctl did not say {}", missing.join(", ")),
        };
        let expected = "v4l2-ctl tells what the device says";
        return Ok(Finding::failed(expected, seen, evidence));
    }
    let other = match no_user {
        None => other_frames(subject, &said.stdout),
        Some(_) => None,
    };
    if let Some(other) = other {
        return Ok(Finding::failed(
            format!("{FRAMES} frames in v4l2-ctl's file, as the device wrote them"),
            other,
            told(&subject.device.record(mark)),
        ));
    }
    if let Some(misplaced) = misplaced {
        return Ok(misplaced);
    }
    match subject.device.faults().get(faults) {
        Some(fault) => Ok(Finding::failed(
            "messages that a device can read",
            fault.clone(),
            told(&subject.device.record(mark)),
        )),
        None => Ok(Finding::passed(Vec::new())),
    }
}

/// The lengths of a frame's planes.
fn lengths(subject: &Subject) -> Vec<u32> {
    match subject.camera.get().planes.clone() {
        none if none.is_empty() => vec![FRAME],
        planes => planes,
    }
}

/// Says how the frames that v4l2-ctl captured are not the device's, if they are not.
fn other_frames(subject: &Subject, said: &str) -> Option<String> {
    let mut lines = said.lines();
    let captured = lines.find_map(|line| line.strip_prefix(CAPTURED))?;
    let digits = captured.as_bytes().chunks(2);
    let captured: Vec<u8> = digits
        .filter_map(|two| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok())
        .collect();
    let lengths = lengths(subject);
    let frame = |number| {
        let planes = lengths.iter().enumerate();
        planes.flat_map(move |(plane, length)| picture(number, plane, *length))
    };
    let written: Vec<u8> = (1..=FRAMES).flat_map(frame).collect();
    other(&written, &captured)
}

/// Says where bytes are others than were written, if they are.
fn other(written: &[u8], seen: &[u8]) -> Option<String> {
    let pairs = written.iter().zip(seen);
    let at = pairs.clone().position(|(one, other)| one != other);
    let others = pairs.filter(|(one, other)| one != other).count();
    match at {
        Some(at) => Some(format!("{others} others, the first at byte {at}")),
        None if written.len() != seen.len() => {
            Some(format!("{} bytes of {}", seen.len(), written.len()))
        }
        None => None,
    }
}

/// A program captures a frame into memory that begins in the middle of a page and
/// goes across its end; returns what is wrong with the memory afterwards.
fn at_an_odd_address(stand: &Stand, subject: &Subject) -> Result<Option<Finding>, Broken> {
    let mark = subject.device.mark();
    let capture = capture::start(stand, subject, PROMPTLY)?;
    let Some(queued) = capture.wait(stand, subject) else {
        capture.end(stand)?;
        let why = "no stream starts with memory at an odd address";
        return Ok(Some(Finding::not_reached(why)));
    };
    subject.fill(&queued, 1);
    let done = capture::done(&queued, subject, 0);
    let sent = capture::send(subject, queued.session, &done.as_done());
    let ended = capture.end(stand)?;
    let evidence = || told(&subject.device.record(mark));
    let ended = ended.filter(|_| sent.is_ok());
    let Some(ended) = ended.filter(|ended| {
        let dqbuf = ended.answer.calls.get(ended.dqbuf);
        dqbuf.is_some_and(|made| made.errno.is_none())
    }) else {
        return Ok(Some(Finding::failed(
            "a frame from DQBUF after its event, into memory at an odd address",
            "none",
            evidence(),
        )));
    };
    for (plane, (place, length)) in ended.places.iter().enumerate() {
        let (begin, length) = (*place as usize, *length as usize);
        let (page, end) = (begin - SHIFT as usize, begin + length);
        let memory = &ended.answer.memory.0;
        let part = |from, to| memory.get(from..to).unwrap_or_default();
        let around = [part(page, begin), part(end, end.next_multiple_of(4096))];
        let wrong = match other(&picture(1, plane, length as u32), part(begin, end)) {
            Some(wrong) => Some(format!("plane {plane}: {wrong}")),
            None => around
                .concat()
                .iter()
                .any(|byte| *byte != MARK)
                .then(|| format!("plane {plane}: something was written around it")),
        };
        if let Some(wrong) = wrong {
            return Ok(Some(Finding::failed(
                "the frame in the program's memory, at an odd address, and nothing around it",
                wrong,
                evidence(),
            )));
        }
    }
    Ok(None)
}

/// A 32-bit program asks for a format. A kernel that has no such programs kills it.
fn narrow_format(stand: &Stand, subject: &Subject) -> Result<(), Broken> {
    let mut image = Image::default();
    image.narrow_format(Ioctl::TryFmt, kind(subject));
    stand
        .ioctls(image, subject.node(), Duration::from_secs(5))
        .map(drop)
}
