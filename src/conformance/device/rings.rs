//! Split virtqueues: chains, rings and notifications.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::lab::{FILL, Lab};
use super::stop::{OrFailed, Stop, Tested, ensure, failed};
use crate::scripted::driver::front::{EVENT_IDX, INDIRECT_DESC};
use crate::scripted::driver::memory::Segment;
use crate::scripted::driver::queue::{Descriptor, INDIRECT, NEXT, Piece, Queue, RAW, SIZE, WRITE};
use crate::scripted::driver::v4l2::{
    CMD_OPEN, G_FMT, Ioctl, QUERYCTRL, RESPONSE, command, ioctl_command, payload,
};
use crate::scripted::driver::{Chains, Driver, Fault, Options, Reply};

/// An ioctl that no device has, and that nothing else here uses: its answer is a
/// header.
const NO_IOCTL: u32 = 201;

/// How soon a notification has to come after what it tells of.
const SOON: Duration = Duration::from_secs(1);

/// Ends the test unless the device offers a feature.
fn needs(lab: &Lab, feature: u64, name: &str) -> Tested {
    match lab.survey.features & feature {
        0 => Err(Stop::NotOffered(format!("it does not offer {name}"))),
        _ => Ok(()),
    }
}

/// A command that any device answers with a payload or an error, the same each
/// time.
fn any_command(lab: &Lab, session: u32) -> (Vec<u8>, usize) {
    let (ioctl, asked): (Ioctl, _) = match lab.survey.layout {
        Some(layout) => (G_FMT, layout.format()),
        None => (QUERYCTRL, payload(QUERYCTRL)),
    };
    (
        ioctl_command(session, ioctl.code, &asked),
        RESPONSE + ioctl.size,
    )
}

/// Returns whether two answers to the same command are the same, as far as that
/// can be expected: the length, the header, and of G_FMT the type, the size, the
/// pixel format and the field. Devices are known that leave what they do not set
/// as it was.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    // Between the type and the rest of a v4l2_format there is padding.
    let compared = [0..RESPONSE + 4, RESPONSE + 8..RESPONSE + 24];
    let of = |bytes: &[u8], range: &Range<usize>| {
        let end = range.end.min(bytes.len());
        bytes.get(range.start.min(end)..end).map(<[u8]>::to_vec)
    };
    let agree = |range: &Range<usize>| of(one, range) == of(other, range);
    one.len() == other.len() && compared.iter().all(agree)
}

/// Opens a session and returns the answer to a command on it.
fn answer(lab: &Lab, driver: &mut Driver) -> Result<Reply, Fault> {
    let session = driver.open()?;
    let (asked, room) = any_command(lab, session);
    driver.command(&asked, room)
}

/// GD-17.
pub fn any_cut(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let whole = answer(lab, &mut driver)?;
    drop(driver);
    for chains in [Chains::Split, Chains::Indirect] {
        if chains == Chains::Indirect && lab.survey.features & INDIRECT_DESC == 0 {
            continue;
        }
        let options = Options {
            chains,
            // Events lie in one piece anyway.
            event_buffers: 2,
            ..lab.options()
        };
        let mut driver = lab.attach(options)?;
        let expected = "the same answer however the chain is cut";
        let cut = answer(lab, &mut driver).or_failed(expected)?;
        let seen = format!("{chains:?}: {:02x?}", cut.bytes);
        ensure(same(&cut.bytes, &whole.bytes), expected, seen)?;
    }
    Ok(())
}

/// A message as many pieces: a first one, and single bytes.
fn single_bytes(driver: &mut Driver, bytes: &[u8], singles: usize, writable: bool) -> Vec<Piece> {
    let (first, rest) = bytes.split_at(bytes.len() - singles);
    let parts = [first].into_iter().chain(rest.chunks(1));
    let piece = |part: &[u8]| match writable {
        true => driver.writable(part),
        false => driver.readable(part),
    };
    parts.map(piece).collect()
}

/// GD-18.
pub fn a_long_chain(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let (asked, room) = any_command(lab, session);
    let whole = driver.command(&asked, room)?;
    driver.commands.take_all();
    let half = usize::from(SIZE) / 2;
    driver.note_command(&asked, room);
    let mut pieces = single_bytes(&mut driver, &asked, half - 1, false);
    pieces.extend(single_bytes(&mut driver, &vec![FILL; room], half - 1, true));
    let expected = format!("the same answer in a chain of {SIZE} descriptors");
    let reply = driver.chain(&pieces, None).or_failed(&expected)?;
    let seen = format!("{:02x?}", reply.bytes);
    ensure(same(&reply.bytes, &whole.bytes), expected, seen)
}

