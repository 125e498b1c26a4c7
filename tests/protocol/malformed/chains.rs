//! Descriptor chains that are broken.

use super::Storm;
use crate::harness::memory::{HIGH, LOW, LOW_END};
use crate::harness::queue::{Descriptor, INDIRECT, NEXT, RAW, SIZE, WRITE};
use crate::harness::v4l2::*;
use crate::harness::{Chains, Driver, Options};

/// Bytes of the command in the readable buffer, and of the writable one.
const READABLE: u32 = 16 + 208;
const WRITABLE: u32 = 8 + 208;

/// A chain written by hand around a good G_FMT.
struct Broken {
    name: String,
    /// From descriptor [`RAW`] on, where the chain begins.
    table: Vec<Descriptor>,
    /// The content of an indirect table.
    indirect: Vec<Descriptor>,
}

/// Where the parts of a chain lie.
#[derive(Clone, Copy)]
struct Places {
    readable: u64,
    writable: u64,
    table: u64,
}

fn descriptor(address: u64, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor {
        address,
        len,
        flags,
        next,
    }
}

/// Addresses where memory is not, or ends too early.
fn outside(storm: &Storm) -> Vec<(u64, u32)> {
    let end = storm.driver.memory.high().end;
    vec![
        (0, 1),
        (0, 224),
        (LOW - 1, 1),
        (LOW - 1, 224),
        (LOW_END, 1),
        (LOW_END - 1, 224),
        (HIGH - 1, 224),
        (HIGH - 224, 224),
        (end, 1),
        (end - 1, 224),
        (1 << 40, 224),
        (1 << 63, 224),
        (u64::MAX, 1),
        (u64::MAX, 224),
        (u64::MAX - 223, 224),
        (u64::MAX - 100, 224),
        (LOW, u32::MAX),
        (HIGH, u32::MAX),
        (HIGH, 1 << 31),
        (u64::MAX - 7, u32::MAX),
    ]
}

