//! Ioctls: payloads, pointers, statuses.

use super::lab::Lab;
use super::layout::Layout;
use super::rings::same;
use super::stop::{OrFailed, Stop, Tested, ensure, failed};
use super::stream::{POINTER, Stream};
use crate::scripted::driver::queue::Piece;
use crate::scripted::driver::session::is_errno;
use crate::scripted::driver::v4l2::{
    self, ENOTTY, ENUM_FMT, ENUMINPUT, Fields, G_EXT_CTRLS, G_FMT, G_INPUT, G_PARM, Ioctl,
    MEMORY_USERPTR, QUERY_EXT_CTRL, QUERYCTRL, RESPONSE, TRY_EXT_CTRLS, TRY_FMT, With, command,
    ext_answer, ext_controls, ioctl_command, payload,
};
use crate::scripted::driver::{Driver, Reply};

/// A session that no device opens.
const NO_SESSION: u32 = 0x7fff_fff0;

/// V4L2_CTRL_FLAG_NEXT_CTRL.
const NEXT_CTRL: u32 = 0x8000_0000;

/// Runs an ioctl and returns all that comes back.
fn raw(driver: &mut Driver, session: u32, ioctl: Ioctl, asked: &[u8]) -> Result<Reply, Stop> {
    let command = ioctl_command(session, ioctl.code, asked);
    let room = if ioctl.answered { ioctl.size } else { 0 };
    Ok(driver.command(&command, RESPONSE + room)?)
}

/// MD-2.
pub fn payloads_are_whole(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let kind = lab.layout().map_or(v4l2::CAPTURE, |layout| layout.kind);
    let mut asked = vec![
        (ENUM_FMT, payload(ENUM_FMT).with(4, kind)),
        (G_FMT, payload(G_FMT).with(0, kind)),
        (G_PARM, payload(G_PARM).with(0, kind)),
        (ENUMINPUT, payload(ENUMINPUT)),
        (G_INPUT, Vec::new()),
        (QUERYCTRL, payload(QUERYCTRL).with(0, NEXT_CTRL)),
        (QUERY_EXT_CTRL, payload(QUERY_EXT_CTRL).with(0, NEXT_CTRL)),
    ];
    if let Ok(format) = driver.ioctl(session, G_FMT, &payload(G_FMT).with(0, kind))? {
        asked.push((TRY_FMT, format));
    }
    let mut succeeded = 0;
    let mut unsupported = 0;
    let tried = asked.len();
    for (ioctl, given) in asked {
        let reply = raw(&mut driver, session, ioctl, &given)?;
        unsupported += usize::from(reply.status() == Some(ENOTTY));
        if reply.status() != Some(0) {
            continue;
        }
        succeeded += 1;
        ensure(
            reply.payload().len() == ioctl.size,
            format!("the {} bytes of the payload of {ioctl:?}", ioctl.size),
            format!("{} bytes", reply.payload().len()),
        )?;
    }
    match succeeded {
        0 if unsupported == tried => Err(Stop::NotOffered(format!(
            "all of {tried} ioctls are answered with ENOTTY"
        ))),
        0 => Err(Stop::NotReached("no ioctl succeeds".into())),
        _ => Ok(()),
    }
}

/// MD-3.
pub fn errors_have_their_payload(lab: &mut Lab) -> Tested {
    const GIVEN: u32 = 0xfeed;
    let control = lab.survey.needs_control()?;
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    // The second one is no control's.
    let asked = [(control.id, 0, control.values[0] as u64), (1, 0, 0)];
    let asked = ext_controls(0, &asked).with(8, GIVEN);
    let command = ioctl_command(session, TRY_EXT_CTRLS.code, &asked);
    let reply = driver.command(&command, RESPONSE + ext_answer(2))?;
    match reply.status() {
        Some(ENOTTY) => {
            return Err(Stop::NotOffered(
                "TRY_EXT_CTRLS is answered with ENOTTY".into(),
            ));
        }
        Some(status) if is_errno(status) => {}
        status => {
            let why = format!("a control that does not exist has the status {status:?}");
            return Err(Stop::NotReached(why));
        }
    }
    let expected = "a payload with the error, whose error_idx says which of 2 it was";
    ensure(
        reply.payload().len() >= 32,
        expected,
        format!("{} bytes after the header", reply.payload().len()),
    )?;
    let index = reply.payload().le32(8);
    ensure(index <= 2, expected, format!("error_idx {index:#x}"))
}

