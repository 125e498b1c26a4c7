//! Devices that break one clause each: the suite turns red at it and at nothing
//! else.

use std::collections::BTreeSet;
use std::path::Path;

use pinhole::conformance::clauses::ClauseId;
use pinhole::conformance::device::subject::Subject;
use pinhole::conformance::device::{self, DeviceError, Settings};
use pinhole::conformance::verdict::Verdict;
use pinhole::report::conformance as report;

use crate::rings::{self, Fault as Ring};
use crate::served::{Served, card};
use crate::wrapped::{Fault as Card, Wrapped};
use crate::{clauses, is_failed, is_passed, is_unreached, run, settings};

/// Runs the suite, and checks that exactly those clauses are red.
fn is_red(socket: &Path, red: &[&str]) {
    let outcome = run(&mut Subject::at(socket), &settings());
    let table = report::table(std::slice::from_ref(&outcome));
    let expected: BTreeSet<_> = red.iter().copied().collect();
    assert_eq!(clauses(&outcome, is_failed), expected, "{table}");
    assert_eq!(clauses(&outcome, is_unreached), BTreeSet::new(), "{table}");
    // What a SHOULD or a MAY says is told, and no more.
    let binds = |id: &&str| ClauseId::known(id).clause().level.binds();
    assert_eq!(outcome.is_wrong(), red.iter().any(binds), "{table}");
}

fn card_is_red(fault: Option<Card>, red: &[&str]) {
    let served = Served::start(Wrapped::new(card(), fault));
    is_red(&served.socket(), red);
}

fn rings_are_red(fault: Option<Ring>, red: &[&str]) {
    let served = rings::Served::start(fault);
    is_red(&served.socket(), red);
}

/// Without a fault nothing is red, whichever way the card is served.
#[test]
fn without_a_fault() {
    card_is_red(None, &[]);
    rings_are_red(None, &[]);
}

/// Makes a test of each row: its name, the fault, the clauses that are red.
macro_rules! mutants {
    ($of:ident, $type:ident: $($name:ident $fault:ident $red:expr;)*) => {
        $(#[test]
        fn $name() {
            $of(Some($type::$fault), &$red);
        })*
    };
}

#[rustfmt::skip] // a table
mutants! {
    card_is_red, Card:
    md_1 SameId ["MD-1"];
    md_2 NoPayload ["MD-2"];
    md_3 NoErrorPayload ["MD-3"];
    md_4 PointerGone ["MD-4"];
    md_5 DqbufIsInvalid ["MD-5"];
    md_6 LongMapping ["MD-6"];
    md_7 UnmapsAtClose ["MD-7"];
    md_8 UserptrGone ["MD-8"];
    md_9 OwnDescriptor ["MD-9"];
    md_10 DeadIdAgain ["MD-10"];
    mp_2 NameIsNoText ["MP-2"];
    mp_4 NoErrno ["MP-4"];
    mp_10 OneSegment ["MP-10"];
    mp_11 LogsStatus ["MP-11"];
    mp_12 KeepsBuffers ["MP-12"];
    mp_13 AlwaysWritable ["MP-13"];
    mp_14 OtherMemory ["MP-14"];
    mp_16 FrameTwice ["MP-16"];
    mp_17 PointersInEvents ["MP-17"];
    mp_18 NoEvents ["MP-18"];
    mp_18_id OtherControl ["MP-18"];
    mp_19 DeadSessionLives ["MP-19"];
}

#[rustfmt::skip] // a table
mutants! {
    rings_are_red, Ring:
    gd_1 EarlyRings ["GD-1"];
    gd_4 NoChannel ["GD-4"];
    gd_5 WantsIndirect ["GD-5"];
    gd_6 UnknownFeature ["GD-6"];
    gd_7 OnceOnly ["GD-7"];
    gd_9 GoesOn ["GD-9"];
    gd_10 LateConfiguration ["GD-10"];
    gd_12 OldRings ["GD-12"];
    gd_14 Legacy ["GD-14"];
    gd_17 WholeHeader ["GD-17"];
    gd_18 ShortChains ["GD-18"];
    gd_19 WritesReadable ["GD-19"];
    gd_20 ReadsWritable ["GD-20"];
    gd_21 WritesTable ["GD-21"];
    gd_22 IndirectWrite ["GD-22"];
    gd_23 IndirectFirst ["GD-23"];
    gd_24 ObeysIndex ["GD-24"];
    gd_24b IgnoresFlags ["GD-24b"];
    gd_25 ObeysFlags ["GD-25"];
    gd_25b IgnoresIndex ["GD-25b"];
    gd_26 EarlyIndex ["GD-26"];
    gd_27 LongUsed ["GD-27"];
    gd_28 OddFlags ["GD-28"];
    mp_1 OwnFeature ["MP-1"];
    mp_2_written WritableConfiguration ["MP-2"];
    mp_7 ClearsFirst ["MP-7"];
}

/// Buffers and bytes without end are what a device says, not what the suite has.
#[test]
fn counts_and_lengths_without_end_are_not_believed() {
    let served = Served::start(Wrapped::new(card(), Some(Card::Endless)));
    let outcome = run(&mut Subject::at(&served.socket()), &settings());
    let table = report::table(std::slice::from_ref(&outcome));
    assert_eq!(outcome.clauses.len(), device::clauses().count(), "{table}");
    // A length that is wrong is wrong.
    let wrong = BTreeSet::from(["MD-6", "MP-13"]);
    assert_eq!(clauses(&outcome, is_failed), wrong, "{table}");
    assert!(clauses(&outcome, is_unreached).contains("MD-8"), "{table}");
    assert!(clauses(&outcome, is_passed).contains("MD-5"), "{table}");
}

/// Its index goes on and on, with descriptors that it was never given.
#[test]
fn a_used_ring_that_runs_away_is_no_device() {
    let served = rings::Served::start(Some(Ring::RunsAway));
    let settings = Settings {
        region: false,
        ..settings()
    };
    let ended = device::run(&mut Subject::at(&served.socket()), &settings, &mut |_| {});
    let Err(DeviceError::NoDevice { fault, .. }) = ended else {
        panic!("{ended:?}");
    };
    let said = "the used ring returns descriptor 50, which the device does not have";
    assert_eq!(fault.to_string(), said);
}

/// Events that nobody waits for do not prolong the wait.
#[test]
fn a_flood_of_events_ends_with_the_limit() {
    let served = Served::start(Wrapped::new(card(), Some(Card::Floods)));
    let settings = Settings {
        clauses: vec![ClauseId::known("MP-17")],
        ..settings()
    };
    let outcome = run(&mut Subject::at(&served.socket()), &settings);
    let Verdict::NotReached { why } = &outcome.clauses[0].verdict else {
        panic!("{outcome:?}");
    };
    assert_eq!(why, "no buffer in an event within 4 s");
}
