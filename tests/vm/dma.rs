//! What a kernel that follows every DMA mapping has to say of the driver's, and
//! memory that the card cannot be given as it is.

use pinhole::agent::protocol::Run;
use pinhole::rig::testbed::TestbedSpec;

use crate::test_guest::{LIMIT, TestGuest, capture_mapped};

/// Larger than the 64 KiB that PCI allows a segment of a device whose driver
/// says nothing; memory of videobuf2's comes in pieces of MiB.
const FORMAT: &str = "width=1280,height=720,pixelformat=YUYV";

/// The node of vivid's output, which imports what the card exports; both have
/// one format.
fn importer(guest: &TestGuest) -> String {
    guest.must("modprobe vivid n_devs=1 node_types=0x101");
    let output = guest.must("basename $(dirname $(grep -l vid-out /sys/class/video4linux/*/name))");
    let output = format!("/dev/{}", output.trim());
    guest.must(&format!(
        "v4l2-ctl --device /dev/video0 --set-fmt-video={FORMAT}"
    ));
    guest.must(&format!(
        "v4l2-ctl --device {output} --set-fmt-video-out={FORMAT}"
    ));
    output
}

#[test]
#[ignore = "boots a guest"]
fn memory_of_every_kind_is_mapped_within_the_devices_limits() {
    let guest = TestGuest::start(TestbedSpec {
        kernel: Some("trixie-checked".into()),
        ..TestbedSpec::default()
    });
    let output = importer(&guest);
    let capture = "v4l2-ctl --device /dev/video0 --stream-count=5";
    guest.must(&format!("{capture} --stream-user=4"));
    guest.must(&format!("{capture} --stream-mmap=4"));
    guest.must(&format!(
        "{capture} --out-device {output} --stream-mmap=4 --stream-out-dmabuf"
    ));
    for model in ["sg", "vmalloc"] {
        guest.must(&format!(
            "echo {model} > /sys/module/pinhole/parameters/userptr"
        ));
        guest.must(&format!("{capture} --stream-user=4"));
    }
    assert_eq!(
        guest.must("cat /sys/kernel/debug/dma-api/error_count"),
        "0\n"
    );
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

/// Captures a few frames, each several times as long as a bounce buffer holds in
/// one piece, and has every byte verified.
fn mapped_buffers_come_whole(testbed: TestbedSpec) {
    capture_mapped(testbed, 10);
}

fn bounce_buffers(kernel: &str) -> TestbedSpec {
    TestbedSpec {
        kernel: Some(kernel.into()),
        bounce_buffers: true,
        ..TestbedSpec::default()
    }
}

#[test]
#[ignore = "boots a guest"]
fn mapped_buffers_come_whole_out_of_bounce_buffers_on_bullseye() {
    mapped_buffers_come_whole(bounce_buffers("bullseye"));
}

#[test]
#[ignore = "boots a guest"]
fn mapped_buffers_come_whole_out_of_bounce_buffers_on_trixie_backports() {
    mapped_buffers_come_whole(bounce_buffers("trixie-backports"));
}

/// The card is given guest-physical addresses then, which are not those of the
/// bounce buffers.
#[test]
#[ignore = "boots a guest"]
fn mapped_buffers_do_without_the_dma_api_where_the_card_does() {
    mapped_buffers_come_whole(TestbedSpec {
        append: "swiotlb=force".into(),
        ..TestbedSpec::default()
    });
}

#[test]
#[ignore = "boots a guest"]
fn mapped_buffers_that_bounce_are_exported_and_outlive_their_queue() {
    let guest = TestGuest::start(TestbedSpec {
        kernel: Some("trixie-checked".into()),
        bounce_buffers: true,
        ..TestbedSpec::default()
    });
    let output = importer(&guest);
    let capture = "v4l2-ctl --device /dev/video0 --stream-count=5";
    guest.must(&format!(
        "{capture} --out-device {output} --stream-mmap=4 --stream-out-dmabuf"
    ));
    // Unbinding frees the buffers of a stream that runs, whose memory the
    // program still has mapped.
    let already = guest.frames();
    let run = Run::new(["v4l2-ctl", "--device", "/dev/video0", "--stream-mmap=4"]);
    let stream = guest.testbed.machine.agent().start(run).unwrap();
    guest.wait_for_frames(already + 10);
    let device = guest.must("basename $(ls -d /sys/bus/virtio/drivers/pinhole/virtio*)");
    let device = device.trim();
    guest.must(&format!(
        "echo {device} > /sys/bus/virtio/drivers/pinhole/unbind"
    ));
    stream.wait(LIMIT).unwrap();
    guest.must(&format!(
        "echo {device} > /sys/bus/virtio/drivers/pinhole/bind"
    ));
    guest.still_works();
    assert_eq!(
        guest.must("cat /sys/kernel/debug/dma-api/error_count"),
        "0\n"
    );
    guest.no_splats();
    guest.testbed.finish().unwrap();
}
