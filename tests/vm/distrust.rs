//! The driver and a card that does as it likes: what makes sense works, and
//! what does not costs a line in the log and nothing else.

use pinhole::agent::protocol::Run;

use crate::scripted::camera::{
    BITMASK, BUTTON, Camera, Control, EXECUTE_ON_WRITE, INACTIVE, INTEGER, INTEGER_MENU, INTEGER64,
    MENU, MULTI, SINGLE, STRING, Shared, VOLATILE,
};
use crate::scripted::{Scripted, returned_planes};
use crate::test_guest::LIMIT;

/// What a card says that does not know the session.
const ENODEV: u32 = 19;

/// `VIRTIO_MEDIA_EVT_*`.
const ERROR: u32 = 0;
const DQBUF: u32 = 1;
const EVENT: u32 = 2;

/// `V4L2_EVENT_CTRL`, and `V4L2_EVENT_CTRL_CH_*`.
const CTRL: u32 = 3;
const VALUE: u32 = 1;
const FLAGS: u32 = 2;

/// Bytes of an event's header and a `struct v4l2_event`.
const EVENT_USED: u32 = 8 + 136;

const BRIGHTNESS: u32 = 0x0098_0900;
const TEXT: u32 = 0x00f3_0002;
const STEPS: u32 = 0x00f3_0003;
const BITS: u32 = 0x00f3_0004;
const PUSH: u32 = 0x00f3_0005;
const WIDE: u32 = 0x00f3_0006;
const COUNTER: u32 = 0x00f3_0007;

/// `struct v4l2_event` of a control.
fn event(kind: u32, id: u32, changes: u32) -> Vec<u8> {
    let mut bytes = vec![0; 136];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..12].copy_from_slice(&changes.to_le_bytes());
    bytes[96..100].copy_from_slice(&id.to_le_bytes());
    bytes
}

fn control(id: u32, kind: u32, name: &'static str, range: (i64, i64, u64, i64)) -> Control {
    Control {
        id,
        kind,
        name,
        range,
        ..Control::default()
    }
}

/// Text with its columns pushed together.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn good_controls() -> Vec<Control> {
    vec![
        Control {
            value: 77,
            ..control(BRIGHTNESS, INTEGER, "Brightness", (0, 255, 1, 128))
        },
        Control {
            text: "hello".into(),
            ..control(TEXT, STRING, "Text", (0, 16, 1, 0))
        },
        Control {
            value: 2,
            items: vec![
                (0, 10i64.to_le_bytes().to_vec()),
                (2, (1i64 << 40).to_le_bytes().to_vec()),
            ],
            ..control(STEPS, INTEGER_MENU, "Steps", (0, 2, 1, 0))
        },
        Control {
            value: 5,
            ..control(BITS, BITMASK, "Bits", (0, 0x8000_0007, 0, 1))
        },
        control(PUSH, BUTTON, "Push", (0, 0, 0, 0)),
        Control {
            value: -(1 << 40),
            ..control(WIDE, INTEGER64, "Wide", (i64::MIN, i64::MAX, 1, 0))
        },
        Control {
            value: 3,
            flags: VOLATILE | EXECUTE_ON_WRITE,
            ..control(COUNTER, INTEGER, "Counter", (0, 100, 1, 0))
        },
    ]
}

/// Controls that would divide by zero, or be looked up where there is nothing.
fn bad_controls() -> Vec<Control> {
    let id = |index: u32| 0x00f3_0100 + index;
    vec![
        control(id(0), INTEGER, "No Step", (0, 10, 0, 0)),
        control(id(1), INTEGER, "Long Step", (0, 10, 1 << 32, 0)),
        control(id(2), INTEGER, "Upside Down", (10, 0, 1, 5)),
        control(id(3), INTEGER, "Too Wide", (0, 1 << 32, 1, 0)),
        control(id(4), INTEGER64, "Long Step 64", (0, 10, 1 << 32, 0)),
        control(id(5), MENU, "Endless", (0, 1 << 40, 1, 0)),
        control(id(6), MENU, "Negative", (-1, 1, 1, 0)),
        control(id(7), MENU, "No Default", (0, 1, 1, 1)),
        control(id(8), STRING, "Long", (0, i64::MAX, 1, 0)),
        control(id(9), STRING, "No Step", (0, 16, 0, 0)),
        control(id(10), BITMASK, "Empty", (0, 0, 0, 0)),
        control(id(11), 77, "Unknown Type", (0, 1, 1, 0)),
        control(id(12), INTEGER, "", (0, 1, 1, 0)),
    ]
}

