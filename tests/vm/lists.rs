//! A card with lists of sizes and rates, as an application in the guest sees it.

use pinhole::rig::testbed::TestbedSpec;

use crate::test_guest::TestGuest;

#[test]
#[ignore = "boots a guest"]
fn lists_come_through_the_driver() {
    let arguments = ["--sizes", "1280x720,640x480", "--rates", "30,60000/1001"];
    let guest = TestGuest::start(TestbedSpec {
        card_arguments: arguments.map(Into::into).to_vec(),
        ..TestbedSpec::default()
    });
    let sizes = guest.must("v4l2-ctl -d /dev/video0 --list-framesizes NV12");
    let found: Vec<_> = sizes
        .lines()
        .filter(|line| line.contains("Size:"))
        .collect();
    assert_eq!(found.len(), 2, "{sizes}");
    assert!(found[0].contains("Discrete 1280x720"), "{sizes}");
    assert!(found[1].contains("Discrete 640x480"), "{sizes}");
    let intervals = guest.must(
        "v4l2-ctl -d /dev/video0 --list-frameintervals width=640,height=480,pixelformat=NV12",
    );
    let found: Vec<_> = intervals
        .lines()
        .filter(|line| line.contains("Interval:"))
        .collect();
    assert_eq!(found.len(), 2, "{intervals}");
    assert!(found[0].contains("Discrete") && found[0].contains("(30.000 fps)"));
    assert!(found[1].contains("Discrete") && found[1].contains("(59.940 fps)"));

    let all = guest.must("v4l2-ctl -d /dev/video0 --get-fmt-video --get-parm");
    assert!(all.contains("1280/720"), "{all}");
    assert!(all.contains("30.000"), "{all}");
    let set = guest.must(
        "v4l2-ctl -d /dev/video0 --set-fmt-video=width=700,height=500,pixelformat=NV12 \
         --set-parm=50 && v4l2-ctl -d /dev/video0 --get-fmt-video --get-parm",
    );
    assert!(set.contains("640/480"), "{set}");
    assert!(set.contains("59.940"), "{set}");
    let compliance = guest.run("v4l2-compliance -d /dev/video0");
    let end = compliance.stdout.lines().last().unwrap_or_default();
    assert!(end.contains("Failed: 0"), "{}", compliance.stdout);
    guest.no_splats();
}