/// GD-19.
pub fn readable_is_not_written(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let (known, room) = any_command(lab, session);
    for asked in [
        command(CMD_OPEN),
        known,
        ioctl_command(session, NO_IOCTL + 1, &[7; 64]),
    ] {
        driver.note_command(&asked, room);
        let given = driver.readable(&asked);
        let taken = driver.writable(&vec![FILL; room]);
        driver.chain(&[given, taken], None)?;
        let range = given.address..given.address + u64::from(given.len);
        let untouched = driver.memory.check_range(range);
        untouched.map_err(|stray| failed("a readable buffer as it was given", stray))?;
    }
    Ok(())
}

/// GD-20.
pub fn writable_is_not_read(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let (asked, room) = any_command(lab, session);
    let whole = driver.command(&asked, room)?;
    let expected = "the same answer whatever the writable part holds before";
    for held in [0x00, 0x01, 0xff] {
        driver.note_command(&asked, room);
        let given = driver.readable(&asked);
        let taken = driver.writable(&vec![held; room]);
        let reply = driver.chain(&[given, taken], None).or_failed(expected)?;
        let seen = format!("with {held:#04x} there: {:02x?}", reply.bytes);
        ensure(same(&reply.bytes, &whole.bytes), expected, seen)?;
    }
    Ok(())
}

/// GD-21.
pub fn tables_are_not_written(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let (asked, room) = any_command(lab, session);
    driver.command(&asked, room)?;
    let check = |driver: &Driver, at: u64, len: u64| {
        let untouched = driver.memory.check_range(at..at + len);
        untouched.map_err(|stray| failed("a descriptor table as it was", stray))
    };
    for table in [driver.commands.table(), driver.events.table()] {
        check(&driver, table, Queue::TABLE_BYTES)?;
    }
    if driver.features() & INDIRECT_DESC != 0 {
        let pieces = [driver.readable(&asked), driver.writable(&vec![FILL; room])];
        let table = driver.table(2);
        driver.chain(&pieces, Some(table))?;
        check(&driver, table, 2 * Descriptor::BYTES)?;
        check(&driver, driver.commands.table(), Queue::TABLE_BYTES)?;
    }
    Ok(())
}

/// A descriptor for a piece, with the next of its table if there is one.
fn descriptor(piece: Piece, next: Option<u16>) -> Descriptor {
    Descriptor {
        address: piece.address,
        len: piece.len,
        flags: if piece.writable { WRITE } else { 0 } | if next.is_some() { NEXT } else { 0 },
        next: next.unwrap_or(0),
    }
}

/// Writes an indirect table of those pieces, and returns the descriptor for it.
fn indirect(driver: &mut Driver, pieces: &[Piece]) -> Descriptor {
    let table = driver.table(pieces.len());
    for (i, piece) in pieces.iter().enumerate() {
        let next = (i + 1 < pieces.len()).then_some(i as u16 + 1);
        let at = table + i as u64 * Descriptor::BYTES;
        driver
            .memory
            .write(at, &descriptor(*piece, next).to_bytes());
    }
    Descriptor {
        address: table,
        len: pieces.len() as u32 * Descriptor::BYTES as u32,
        flags: INDIRECT,
        next: 0,
    }
}

/// Gives the device a chain written by hand, and returns what it wrote into
/// `taken`.
fn by_hand(
    lab: &Lab,
    driver: &mut Driver,
    chain: &[Descriptor],
    taken: Piece,
) -> Result<Vec<u8>, Fault> {
    for (i, one) in (RAW..).zip(chain) {
        driver
            .commands
            .write_descriptor(&mut driver.memory, i, *one);
    }
    driver.commands.make_available(&mut driver.memory, RAW);
    if !lab.wait_used(&driver.commands, &driver.memory) {
        return Err(Fault::NoAnswer {
            what: "answer to the command".into(),
            limit: lab.settings.limit,
        });
    }
    driver.reap()?;
    let used = driver.strays.pop().map_or(0, |(_, used)| used);
    let segment: Segment = (taken.address, used.min(taken.len));
    let bytes = driver.memory.gather(&[segment]);
    lab.log
        .note(|| format!("< {}", crate::scripted::driver::log::hex(&bytes)));
    driver.memory.accept_segments(&[(taken.address, taken.len)]);
    Ok(bytes)
}

