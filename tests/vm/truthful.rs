//! What an application is told of frames and controls is what the card has said
//! of them: times, kinds, ranges, and all of what was set or nothing.

use std::time::{Duration, Instant};

use pinhole::agent::protocol::{Kill, Run};
use pinhole::scripted::device::ioctl::EINVAL;

use crate::scripted::Scripted;
use crate::scripted::camera::{
    BITMASK, BOOLEAN, Camera, Control, INTEGER, INTEGER_MENU, INTEGER64, MENU, QBUF, S_EXT_CTRLS,
    SINGLE, STRING, Shared, TRY_EXT_CTRLS,
};
use crate::test_guest::{LIMIT, compile};

/// `VIRTIO_MEDIA_EVT_*`.
const DQBUF: u32 = 1;
const EVENT: u32 = 2;

/// Bytes of an event DQBUF of a single-planar buffer, and of a V4L2 event.
const FRAME_USED: u32 = 8 + 88;
const EVENT_USED: u32 = 8 + 136;

/// `V4L2_BUF_FLAG_*`.
const KEYFRAME: u32 = 0x8;
const PFRAME: u32 = 0x10;
const BFRAME: u32 = 0x20;
const MONOTONIC: u32 = 0x2000;
const SOE: u32 = 0x1_0000;
const LAST: u32 = 0x10_0000;

/// `struct v4l2_buffer` of a whole frame.
fn returned(index: u32, sequence: u32, flags: u32, time: Duration) -> Vec<u8> {
    let mut bytes = vec![0; 88];
    for (at, value) in [
        (0, index),
        (4, 1),
        (8, 3072),
        (12, flags),
        (56, sequence),
        (60, 2),
    ] {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    bytes[24..32].copy_from_slice(&time.as_secs().to_le_bytes());
    let micros = u64::from(time.subsec_micros());
    bytes[32..40].copy_from_slice(&micros.to_le_bytes());
    bytes
}

/// A buffer, as `v4l2-ctl --verbose` tells of it.
#[derive(Debug)]
struct Dequeued {
    sequence: u32,
    time: f64,
    line: String,
}

fn dequeued(said: &str) -> Vec<Dequeued> {
    let after = |line: &str, name: &str| {
        let (_, rest) = line.split_once(name)?;
        Some(rest.split_whitespace().next()?.to_owned())
    };
    said.lines()
        .filter(|line| line.contains("dqbuf:"))
        .map(|line| Dequeued {
            sequence: after(line, "seq:").unwrap().parse().unwrap(),
            time: after(line, "ts:").unwrap().parse().unwrap(),
            line: line.to_owned(),
        })
        .collect()
}

/// A stream of a scripted card, frame by frame.
struct Streaming<'g> {
    guest: &'g Scripted,
    camera: &'g Shared,
    /// Buffers that came back so far, refused ones not counted.
    frames: usize,
}

impl Streaming<'_> {
    /// Gives the next buffer back.
    fn frame(&mut self, flags: u32, time: Duration) {
        let mut index = 0;
        self.guest.wait("the next buffer is queued", || {
            let camera = self.camera.get();
            let queued = camera.queued.get(self.frames);
            index = queued.map_or(0, |buffer| buffer.0);
            camera.streaming && queued.is_some()
        });
        let event = returned(index, self.frames as u32, flags, time);
        self.guest.device.send(DQBUF, &event, FRAME_USED);
        self.frames += 1;
    }
}

/// Waits for a time to be so long ago.
fn hold(since: Instant, for_so_long: Duration) {
    std::thread::sleep(for_so_long.saturating_sub(since.elapsed()));
}