#[test]
#[ignore = "boots a guest"]
fn controls_are_the_cards_and_follow_it_whatever_it_says() {
    let mut controls = good_controls();
    controls.extend(bad_controls());
    controls.extend([
        Control {
            dims: 1,
            ..control(0x00f3_0200, 0x100, "Array", (0, 255, 1, 0))
        },
        // The name has no end, and the next id is a step back.
        control(
            0x00f3_0201,
            INTEGER,
            "A name of thirty-two characters.",
            (0, 1, 1, 0),
        ),
        control(0x00f3_0008, INTEGER, "Step Back", (0, 1, 1, 0)),
    ]);
    let camera = Shared::new(Camera {
        controls,
        ..Camera::default()
    });
    let guest = Scripted::boot(SINGLE, camera.answers());

    // The card's names, and its values at the start.
    let list = guest.must("v4l2-ctl -d /dev/video0 -L");
    for line in [
        "User Controls",
        "brightness 0x00980900 (int)",
        "min=0 max=255 step=1 default=128 value=77",
        "Controls of Class 0x00f30000",
        "text 0x00f30002 (str)",
        "value='hello'",
        "steps 0x00f30003 (intmenu)",
        "0: 10 (0xa)",
        "2: 1099511627776 (0x10000000000)",
        "bits 0x00f30004 (bitmask)",
        "default=0x00000001 value=5",
        "push 0x00f30005 (button)",
        "value=-1099511627776",
        "counter 0x00f30007 (int)",
        "a_name_of_thirty_two_characters 0x00f30201",
    ] {
        assert!(squeezed(&list).contains(&squeezed(line)), "{line}\n{list}");
    }
    for absent in [
        "No Step",
        "no_step",
        "long_step",
        "upside_down",
        "too_wide",
        "endless",
        "negative",
        "no_default",
        "unknown_type",
        "array",
        "step_back",
    ] {
        assert!(!list.contains(absent), "{absent}\n{list}");
    }
    let log = guest.log();
    let ignored = log.matches(" is invalid (").count();
    assert_eq!(ignored, bad_controls().len(), "{log}");
    assert!(log.contains("1 compound and array controls"), "{log}");
    assert!(log.contains("invalid response to ioctl 103"), "{log}");
    assert_eq!(camera.get().set, [], "nothing was set at the start");

    // What an application sets, the card gets.
    guest.must("v4l2-ctl -d /dev/video0 -c brightness=200,text=hi,wide=-7,steps=0,bits=6,push=1");
    guest.must("v4l2-ctl -d /dev/video0 -c counter=40");
    let mut set = std::mem::take(&mut camera.get().set);
    set.sort();
    let text = |text: &str| text.to_owned();
    assert_eq!(
        set,
        [
            (BRIGHTNESS, 200, text("")),
            (TEXT, 0, text("hi")),
            (STEPS, 0, text("")),
            (BITS, 6, text("")),
            (PUSH, 0, text("")),
            (WIDE, -7, text("")),
            (COUNTER, 40, text("")),
        ]
    );
    // A volatile control is asked for each time.
    camera.change(COUNTER, |control| control.value = 39);
    let said = guest.must("v4l2-ctl -d /dev/video0 -C counter,text");
    assert!(
        said.contains("counter: 39") && said.contains("text: 'hi'"),
        "{said}"
    );

    // A change at the card reaches who waits for it, and is not sent back.
    let wait = Run::new([
        "v4l2-ctl",
        "-d",
        "/dev/video0",
        "--wait-for-event=ctrl=brightness",
    ]);
    let waiting = guest.machine.agent().start(wait).unwrap();
    let subscribed = "for p in /proc/[0-9]*; do \
        grep -qs v4l2-ctl $p/comm && cat $p/wchan; done";
    guest.wait("v4l2-ctl waits", || {
        let said = guest.run(subscribed).stdout;
        said.contains("poll") || said.contains("select") || said.contains("event")
    });
    camera.change(BRIGHTNESS, |control| control.value = 12);
    guest
        .device
        .send(EVENT, &event(CTRL, BRIGHTNESS, VALUE), EVENT_USED);
    let seen = waiting.wait(LIMIT).unwrap();
    assert!(seen.stdout.contains("value: 12"), "{seen:?}");
    assert_eq!(camera.get().set, []);
    camera.change(TEXT, |control| control.text = "from the card".into());
    guest
        .device
        .send(EVENT, &event(CTRL, TEXT, VALUE), EVENT_USED);
    guest.wait("the string follows", || {
        guest
            .must("v4l2-ctl -d /dev/video0 -C text")
            .contains("text: 'from the card'")
    });
    camera.change(BITS, |control| control.flags = INACTIVE);
    guest
        .device
        .send(EVENT, &event(CTRL, BITS, FLAGS), EVENT_USED);
    guest.wait("the flag follows", || {
        guest
            .must("v4l2-ctl -d /dev/video0 -L")
            .contains("inactive")
    });

    // Lies: a value out of range, an item that is none, a string without end.
    camera.change(BRIGHTNESS, |control| control.value = 999);
    camera.change(STEPS, |control| control.value = 1);
    camera.change(TEXT, |control| control.text = "seventeen letters".into());
    for id in [BRIGHTNESS, STEPS, TEXT] {
        guest
            .device
            .send(EVENT, &event(CTRL, id, VALUE), EVENT_USED);
    }
    guest.wait("the string is cut off", || {
        guest
            .must("v4l2-ctl -d /dev/video0 -C text")
            .contains("text: 'seventeen letter'")
    });
    let said = guest.must("v4l2-ctl -d /dev/video0 -C brightness,steps");
    assert!(
        said.contains("brightness: 12") && said.contains("steps: 0"),
        "{said}"
    );
    // Events that are none, and more of them than anybody can take.
    guest
        .device
        .send(EVENT, &event(CTRL, 0x00f3_0999, VALUE), EVENT_USED);
    guest.device.send(EVENT, &event(99, 0, 0), EVENT_USED);
    guest.device.send(EVENT, &event(CTRL, TEXT, VALUE), 50);
    guest.device.send(77, &[], EVENT_USED);
    for _ in 0..2000 {
        guest
            .device
            .send(EVENT, &event(CTRL, WIDE, VALUE), EVENT_USED);
    }
    guest.must("v4l2-ctl -d /dev/video0 --log-status");
    let log = guest.log();
    assert!(log.contains("4 events ignored"), "{log}");

    // The session is given up: subscriptions are made anew, values read again.
    let before = std::mem::take(&mut camera.get().subscribed);
    assert!(before.contains(&(CTRL, BRIGHTNESS)), "{before:?}");
    camera.change(BRIGHTNESS, |control| control.value = 55);
    guest.device.send(ERROR, &5u64.to_le_bytes(), 16);
    guest.wait("another session", || guest.device.sessions() == 2);
    guest.wait("the value follows", || {
        guest
            .must("v4l2-ctl -d /dev/video0 -C brightness")
            .contains("brightness: 55")
    });
    assert_eq!(camera.get().subscribed, before);
    // A command that was on its way then is not lost with the session.
    camera.get().set.clear();
    camera.get().refuse = Some(ENODEV);
    guest.must("v4l2-ctl -d /dev/video0 -c brightness=42");
    assert_eq!(camera.get().set, [(BRIGHTNESS, 42, text(""))]);
    assert_eq!(guest.device.sessions(), 3);
    guest.finish();
}