/// GD-22.
pub fn an_indirect_descriptor_for_writing(lab: &mut Lab) -> Tested {
    needs(lab, INDIRECT_DESC, "VIRTIO_F_INDIRECT_DESC")?;
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let (asked, room) = any_command(lab, session);
    let whole = driver.command(&asked, room)?;
    driver.note_command(&asked, room);
    let taken = driver.writable(&vec![FILL; room]);
    let pieces = [driver.readable(&asked), taken];
    let mut table = indirect(&mut driver, &pieces);
    table.flags |= WRITE;
    let expected = "the same answer with WRITE in the descriptor of the indirect table";
    let bytes = by_hand(lab, &mut driver, &[table], taken).or_failed(expected)?;
    ensure(
        same(&bytes, &whole.bytes),
        expected,
        format!("{bytes:02x?}"),
    )
}

/// GD-23.
pub fn an_indirect_end(lab: &mut Lab) -> Tested {
    needs(lab, INDIRECT_DESC, "VIRTIO_F_INDIRECT_DESC")?;
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let (asked, room) = any_command(lab, session);
    let whole = driver.command(&asked, room)?;
    driver.note_command(&asked, room);
    let (first, rest) = asked.split_at(16);
    let taken = driver.writable(&vec![FILL; room]);
    let first = driver.readable(first);
    let mut pieces = vec![taken];
    if !rest.is_empty() {
        pieces.insert(0, driver.readable(rest));
    }
    let chain = [
        descriptor(first, Some(RAW + 1)),
        indirect(&mut driver, &pieces),
    ];
    let expected = "the same answer in a normal descriptor and an indirect table";
    let bytes = by_hand(lab, &mut driver, &chain, taken).or_failed(expected)?;
    ensure(
        same(&bytes, &whole.bytes),
        expected,
        format!("{bytes:02x?}"),
    )
}

/// Gives the device a command under conditions, and returns whether it notified
/// the driver of its answer.
fn is_notified(
    lab: &Lab,
    driver: &mut Driver,
    prepare: impl FnOnce(&Queue, &mut crate::scripted::driver::Memory),
    wait: Duration,
) -> Result<bool, Fault> {
    // What was not taken yet is of an earlier answer.
    lab.is_quiet(|| driver.commands.take_call());
    driver.commands.take_call();
    prepare(&driver.commands, &mut driver.memory);
    let ticket = driver.submit(&command(CMD_OPEN), 16)?;
    if !lab.wait_used(&driver.commands, &driver.memory) {
        return Err(Fault::NoAnswer {
            what: "answer to the command".into(),
            limit: lab.settings.limit,
        });
    }
    let notified = driver.commands.wait_call(wait);
    lab.log
        .note(|| format!("notified of the answer: {notified}"));
    // This sets used_event anew.
    driver.wait(ticket)?;
    Ok(notified)
}

/// GD-24.
pub fn notifications_by_flags(lab: &mut Lab) -> Tested {
    let options = Options {
        event_idx: false,
        ..lab.options()
    };
    let mut driver = lab.attach(options)?;
    let far = |queue: &Queue| queue.next_used().wrapping_add(100);
    let notified = is_notified(
        lab,
        &mut driver,
        |queue, memory| queue.set_used_event(memory, far(queue)),
        SOON,
    )?;
    let expected = "a notification, since the flags are 0, whatever used_event says";
    ensure(notified, expected, "none")
}

/// GD-24b.
pub fn no_notifications_by_flags(lab: &mut Lab) -> Tested {
    let options = Options {
        event_idx: false,
        ..lab.options()
    };
    let mut driver = lab.attach(options)?;
    let notified = is_notified(
        lab,
        &mut driver,
        |queue, memory| {
            queue.set_flags(memory, 1);
            queue.set_used_event(memory, queue.next_used());
        },
        lab.settings.quiet,
    )?;
    ensure(!notified, "no notification, since the flags are 1", "one")
}

/// GD-25.
pub fn notifications_by_index(lab: &mut Lab) -> Tested {
    needs(lab, EVENT_IDX, "VIRTIO_F_EVENT_IDX")?;
    let mut driver = lab.driver()?;
    let notified = is_notified(
        lab,
        &mut driver,
        |queue, memory| {
            queue.set_flags(memory, 1);
            queue.set_used_event(memory, queue.next_used());
        },
        SOON,
    )?;
    let expected = "a notification when the index passes used_event, whatever the flags say";
    ensure(notified, expected, "none")
}

