//! Buffers in the card's own memory, which the guest sees through shared memory
//! region 0 of a real QEMU's device.

use pinhole::card::CardKind;
use pinhole::rig::testbed::TestbedSpec;

use crate::mutated::{Mutation, Served};
use crate::test_guest::{TestGuest, capture_mapped};

fn testbed(kernel: &str) -> TestbedSpec {
    TestbedSpec {
        kernel: Some(kernel.into()),
        driver_args: "device_memory=1".into(),
        ..TestbedSpec::default()
    }
}

/// Captures frames of which the guest's memory has none, and has every byte
/// verified.
fn every_byte_comes(kernel: &str) {
    let outcome = capture_mapped(testbed(kernel), 60);
    // Guest memory would take hundreds of segments.
    assert_eq!(outcome.dma.segments_max, 1, "{outcome:#?}");
}

#[test]
#[ignore = "boots a guest"]
fn every_byte_comes_through_the_region_on_bullseye() {
    every_byte_comes("bullseye");
}

#[test]
#[ignore = "boots a guest"]
fn every_byte_comes_through_the_region_on_trixie_backports() {
    every_byte_comes("trixie-backports");
}

#[test]
#[ignore = "boots a guest"]
fn a_device_that_takes_no_guest_memory_is_used_without_being_told() {
    let card = Served::start(CardKind::Capture, Some(Mutation::OwnMemoryOnly));
    let testbed = TestbedSpec {
        card: card.process(),
        ..TestbedSpec::default()
    };
    let guest = TestGuest::start(testbed);
    let capture = "v4l2-ctl --device /dev/video0 --stream-count=20";
    guest.must(&format!("{capture} --stream-mmap=4"));
    guest.must(&format!(
        "{capture} --stream-user=4 2>&1 | grep 'VIDIOC_REQBUFS returned -1 (Invalid argument)'"
    ));
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

/// QEMU (11.1.3) crashes when a device is reset that has something mapped, so that
/// a guest that lives on shows that nothing was.
#[test]
#[ignore = "boots a guest"]
fn mappings_end_with_the_driver_the_queue_and_the_program() {
    let guest = TestGuest::start(testbed("trixie-checked"));
    let capture = "v4l2-ctl --device /dev/video0 --stream-mmap=4";
    // Memory of the guest's is used as without the region, and in between.
    let user = "v4l2-ctl --device /dev/video0 --stream-user=4 --stream-count=5";
    guest.must(&format!("{user} && {capture} --stream-count=5 && {user}"));
    // Buffers are where they are to be when they are made, by what a program maps.
    for (switch, is_own) in [("N", "no"), ("Y", "yes"), ("N", "no"), ("Y", "yes")] {
        guest.must(&format!(
            "echo {switch} >/sys/module/pinhole/parameters/device_memory; \
             {capture} >/tmp/out 2>&1 & \
             program=$!; \
             until grep -q '<' /tmp/out; do sleep 0.1; done; \
             own=no; \
             sed -n '/video0/,/VmFlags/p' /proc/$program/smaps | grep -q ' pf ' && own=yes; \
             kill $program; \
             [ $own = {is_own} ]"
        ));
    }
    // Twice: the second time, the places of the first are free.
    guest.must(&format!("{capture} --stream-count=5"));
    guest.must(&format!("{capture} --stream-count=5"));
    // read(), and other buffers for another format.
    guest.must(
        "v4l2-ctl --device /dev/video0 --set-fmt-video=width=640,height=480,pixelformat=NV12 && \
         dd if=/dev/video0 of=/dev/null bs=460800 count=3",
    );
    // A program that is killed in its stream.
    guest.must(&format!(
        "timeout --signal=KILL 2 {capture} >/dev/null 2>&1; {capture} --stream-count=5"
    ));
    // The driver goes while a program streams, and comes back.
    guest.must(&format!(
        "{capture} >/tmp/out 2>&1 & \
         until grep -q '<' /tmp/out; do sleep 0.1; done; \
         device=$(basename $(readlink -f /sys/class/video4linux/video0/device)); \
         echo $device >/sys/bus/virtio/drivers/pinhole/unbind && wait; \
         echo $device >/sys/bus/virtio/drivers/pinhole/bind && \
         until [ -e /dev/video0 ]; do sleep 0.1; done; \
         {capture} --stream-count=5"
    ));
    guest.no_splats();
    guest.testbed.finish().unwrap();
}
