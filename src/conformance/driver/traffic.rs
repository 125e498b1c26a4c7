//! What programs do every day, with devices that keep all rules: it has to work, and
//! its record shows most of what a driver puts on the rings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::finding::{Finding, Findings, result, told};
use super::image::{CAPTURE, CAPTURE_MPLANE, Image};
use super::stand::{Broken, LIMIT, Stand};
use super::subject::{FRAME, PLANES, Subject};
use crate::conformance::verdict::Verdict;
use crate::wire::Ioctl;

/// Frames that are captured.
const FRAMES: u32 = 3;

/// Returns why the driver has no user pointers, if it has none.
pub fn no_user_pointers(stand: &Stand, subject: &Subject) -> Result<Option<String>, Broken> {
    let kind = kind(subject);
    let mut image = Image::default();
    image.reqbufs(kind, 1);
    image.reqbufs(kind, 0);
    let Some(answer) = stand.ioctls(image, subject.node(), LIMIT)? else {
        return Ok(Some(
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

/// The type of a subject's buffers.
pub fn kind(subject: &Subject) -> u32 {
    match subject.camera.get().planes.is_empty() {
        true => CAPTURE,
        false => CAPTURE_MPLANE,
    }
}

/// Has programs use both devices; finds whether all is as the devices said.
pub fn traffic(stand: &mut Stand) -> Result<Findings, Broken> {
    let mut finding = None;
    for (subject, length) in [
        (&stand.plain, FRAME),
        (&stand.planes, PLANES.iter().sum::<u32>()),
    ] {
        // What a larger configuration space makes of a driver is another clause's.
        if subject.place.is_none() {
            continue;
        }
        let found = used(stand, subject, length)?;
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

fn used(stand: &Stand, subject: &Subject, length: u32) -> Result<Finding, Broken> {
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
             echo; echo captured $(stat -c %s /tmp/frames); rm -f /tmp/frames; "
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
    stand.check()?;

    let mut wanted = vec![
        "64/48".to_owned(),
        "number: 60".into(),
        "text: 'both'".into(),
    ];
    if no_user.is_none() {
        wanted.push(format!("captured {}", FRAMES * length));
    }
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|one| !said.stdout.contains(one))
        .collect();
    if said.timed_out || !missing.is_empty() {
        let mut evidence = told(&subject.device.record(mark));
        evidence.extend(said.stdout.lines().map(str::to_owned));
        let seen = match said.timed_out {
            true => format!("not done in {} s", LIMIT.as_secs()),
            false => format!("v4l2-ctl did not say {}", missing.join(", ")),
        };
        let expected = "v4l2-ctl tells what the device says, and captures its frames";
        return Ok(Finding::failed(expected, seen, evidence));
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

/// A 32-bit program asks for a format. A kernel that has no such programs kills it.
fn narrow_format(stand: &Stand, subject: &Subject) -> Result<(), Broken> {
    let mut image = Image::default();
    image.narrow_format(Ioctl::TryFmt, kind(subject));
    stand
        .ioctls(image, subject.node(), Duration::from_secs(5))
        .map(drop)
}
