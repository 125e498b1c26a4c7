//! What the driver put on the rings, held against the clauses that a record of it
//! shows kept or broken, whatever the device answered.
//!
//! Each check looks at all that a device recorded, and knows nothing of why the
//! driver sent it.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{BUFFER, CONTROL, CONTROLS, PLANE, USERPTR, number};
use crate::scripted::device::record::{Descriptor, Entry, Exchange, What};
use crate::wire::Ioctl;
use crate::wire::protocol::{CMD_CLOSE, CMD_OPEN};

/// Bytes in front of the payload of an ioctl, and of the answer's.
const COMMAND: usize = 16;
const RESPONSE: u64 = 8;

/// Descriptors that a chain may have without being called excessive, and bytes that
/// each further one has to describe.
const DESCRIPTORS: usize = 8;
const BYTES: u64 = 4096;

/// What a record shows of a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: what the clause is about did not happen.
    Nothing,
    /// The clause was kept each time.
    Kept,
    /// It was not.
    Broken {
        /// What the clause asks for there.
        expected: String,
        /// What the driver did.
        seen: String,
        /// What came.
        evidence: Vec<String>,
    },
}

/// A check of a record.
pub type Check = fn(&[Entry]) -> Seen;

/// The clauses that records alone decide.
pub const CHECKS: &[(&str, Check)] = &[
    ("MV-1", sessions_are_opened),
    ("MV-2", closed_sessions_are_left_alone),
    ("MV-3", layouts_are_those_of_64_bits),
    ("MP-3", queues_come_first),
    ("MP-5", payloads_follow_their_headers),
    ("MP-8", arrays_follow_their_payload),
    ("MP-9", segments_cover_exactly),
    ("GV-15", writable_ones_come_last),
    ("GV-16", chains_are_short),
    ("GV-17", chains_end),
];

fn broken(expected: impl Into<String>, seen: impl Into<String>, of: &Exchange) -> Seen {
    Seen::Broken {
        expected: expected.into(),
        seen: seen.into(),
        evidence: vec![of.to_string()],
    }
}

/// Holds each exchange against a clause: `None` where it is not about it.
fn each(record: &[Entry], mut judge: impl FnMut(&Exchange) -> Option<Seen>) -> Seen {
    let mut seen = Seen::Nothing;
    for exchange in record.iter().filter_map(Entry::command) {
        match judge(exchange) {
            None | Some(Seen::Nothing) => {}
            Some(Seen::Kept) => seen = Seen::Kept,
            Some(broken) => return broken,
        }
    }
    seen
}

