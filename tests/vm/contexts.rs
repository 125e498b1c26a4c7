//! A card from memory to memory, each open file of which is a context of its own: what
//! is lost is the files' that were open, and no other's.

use pinhole::agent::protocol::Run;
use pinhole::card::CardKind;
use pinhole::rig::testbed::TestbedSpec;
use pinhole::vm::channel::Pending;

use crate::recovery::{
    PINS, REVIVE, deaths, failed, log_end, log_since, only_the_driver_speaks, set_timeout,
    stand_still,
};
use crate::test_guest::{LIMIT, PARANOID, TestGuest};

/// Both queues of a file, by user pointers.
const STREAM: &str = "v4l2-ctl --device /dev/video0 --stream-out-user=4 --stream-user=4";

/// A guest whose card is one from memory to memory.
fn boot(spec: TestbedSpec) -> TestGuest {
    TestGuest::start(TestbedSpec {
        append: PARANOID.into(),
        kind: CardKind::M2m,
        ..spec
    })
}

/// Starts a command line and waits until the card has read and written as many frames
/// as a few jobs have.
fn stream(guest: &TestGuest, line: &str) -> Pending<Run> {
    let already = guest.frames();
    let run = Run::new(["sh", "-c", line]);
    let stream = guest.testbed.machine.agent().start(run).unwrap();
    guest.wait_for_frames(already + 20);
    stream
}

/// A few jobs in a file of their own are done.
fn still_works(guest: &TestGuest) {
    guest.must(&format!("{STREAM} --stream-count=10"));
}

#[test]
#[ignore = "boots a guest"]
fn a_card_that_stood_still_too_long_is_of_use_to_files_that_are_opened_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let console = folder.path().join("console");
    let guest = boot(TestbedSpec {
        console_log: Some(console.clone()),
        ..TestbedSpec::default()
    });
    guest.must(REVIVE);
    guest.must(&set_timeout());
    let since = log_end(&guest);
    for _ in 0..deaths() {
        // A file that does nothing, and is not closed until the card has gone and come.
        let idle = "exec 3<>/dev/video0; touch /tmp/open; while [ -e /tmp/open ]; do sleep 1; done";
        let run = Run::new(["sh", "-c", idle]);
        let idle = guest.testbed.machine.agent().start(run).unwrap();
        guest.must("while [ ! -e /tmp/open ]; do sleep 0.1; done");
        let streams = [stream(&guest, STREAM), stream(&guest, STREAM)];
        stand_still(&guest, &console);
        for stream in streams {
            failed(&stream.wait(LIMIT).unwrap());
        }
        still_works(&guest);
        assert_eq!(guest.must(PINS).trim(), "0");
        guest.must("rm /tmp/open");
        assert!(idle.wait(LIMIT).unwrap().status.success());
        still_works(&guest);
    }
    only_the_driver_speaks(&log_since(&guest, since));
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn a_session_that_is_lost_is_one_files() {
    let guest = boot(TestbedSpec::default());
    let since = log_end(&guest);
    let other = stream(&guest, STREAM);
    for _ in 0..deaths() {
        failed(&guest.run(&format!(
            "v4l2-ctl --device /dev/video0 --set-ctrl kill_session=1 \
             --stream-out-user=4 --stream-user=4 --stream-count=10"
        )));
        guest.wait_for_frames(guest.frames() + 20);
        still_works(&guest);
    }
    let stopped = guest.interrupt(other);
    assert!(!stopped.timed_out, "{stopped:?}");
    assert_eq!(guest.must(PINS).trim(), "0");
    only_the_driver_speaks(&log_since(&guest, since));
    guest.no_splats();
    guest.testbed.finish().unwrap();
}
