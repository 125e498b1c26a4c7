//! The driver or the card goes away while a stream runs.

use pinhole::agent::protocol::Unload;
use rustix::process::Signal;

use crate::bed::{Bed, LIMIT, PARANOID};

/// The virtio device that the driver is bound to.
const BOUND: &str = "basename $(ls -d /sys/bus/virtio/drivers/pinhole/virtio*)";

/// The second control is set before the card has told of the session's end.
#[test]
#[ignore = "boots a guest"]
fn a_control_set_when_the_session_has_just_been_killed_is_set_in_the_next() {
    let bed = Bed::boot(PARANOID);
    for _ in 0..20 {
        bed.must("v4l2-ctl --device /dev/video0 --set-ctrl=kill_session=1,source_change=1");
    }
    bed.still_works();
    bed.no_splats();
    bed.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn unbinding_while_streaming_ends_the_stream_and_binding_brings_the_device_back() {
    let bed = Bed::boot(PARANOID);
    let device = bed.must(BOUND).trim().to_owned();
    for _ in 0..3 {
        let stream = bed.stream();
        bed.must(&format!(
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
            !bed.run("test -e /dev/video0").status.success(),
            "the node is gone"
        );
        bed.must(&format!(
            "echo {device} > /sys/bus/virtio/drivers/pinhole/bind"
        ));
        bed.still_works();
    }
    bed.no_splats();
    bed.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn the_module_stays_while_a_stream_runs_and_goes_after_it() {
    let bed = Bed::boot(PARANOID);
    let agent = bed.testbed.machine.agent();
    let stream = bed.stream();
    let refused = agent.call(
        Unload {
            module: "pinhole".into(),
        },
        LIMIT,
    );
    assert!(refused.is_err(), "the module is in use");
    bed.wait_for_frames(bed.frames() + 10);
    bed.interrupt(stream);
    agent
        .call(
            Unload {
                module: "pinhole".into(),
            },
            LIMIT,
        )
        .unwrap();
    assert!(!bed.run("test -e /dev/video0").status.success());
    bed.no_splats();
    bed.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn a_card_that_dies_while_streaming_costs_an_error_and_no_hung_task() {
    let bed = Bed::boot(PARANOID);
    let stream = bed.stream();
    let mut bed = bed;
    let card = bed.testbed.card.as_mut().unwrap();
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
    let later = bed.run("v4l2-ctl --device /dev/video0 --stream-user=4 --stream-count=1");
    assert!(
        !later.status.success() || later.stderr.contains("Input/output error"),
        "{later:?}"
    );
    assert!(!later.timed_out);
    // The driver still lets go.
    let device = bed.must(BOUND).trim().to_owned();
    bed.must(&format!(
        "echo {device} > /sys/bus/virtio/drivers/pinhole/unbind"
    ));
    bed.no_splats();
}

#[test]
#[ignore = "boots a guest"]
fn buffers_exported_to_another_device_stream() {
    let bed = Bed::boot("");
    bed.must("modprobe vivid n_devs=1 node_types=0x101");
    let output = bed.must("basename $(dirname $(grep -l vid-out /sys/class/video4linux/*/name))");
    let output = format!("/dev/{}", output.trim());
    let format = "width=640,height=480,pixelformat=YUYV";
    bed.must(&format!(
        "v4l2-ctl --device /dev/video0 --set-fmt-video={format}"
    ));
    bed.must(&format!(
        "v4l2-ctl --device {output} --set-fmt-video-out={format}"
    ));
    // The card's buffers, mapped here, go to vivid's output as dma-bufs.
    bed.must(&format!(
        "v4l2-ctl --device /dev/video0 --out-device {output} --stream-mmap=4 --stream-out-dmabuf --stream-count=20"
    ));
    assert!(bed.frames() >= 20);
    bed.no_splats();
    bed.testbed.finish().unwrap();
}