fn times_and_kinds_on(kernel: &str) {
    const BUFFERS: usize = 4;
    let camera = Shared::default();
    let guest = Scripted::boot_on(kernel, SINGLE, camera.answers(), Vec::new());
    let uptime = || -> f64 {
        let said = guest.must("cut -d' ' -f1 /proc/uptime");
        said.trim().parse().unwrap()
    };

    let before = uptime();
    let line = format!(
        "exec v4l2-ctl -d /dev/video0 --verbose --stream-mmap={BUFFERS} --stream-to=/dev/null 2>&1"
    );
    let run = Run::new(["sh", "-c", &line]);
    let stream = guest.machine.agent().start(run).unwrap();
    let mut streaming = Streaming {
        guest: &guest,
        camera: &camera,
        frames: 0,
    };
    guest.wait("the stream starts", || {
        let camera = camera.get();
        camera.streaming && camera.queued.len() == BUFFERS
    });

    // The card's clock shows something else entirely, and runs as fast.
    let clock = Duration::from_secs(5_000_000);
    let begun = Instant::now();
    let micros = Duration::from_micros;
    streaming.frame(MONOTONIC | KEYFRAME, clock);
    // Frames that were long under way are as old as the card says.
    hold(begun, Duration::from_secs(2));
    streaming.frame(MONOTONIC | PFRAME, clock + micros(123_456));
    streaming.frame(MONOTONIC | BFRAME, clock + micros(333_333));
    // A buffer that is refused has the time of the refusal...
    camera.get().refuse_one = Some((QBUF, EINVAL));
    streaming.frame(MONOTONIC, clock + micros(350_000));
    guest.wait("a buffer is refused", || camera.get().refuse_one.is_none());
    guest.wait("all buffers but the refused one", || {
        camera.get().queued.len() >= BUFFERS + streaming.frames
    });
    // ...and an older frame that comes later does not go back behind it.
    streaming.frame(MONOTONIC, clock + micros(400_000));
    streaming.frame(MONOTONIC, clock + begun.elapsed());
    // The card sets its clock back.
    streaming.frame(MONOTONIC, Duration::from_secs(100));
    // It has none, and then times of a frame's start.
    streaming.frame(0, Duration::ZERO);
    streaming.frame(MONOTONIC | SOE, Duration::from_secs(100) + begun.elapsed());
    let frames = streaming.frames;
    guest.wait("the last buffer is queued again", || {
        camera.get().queued.len() >= BUFFERS + frames
    });
    let kill = Kill {
        target: stream.id(),
        signal: 2,
    };
    guest.machine.agent().call(kill, LIMIT).unwrap();
    let ended = stream.wait(LIMIT).unwrap();
    let after = uptime();

    let all = dequeued(&ended.stdout);
    assert_eq!(all.len(), frames + 1, "{ended:?}");
    for pair in all.windows(2) {
        assert!(pair[0].time <= pair[1].time, "time goes back: {pair:#?}");
        assert!(pair[0].sequence <= pair[1].sequence, "{pair:#?}");
    }
    assert!(
        before <= all[0].time && all[frames].time <= after,
        "{all:#?}"
    );
    for (frame, card) in [(1, 0.123_456), (2, 0.333_333), (3, 0.35)] {
        let passed = all[frame].time - all[0].time;
        assert!((passed - card).abs() < 3e-6, "{frame}: {passed}\n{all:#?}");
    }
    // Held back for two seconds, from which the refusal is.
    assert!(all[4].line.contains("error"), "{all:#?}");
    assert!(all[4].time - all[0].time > 1.9, "{all:#?}");
    assert_eq!(all[4].sequence, all[3].sequence);
    assert_eq!(all[5].time, all[4].time, "{all:#?}");
    for (frame, flag) in [
        (0, "keyframe"),
        (1, "pframe"),
        (2, "bframe"),
        (0, "ts-src-eof"),
        (9, "ts-src-soe"),
    ] {
        let said = all[frame].line.to_lowercase().replace('-', "");
        assert!(said.contains(&flag.replace('-', "")), "{flag}: {all:#?}");
    }
    let plain = all[3].line.to_lowercase();
    assert!(
        !plain.contains("frame,") && !plain.contains("frame)"),
        "{plain}"
    );
    guest.finish();
}