/// Every broken chain that there is a name for.
fn all(storm: &Storm, places: Places) -> Vec<Broken> {
    let mut all = Vec::new();
    let mut add = |name: &str, table: &[Descriptor]| {
        all.push(Broken {
            name: name.to_owned(),
            table: table.to_vec(),
            indirect: Vec::new(),
        });
    };
    let read = |flags, next| descriptor(places.readable, READABLE, flags, next);
    let write = |flags, next| descriptor(places.writable, WRITABLE, WRITE | flags, next);
    let next = RAW + 1;

    for out in [SIZE, SIZE + 1, 0x7fff, 0xffff] {
        add("a first next out of range", &[read(NEXT, out)]);
        let middle = [read(NEXT, next), write(NEXT, out)];
        add("a second next out of range", &middle);
    }
    add("a loop of one readable", &[read(NEXT, RAW)]);
    add("a loop of one writable", &[write(NEXT, RAW)]);
    add("a loop of two", &[read(NEXT, next), write(NEXT, RAW)]);
    add("a loop at the end", &[read(NEXT, next), write(NEXT, next)]);
    add(
        "a loop of two readables",
        &[read(NEXT, next), read(NEXT, RAW)],
    );
    add("writable first", &[write(NEXT, next), read(0, 0)]);
    add(
        "writable between",
        &[
            descriptor(places.readable, 16, NEXT, next),
            write(NEXT, next + 1),
            descriptor(places.readable + 16, 208, 0, 0),
        ],
    );
    add(
        "readable between",
        &[
            read(NEXT, next),
            descriptor(places.writable, 8, WRITE | NEXT, next + 1),
            descriptor(places.readable, 16, NEXT, next + 2),
            descriptor(places.writable + 8, 208, WRITE, 0),
        ],
    );
    add("readable alone", &[read(0, 0)]);
    add("writable alone", &[write(0, 0)]);
    let nothing = |flags, next| descriptor(places.readable, 0, flags, next);
    add("one descriptor of no bytes", &[nothing(0, 0)]);
    add("one writable of no bytes", &[nothing(WRITE, 0)]);
    add("two of no bytes", &[nothing(NEXT, next), nothing(WRITE, 0)]);
    for address in [0, LOW_END, u64::MAX] {
        add(
            "no bytes nowhere, and no command",
            &[descriptor(address, 0, NEXT, next), write(0, 0)],
        );
    }
    for (address, len) in outside(storm) {
        let astray = |flags, next| descriptor(address, len, flags, next);
        let at = format!("{address:#x}+{len:#x}");
        add(
            &format!("a command at {at}"),
            &[astray(NEXT, next), write(0, 0)],
        );
        add(
            &format!("half a command at {at}"),
            &[
                descriptor(places.readable, 16, NEXT, next),
                astray(NEXT, next + 1),
                write(0, 0),
            ],
        );
        add(
            &format!("an answer to {at}"),
            &[read(NEXT, next), astray(WRITE, 0)],
        );
        add(&format!("nothing but {at}"), &[astray(0, 0)]);
        add(&format!("nothing but writable {at}"), &[astray(WRITE, 0)]);
        add(
            &format!("an indirect table at {at}"),
            &[astray(INDIRECT, 0)],
        );
        // What begins in memory may happen to be a good table.
        if len != u32::MAX {
            add(
                &format!("an indirect table of two at {at}"),
                &[descriptor(address, 32, INDIRECT, 0)],
            );
        }
    }
    // More bytes than a length can say, in few descriptors.
    let mut much: Vec<_> = (1..12)
        .map(|i| descriptor(HIGH, 1 << 20, NEXT, RAW + i))
        .collect();
    much.push(write(0, 0));
    add("eleven MiB of command", &much);

    let whole = [read(NEXT, 1), write(0, 0)];
    let mut indirect = |name: &str, len: u32, flags: u16, content: &[Descriptor]| {
        all.push(Broken {
            name: format!("indirect, {name}"),
            table: vec![descriptor(places.table, len, INDIRECT | flags, 0)],
            indirect: content.to_vec(),
        });
    };
    for len in [0, 1, 8, 15, 17, 24, 31, 33, 47] {
        indirect(&format!("of {len} bytes"), len, 0, &whole);
    }
    for len in [0x10_0010, 0x7fff_fff0, 0xffff_fff0, u32::MAX] {
        indirect(&format!("of {len:#x} bytes"), len, 0, &whole);
    }
    indirect("and writable", 32, WRITE, &[read(NEXT, 1), write(NEXT, 9)]);
    indirect("cut after one", 16, 0, &whole);
    for out in [2, 3, 64, 0xffff] {
        indirect(
            "a next out of range",
            32,
            0,
            &[read(NEXT, out), write(0, 0)],
        );
    }
    indirect("a loop of one", 32, 0, &[read(NEXT, 0), write(0, 0)]);
    indirect("a loop of two", 32, 0, &[read(NEXT, 1), write(NEXT, 0)]);
    let nested = descriptor(places.table, 32, INDIRECT, 0);
    indirect("within indirect", 32, 0, &[nested, write(0, 0)]);
    let nested = descriptor(places.table, 32, INDIRECT | NEXT, 1);
    indirect("within indirect, and more", 32, 0, &[nested, write(0, 0)]);
    let nested = [read(NEXT, 1), descriptor(places.table, 32, INDIRECT, 0)];
    indirect("within indirect, last", 32, 0, &nested);
    all
}

/// Puts the chain into the command queue as it is.
fn give(storm: &mut Storm, places: Places, broken: &Broken) {
    let driver = &mut storm.driver;
    let ask = payload(G_FMT).with(0, CAPTURE);
    let command = ioctl_command(storm.session, G_FMT.code, &ask);
    assert_eq!(command.len(), READABLE as usize);
    driver.memory.write(places.readable, &command);
    driver
        .memory
        .write(places.writable, &[0; WRITABLE as usize]);
    for (i, descriptor) in (0..).zip(&broken.indirect) {
        let address = places.table + i * Descriptor::BYTES;
        driver.memory.write(address, &descriptor.to_bytes());
    }
    for (i, descriptor) in (0..).zip(&broken.table) {
        driver.on_commands(|queue, memory| queue.write_descriptor(memory, RAW + i, *descriptor));
    }
    driver.on_commands(|queue, memory| queue.make_available(memory, RAW));
}

#[test]
fn a_broken_chain_comes_back_and_the_next_one_is_served() {
    let mut cases = 0;
    for event_idx in [true, false] {
        let mut storm = Storm::new(Options {
            event_idx,
            ..Options::default()
        });
        let places = Places {
            readable: HIGH + 0x1000,
            writable: HIGH + 0x2000,
            table: HIGH + 0x3000,
        };
        for broken in all(&storm, places) {
            give(&mut storm, places, &broken);
            // The next command is behind it in the queue, so it comes back
            // first.
            storm.driver.picture(storm.session);
            let strays = std::mem::take(&mut storm.driver.strays);
            let [(RAW, written)] = strays[..] else {
                panic!("{}: {strays:?} came back", broken.name);
            };
            let bytes = storm.driver.memory.read(places.writable, 8);
            if written >= 8 {
                let status = bytes.le32(0);
                assert!((1..4096).contains(&status), "{}: {status}", broken.name);
            }
            // All that it may have written, and only if it says so.
            assert!(written <= 8, "{}: {written} bytes", broken.name);
            if written > 0 {
                storm.driver.memory.accept(places.writable, 8);
            }
            storm.survived(&broken.name);
        }
        cases += storm.end();
    }
    assert!(cases > 300, "{cases}");
}

