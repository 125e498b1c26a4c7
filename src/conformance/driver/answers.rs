//! What the driver makes of answers that are short, and of pointers in them.

use super::capture::{self, Ended};
use super::finding::{Finding, Findings, PROMPTLY, result, told};
use super::image::{BUFFER, CONTROL, Image, PLANE, number, pointer};
use super::stand::{Broken, Stand};
use super::subject::kind;
use super::subject::{NUMBER, Subject};
use super::traffic::no_user_pointers;
use crate::conformance::verdict::Verdict;
use crate::scripted::device::ioctl::{Delivery, EINVAL};
use crate::scripted::device::record::Entry;
use crate::wire::Ioctl;

/// The value that a program has in its structure, and no device says.
const VALUE: u32 = 33;

/// A width that no answer has within its length.
const WIDTH: u32 = 0x1234;

/// What the pointers in events are.
const NOWHERE: u64 = 0xdead_beef_f00d_0000;

/// Errors that come as a header alone.
pub fn errors_without_payload(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = &stand.plain;
    let mark = subject.device.mark();
    let asked = [Ioctl::TryExtCtrls, Ioctl::SExtCtrls, Ioctl::GExtCtrls];
    for ioctl in asked {
        subject.camera.override_with(ioctl as u32, |ioctl| {
            ioctl.delivery = Delivery::Header;
            Err(EINVAL)
        });
    }
    let mut image = Image::default();
    let calls = asked.map(|ioctl| (ioctl, image.control(ioctl, NUMBER, VALUE)));
    let answer = stand.ioctls(image, subject.node(), PROMPTLY)?;
    subject.camera.restore();
    stand.check()?;

    let record = subject.device.record(mark);
    let evidence = told(&record);
    let finding = match answer {
        None => Finding::not_reached("the ioctls do not come back"),
        Some(answer) => {
            let mut finding = Finding::not_reached("the device has nothing to refuse");
            for (ioctl, (call, control)) in calls {
                // What the driver refuses by itself shows nothing.
                let refused = record.iter().filter_map(Entry::command).any(|exchange| {
                    let answer = exchange.answer.as_ref();
                    exchange.code() == Some(ioctl as u32)
                        && answer.is_some_and(|answer| answer.used == 8)
                });
                let Some(made) = answer.calls.get(call).filter(|_| refused) else {
                    continue;
                };
                if made.errno.is_none() {
                    finding = Finding::failed(
                        format!("an error of {ioctl:?}, which the device refuses"),
                        "success",
                        evidence,
                    );
                    break;
                }
                let at = control as usize;
                let after = answer.memory.0.get(at..at + CONTROL).unwrap_or_default();
                let payload = &made.payload.0;
                let place = answer.base.wrapping_add(u64::from(control));
                // error_idx is the V4L2 core's to set.
                let kept = number(payload, 4) == 1
                    && pointer(payload, 24) == place
                    && number(after, 0) == NUMBER
                    && number(after, 4) == 0
                    && number(after, 12) == VALUE;
                if !kept {
                    finding = Finding::failed(
                        format!("{ioctl:?}'s structures as the program had them"),
                        format!("v4l2_ext_controls {payload:02x?}, v4l2_ext_control {after:02x?}"),
                        evidence,
                    );
                    break;
                }
                finding = Finding::passed(evidence.clone());
            }
            finding
        }
    };
    Ok(vec![("MV-4", finding)])
}

