//! Cards that die, and come back or not: what relied on them fails in bounded
//! time, and what follows works without an administrator as soon as it can.
//!
//! `PINHOLE_DEATHS` says how often a card dies in each test, 2 times if it says
//! nothing, and `PINHOLE_TIMEOUT_MS` after what time a card is given up, 5000 if it
//! says nothing: a machine with nothing else to do can have many deaths in short
//! time.

use std::path::Path;
use std::time::{Duration, Instant};

use pinhole::agent::protocol::{Log, LogRecord, RunAnswer};
use pinhole::rig::kernel_log;
use pinhole::rig::testbed::TestbedSpec;
use rustix::process::Signal;

use crate::scripted::Scripted;
use crate::scripted::camera::{Camera, Control, INTEGER, SINGLE, Shared};
use crate::test_guest::{LIMIT, PARANOID, TestGuest};

/// A silent card is set up anew, too.
pub const REVIVE: &str = "echo Y > /sys/module/pinhole/parameters/revive";

/// Pins of user memory in the whole kernel, once each processor's share is counted.
pub const PINS: &str = "cat /proc/sys/vm/stat_refresh; awk '/^nr_foll_pin_acquired/ { n += $2 } /^nr_foll_pin_released/ { n -= $2 } \
                    END { print n + 0 }' /proc/vmstat";

const BRIGHTNESS: u32 = 0x0098_0900;

/// `VIRTIO_MEDIA_EVT_ERROR`.
const ERROR: u32 = 0;

fn number(variable: &str, default: usize) -> usize {
    let told = std::env::var(variable).ok();
    told.map_or(default, |number| {
        let number = number.parse();
        number.unwrap_or_else(|error| panic!("{variable}: {error}"))
    })
}

pub fn deaths() -> usize {
    number("PINHOLE_DEATHS", 2)
}

/// The driver's parameter `timeout_ms`.
fn timeout_ms() -> usize {
    number("PINHOLE_TIMEOUT_MS", 5000)
}

/// Sets the driver's parameter, in the guest's shell.
pub fn set_timeout() -> String {
    format!(
        "echo {} > /sys/module/pinhole/parameters/timeout_ms",
        timeout_ms()
    )
}

/// Says so if an application was not told that the card is gone.
pub fn failed(answer: &RunAnswer) {
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert!(!answer.timed_out, "it hangs: {said}");
    // v4l2-ctl is told by DQBUF or, where it has just got a buffer, by QBUF. Of two
    // queues it waits for one no longer than 2 seconds.
    let ends = ["Input/output error", "qbuf error", "select timeout"];
    assert!(ends.iter().any(|end| said.contains(end)), "{said}");
}

/// Nothing is in the kernel's log but what the driver says about its device.
pub fn only_the_driver_speaks(records: &[LogRecord]) {
    let all: Vec<_> = records.iter().map(kernel_log::line).collect();
    let foreign = records
        .iter()
        .find(|record| !record.text.starts_with("pinhole virtio"));
    assert!(foreign.is_none(), "{foreign:?}\n{}", all.join("\n"));
}

/// The kernel's log from a record on.
pub fn log_since(guest: &TestGuest, since: u64) -> Vec<LogRecord> {
    let agent = guest.testbed.machine.agent();
    agent.call(Log { since }, LIMIT).unwrap().records
}

/// The number that the next record of the kernel's log will have at least.
pub fn log_end(guest: &TestGuest) -> u64 {
    let records = log_since(guest, 0);
    records.last().map_or(0, |record| record.sequence + 1)
}

/// Lets the card stand still until the guest, whose console is in a file, has said
/// that it was given up.
pub fn stand_still(guest: &TestGuest, console: &Path) {
    let given_up = || {
        let console = std::fs::read_to_string(console).unwrap_or_default();
        console.matches(": given up").count()
    };
    let before = given_up();
    let card = guest.testbed.card.as_ref().unwrap();
    card.signal(Signal::STOP);
    // The machine monitor may wait for the card before the line is out.
    let timeout = Duration::from_millis(timeout_ms() as u64);
    let begun = Instant::now();
    while given_up() == before && begun.elapsed() < 10 * timeout {
        std::thread::sleep(Duration::from_millis(20));
    }
    card.signal(Signal::CONT);
}

