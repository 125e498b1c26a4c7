//! Waiting for a card that takes its time.

use std::sync::mpsc;

use pinhole::agent::protocol::{Kill, Run};

use crate::bed::LIMIT;
use crate::scripted::Scripted;
use crate::scripted::camera::{Camera, G_FMT, SINGLE, Shared};

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