#[test]
#[ignore = "boots a guest"]
fn times_and_kinds_of_frames_are_the_cards_on_bullseye() {
    times_and_kinds_on("bullseye");
}

#[test]
#[ignore = "boots a guest"]
fn times_and_kinds_of_frames_are_the_cards_on_trixie() {
    times_and_kinds_on("trixie");
}

#[test]
#[ignore = "boots a guest"]
fn times_and_kinds_of_frames_are_the_cards_on_trixie_backports() {
    times_and_kinds_on("trixie-backports");
}

/// `V4L2_EVENT_CTRL`, and `V4L2_EVENT_CTRL_CH_RANGE`.
const CTRL: u32 = 3;
const RANGE: u32 = 4;

const fn id(index: u32) -> u32 {
    0x00f3_0000 + index
}

const NUMBER: u32 = id(1);
const WIDE: u32 = id(2);
const SWITCH: u32 = id(3);
const MODE: u32 = id(4);
const STEPS: u32 = id(5);
const BITS: u32 = id(6);
const TEXT: u32 = id(7);

fn item(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// One control of each type that has a range.
fn ranged() -> Vec<Control> {
    let control = |id, kind, name, range| Control {
        id,
        kind,
        name,
        range,
        ..Control::default()
    };
    let number = |value: i64| value.to_le_bytes().to_vec();
    vec![
        Control {
            value: 50,
            ..control(NUMBER, INTEGER, "Number", (0, 100, 1, 10))
        },
        Control {
            value: 1 << 40,
            ..control(WIDE, INTEGER64, "Wide", (0, 1 << 41, 1, 0))
        },
        control(SWITCH, BOOLEAN, "Switch", (0, 1, 1, 0)),
        Control {
            value: 2,
            items: vec![(0, item("Red")), (1, item("Green")), (2, item("Blue"))],
            ..control(MODE, MENU, "Mode", (0, 2, 1, 0))
        },
        Control {
            items: vec![(0, number(10)), (1, number(20))],
            ..control(STEPS, INTEGER_MENU, "Steps", (0, 1, 1, 0))
        },
        Control {
            value: 5,
            ..control(BITS, BITMASK, "Bits", (0, 0x7, 0, 1))
        },
        Control {
            text: "hello there".into(),
            ..control(TEXT, STRING, "Text", (0, 16, 1, 0))
        },
    ]
}

/// `struct v4l2_event` of a control whose range has changed.
fn range_changed(id: u32) -> Vec<u8> {
    let mut bytes = vec![0; 136];
    bytes[..4].copy_from_slice(&CTRL.to_le_bytes());
    bytes[8..12].copy_from_slice(&RANGE.to_le_bytes());
    bytes[96..100].copy_from_slice(&id.to_le_bytes());
    bytes
}

/// Text with its columns pushed together.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ranges_on(kernel: &str) {
    let camera = Shared::new(Camera {
        controls: ranged(),
        ..Camera::default()
    });
    let guest = Scripted::boot_on(kernel, SINGLE, camera.answers(), Vec::new());
    let list = || squeezed(&guest.must("v4l2-ctl -d /dev/video0 -L"));
    let number = |value: i64| value.to_le_bytes().to_vec();
    let changed = |id: u32, change: &dyn Fn(&mut Control)| {
        camera.change(id, change);
        let event = range_changed(id);
        guest.device.send(EVENT, &event, EVENT_USED);
    };

    // Whoever has subscribed hears of it: of a range that the framework
    // changes, of a menu whose items alone are others, and of a string.
    for (name, id) in [("number", NUMBER), ("mode", MODE), ("text", TEXT)] {
        let line = format!("exec v4l2-ctl -d /dev/video0 --wait-for-event=ctrl={name}");
        let run = Run::new(["sh", "-c", &line]);
        let waiting = guest.machine.agent().start(run).unwrap();
        let asleep = "for p in /proc/[0-9]*; do \
            grep -qs v4l2-ctl $p/comm && cat $p/stack; done";
        guest.wait("v4l2-ctl waits", || {
            guest.run(asleep).stdout.contains("v4l2_event_dequeue")
        });
        match id {
            NUMBER => changed(NUMBER, &|control| {
                control.range = (0, 40, 2, 20);
                control.value = 30;
            }),
            MODE => changed(MODE, &|control| control.items[1].1 = item("Violet")),
            _ => changed(TEXT, &|control| {
                control.range = (2, 5, 1, 0);
                control.text = "hello".into();
            }),
        }
        let seen = waiting.wait(LIMIT).unwrap();
        assert!(seen.stdout.contains("range"), "{name}: {seen:?}");
    }
    changed(WIDE, &|control| {
        control.range = (-9, 9, 1, 3);
        control.value = 7;
    });
    changed(SWITCH, &|control| control.range = (0, 1, 1, 1));
    changed(STEPS, &|control| {
        control.range = (1, 3, 1, 3);
        control.items = vec![(1, number(11)), (3, number(1 << 40))];
        control.value = 3;
    });
    changed(BITS, &|control| {
        control.range = (0, 0x30, 0, 0x10);
        control.value = 0x20;
    });

    // The value is the card's, too, and not the default that the framework
    // takes where the old one is out of range.
    for line in [
        "min=0 max=40 step=2 default=20 value=30",
        "min=-9 max=9 step=1 default=3 value=7",
        "switch 0x00f30003 (bool) : default=1 value=0",
        "min=0 max=2 default=0 value=2",
        "0: Red 1: Violet 2: Blue",
        "min=1 max=3 default=3 value=3",
        "1: 11 (0xb) 3: 1099511627776 (0x10000000000)",
        "max=0x00000030 default=0x00000010",
        "min=2 max=5 step=1 value='hello'",
    ] {
        guest.wait(line, || list().contains(line));
    }
    let bits = guest.must("v4l2-ctl -d /dev/video0 -C bits");
    assert!(bits.contains("32") || bits.contains("20"), "{bits}");
    // What cannot be followed is said, and the control stays as it was: a
    // string has no room for more than it had, and a menu no item at its end.
    changed(TEXT, &|control| control.range = (0, 17, 1, 0));
    changed(MODE, &|control| control.range = (1, 2, 1, 7));
    guest.wait("both are told of", || {
        let log = guest.log();
        log.contains("control 0x00f30007 cannot follow the device: error -34")
            && log.contains("invalid response to ioctl 103")
    });
    assert!(list().contains("min=2 max=5 step=1 value='hello'"));
    assert!(list().contains("min=0 max=2 default=0 value=2"));
    guest.must("v4l2-ctl -d /dev/video0 -c text=short,mode=1");
    guest.finish();
}