#[test]
#[ignore = "boots a guest"]
fn a_card_that_stood_still_too_long_works_again_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let console = folder.path().join("console");
    let guest = TestGuest::start(TestbedSpec {
        append: PARANOID.into(),
        console_log: Some(console.clone()),
        ..TestbedSpec::default()
    });
    guest.must(REVIVE);
    guest.must(&set_timeout());
    let since = log_end(&guest);
    for _ in 0..deaths() {
        let stream = guest.stream();
        stand_still(&guest, &console);
        failed(&stream.wait(LIMIT).unwrap());
        guest.still_works();
        assert_eq!(guest.must(PINS).trim(), "0");
    }
    only_the_driver_speaks(&log_since(&guest, since));
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn a_card_that_does_not_come_back_costs_each_who_needs_it_an_error_in_bounded_time() {
    let mut guest = TestGuest::boot(PARANOID);
    guest.must(&set_timeout());
    let since = log_end(&guest);
    let stream = guest.stream();
    let card = guest.testbed.card.as_mut().unwrap();
    card.signal(Signal::KILL);
    assert!(card.wait(LIMIT).unwrap().is_some());
    failed(&stream.wait(LIMIT).unwrap());
    // Nobody has the memory that the stream had pinned any more.
    assert_eq!(guest.must(PINS).trim(), "0");

    for _ in 0..deaths() {
        let capture = "v4l2-ctl -d /dev/video0 --stream-user=4 --stream-count=1";
        failed(&guest.run(capture));
    }
    assert_eq!(guest.must(PINS).trim(), "0");
    let log = log_since(&guest, since);
    only_the_driver_speaks(&log);
    assert_eq!(log.len(), 1, "{log:?}");
    guest.no_splats();
    // The driver lets go.
    guest.must(
        "d=$(basename $(ls -d /sys/bus/virtio/drivers/pinhole/virtio*)); \
              echo $d > /sys/bus/virtio/drivers/pinhole/unbind",
    );
    guest.no_splats();
}

/// What a card stops doing, and does again when it was reset.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// It answers nothing, until the driver has given it up.
    Silence,
    /// It gives up the session, and answers with garbage when it is asked for
    /// another.
    Garbage,
}

#[test]
#[ignore = "boots a guest"]
fn a_card_that_was_given_up_is_reset_and_told_again_what_it_was_told() {
    let camera = Shared::new(Camera {
        controls: vec![Control {
            id: BRIGHTNESS,
            kind: INTEGER,
            name: "Brightness",
            range: (0, 255, 1, 128),
            value: 128,
            ..Control::default()
        }],
        ..Camera::default()
    });
    let guest = Scripted::boot(SINGLE, camera.answers());
    guest.must(REVIVE);
    guest.must(&set_timeout());
    guest.must("v4l2-ctl -d /dev/video0 -c brightness=200");
    let subscribed = camera.get().subscribed.clone();
    assert!(!subscribed.is_empty());

    for death in 0..deaths() {
        let kind = [Death::Silence, Death::Garbage][death % 2];
        let run = pinhole::agent::protocol::Run::new([
            "v4l2-ctl",
            "-d",
            "/dev/video0",
            "--stream-user=2",
            "--stream-to=/dev/null",
        ]);
        let stream = guest.machine.agent().start(run).unwrap();
        guest.wait("the stream starts", || {
            let camera = camera.get();
            camera.streaming && camera.queued.len() == 2
        });
        {
            // What a reset makes of the card.
            let mut camera = camera.get();
            camera.controls[0].value = 128;
            camera.streaming = false;
            camera.queued.clear();
            camera.subscribed.clear();
            camera.set.clear();
        }
        match kind {
            Death::Silence => guest.device.be_silent(true),
            Death::Garbage => {
                guest.device.open_with_garbage();
                guest.device.send(ERROR, &5u64.to_le_bytes(), 16);
            }
        }
        let given_up = format!("{kind:?}");
        guest.wait(&given_up, || {
            guest.log().matches(": given up").count() == death + 1
        });
        guest.device.be_silent(false);
        failed(&stream.wait(LIMIT).unwrap());

        // A card that was silent when it was set up anew, too, is tried again by
        // who needs it.
        guest.wait("the value is told again", || {
            guest.run("v4l2-ctl -d /dev/video0 -V");
            camera.get().set == [(BRIGHTNESS, 200, String::new())]
        });
        assert_eq!(camera.get().subscribed, subscribed);
        let said = guest.must("v4l2-ctl -d /dev/video0 -C brightness");
        assert!(said.contains("brightness: 200"), "{said}");
        assert_eq!(guest.must(PINS).trim(), "0");
    }
    guest.finish();
}

#[test]
#[ignore = "boots a guest"]
fn after_a_suspend_the_card_works_again() {
    let guest = TestGuest::boot(PARANOID);
    guest.must("v4l2-ctl -d /dev/video0 -c brightness=77");
    guest.must("echo devices > /sys/power/pm_test");
    // It would be spent in a busy loop, which is a lockup on a slow machine.
    guest.must("echo 0 > /sys/module/suspend/parameters/pm_test_delay");
    for _ in 0..deaths() {
        let stream = guest.stream();
        guest.must("echo freeze > /sys/power/state");
        failed(&stream.wait(LIMIT).unwrap());
        guest.still_works();
        let said = guest.must("v4l2-ctl -d /dev/video0 -C brightness");
        assert!(said.contains("brightness: 77"), "{said}");
        assert_eq!(guest.must(PINS).trim(), "0");
    }
    // With nobody at it, and the next one at once.
    guest.must("echo freeze > /sys/power/state");
    guest.still_works();
    guest.no_splats();
    guest.testbed.finish().unwrap();
}
