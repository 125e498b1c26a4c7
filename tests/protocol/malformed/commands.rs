//! Commands cut short, answers without room, sessions that are none.

use super::Storm;
use crate::harness::v4l2::*;
use crate::harness::{Chains, Options};

/// A command that the card would execute, and the room that its answer needs.
struct Whole {
    name: &'static str,
    command: Vec<u8>,
    writable: usize,
}

fn whole(session: u32, ioctl: Ioctl, payload: Vec<u8>) -> Whole {
    Whole {
        name: ioctl.name,
        command: ioctl_command(session, ioctl.code, &payload),
        writable: RESPONSE + if ioctl.answered { ioctl.size } else { 0 },
    }
}

/// Two controls at once.
fn controls(session: u32, ioctl: Ioctl) -> Whole {
    let payload = ext_controls(0, &[(MOTION, 0, 3), (HUE, 0, 0)]);
    Whole {
        name: ioctl.name,
        command: ioctl_command(session, ioctl.code, &payload),
        writable: RESPONSE + ext_answer(2),
    }
}

/// Commands for a session without buffers.
fn without_buffers(session: u32) -> Vec<Whole> {
    let capture = |ioctl| payload(ioctl).with(0, CAPTURE);
    vec![
        whole(session, ENUM_FMT, payload(ENUM_FMT).with(4, CAPTURE)),
        whole(session, G_FMT, capture(G_FMT)),
        whole(session, TRY_FMT, format(YUYV, 320, 240)),
        whole(session, S_FMT, format(GREY, 64, 64)),
        whole(
            session,
            ENUM_FRAMESIZES,
            payload(ENUM_FRAMESIZES).with(4, GREY),
        ),
        whole(
            session,
            ENUM_FRAMEINTERVALS,
            payload(ENUM_FRAMEINTERVALS)
                .with(4, GREY)
                .with(8, 64)
                .with(12, 64),
        ),
        whole(session, G_PARM, capture(G_PARM)),
        whole(session, S_PARM, capture(S_PARM).with(12, 1).with(16, 25)),
        whole(session, ENUMINPUT, payload(ENUMINPUT)),
        whole(session, G_INPUT, Vec::new()),
        whole(session, S_INPUT, payload(S_INPUT)),
        whole(session, QUERYCTRL, payload(QUERYCTRL).with(0, HUE)),
        whole(
            session,
            QUERY_EXT_CTRL,
            payload(QUERY_EXT_CTRL).with(0, HUE),
        ),
        whole(session, QUERYMENU, payload(QUERYMENU).with(0, MOTION)),
        whole(session, G_CTRL, payload(G_CTRL).with(0, MOTION)),
        whole(session, S_CTRL, payload(S_CTRL).with(0, MOTION).with(4, 3)),
        controls(session, G_EXT_CTRLS),
        controls(session, TRY_EXT_CTRLS),
        controls(session, S_EXT_CTRLS),
        whole(session, SUBSCRIBE_EVENT, subscription(2, 0, 0)),
        whole(session, UNSUBSCRIBE_EVENT, subscription(2, 0, 0)),
        whole(session, G_SELECTION, capture(G_SELECTION)),
        whole(session, S_SELECTION, capture(S_SELECTION)),
        whole(
            session,
            REQBUFS,
            request_buffers(2, CAPTURE, MEMORY_USERPTR),
        ),
    ]
}

/// Commands for a session with buffers, in an order in which each succeeds.
fn with_buffers(session: u32, memory: u64) -> Vec<Whole> {
    let list: Vec<_> = (0..4).map(|i| (memory + i * 0x2000, 1024)).collect();
    let mut queue = buffer(0, 0x1234, 4096);
    queue.extend(scatter_list(&list));
    vec![
        whole(session, QUERYBUF, payload(QUERYBUF).with(4, CAPTURE)),
        whole(session, QBUF, queue),
        whole(session, STREAMON, payload(STREAMON).with(0, CAPTURE)),
        whole(session, STREAMOFF, payload(STREAMOFF).with(0, CAPTURE)),
    ]
}

/// Runs `attack` on every command, then the command itself, which must still
/// be what it was: one that succeeds.
fn every_command(options: Options, mut attack: impl FnMut(&mut Storm, &Whole)) -> usize {
    let mut storm = Storm::new(options);
    let run = |storm: &mut Storm, whole: &Whole| {
        let reply = storm.driver.command(&whole.command, whole.writable);
        assert_eq!(reply.status(), Some(0), "{}", whole.name);
        assert_eq!(reply.bytes.len(), whole.writable, "{}", whole.name);
    };
    for whole in without_buffers(storm.session) {
        attack(&mut storm, &whole);
        run(&mut storm, &whole);
    }
    let start = storm.driver.memory.high().start;
    for whole in with_buffers(storm.session, start) {
        attack(&mut storm, &whole);
        run(&mut storm, &whole);
        if whole.name == "STREAMON" {
            // Exactly one frame, of the one QBUF that was whole.
            let buffer = storm.driver.dqbuf(storm.session);
            assert_eq!(buffer.index, 0);
            storm.driver.memory.accept(start, 0x8000);
        }
    }
    assert_eq!(storm.driver.pending_events(), 0);
    assert_eq!(storm.driver.reqbufs(storm.session, 0), Ok(0));
    storm.end()
}

