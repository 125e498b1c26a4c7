//! What a kernel that follows every DMA mapping has to say of the driver's.

use pinhole::rig::testbed::TestbedSpec;

use crate::test_guest::TestGuest;

/// Larger than the 64 KiB that PCI allows a segment of a device whose driver
/// says nothing; memory of videobuf2's comes in pieces of MiB.
const FORMAT: &str = "width=1280,height=720,pixelformat=YUYV";

#[test]
#[ignore = "boots a guest"]
fn memory_of_every_kind_is_mapped_within_the_devices_limits() {
    let guest = TestGuest::start(TestbedSpec {
        kernel: Some("trixie-checked".into()),
        ..TestbedSpec::default()
    });
    guest.must("modprobe vivid n_devs=1 node_types=0x101");
    let output = guest.must("basename $(dirname $(grep -l vid-out /sys/class/video4linux/*/name))");
    let output = format!("/dev/{}", output.trim());
    guest.must(&format!(
        "v4l2-ctl --device /dev/video0 --set-fmt-video={FORMAT}"
    ));
    guest.must(&format!(
        "v4l2-ctl --device {output} --set-fmt-video-out={FORMAT}"
    ));
    let capture = "v4l2-ctl --device /dev/video0 --stream-count=5";
    guest.must(&format!("{capture} --stream-user=4"));
    guest.must(&format!("{capture} --stream-mmap=4"));
    guest.must(&format!(
        "{capture} --out-device {output} --stream-mmap=4 --stream-out-dmabuf"
    ));
    guest.must("echo Y > /sys/module/pinhole/parameters/native_userptr");
    guest.must(&format!("{capture} --stream-user=4"));
    assert_eq!(
        guest.must("cat /sys/kernel/debug/dma-api/error_count"),
        "0\n"
    );
    guest.no_splats();
    guest.testbed.finish().unwrap();
}
