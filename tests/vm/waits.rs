//! Waiting for a card that takes its time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use pinhole::agent::protocol::{Kill, Run};

use crate::scripted::Scripted;
use crate::scripted::camera::{Camera, G_FMT, SINGLE, Shared};
use crate::test_guest::LIMIT;

#[test]
#[ignore = "boots a guest"]
fn who_waits_for_a_card_can_be_killed_and_the_next_is_served() {
    let camera = Shared::new(Camera::default());
    let mut answers = camera.answers();
    let (asked, seen) = mpsc::channel();
    let (go_on, held) = mpsc::channel::<()>();
    let mut hold = true;
    let guest = Scripted::boot(
        SINGLE,
        Box::new(move |ioctl| {
            if ioctl.code == G_FMT && std::mem::take(&mut hold) {
                asked.send(()).unwrap();
                held.recv().unwrap();
            }
            answers(ioctl)
        }),
    );
    let run = Run::new(["v4l2-ctl", "-d", "/dev/video0", "-V"]);
    let waiting = guest.machine.agent().start(run).unwrap();
    seen.recv_timeout(LIMIT).unwrap();
    let kill = Kill {
        target: waiting.id(),
        signal: 9,
    };
    guest.machine.agent().call(kill, LIMIT).unwrap();
    let ended = waiting.wait(LIMIT).unwrap();
    assert!(!ended.status.success(), "{ended:?}");
    // It did not end because the card was given up for its silence.
    let log = guest.log();
    assert!(!log.contains("given up"), "{log}");

    go_on.send(()).unwrap();
    let said = guest.must("v4l2-ctl -d /dev/video0 -V");
    assert!(said.contains("64/48"), "{said}");
    guest.finish();
}

/// Where each event that the driver ignores is told of, with its context.
const IGNORED: &str = "/sys/kernel/tracing/events/pinhole/pinhole_ignored/enable";

/// An event of type 99, of which the driver knows nothing, in each buffer that
/// it offers as soon as it does. What is too much for one interrupt a work item
/// handles: a task, in whose line of the trace there is no "h".
#[test]
#[ignore = "boots a guest"]
fn a_card_with_no_end_of_events_keeps_no_processor_from_its_work() {
    let camera = Shared::new(Camera::default());
    let guest = Scripted::boot(SINGLE, camera.answers());
    let enough = AtomicBool::new(false);
    guest.must(&format!("echo 1 >{IGNORED}"));
    std::thread::scope(|scope| {
        scope.spawn(|| guest.device.flood(99, &enough));
        let answers: Vec<_> = (0..20)
            .map(|_| guest.run("v4l2-ctl -d /dev/video0 -V"))
            .collect();
        enough.store(true, Ordering::Relaxed);
        for answer in answers {
            assert!(answer.stdout.contains("64/48"), "{answer:?}");
        }
    });
    guest.must("v4l2-ctl -d /dev/video0 --log-status");
    let log = guest.log();
    assert!(log.contains(" events ignored"), "{log}");
    guest.must(&format!("echo 0 >{IGNORED}"));
    guest.must(r"grep -q 'kworker/.*\] d\.\..*pinhole_ignored' /sys/kernel/tracing/trace");
    guest.finish();
}