#[test]
#[ignore = "boots a guest"]
fn ranges_of_every_type_follow_the_card_on_bullseye() {
    ranges_on("bullseye");
}

#[test]
#[ignore = "boots a guest"]
fn ranges_of_every_type_follow_the_card_on_trixie() {
    ranges_on("trixie");
}

#[test]
#[ignore = "boots a guest"]
fn ranges_of_every_type_follow_the_card_on_trixie_backports() {
    ranges_on("trixie-backports");
}

fn together_on(kernel: &str) {
    let folder = tempfile::tempdir().unwrap();
    let ask = compile("ask", folder.path());
    let camera = Shared::new(Camera {
        controls: ranged(),
        tries: true,
        ..Camera::default()
    });
    let files = vec![("/usr/bin/ask".to_owned(), ask)];
    let guest = Scripted::boot_on(kernel, SINGLE, camera.answers(), files);
    guest.must("chmod +x /usr/bin/ask");
    let asked = || std::mem::take(&mut camera.get().asked);

    // What a program sets with one ioctl the card gets with one.
    let all = "v4l2-ctl -d /dev/video0 -c number=60,wide=7,text=both,mode=0";
    guest.must(all);
    let ids = vec![NUMBER, WIDE, MODE, TEXT];
    assert_eq!(asked(), [(TRY_EXT_CTRLS, ids.clone()), (S_EXT_CTRLS, ids)]);
    let values = |camera: &Shared| -> Vec<_> {
        let camera = camera.get();
        let set = camera.controls.iter();
        set.map(|control| (control.value, control.text.clone()))
            .collect()
    };
    let before = values(&camera);
    assert_eq!(before[0].0, 60);
    assert_eq!(before[6].1, "both");

    // One that the card refuses refuses all: in the guest, too.
    let line = "v4l2-ctl -d /dev/video0 -C number,wide,text,mode";
    let here = guest.must(line);
    let refused = || {
        camera.get().unwilling = Some((TEXT, 16));
        let refused = guest.run("v4l2-ctl -d /dev/video0 -c number=70,wide=8,text=no,mode=1");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains("Device or resource busy"), "{said}");
        assert_eq!(values(&camera), before);
        assert_eq!(guest.must(line), here);
        camera.get().unwilling = None;
    };
    refused();
    let ids = vec![NUMBER, WIDE, MODE, TEXT];
    assert_eq!(asked(), [(TRY_EXT_CTRLS, ids.clone())]);

    // TRY is the card's to answer, and sets nothing.
    camera.get().wilful = Some((NUMBER, 64));
    let said = guest.must(&format!("ask /dev/video0 try {NUMBER} 70 {MODE} 1"));
    assert_eq!(said, "64\n1\n");
    assert_eq!(asked(), [(TRY_EXT_CTRLS, vec![NUMBER, MODE])]);
    assert_eq!(values(&camera), before);
    assert_eq!(guest.must(line), here);
    camera.get().unwilling = Some((MODE, 16));
    let said = guest.run(&format!("ask /dev/video0 try {NUMBER} 70 {MODE} 1"));
    assert!(said.stderr.contains("Device or resource busy"), "{said:?}");
    camera.get().unwilling = None;
    // One that does not know TRY is asked once, and refuses as well.
    asked();
    camera.get().tries = false;
    refused();
    guest.must("v4l2-ctl -d /dev/video0 -c switch=1");
    let set = (S_EXT_CTRLS, vec![SWITCH]);
    assert_eq!(asked(), [(S_EXT_CTRLS, ids), set]);
    // What the card makes of a value is what is there.
    let said = guest.must(&format!("ask /dev/video0 set {NUMBER} 70 {MODE} 1"));
    assert_eq!(said, "64\n1\n");
    assert_eq!(values(&camera)[0].0, 64);

    // A stream that ended by LAST and a program that was gone without STREAMOFF
    // leave nothing behind.
    let mut streaming = Streaming {
        guest: &guest,
        camera: &camera,
        frames: 0,
    };
    let run = Run::new(["ask", "/dev/video0", "last"]);
    let last = guest.machine.agent().start(run).unwrap();
    streaming.frame(MONOTONIC | LAST, Duration::from_secs(1));
    let ended = last.wait(LIMIT).unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let run = "exec v4l2-ctl -d /dev/video0 --stream-mmap=2 --stream-count=1 2>&1";
    let next = guest
        .machine
        .agent()
        .start(Run::new(["sh", "-c", run]))
        .unwrap();
    guest.wait("the next stream", || camera.get().streamons == 2);
    streaming.frames = 0;
    streaming.frame(MONOTONIC, Duration::from_secs(2));
    let ended = next.wait(LIMIT).unwrap();
    assert!(ended.stdout.contains('<'), "{ended:?}");
    guest.finish();
}

#[test]
#[ignore = "boots a guest"]
fn controls_are_set_together_or_not_at_all_on_bullseye() {
    together_on("bullseye");
}

#[test]
#[ignore = "boots a guest"]
fn controls_are_set_together_or_not_at_all_on_trixie() {
    together_on("trixie");
}

#[test]
#[ignore = "boots a guest"]
fn controls_are_set_together_or_not_at_all_on_trixie_backports() {
    together_on("trixie-backports");
}