#[test]
fn every_truncation_of_every_command_is_refused() {
    let mut cases = 0;
    for chains in [Chains::Plain, Chains::Indirect] {
        let options = Options {
            chains,
            ..Options::default()
        };
        cases += every_command(options, |storm, whole| {
            for len in 0..whole.command.len() {
                let case = format!("{} cut to {len} bytes", whole.name);
                storm.refused(&whole.command[..len], whole.writable, &case);
            }
        });
    }
    assert!(cases > 2000, "{cases}");
}

#[test]
fn every_command_whose_answer_has_no_room_is_refused_and_not_executed() {
    let cases = every_command(Options::default(), |storm, whole| {
        for room in 0..whole.writable {
            let case = format!("{} with room for {room} bytes", whole.name);
            storm.refused(&whole.command, room, &case);
        }
    });
    assert!(cases > 1000, "{cases}");
}

#[test]
fn every_command_to_a_session_that_is_none_is_refused() {
    let cases = every_command(Options::default(), |storm, whole| {
        let session = storm.session;
        let bits = (0..32).map(|bit| session ^ 1 << bit);
        for wrong in bits.chain([0, u32::MAX, session.wrapping_add(1)]) {
            if wrong == session {
                continue;
            }
            let command = whole.command.clone().with(8, wrong);
            let case = format!("{} of session {wrong:#x}", whole.name);
            storm.refused(&command, whole.writable, &case);
        }
    });
    assert!(cases > 500, "{cases}");
}

#[test]
fn open_and_close_cut_short_open_and_close_nothing() {
    let mut storm = Storm::new(Options::default());
    for len in 0..8 {
        storm.refused(&command(CMD_OPEN)[..len], 16, "OPEN cut short");
    }
    let close = close_command(storm.session);
    for len in 0..close.len() {
        storm.refused(&close[..len], RESPONSE, "CLOSE cut short");
        if len > 0 {
            storm.refused(&close[..len], 0, "CLOSE cut short");
        }
    }
    // More often than there can be sessions: none may be left open.
    for room in (0..16).cycle().take(2000) {
        storm.refused(&command(CMD_OPEN), room, "OPEN without room");
    }
    assert!(storm.end() > 2000);
}

#[test]
fn unknown_commands_and_ioctls_are_refused_whatever_their_size() {
    let mut storm = Storm::new(Options::default());
    let session = storm.session;
    for code in [0, 1, 3, 6, 7, 10, 13, 17, 20, 23, 30, 40, 56, 61, 89, 255] {
        for len in [0, 1, 4, 88, 208, 4096, 70_000] {
            let command = ioctl_command(session, code, &vec![0xff; len]);
            storm.refused(&command, RESPONSE + len, &format!("ioctl {code}"));
        }
    }
    for cmd in [0, CMD_MMAP, CMD_MUNMAP, 6, 7, 0x8000_0003, u32::MAX] {
        for len in [0, 8, 16, 24, 70_000] {
            let mut command = command(cmd);
            command.resize(8 + len, 0xff);
            storm.refused(&command, RESPONSE + len, &format!("command {cmd}"));
        }
    }
    assert!(storm.end() > 100);
}

#[test]
fn every_bit_of_a_command_may_be_wrong() {
    let mut storm = Storm::new(Options::default());
    let session = storm.session;
    let mut commands = without_buffers(session);
    // Not those that change what `survived` looks at.
    commands.retain(|whole| !["S_FMT", "REQBUFS"].contains(&whole.name));
    for whole in commands {
        for bit in 0..8 * whole.command.len() {
            let mut command = whole.command.clone();
            command[bit / 8] ^= 1 << (bit % 8);
            if command.le32(8) == session {
                let (cmd, code) = (command.le32(0), command.le32(12));
                let changes = [S_FMT.code, REQBUFS.code].contains(&code);
                if cmd == CMD_CLOSE || cmd == CMD_IOCTL && changes {
                    continue;
                }
            }
            let reply = storm.driver.command(&command, whole.writable);
            assert!(reply.status().is_some_and(|status| status < 4096));
            storm.survived(&format!("{} with bit {bit} wrong", whole.name));
        }
    }
    assert!(storm.end() > 5000);
}