/// Walks through the sessions of a record, and calls `judge` for each command in one
/// with whether that session is open, was closed, or was never opened.
fn in_sessions(record: &[Entry], judge: impl Fn(&Exchange, Session) -> Option<Seen>) -> Seen {
    let mut sessions: BTreeMap<u32, Session> = BTreeMap::new();
    let mut start = None;
    each(record, |exchange| {
        if start.replace(exchange.start) != Some(exchange.start) {
            sessions.clear();
        }
        if let Some(id) = exchange.opened() {
            sessions.insert(id, Session::Open);
        }
        let id = exchange.session()?;
        let session = sessions.get(&id).copied().unwrap_or(Session::Unknown);
        if exchange.command() == Some(CMD_CLOSE) {
            sessions.insert(id, Session::Closed);
        }
        judge(exchange, session)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    Unknown,
    Open,
    Closed,
}

fn sessions_are_opened(record: &[Entry]) -> Seen {
    in_sessions(record, |exchange, session| {
        Some(match session {
            Session::Unknown => broken(
                "a session that an OPEN returned",
                "a command in another",
                exchange,
            ),
            Session::Open | Session::Closed => Seen::Kept,
        })
    })
}

fn closed_sessions_are_left_alone(record: &[Entry]) -> Seen {
    in_sessions(record, |exchange, session| match session {
        Session::Unknown => None,
        Session::Open => (exchange.command() == Some(CMD_CLOSE)).then_some(Seen::Kept),
        Session::Closed => Some(broken(
            "nothing in a session after its CLOSE",
            "a command in it",
            exchange,
        )),
    })
}

/// Returns the ioctl of an exchange, if it is one that the table has, and its
/// payload behind the command.
fn ioctl(exchange: &Exchange) -> Option<(Ioctl, &[u8])> {
    let ioctl = Ioctl::from_code(exchange.code()?)?;
    Some((ioctl, exchange.request.get(COMMAND..)?))
}

/// Returns whether an ioctl's payload has pointers in it.
fn has_pointers(ioctl: Ioctl) -> bool {
    matches!(
        ioctl,
        Ioctl::QueryBuf | Ioctl::QBuf | Ioctl::GExtCtrls | Ioctl::SExtCtrls | Ioctl::TryExtCtrls
    )
}

fn payloads_follow_their_headers(record: &[Entry]) -> Seen {
    each(record, |exchange| {
        let code = exchange.code()?;
        if code > 0xff {
            return Some(broken(
                "the number of the ioctl, below 256",
                format!("the code {code:#x}"),
                exchange,
            ));
        }
        let (ioctl, payload) = ioctl(exchange)?;
        let given = payload.len() as u64;
        let room = exchange.room().checked_sub(RESPONSE);
        let (into, out) = (ioctl.bytes_in() as u64, ioctl.bytes_out() as u64);
        let fits = match has_pointers(ioctl) {
            true => given >= into && room.is_some_and(|room| room >= out),
            // More room is harmless: the used length tells.
            false => given == into && room.is_some_and(|room| room >= out),
        };
        Some(match fits {
            true => Seen::Kept,
            false => broken(
                format!(
                    "{into} bytes of payload behind the command of {ioctl:?}, and room for {out} \
                     behind the response"
                ),
                match room {
                    Some(room) => format!("{given}, and {room}"),
                    None => format!("{given}, and no room for a response"),
                },
                exchange,
            ),
        })
    })
}

/// Whoever made the program, a structure in the layout of 32 bits would have its
/// numbers four bytes too early.
fn layouts_are_those_of_64_bits(record: &[Entry]) -> Seen {
    each(record, |exchange| {
        let (ioctl, payload) = ioctl(exchange)?;
        match ioctl {
            Ioctl::GFmt | Ioctl::SFmt | Ioctl::TryFmt => {}
            _ => return None,
        }
        // Programs of the suite ask for 64x48; the gap is nobody's, and may be anything.
        let (gap, union) = (number(payload, 4), number(payload, 8));
        let short = payload.len() < ioctl.bytes_in();
        Some(match (gap, union) != (64, 48) && !short {
            true => Seen::Kept,
            false => broken(
                "a v4l2_format of 208 bytes whose union begins at byte 8",
                format!(
                    "{} bytes, with {gap:#x} at byte 4, and {union:#x} at byte 8",
                    payload.len()
                ),
                exchange,
            ),
        })
    })
}

fn queues_come_first(record: &[Entry]) -> Seen {
    let mut configured = false;
    let mut seen = Seen::Nothing;
    for entry in record {
        match &entry.what {
            What::Config => configured = true,
            // Whoever is bound next has read nothing.
            What::Stopped { .. } => configured = false,
            What::Command(exchange) if exchange.command() == Some(CMD_OPEN) => {
                if !configured {
                    let text = "the configuration read before a session is opened";
                    return broken(text, "an OPEN before that", exchange);
                }
                if !exchange.event_queue {
                    let text = "the event queue set up before a session is opened";
                    return broken(text, "an OPEN before that", exchange);
                }
                seen = Seen::Kept;
            }
            _ => {}
        }
    }
    seen
}

/// The pieces of a payload with pointers.
struct Layout {
    /// Length of the structure and its array, without segments.
    fixed: usize,
    /// Lengths of what segments describe, in order.
    described: Vec<u32>,
    /// Why the array is not what it has to be.
    wrong: Option<String>,
}

/// Returns the pieces of a payload; `None` if it has no pointers, or is cut off.
fn layout(ioctl: Ioctl, payload: &[u8]) -> Option<Layout> {
    match ioctl {
        Ioctl::QBuf | Ioctl::QueryBuf => buffer_layout(ioctl, payload),
        Ioctl::GExtCtrls | Ioctl::SExtCtrls | Ioctl::TryExtCtrls => control_layout(payload),
        _ => None,
    }
}

fn buffer_layout(ioctl: Ioctl, payload: &[u8]) -> Option<Layout> {
    payload.get(..BUFFER)?;
    let shared = ioctl == Ioctl::QBuf && number(payload, 60) == USERPTR;
    let length = number(payload, 72);
    // The multi-planar types of linux/videodev2.h.
    if !matches!(number(payload, 4), 9 | 10) {
        return Some(Layout {
            fixed: BUFFER,
            described: if shared { vec![length] } else { Vec::new() },
            wrong: None,
        });
    }
    let planes = length.min(8) as usize;
    let mut layout = Layout {
        fixed: BUFFER + PLANE * planes,
        described: Vec::new(),
        wrong: None,
    };
    for plane in 0..planes {
        let at = BUFFER + PLANE * plane;
        let entry = payload.get(at..at + PLANE);
        // Eleven reserved numbers, which are zero for applications and drivers.
        let reserved = |entry: &[u8]| entry[20..].iter().all(|byte| *byte == 0);
        match entry {
            Some(entry) if reserved(entry) => {
                layout.described.extend(shared.then(|| number(entry, 4)));
            }
            _ => layout.wrong = Some(format!("no v4l2_plane at byte {at} of the payload")),
        }
    }
    Some(layout)
}

fn control_layout(payload: &[u8]) -> Option<Layout> {
    payload.get(..CONTROLS)?;
    let count = number(payload, 4).min(1024) as usize;
    let mut layout = Layout {
        fixed: CONTROLS + CONTROL * count,
        described: Vec::new(),
        wrong: None,
    };
    for index in 0..count {
        let at = CONTROLS + CONTROL * index;
        // The classes of controls are 0x0098_0000 and up (linux/v4l2-controls.h).
        let id = number(payload, at);
        if payload.len() < at + CONTROL || !(0x0098_0000..0x1000_0000).contains(&id) {
            layout.wrong = Some(format!("no v4l2_ext_control at byte {at}, but {id:#x}"));
            break;
        }
        let size = number(payload, at + 4);
        layout.described.extend((size > 0).then_some(size));
    }
    Some(layout)
}

fn arrays_follow_their_payload(record: &[Entry]) -> Seen {
    each(record, |exchange| {
        let (ioctl, payload) = ioctl(exchange)?;
        let layout = layout(ioctl, payload)?;
        if layout.fixed == ioctl.bytes_in() {
            return None;
        }
        Some(match layout.wrong {
            None => Seen::Kept,
            Some(wrong) => broken(
                format!("the array that {ioctl:?} points to right behind its payload"),
                wrong,
                exchange,
            ),
        })
    })
}

fn segments_cover_exactly(record: &[Entry]) -> Seen {
    each(record, |exchange| {
        let (ioctl, payload) = ioctl(exchange)?;
        let layout = layout(ioctl, payload)?;
        // Of a long request the record does not have all.
        if layout.wrong.is_some() || exchange.length > exchange.request.len() as u64 {
            return None;
        }
        let room = exchange.room().saturating_sub(RESPONSE);
        if room > layout.fixed as u64 {
            return Some(broken(
                format!(
                    "room for {} bytes of {ioctl:?}, without segments",
                    layout.fixed
                ),
                format!("room for {room}"),
                exchange,
            ));
        }
        let list = payload.get(layout.fixed..).unwrap_or_default();
        if layout.described.is_empty() {
            return match list {
                [] => None,
                _ => Some(broken(
                    format!("no segments in {ioctl:?}, which has no such pointer"),
                    format!("{} bytes", list.len()),
                    exchange,
                )),
            };
        }
        Some(match uncovered(&layout.described, list) {
            None => Seen::Kept,
            Some(wrong) => broken(
                format!("segments of exactly {:?} bytes", layout.described),
                wrong,
                exchange,
            ),
        })
    })
}

/// Says how a list of segments does not cover exactly these lengths, if it does not.
fn uncovered(lengths: &[u32], list: &[u8]) -> Option<String> {
    let mut segments = list.chunks(16);
    for length in lengths {
        let mut covered = 0_u64;
        while covered < u64::from(*length) {
            let Some(segment) = segments.next().filter(|one| one.len() == 16) else {
                return Some(format!(
                    "the list ends {covered} bytes into one of {length}"
                ));
            };
            let bytes = number(segment, 8);
            if bytes == 0 {
                return Some("a segment of no bytes".to_owned());
            }
            covered += u64::from(bytes);
        }
        if covered != u64::from(*length) {
            return Some(format!("segments of {covered} bytes for {length}"));
        }
    }
    let rest = segments.count();
    (rest > 0).then(|| format!("{rest} further segments"))
}

/// Holds each chain of both queues against a clause: its descriptors, and whether it
/// goes on without end. `judge` says what is expected and what was seen instead.
fn each_chain(
    record: &[Entry],
    judge: impl Fn(&[Descriptor], bool) -> Option<(String, String)>,
) -> Seen {
    let mut seen = Seen::Nothing;
    for entry in record {
        let wrong = match &entry.what {
            What::Command(one) => judge(&one.descriptors, one.endless),
            What::Event {
                descriptors,
                endless,
                ..
            } => judge(descriptors, *endless),
            _ => continue,
        };
        if let Some((expected, seen)) = wrong {
            return Seen::Broken {
                expected,
                seen,
                evidence: vec![entry.to_string()],
            };
        }
        seen = Seen::Kept;
    }
    seen
}

fn writable_ones_come_last(record: &[Entry]) -> Seen {
    each_chain(record, |descriptors, _| {
        let sorted = descriptors.is_sorted_by_key(|one| one.writable);
        (!sorted).then(|| {
            (
                "the device-readable descriptors first".to_owned(),
                "a device-readable one behind a device-writable one".to_owned(),
            )
        })
    })
}

fn chains_are_short(record: &[Entry]) -> Seen {
    each_chain(record, |descriptors, _| {
        let count = descriptors.len();
        let bytes: u64 = descriptors.iter().map(|one| u64::from(one.length)).sum();
        let most = DESCRIPTORS + (bytes / BYTES) as usize;
        (count > most).then(|| {
            (
                format!("at most {most} descriptors for {bytes} bytes"),
                format!("{count}"),
            )
        })
    })
}

fn chains_end(record: &[Entry]) -> Seen {
    each_chain(record, |descriptors, endless| {
        endless.then(|| {
            (
                "a chain that ends, of no more than 2^32 bytes".to_owned(),
                format!("one that goes on behind descriptor {}", descriptors.len()),
            )
        })
    })
}

/// Returns the sessions that a record has events of errors for, and what came in
/// each after that, CLOSE included.
pub fn after_errors(record: &[Entry]) -> Vec<(u32, Vec<&Exchange>)> {
    let mut given_up: Vec<(u32, Vec<&Exchange>)> = Vec::new();
    let mut closed = BTreeSet::new();
    for entry in record {
        match &entry.what {
            What::Event { bytes, .. } if number(bytes, 0) == 0 => {
                given_up.push((number(bytes, 4), Vec::new()));
            }
            What::Command(exchange) => {
                let Some(id) = exchange.session() else {
                    continue;
                };
                let session = given_up.iter_mut().find(|(session, _)| *session == id);
                if let Some((_, commands)) = session.filter(|_| !closed.contains(&id)) {
                    commands.push(exchange);
                    if exchange.command() == Some(CMD_CLOSE) {
                        closed.insert(id);
                    }
                }
            }
            _ => {}
        }
    }
    given_up
}

#[cfg(test)]
mod tests;