/// Answers whose used length ends before the payload that is written behind it.
pub fn data_beyond_the_length(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = &stand.plain;
    let mark = subject.device.mark();
    let asked = [Ioctl::GFmt, Ioctl::TryFmt];
    for ioctl in asked {
        subject.camera.override_with(ioctl as u32, |ioctl| {
            let numbers = [
                WIDTH,
                48,
                u32::from_le_bytes(*b"GREY"),
                1,
                WIDTH,
                48 * WIDTH,
            ];
            for (index, number) in numbers.into_iter().enumerate() {
                ioctl.put(8 + 4 * index, &number.to_le_bytes());
            }
            ioctl.delivery = Delivery::Used(8);
            Ok(())
        });
    }
    let mut image = Image::default();
    let kind = kind(subject);
    let calls = asked.map(|ioctl| (ioctl, image.format(ioctl, kind)));
    let answer = stand.ioctls(image, subject.node(), PROMPTLY)?;
    subject.camera.restore();
    stand.check()?;

    let record = subject.device.record(mark);
    let evidence = told(&record);
    let was_asked = record.iter().any(|entry| {
        let code = entry.command().and_then(|exchange| exchange.code());
        asked.iter().any(|ioctl| code == Some(*ioctl as u32))
    });
    let finding = match answer {
        None => Finding::not_reached("the ioctls do not come back"),
        Some(_) if !was_asked => Finding::not_reached("the driver asks for no format"),
        Some(answer) => {
            let believed = calls.into_iter().find_map(|(ioctl, call)| {
                let made = answer.calls.get(call)?;
                let width = number(&made.payload.0, 8);
                (made.errno.is_none() && width == WIDTH).then(|| {
                    Finding::failed(
                        "an error, or anything but what the device wrote beyond the used length",
                        format!("{ioctl:?} succeeds with the width {WIDTH:#x} from there"),
                        evidence.clone(),
                    )
                })
            });
            let told = answer.calls.iter().map(|made| result(made.errno));
            let told = format!(
                "the program is told: {}",
                told.collect::<Vec<_>>().join(", ")
            );
            believed.unwrap_or_else(|| Finding::passed([evidence, vec![told]].concat()))
        }
    };
    Ok(vec![("GV-21", finding)])
}

/// Pointers in the event of a buffer that is done.
pub fn pointers_in_events(stand: &mut Stand) -> Result<Findings, Broken> {
    let mut finding = None;
    for subject in [&stand.plain, &stand.planes] {
        if subject.place.is_none() {
            continue;
        }
        let found = match no_user_pointers(stand, subject)? {
            Some(why) => Finding::not_offered(why),
            None => pointers(stand, subject)?,
        };
        let failed = matches!(found.verdict, Verdict::Failed { .. });
        if failed || finding.is_none() {
            finding = Some(found);
        }
    }
    let finding = finding.unwrap_or_else(|| Finding::not_reached("no device has a node"));
    Ok(vec![("MV-6", finding)])
}

fn pointers(stand: &Stand, subject: &Subject) -> Result<Finding, Broken> {
    let mark = subject.device.mark();
    let capture = capture::start(stand, subject, PROMPTLY)?;
    let Some(queued) = capture.wait(stand, subject) else {
        capture.end(stand)?;
        return Ok(Finding::not_reached("no stream starts"));
    };
    let done = capture::done(&queued, subject, NOWHERE);
    let sent = capture::send(subject, queued.session, &done.as_done());
    let ended = capture.end(stand)?;
    stand.check()?;
    let evidence = told(&subject.device.record(mark));
    if let Err(error) = sent {
        return Ok(Finding::not_reached(error.to_string()));
    }
    let Some(Ended {
        answer,
        dqbuf,
        at,
        places,
    }) = ended
    else {
        return Ok(Finding::not_reached("DQBUF does not come back"));
    };
    let Some(made) = answer.calls.get(dqbuf).filter(|made| made.errno.is_none()) else {
        return Ok(Finding::not_reached("DQBUF fails"));
    };
    let pointers: Vec<u64> = match &places[..] {
        [_] => vec![pointer(&made.payload.0, 64)],
        _ => {
            // The array of planes follows the structure.
            let array = (at as usize + BUFFER).next_multiple_of(16);
            let planes = 0..places.len();
            planes
                .map(|plane| pointer(&answer.memory.0, array + PLANE * plane + 8))
                .collect()
        }
    };
    let wanted: Vec<u64> = places
        .iter()
        .map(|(place, _)| answer.base.wrapping_add(u64::from(*place)))
        .collect();
    Ok(match pointers == wanted {
        true => Finding::passed(evidence),
        false => Finding::failed(
            format!("the program's own pointers from DQBUF, {wanted:#x?}"),
            format!("{pointers:#x?}, where the event had {NOWHERE:#x}"),
            evidence,
        ),
    })
}
