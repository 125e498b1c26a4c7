//! Commands, buffers and chains that no sane driver makes, by the hundred.
//!
//! Each is answered with an error, or not at all where there is no place for
//! an answer; and after each the card serves the next command as if nothing
//! had been.

mod buffers;
mod chains;
mod commands;
mod controls;
mod events;
mod planes;
mod races;

use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Options, guest_memory};

/// A card under attack.
struct Storm {
    card: Card,
    driver: Driver,
    session: u32,
    picture: Picture,
    cases: usize,
}

impl Storm {
    fn new(options: Options) -> Self {
        let mut card = Card::fast();
        let mut driver = Driver::attach(&mut card, guest_memory(1 << 20), options);
        let session = driver.open();
        let picture = driver.set_picture(session, GREY, 64, 64);
        Self {
            card,
            driver,
            session,
            picture,
            cases: 0,
        }
    }

    /// The card is alive, its state is what it was, and it has written
    /// nothing that it should not have.
    fn survived(&mut self, case: &str) {
        self.cases += 1;
        self.card.assert_alive();
        assert_eq!(
            self.driver.picture(self.session),
            self.picture,
            "after {case}"
        );
        // Memory as a whole takes longer to compare than a case.
        if self.cases.is_multiple_of(16) {
            self.driver.assert_untouched();
        }
    }

    /// The command is refused, and that is all.
    fn refused(&mut self, command: &[u8], writable: usize, case: &str) {
        let reply = self.driver.command(command, writable);
        match reply.status() {
            Some(status) => {
                assert!((1..4096).contains(&status), "{case}: status {status}");
                assert_eq!(reply.bytes.le32(4), 0, "{case}: reserved");
                let len = reply.bytes.len();
                assert!([RESPONSE, writable].contains(&len), "{case}: {len} bytes");
            }
            None => assert!(writable < RESPONSE, "{case}: no answer"),
        }
        self.survived(case);
    }

    /// A whole frame arrives, byte for byte. The session must be without
    /// buffers. Returns how many cases there were.
    fn end(mut self) -> usize {
        self.driver.assert_untouched();
        self.driver.capture_one(&mut self.card, self.session);
        self.driver.close(self.session);
        let allocated = self.card.allocated_kib();
        assert!(
            allocated < 8 << 10,
            "{allocated} KiB allocated after a storm"
        );
        eprintln!("{} malformed cases", self.cases);
        self.cases
    }
}