#[test]
fn a_chain_that_begins_nowhere_is_passed_over() {
    let mut storm = Storm::new(Options::default());
    for head in [SIZE, SIZE + 1, 1000, 0x7fff, 0x8000, 0xffff] {
        let driver = &mut storm.driver;
        driver.on_commands(|queue, memory| queue.make_available(memory, head));
        storm.survived(&format!("a chain at descriptor {head}"));
        assert!(storm.driver.strays.is_empty());
    }
    storm.end();
}

#[test]
fn an_index_that_leaps_over_the_ring_is_not_followed() {
    for event_idx in [true, false] {
        let mut storm = Storm::new(Options {
            event_idx,
            ..Options::default()
        });
        for ahead in [SIZE + 1, SIZE + 2, 1000, 0x7fff, 0x8000, 0xffff] {
            let driver = &mut storm.driver;
            driver.on_commands(|queue, memory| queue.set_index_wrong(memory, ahead));
            // When the kick is taken it looks at the index, before this or
            // after; both are fine.
            Driver::wait_kick_taken(&driver.commands);
            driver.on_commands(|queue, memory| queue.set_index_right(memory));
            storm.survived(&format!("an index {ahead} ahead"));
        }
        storm.end();
    }
}

#[test]
fn what_is_odd_but_clear_in_a_chain_does_no_harm() {
    let mut storm = Storm::new(Options::default());
    let places = Places {
        readable: HIGH + 0x1000,
        writable: HIGH + 0x2000,
        table: HIGH + 0x3000,
    };
    let next = RAW + 1;
    let odd = [
        Broken {
            name: "parts of no bytes".to_owned(),
            table: vec![
                descriptor(places.readable, READABLE, NEXT, next),
                descriptor(places.readable, 0, NEXT, next + 1),
                descriptor(places.writable, 0, WRITE | NEXT, next + 2),
                descriptor(places.writable, WRITABLE, WRITE, 0),
            ],
            indirect: Vec::new(),
        },
        Broken {
            name: "a next beside an indirect table".to_owned(),
            table: vec![descriptor(places.table, 32, INDIRECT | NEXT, next)],
            indirect: vec![
                descriptor(places.readable, READABLE, NEXT, 1),
                descriptor(places.writable, WRITABLE, WRITE, 0),
            ],
        },
        Broken {
            name: "an indirect table said to be writable".to_owned(),
            table: vec![descriptor(places.table, 32, INDIRECT | WRITE, 0)],
            indirect: vec![
                descriptor(places.readable, READABLE, NEXT, 1),
                descriptor(places.writable, WRITABLE, WRITE, 0),
            ],
        },
        Broken {
            name: "flags that nobody knows".to_owned(),
            table: vec![
                descriptor(places.readable, READABLE, NEXT | 0xfff8, next),
                descriptor(places.writable, WRITABLE, WRITE | 0xfff8, 0),
            ],
            indirect: Vec::new(),
        },
    ];
    for chain in odd {
        give(&mut storm, places, &chain);
        storm.driver.picture(storm.session);
        let strays = std::mem::take(&mut storm.driver.strays);
        // Executed or refused, but answered.
        let [(RAW, written)] = strays[..] else {
            panic!("{}: {strays:?} came back", chain.name);
        };
        assert!([RESPONSE as u32, WRITABLE].contains(&written), "{written}");
        storm
            .driver
            .memory
            .accept(places.writable, WRITABLE as usize);
        storm.survived(&chain.name);
    }
    storm.end();
}

#[test]
fn the_longest_chain_that_fits_is_served() {
    let mut storm = Storm::new(Options {
        chains: Chains::Plain,
        ..Options::default()
    });
    // A command of one byte a descriptor, as far as the table goes.
    let driver = &mut storm.driver;
    let command = close_command(u32::MAX);
    driver.memory.write(HIGH, &command);
    for i in 0..16 {
        let last = i == 15;
        let flags = if last { 0 } else { NEXT };
        let one = descriptor(HIGH + u64::from(i), 1, flags, RAW + i + 1);
        driver.on_commands(|queue, memory| queue.write_descriptor(memory, RAW + i, one));
    }
    driver.on_commands(|queue, memory| queue.make_available(memory, RAW));
    storm.survived("a chain of sixteen");
    assert_eq!(storm.driver.strays, [(RAW, 0)]);
    storm.end();
}
