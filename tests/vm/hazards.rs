//! The driver or the card goes away while a stream runs.

use pinhole::agent::protocol::Unload;
use rustix::process::Signal;

use crate::test_guest::{LIMIT, PARANOID, TestGuest};

/// The virtio device that the driver is bound to.
const BOUND: &str = "basename $(ls -d /sys/bus/virtio/drivers/pinhole/virtio*)";

/// The second control is set before the card has told of the session's end.
#[test]
#[ignore = "boots a guest"]
fn a_control_set_when_the_session_has_just_been_killed_is_set_in_the_next() {
    let guest = TestGuest::boot(PARANOID);
    for _ in 0..20 {
        guest.must("v4l2-ctl --device /dev/video0 --set-ctrl=kill_session=1,source_change=1");
    }
    guest.still_works();
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn unbinding_while_streaming_ends_the_stream_and_binding_brings_the_device_back() {
    let guest = TestGuest::boot(PARANOID);
    let device = guest.must(BOUND).trim().to_owned();
    for _ in 0..3 {
        let stream = guest.stream();
        guest.must(&format!(
            "echo {device} > /sys/bus/virtio/drivers/pinhole/unbind"
        ));
        let ended = stream.wait(LIMIT).unwrap();
        // v4l2-ctl is told by DQBUF or, where it has just got a buffer, by QBUF,
        // and not always does it exit with an error.
        let told = ["VIDIOC_DQBUF", "qbuf error"]
            .iter()
            .any(|error| ended.stderr.contains(error));
        assert!(told || !ended.status.success(), "{ended:?}");
        assert!(
            !guest.run("test -e /dev/video0").status.success(),
            "the node is gone"
        );
        guest.must(&format!(
            "echo {device} > /sys/bus/virtio/drivers/pinhole/bind"
        ));
        guest.still_works();
    }
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn the_module_stays_while_a_stream_runs_and_goes_after_it() {
    let guest = TestGuest::boot(PARANOID);
    let agent = guest.testbed.machine.agent();
    let stream = guest.stream();
    let refused = agent.call(
        Unload {
            module: "pinhole".into(),
        },
        LIMIT,
    );
    assert!(refused.is_err(), "the module is in use");
    guest.wait_for_frames(guest.frames() + 10);
    guest.interrupt(stream);
    agent
        .call(
            Unload {
                module: "pinhole".into(),
            },
            LIMIT,
        )
        .unwrap();
    assert!(!guest.run("test -e /dev/video0").status.success());
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn a_card_that_dies_while_streaming_costs_an_error_and_no_hung_task() {
    let guest = TestGuest::boot(PARANOID);
    let stream = guest.stream();
    let mut guest = guest;
    let card = guest.testbed.card.as_mut().unwrap();
    card.signal(Signal::KILL);
    assert!(card.wait(LIMIT).unwrap().is_some());

    let ended = stream.wait(LIMIT).unwrap();
    assert!(
        ended
            .stderr
            .contains("VIDIOC_DQBUF: failed: Input/output error"),
        "{}",
        ended.stderr
    );
    // Whoever comes later is told so too, and does not wait for long.
    let later = guest.run("v4l2-ctl --device /dev/video0 --stream-user=4 --stream-count=1");
    assert!(
        !later.status.success() || later.stderr.contains("Input/output error"),
        "{later:?}"
    );
    assert!(!later.timed_out);
    // The driver still lets go.
    let device = guest.must(BOUND).trim().to_owned();
    guest.must(&format!(
        "echo {device} > /sys/bus/virtio/drivers/pinhole/unbind"
    ));
    guest.no_splats();
}

#[test]
#[ignore = "boots a guest"]
fn buffers_exported_to_another_device_stream() {
    let guest = TestGuest::boot("");
    guest.must("modprobe vivid n_devs=1 node_types=0x101");
    let output = guest.must("basename $(dirname $(grep -l vid-out /sys/class/video4linux/*/name))");
    let output = format!("/dev/{}", output.trim());
    let format = "width=640,height=480,pixelformat=YUYV";
    guest.must(&format!(
        "v4l2-ctl --device /dev/video0 --set-fmt-video={format}"
    ));
    guest.must(&format!(
        "v4l2-ctl --device {output} --set-fmt-video-out={format}"
    ));
    // The card's buffers, mapped here, go to vivid's output as dma-bufs.
    guest.must(&format!(
        "v4l2-ctl --device /dev/video0 --out-device {output} --stream-mmap=4 --stream-out-dmabuf --stream-count=20"
    ));
    assert!(guest.frames() >= 20);
    guest.no_splats();
    guest.testbed.finish().unwrap();
}
