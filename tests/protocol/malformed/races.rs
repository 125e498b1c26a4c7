//! Memory that the guest changes while the card reads it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use vm_memory::{Bytes, GuestAddress};

use super::Storm;
use crate::harness::card::LIMIT;
use crate::harness::memory::HIGH;
use crate::harness::queue::{Descriptor, NEXT, RAW, WRITE};
use crate::harness::v4l2::*;
use crate::harness::{Options, SetAtEnd};

#[test]
fn a_scatter_list_that_changes_while_it_is_read_leads_nowhere_else() {
    let mut storm = Storm::new(Options::default());
    let Storm {
        driver, session, ..
    } = &mut storm;
    driver.reqbufs(*session, 1).unwrap();
    driver.streamon(*session).unwrap();

    // QBUF by hand, so that the command stays where the other thread writes.
    let (good, rings) = (HIGH + 0x1_0000, driver.commands.table());
    let command = HIGH + 0x1000;
    let answer = HIGH + 0x2000;
    let mut payload = buffer(0, 0, 4096);
    payload.extend(scatter_list(&[(good, 4096)]));
    let bytes = ioctl_command(*session, QBUF.code, &payload);
    let start = command + bytes.len() as u64 - 16;
    driver.memory.write(command, &bytes);
    for (index, descriptor) in [
        Descriptor {
            address: command,
            len: bytes.len() as u32,
            flags: NEXT,
            next: RAW + 1,
        },
        Descriptor {
            address: answer,
            len: 96,
            flags: WRITE,
            next: 0,
        },
    ]
    .into_iter()
    .enumerate()
    {
        let index = RAW + index as u16;
        driver.on_commands(|queue, memory| queue.write_descriptor(memory, index, descriptor));
    }

    let shared = driver.memory.shared();
    let stop = AtomicBool::new(false);
    let mut outcomes = [0, 0];
    let deadline = Instant::now() + LIMIT;
    std::thread::scope(|scope| {
        let _end = SetAtEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for address in [good, rings, u64::MAX, good] {
                    shared
                        .store(address.to_le(), GuestAddress(start), Ordering::Relaxed)
                        .expect("guest memory");
                }
            }
        });
        // Until both have been seen often: on a busy machine the other thread
        // may rest for long.
        while outcomes.iter().any(|&seen| seen < 100) && Instant::now() < deadline {
            driver.on_commands(|queue, memory| queue.make_available(memory, RAW));
            // Behind it in the queue: the answer is there when this is.
            driver.picture(*session);
            driver.strays.clear();
            let status = driver.memory.read(answer, 8).le32(0);
            if status == 0 {
                driver.dqbuf(*session);
                driver.memory.accept(good, 4096);
            }
            outcomes[usize::from(status != 0)] += 1;
        }
    });
    let [taken, refused] = outcomes;
    assert!(taken >= 100 && refused >= 100, "{outcomes:?}");
    driver.memory.accept(start, 8);
    driver.memory.accept(answer, 96);
    driver.streamoff(*session).unwrap();
    driver.reqbufs(*session, 0).unwrap();
    storm.survived("a list that changes");
    storm.end();
}

#[test]
fn descriptors_that_change_while_they_are_followed_lead_nowhere_else() {
    let mut storm = Storm::new(Options::default());
    let driver = &mut storm.driver;
    let table = driver.commands.table() + u64::from(RAW) * Descriptor::BYTES;
    let ask = payload(G_FMT).with(0, CAPTURE);
    let command = ioctl_command(storm.session, G_FMT.code, &ask);
    driver.memory.write(HIGH, &command);
    let read = |len, next| Descriptor {
        address: HIGH,
        len,
        flags: NEXT,
        next,
    };
    let write = |address, len| Descriptor {
        address,
        len,
        flags: WRITE,
        next: 0,
    };
    let chains = [
        [read(224, RAW + 1), write(HIGH + 0x1000, 216)],
        [read(224, RAW), write(HIGH + 0x1000, 8)],
        [read(0, RAW + 1), write(u64::MAX - 8, 216)],
        [read(u32::MAX, 0xffff), write(HIGH + 0x1000, u32::MAX)],
    ];
    let shared = driver.memory.shared();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = SetAtEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for chain in &chains {
                    let bytes = chain.map(Descriptor::to_bytes).concat();
                    shared
                        .write_slice(&bytes, GuestAddress(table))
                        .expect("guest memory");
                }
            }
        });
        for _ in 0..2000 {
            driver.on_commands(|queue, memory| queue.make_available(memory, RAW));
            driver.picture(storm.session);
        }
    });
    driver.strays.clear();
    driver.memory.accept(table, 32);
    driver.memory.accept(HIGH + 0x1000, 216);
    storm.survived("descriptors that change");
    storm.end();
}