/// The lengths of the planes in the test of planes.
const PLANES: [u32; 2] = [3072, 1500];

/// `struct v4l2_buffer` and eight planes, as a DQBUF event has them.
fn returned(index: u32, count: u32, flags: u32, planes: &[(u32, u32)]) -> Vec<u8> {
    returned_planes(9, index, count, flags, planes)
}

#[test]
#[ignore = "boots a guest"]
fn every_plane_has_its_memory_and_no_lie_about_planes_is_believed() {
    const USED: u32 = 608;
    let camera = Shared::new(Camera {
        planes: PLANES.to_vec(),
        ..Camera::default()
    });
    let guest = Scripted::boot(MULTI, camera.answers());
    let start = |args: &str| guest.stream(&camera, args);

    // Frames in both kinds of memory: each plane's own, in order.
    for memory in ["user", "mmap"] {
        let stream = start(&format!(
            "--stream-{memory}=2 --stream-count=2 --stream-to=/tmp/frames"
        ));
        for frame in 0..2 {
            let (index, memory) = camera.get().queued[frame].clone();
            assert_eq!(memory.len(), 2);
            for (plane, entries) in memory.iter().enumerate() {
                let fill = 16 * frame as u8 + plane as u8 + 1;
                for &(start, length) in entries {
                    guest.device.write(start, &vec![fill; length as usize]);
                }
            }
            let planes = [(3072, 0), (1500, 0)];
            guest
                .device
                .send(DQBUF, &returned(index, 2, 0, &planes), USED);
        }
        let ended = stream.wait(LIMIT).unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let counts = guest.must("od -An -v -tx1 -w1 /tmp/frames | sort | uniq -c");
        let counts: Vec<_> = counts.split_whitespace().collect();
        // User pointers are as long as the plane; mapped memory is whole pages.
        assert_eq!(
            counts,
            ["3072", "01", "1500", "02", "3072", "11", "1500", "12"],
            "{memory}"
        );
    }

    // Lies about a frame end the stream, and only that.
    for (lie, wrong) in [
        (
            returned(0, 2, 0, &[(3073, 0), (1, 0)]),
            "wrote more than a plane holds",
        ),
        (
            returned(0, 2, 0, &[(1, 0), (u32::MAX, 0)]),
            "wrote more than a plane holds",
        ),
        (
            returned(0, 2, 0, &[(1, 2), (1, 0)]),
            "whose data begin after their end",
        ),
        (
            returned(0, 3, 0, &[(1, 0), (1, 0)]),
            "a buffer with other planes",
        ),
        (
            returned(5, 2, 0, &[(1, 0), (1, 0)]),
            "a buffer that it does not have",
        ),
        (
            returned(32, 2, 0, &[(1, 0), (1, 0)]),
            "an index out of range",
        ),
    ] {
        let stream = start("--stream-user=2 --stream-count=2 --stream-to=/dev/null");
        guest.device.send(DQBUF, &lie, USED);
        let ended = stream.wait(LIMIT).unwrap();
        assert!(ended.stderr.contains("Input/output error"), "{ended:?}");
        let log = guest.log();
        let last = log
            .lines()
            .rev()
            .find(|line| line.contains("the stream is dead"));
        assert!(last.unwrap_or_default().contains(wrong), "{wrong}\n{log}");
    }

    // Nor is the buffer given back that the card denies to have in an answer
    // that is none: STREAMON fails, and the next stream works.
    camera.get().denied = Some(0x1_0000);
    let line = "v4l2-ctl -d /dev/video0 --stream-user=2 --stream-count=2 --stream-to=/dev/null";
    let denied = guest.run(line);
    let said = format!("{}{}", denied.stdout, denied.stderr);
    assert!(
        said.contains("STREAMON returned -1 (Input/output error)"),
        "{said}"
    );
    let log = guest.log();
    assert!(log.contains("malformed response to QBUF"), "{log}");

    // The last buffer: what follows it is the end.
    let stream = start("--stream-user=2 --stream-to=/tmp/frames");
    let index = camera.get().queued[0].0;
    let last = returned(index, 2, 0x0010_0000, &[(3072, 0), (1500, 0)]);
    guest.device.send(DQBUF, &last, USED);
    let ended = stream.wait(LIMIT).unwrap();
    let size = guest.must("stat -c %s /tmp/frames");
    assert_eq!(size.trim(), "4572", "{ended:?}");

    // Lies about the format.
    for told in [0, 9, 255] {
        camera.get().told_planes = Some(told);
        let said = guest.run("v4l2-ctl -d /dev/video0 -V --stream-mmap --stream-count=1");
        let said = format!("{}{}", said.stdout, said.stderr);
        assert!(said.contains("Input/output error"), "{told}: {said}");
    }
    assert!(guest.log().contains("invalid response to ioctl 4"));
    guest.finish();
}
