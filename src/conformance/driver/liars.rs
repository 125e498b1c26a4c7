//! Devices that lie: of formats and controls, in answers, in events.

use std::sync::atomic::{AtomicBool, Ordering};

use super::capture::{self, Ended};
use super::finding::{Finding, Findings, PROMPTLY, told};
use super::image::FRAME;
use super::image::{Done, Image, number};
use super::robust::{PATIENCE, over};
use super::stand::{Broken, LIMIT, Stand};
use super::subject::NUMBER;
use super::subject::kind;
use super::traffic::no_user_pointers;
use crate::scripted::device::camera::{BITMASK, Control, INTEGER, INTEGER64, MENU, STRING};
use crate::scripted::device::ioctl::Delivery;
use crate::scripted::device::{EVENT_DQBUF, EVENT_V4L2};
use crate::wire::Ioctl;

/// Largest error number that a program may be told: `EHWPOISON`. Above it are the
/// kernel's own.
const LAST_ERRNO: i32 = 133;

/// The device makes up formats, inputs and controls.
pub fn made_up(stand: &mut Stand) -> Result<Findings, Broken> {
    let control = |index: u32, kind, name, range| Control {
        id: 0x00f3_0100 + index,
        kind,
        name,
        range,
        ..Control::default()
    };
    {
        let mut camera = stand.plain.camera.get();
        camera.controls = vec![
            control(0, INTEGER, "No Step", (0, 10, 0, 0)),
            control(1, INTEGER, "Upside Down", (10, 0, 1, 5)),
            control(2, INTEGER, "Too Wide", (0, 1 << 32, 1, 0)),
            control(3, INTEGER64, "Long Step", (0, 10, 1 << 32, 0)),
            control(4, MENU, "Empty", (0, 40, 1, 50)),
            control(5, MENU, "Negative", (-1, 1, 1, 0)),
            control(6, STRING, "Long", (0, i64::MAX, 1, 0)),
            control(7, STRING, "Negative", (-5, -1, 1, 0)),
            control(8, BITMASK, "Empty", (0, 0, 0, 0)),
            control(9, 77, "Unknown", (0, 1, 1, 0)),
            control(
                10,
                INTEGER,
                "A name of thirty-two characters.",
                (0, 1, 1, 0),
            ),
            Control {
                dims: u32::MAX,
                ..control(11, 0x100, "Array", (0, 255, 1, 0))
            },
        ];
    }
    let subject = &stand.plain;
    for ioctl in [Ioctl::GFmt, Ioctl::TryFmt, Ioctl::SFmt] {
        let mut turn = 0_u32;
        subject.camera.override_with(ioctl as u32, move |ioctl| {
            turn += 1;
            let size = [0, u32::MAX, 1 << 31, 1][turn as usize % 4];
            for at in [8, 12, 24, 28] {
                ioctl.put(at, &size.to_le_bytes());
            }
            // The number of planes of a multi-planar format, and the type itself.
            ioctl.put(188, &[255]);
            ioctl.put(0, &(turn % 3 * 9).to_le_bytes());
            Ok(())
        });
    }
    let mark = subject.device.mark();
    let mut line = String::new();
    if let Some(place) = &subject.place {
        line = format!(
            "echo {0} > {1}/unbind; echo {0} > {1}/bind; ",
            place.virtio, place.driver
        );
    }
    line += &format!(
        "n={}; v4l2-ctl -d $n --all -L; v4l2-ctl -d $n -V --set-fmt-video=width=64; \
         timeout -s KILL 5 v4l2-ctl -d $n --stream-mmap=2 --stream-count=1",
        subject.node()
    );
    // A driver that streams all the same may wait for frames, as for any camera's.
    let enough = AtomicBool::new(false);
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| subject.film(&enough));
        let answer = stand.run(&format!("({line}) > /dev/null 2>&1"), LIMIT);
        enough.store(true, Ordering::Relaxed);
        answer
    })?;
    let evidence = told(&subject.device.record(mark));
    let finding = match answer.timed_out {
        false => Finding::passed(evidence),
        true => Finding::failed(
            "programs that end",
            format!("one that was killed after {} s", LIMIT.as_secs()),
            evidence,
        ),
    };
    over(stand, "DV-2", finding)
}

