//! The format that buffers are made for: nothing in the guest changes it while
//! there are any, and what changes at the card is not taken for it.

use pinhole::agent::protocol::{Kill, Run};

use crate::scripted::Scripted;
use crate::scripted::camera::{Camera, Control, INTEGER, MODIFY_LAYOUT, SINGLE, Shared};
use crate::test_guest::LIMIT;

/// `V4L2_CID_ROTATE`.
const ROTATE: u32 = 0x0098_0922;

#[test]
#[ignore = "boots a guest"]
fn buffers_are_streamed_to_in_the_format_that_they_were_made_for() {
    let camera = Shared::new(Camera {
        controls: vec![Control {
            id: ROTATE,
            kind: INTEGER,
            name: "Rotate",
            range: (0, 270, 90, 0),
            flags: MODIFY_LAYOUT,
            ..Control::default()
        }],
        ..Camera::default()
    });
    let guest = Scripted::boot(SINGLE, camera.answers());

    // The source changes between the guest's REQBUFS and its STREAMON.
    let line = "v4l2-ctl -d /dev/video0 --stream-user=2 --stream-count=2 --stream-to=/dev/null";
    for height in [24, 96, 48] {
        camera.get().next_height = Some(height);
        let said = guest.run(line);
        let said = format!("{}{}", said.stdout, said.stderr);
        assert!(
            said.contains("STREAMON returned -1 (Broken pipe)"),
            "{height}: {said}"
        );
    }
    assert_eq!(camera.get().streamons, 0);
    assert!(guest.log().contains("the format has changed since"));

    // While there are buffers, what it depends on is grabbed.
    let set = "v4l2-ctl -d /dev/video0 -c rotate=90";
    let list = "v4l2-ctl -d /dev/video0 -L";
    guest.must(set);
    let stream = guest
        .machine
        .agent()
        .start(Run::new(["sh", "-c", &format!("exec {line}")]))
        .unwrap();
    guest.wait("the stream starts", || {
        let camera = camera.get();
        camera.streaming && camera.queued.len() == 2
    });
    assert!(guest.must(list).contains("grabbed"));
    let refused = guest.run("v4l2-ctl -d /dev/video0 -c rotate=180");
    assert!(
        refused.stderr.contains("Device or resource busy"),
        "{refused:?}"
    );
    // The present input is not another.
    guest.must("v4l2-ctl -d /dev/video0 -i 0");

    let kill = Kill {
        target: stream.id(),
        signal: 2,
    };
    guest.machine.agent().call(kill, LIMIT).unwrap();
    stream.wait(LIMIT).unwrap();
    assert!(!guest.must(list).contains("grabbed"));
    guest.must(set);
    guest.finish();
}
