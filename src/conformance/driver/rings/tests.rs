//! A made-up record for each way to break a clause, which breaks no other.

use std::time::Duration;

use super::super::image::Done;
use super::*;
use crate::scripted::device::record::{Answer, Descriptor};
use crate::wire::protocol::CMD_IOCTL;

const SESSION: u32 = 7;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().copied().flat_map(u32::to_le_bytes).collect()
}

fn exchange(request: Vec<u8>, room: u32, answer: Vec<u8>) -> Exchange {
    let one = |addr, length, writable| Descriptor {
        addr,
        length,
        writable,
    };
    let mut descriptors = vec![one(0x1000, request.len() as u32, false)];
    if room > 0 {
        descriptors.push(one(0x9000, room, true));
    }
    Exchange {
        start: 1,
        event_queue: true,
        descriptors,
        length: request.len() as u64,
        request,
        endless: false,
        answer: Some(Answer {
            used: answer.len() as u32,
            bytes: answer,
        }),
    }
}

fn open() -> Exchange {
    exchange(words(&[CMD_OPEN, 0]), 16, words(&[0, 0, SESSION, 0]))
}

fn close() -> Exchange {
    exchange(words(&[CMD_CLOSE, 0, SESSION, 0]), 0, Vec::new())
}

fn call(ioctl: Ioctl, payload: &[u8], room: usize) -> Exchange {
    let mut request = words(&[CMD_IOCTL, 0, SESSION, ioctl as u32]);
    request.extend(payload);
    exchange(request, 8 + room as u32, vec![0; 8 + room])
}

fn format() -> Exchange {
    let mut payload = vec![0; 208];
    payload[0] = 1;
    payload[8] = 64;
    call(Ioctl::SFmt, &payload, 208)
}

/// QBUF of a user pointer of 3072 bytes with these segments.
fn buffer(segments: &[u32]) -> Exchange {
    let mut payload = vec![0; BUFFER];
    payload[4] = 1;
    payload[60] = 2;
    payload[72..76].copy_from_slice(&3072_u32.to_le_bytes());
    for length in segments {
        payload.extend(words(&[0x5000, 0, *length, 0]));
    }
    call(Ioctl::QBuf, &payload, BUFFER)
}

/// S_EXT_CTRLS of a number and a string of 17 bytes, with so many bytes between the
/// payload and the controls.
fn controls(gap: usize) -> Exchange {
    let mut payload = words(&[0, 2, 0, 0, 0, 0, 0, 0]);
    payload.extend(vec![0; gap]);
    payload.extend(words(&[0x0098_0900, 0, 0, 5, 0]));
    payload.extend(words(&[0x0098_0901, 17, 0, 0, 0]));
    payload.extend(words(&[0x6000, 0, 17, 0]));
    call(Ioctl::SExtCtrls, &payload, CONTROLS + 2 * CONTROL)
}

fn record(exchanges: Vec<Exchange>) -> Vec<Entry> {
    let entry = |what| Entry {
        at: Duration::ZERO,
        what,
    };
    let commands = exchanges.into_iter().map(What::Command);
    let config = std::iter::once(What::Config);
    config.chain(commands).map(entry).collect()
}

fn good() -> Vec<Exchange> {
    vec![
        open(),
        format(),
        buffer(&[2000, 1072]),
        controls(0),
        close(),
    ]
}

/// The clauses that a record breaks.
fn broken_by(record: &[Entry]) -> Vec<&'static str> {
    let broken = CHECKS
        .iter()
        .filter(|(_, check)| matches!(check(record), Seen::Broken { .. }));
    broken.map(|(id, _)| *id).collect()
}

#[test]
fn a_driver_that_keeps_all_clauses_breaks_none() {
    let record = record(good());
    for (id, check) in CHECKS {
        assert_eq!(check(&record), Seen::Kept, "{id}");
    }
    for (id, check) in CHECKS {
        assert_eq!(check(&[]), Seen::Nothing, "{id}");
    }
}