/// GD-25b.
pub fn no_notifications_by_index(lab: &mut Lab) -> Tested {
    needs(lab, EVENT_IDX, "VIRTIO_F_EVENT_IDX")?;
    let mut driver = lab.driver()?;
    let notified = is_notified(
        lab,
        &mut driver,
        |queue, memory| {
            queue.set_flags(memory, 0);
            queue.set_used_event(memory, queue.next_used().wrapping_add(20));
        },
        lab.settings.quiet,
    )?;
    ensure(!notified, "no notification before used_event", "one")
}

/// Waits until the device has used a chain, as soon as that can be seen.
fn spin(lab: &Lab, driver: &Driver) -> Result<(), Fault> {
    let deadline = Instant::now() + lab.settings.limit;
    while driver.commands.used_index(&driver.memory) == driver.commands.next_used() {
        if Instant::now() > deadline {
            return Err(Fault::NoAnswer {
                what: "answer to the command".into(),
                limit: lab.settings.limit,
            });
        }
        std::hint::spin_loop();
    }
    Ok(())
}

/// GD-26.
pub fn entries_before_the_index(lab: &mut Lab) -> Tested {
    const NONSENSE: u32 = 0xffff_fff0;
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    for _ in 0..8 {
        let entry = driver.commands.used_entry(driver.commands.next_used());
        driver.memory.store(NONSENSE, entry);
        driver.memory.store(NONSENSE, entry + 4);
        let ticket = driver.submit(&ioctl_command(session, NO_IOCTL, &[0; 8]), RESPONSE)?;
        spin(lab, &driver)?;
        let id = u32::from_le(driver.memory.load(entry));
        let len = u32::from_le(driver.memory.load(entry + 4));
        let expected = format!("the entry ({ticket}, {RESPONSE}) when the index counts it");
        let holds = id == u32::from(ticket) && len as usize <= RESPONSE;
        ensure(holds, expected, format!("({id:#x}, {len:#x})"))?;
        driver.wait(ticket)?;
    }
    Ok(())
}

/// GD-27.
pub fn data_before_the_index(lab: &mut Lab) -> Tested {
    /// More room than there is to write.
    const SPARE: usize = 64;
    let mut driver = lab.driver()?;
    let session = driver.open()?;
    let (asked, room) = any_command(lab, session);
    let room = room + SPARE;
    let mut runs = Vec::new();
    for held in [FILL, !FILL] {
        driver.note_command(&asked, room);
        let given = driver.readable(&asked);
        let taken = driver.writable(&vec![held; room]);
        let ticket = driver
            .commands
            .submit(&mut driver.memory, &[given, taken], None)?;
        spin(lab, &driver)?;
        let bytes = driver.memory.read(taken.address, room);
        let entry = driver.commands.used_entry(driver.commands.next_used());
        let used = u32::from_le(driver.memory.load(entry + 4)) as usize;
        let expected = format!("a used length of {room} at most");
        ensure(used <= room, expected, used)?;
        runs.push((held, bytes, used));
        driver.wait(ticket)?;
    }
    let used = runs[0].2.min(runs[1].2);
    let is_written = |i: usize| runs.iter().any(|(held, bytes, _)| bytes[i] != *held);
    let missing = (0..used).find(|i| !is_written(*i));
    let expected = format!("{used} bytes written when the index counts them, as the entry says");
    match missing {
        None => Ok(()),
        Some(first) => Err(failed(expected, format!("none at byte {first}"))),
    }
}

/// GD-28.
pub fn flags_and_spurious_kicks(lab: &mut Lab) -> Tested {
    for event_idx in [true, false] {
        let options = Options {
            event_idx,
            ..lab.options()
        };
        let mut driver = lab.attach(options)?;
        driver.open()?;
        let has_index = driver.features() & EVENT_IDX != 0;
        for _ in 0..8 {
            driver.commands.kick();
            driver.events.kick();
            std::thread::sleep(Duration::from_millis(1));
        }
        driver.barrier()?;
        driver
            .open()
            .or_failed("answers after notifications without a buffer")?;
        for queue in [&driver.commands, &driver.events] {
            let flags = queue.used_flags(&driver.memory);
            let (most, expected) = match has_index {
                true => (0, "flags 0 in the used ring, with EVENT_IDX"),
                false => (1, "flags 0 or 1 in the used ring"),
            };
            ensure(
                flags <= most,
                expected,
                format!("{flags:#x} of queue {}", queue.number),
            )?;
        }
    }
    Ok(())
}