/// Answers are garbage, their status is no errno, their length is too short or too
/// long.
pub fn garbage(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = &stand.plain;
    let mark = subject.device.mark();
    let asked = [
        Ioctl::GFmt,
        Ioctl::TryFmt,
        Ioctl::SFmt,
        Ioctl::EnumFmt,
        Ioctl::EnumInput,
        Ioctl::ReqBufs,
        Ioctl::QueryBuf,
        Ioctl::GExtCtrls,
        Ioctl::SExtCtrls,
        Ioctl::TryExtCtrls,
        Ioctl::StreamOn,
    ];
    for (turn, ioctl) in asked.into_iter().enumerate() {
        let mut turn = turn as u32;
        subject.camera.override_with(ioctl as u32, move |ioctl| {
            turn += 1;
            ioctl.reply.fill(0xff);
            let room = ioctl.reply.len() as u32 + 8;
            ioctl.delivery = match turn % 5 {
                0 => Delivery::Used(0),
                1 => Delivery::Used(4),
                2 => Delivery::Used(room + 4096),
                3 => Delivery::Used(u32::MAX),
                _ => Delivery::Whole,
            };
            [
                Ok(()),
                Err(512),
                Err(u32::MAX),
                Err(1 << 16),
                Err(0x8000_0000),
                Err(516),
            ][turn as usize % 6]
        });
    }
    let kind = kind(subject);
    let mut image = Image::default();
    for _ in 0..6 {
        for ioctl in [Ioctl::GFmt, Ioctl::TryFmt, Ioctl::SFmt] {
            image.format(ioctl, kind);
        }
        image.control(Ioctl::SExtCtrls, NUMBER, 33);
        image.control(Ioctl::GExtCtrls, NUMBER, 0);
        image.reqbufs(kind, 1);
        image.number(Ioctl::StreamOn, kind);
        image.number(Ioctl::StreamOff, kind);
    }
    let answer = stand.ioctls(image, subject.node(), PATIENCE)?;
    subject.camera.restore();
    let evidence = told(&subject.device.record(mark));
    let finding = match answer {
        None => Finding::failed(
            "ioctls that come back",
            format!("none within {} s", PATIENCE.as_secs()),
            evidence,
        ),
        Some(answer) => {
            let errnos = answer.calls.iter().filter_map(|call| call.errno);
            match errnos
                .into_iter()
                .find(|errno| !(1..=LAST_ERRNO).contains(errno))
            {
                None => Finding::passed(evidence),
                Some(errno) => Finding::failed(
                    "error numbers that programs know",
                    format!("{errno}"),
                    evidence,
                ),
            }
        }
    };
    over(stand, "DV-3", finding)
}

/// Events tell of buffers that are not, or are otherwise.
pub fn false_events(stand: &mut Stand) -> Result<Findings, Broken> {
    let subject = &stand.plain;
    if let Some(why) = no_user_pointers(stand, subject)? {
        return Ok(vec![("DV-4", Finding::not_offered(why))]);
    }
    let honest = Done {
        index: 0,
        planes: &[],
        used: FRAME,
        pointer: 0,
        sequence: 0,
    };
    // The event's bytes behind its header, its type, and its used length.
    let event = |done: Done<'_>, change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = done.body();
        change(&mut body);
        body
    };
    let put = |at: usize, value: u32| {
        move |body: &mut Vec<u8>| body[at..at + 4].copy_from_slice(&value.to_le_bytes())
    };
    let lies = [
        (
            EVENT_DQBUF,
            event(Done { index: 5, ..honest }, &|_| ()),
            Done::SIZE,
        ),
        (
            EVENT_DQBUF,
            event(
                Done {
                    index: u32::MAX,
                    ..honest
                },
                &|_| (),
            ),
            Done::SIZE,
        ),
        (
            EVENT_DQBUF,
            event(
                Done {
                    used: FRAME + 1,
                    ..honest
                },
                &|_| (),
            ),
            Done::SIZE,
        ),
        (
            EVENT_DQBUF,
            event(
                Done {
                    used: u32::MAX,
                    ..honest
                },
                &|_| (),
            ),
            Done::SIZE,
        ),
        // Another type of buffer, and planes where there are none.
        (EVENT_DQBUF, event(honest, &put(4, 9)), Done::SIZE),
        (EVENT_DQBUF, event(honest, &put(4, 77)), Done::SIZE),
        (EVENT_DQBUF, event(honest, &put(72, u32::MAX)), Done::SIZE),
        // Cut off, and longer than its buffer.
        (EVENT_DQBUF, event(honest, &|_| ()), 9),
        (EVENT_DQBUF, event(honest, &|_| ()), 0),
        (EVENT_DQBUF, event(honest, &|_| ()), u32::MAX),
        (EVENT_V4L2, vec![0xff; 136], 8 + 136),
        (EVENT_V4L2, vec![0xff; 136], 50),
        (77, vec![0xff; 136], 8 + 136),
    ];
    let mark = subject.device.mark();
    let mut finding = None;
    for (turn, (kind, body, used)) in lies.into_iter().enumerate() {
        let capture = capture::start(stand, subject, PROMPTLY)?;
        let Some(queued) = capture.wait(stand, subject) else {
            capture.end(stand)?;
            finding = Some(match turn {
                0 => Finding::not_reached("no stream starts"),
                _ => Finding::failed(
                    "a stream after an event that told lies",
                    "none that starts",
                    told(&subject.device.record(mark)),
                ),
            });
            break;
        };
        // Whether the driver still has buffers for events is seen at the end.
        let _ = subject.device.send(queued.session, kind, &body, used);
        let _ = subject
            .device
            .send(queued.session ^ 0x55, EVENT_DQBUF, &body, used);
        let _ = capture::send(subject, queued.session, &honest);
        let ended = capture.end(stand)?;
        stand.check()?;
        let Some(Ended { answer, dqbuf, .. }) = ended else {
            finding = Some(Finding::failed(
                "DQBUF back after the event of a whole buffer at the latest",
                "a program that waits on",
                told(&subject.device.record(mark)),
            ));
            break;
        };
        let made = answer.calls.get(dqbuf).filter(|made| made.errno.is_none());
        let (index, used) = made.map_or((0, 0), |made| {
            (number(&made.payload.0, 0), number(&made.payload.0, 8))
        });
        if index != 0 || used > FRAME {
            finding = Some(Finding::failed(
                format!("DQBUF of buffer 0 with at most {FRAME} bytes, or an error"),
                format!("buffer {index} with {used} bytes"),
                told(&subject.device.record(mark)),
            ));
            break;
        }
    }
    over(
        stand,
        "DV-4",
        finding.unwrap_or_else(|| Finding::passed(Vec::new())),
    )
}