#[test]
fn each_way_to_break_a_clause_breaks_that_one() {
    let with = |at: usize, change: &dyn Fn(&mut Exchange)| {
        let mut all = good();
        change(&mut all[at]);
        record(all)
    };
    let instead = |at: usize, exchange: Exchange| {
        let mut all = good();
        all[at] = exchange;
        record(all)
    };
    let readable_again = Descriptor {
        addr: 0x7000,
        length: 1,
        writable: false,
    };
    for (id, record) in [
        ("MV-1", with(1, &|it| it.request[8] = 9)),
        ("MV-2", record([good(), vec![format()]].concat())),
        (
            "MV-3",
            with(1, &|it| {
                it.request[COMMAND + 4] = 64;
                it.request[COMMAND + 8] = 48;
            }),
        ),
        ("MP-3", record(good())[1..].to_vec()),
        ("MP-3", with(0, &|it| it.event_queue = false)),
        (
            "MP-5",
            with(1, &|it| it.request.truncate(COMMAND + 208 - 4)),
        ),
        ("MP-5", with(1, &|it| it.descriptors[1].length = 8)),
        ("MP-5", with(1, &|it| it.request[13] = 0x56)),
        ("MP-8", instead(3, controls(4))),
        ("MP-9", instead(2, buffer(&[2000, 1071]))),
        ("MP-9", instead(2, buffer(&[4096]))),
        ("MP-9", instead(2, buffer(&[2000, 1072, 16]))),
        ("MP-9", instead(2, buffer(&[0, 3072]))),
        ("MP-9", with(2, &|it| it.descriptors[1].length += 32)),
        ("GV-15", with(1, &|it| it.descriptors.push(readable_again))),
        (
            "GV-16",
            with(0, &|it| it.descriptors = vec![readable_again; 9]),
        ),
        ("GV-17", with(1, &|it| it.endless = true)),
    ] {
        let mut broken = broken_by(&record);
        // A structure cut off is none of 64 bits either.
        if id == "MP-5" {
            broken.retain(|id| *id != "MV-3");
        }
        assert_eq!(broken, [id], "{record:#?}");
    }
}

#[test]
fn the_same_id_is_another_session_when_it_was_opened_again() {
    let again = [good(), vec![open(), format(), close()]].concat();
    assert_eq!(broken_by(&record(again.clone())), [] as [&str; 0]);
    // A device that was started anew has no sessions.
    let mut anew = again;
    for exchange in &mut anew[6..] {
        exchange.start = 2;
    }
    assert_eq!(broken_by(&record(anew)), ["MV-1"]);
}

#[test]
fn buffers_for_events_are_chains_as_well() {
    let one = |writable| Descriptor {
        addr: 0x7000,
        length: 64,
        writable,
    };
    let event = |descriptors, endless| {
        let mut all = record(good());
        all.push(Entry {
            at: Duration::ZERO,
            what: What::Event {
                bytes: words(&[1, SESSION]),
                used: 8,
                descriptors,
                endless,
            },
        });
        broken_by(&all)
    };
    assert_eq!(event(vec![one(true), one(true)], false), [""; 0]);
    assert_eq!(event(vec![one(true), one(false)], false), ["GV-15"]);
    assert_eq!(event(vec![one(true); 9], false), ["GV-16"]);
    assert_eq!(event(vec![one(true)], true), ["GV-17"]);
}

#[test]
fn what_follows_an_error_is_seen_up_to_the_close() {
    let error = Entry {
        at: Duration::ZERO,
        what: What::Event {
            bytes: words(&[0, SESSION, 5, 0]),
            used: 16,
            descriptors: Vec::new(),
            endless: false,
        },
    };
    let mut all = record(vec![open(), format()]);
    all.push(error);
    all.extend(record(vec![format(), close(), open(), format()]));
    let after = after_errors(&all);
    let [(SESSION, commands)] = &after[..] else {
        panic!("{after:?}")
    };
    assert_eq!(commands.len(), 2);
}

#[test]
fn an_event_has_room_for_eight_planes() {
    let done = Done {
        index: 3,
        planes: &[100, 200],
        used: 0,
        pointer: 0x1234_5678_9abc_def0,
        sequence: 31,
    };
    let body = done.body();
    assert_eq!(body.len() as u32 + 8, Done::SIZE);
    assert_eq!(
        (number(&body, 0), number(&body, 4), number(&body, 72)),
        (3, 9, 2)
    );
    assert_eq!(number(&body, 24), 2);
    assert_eq!(number(&body, 56), 31);
    assert_eq!(number(&body, BUFFER + PLANE), 200);
    assert_eq!(number(&body, BUFFER + PLANE + 4), 200);
    assert_eq!(number(&body, BUFFER + PLANE + 8), 0x9abc_def0);
}