/// MD-4.
pub fn pointers_come_back(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let mut tried = false;
    for pointer in [POINTER, 0, 1] {
        let expected = |what: &str| format!("{what} {pointer:#x}, as it was given");
        if let Some(control) = lab.survey.control {
            let asked = ext_controls(0, &[(control.id, 0, 0)]).with64(24, pointer);
            let command = ioctl_command(session, G_EXT_CTRLS.code, &asked);
            let reply = driver.command(&command, RESPONSE + ext_answer(1))?;
            if reply.status() != Some(ENOTTY) {
                tried = true;
                let seen = || match reply.status() {
                    Some(0) => format!("{:#x}", reply.payload().le64(24)),
                    status => format!("G_EXT_CTRLS has the status {status:?}"),
                };
                let holds = reply.status() == Some(0) && reply.payload().le64(24) == pointer;
                ensure(holds, expected("the pointer controls"), seen())?;
            }
        }
        if lab.survey.layout.is_some_and(Layout::is_planar) && lab.survey.takes(MEMORY_USERPTR) {
            tried = true;
            let stream = Stream::on(lab, &mut driver, session, MEMORY_USERPTR, 1)?;
            let asked = stream.structure(0, 0).with64(64, pointer);
            let reply = stream.ioctl(&mut driver, v4l2::QUERYBUF.code, &asked, &[])?;
            let seen = || match reply.status() {
                Some(0) => format!("{:#x}", reply.payload().le64(64)),
                status => format!("QUERYBUF has the status {status:?}"),
            };
            let holds = reply.status() == Some(0) && reply.payload().le64(64) == pointer;
            ensure(holds, expected("the pointer planes"), seen())?;
            stream.release(&mut driver)?;
        }
    }
    match tried {
        true => Ok(()),
        false => Err(Stop::NotOffered(
            "it has neither extended controls nor planes, and so no pointers".into(),
        )),
    }
}

/// MD-5.
pub fn unsupported(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let driver_side = [
        ("QUERYCAP", 0),
        ("DQBUF", 17),
        ("DQEVENT", 89),
        ("G_JPEGCOMP", 61),
        ("S_JPEGCOMP", 62),
    ];
    let unknown = [200, 255, 256, 0xc0d0_5604, u32::MAX].map(|code| ("an ioctl", code));
    for (name, code) in driver_side.into_iter().chain(unknown) {
        let command = ioctl_command(session, code, &[0; 256]);
        let reply = driver
            .command(&command, RESPONSE + 256)
            .or_failed(format!("ENOTTY (25) for {name}, {code:#x}"))?;
        is_enotty(&format!("{name}, number {code:#x}"), &reply)?;
    }
    for cmd in [0, 6, 0x100, u32::MAX] {
        let mut asked = command(cmd);
        asked.extend([0; 32]);
        let reply = driver
            .command(&asked, 32)
            .or_failed(format!("ENOTTY (25) for command {cmd:#x}"))?;
        is_enotty(&format!("command {cmd:#x}"), &reply)?;
    }
    Ok(())
}

fn is_enotty(what: &str, reply: &Reply) -> Tested {
    let seen = match reply.status() {
        Some(status) => format!("status {status}"),
        None => "no response".into(),
    };
    ensure(
        reply.status() == Some(ENOTTY),
        format!("ENOTTY ({ENOTTY}) for {what}"),
        seen,
    )
}

/// MP-11.
pub fn log_status(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let reply = driver.command(&ioctl_command(session, 70, &[]), RESPONSE)?;
    is_enotty("LOG_STATUS", &reply)
}

/// MP-4.
pub fn statuses_are_errnos(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let expected = "a response whose status is 0 or an errno of Linux, from 1 to 4095";
    let commands = [
        command(v4l2::CMD_OPEN),
        ioctl_command(NO_SESSION, G_FMT.code, &payload(G_FMT)),
        ioctl_command(session, G_FMT.code, &payload(G_FMT).with(0, 77)),
        ioctl_command(session, ENUM_FMT.code, &payload(ENUM_FMT).with(0, u32::MAX)),
        ioctl_command(session, 203, &[0; 64]),
    ];
    for command in commands {
        let reply = driver
            .command(&command, RESPONSE + 208)
            .or_failed(expected)?;
        match reply.status() {
            Some(0) => {}
            Some(status) if is_errno(status) => {}
            Some(status) => return Err(failed(expected, format!("status {status:#x}"))),
            None => return Err(failed(expected, format!("{} bytes", reply.bytes.len()))),
        }
    }
    Ok(())
}

/// MP-7.
pub fn payloads_in_one_place(lab: &mut Lab) -> Tested {
    let asked = lab.layout()?.format();
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let apart = raw(&mut driver, session, G_FMT, &asked)?;
    if apart.status() != Some(0) {
        return Err(Stop::NotReached(format!(
            "G_FMT has the status {:?}",
            apart.status()
        )));
    }
    let command = ioctl_command(session, G_FMT.code, &asked);
    driver.note_command(&command, RESPONSE + G_FMT.size);
    let given = driver.readable(&command);
    let header = driver.writable(&[super::lab::FILL; RESPONSE]);
    let payload = Piece {
        address: given.address + u64::from(given.len) - G_FMT.size as u64,
        len: G_FMT.size as u32,
        writable: true,
    };
    let expected = "the same answer as with payloads apart";
    let reply = driver
        .chain(&[given, header, payload], None)
        .or_failed(expected)?;
    let seen = format!("{:02x?}", reply.bytes);
    ensure(same(&reply.bytes, &apart.bytes), expected, seen)
}
