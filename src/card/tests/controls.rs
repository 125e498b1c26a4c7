//! Controls: which exist, and who may set which to what value.

use super::*;
use crate::card::CardKind;
use crate::card::Value;
use crate::card::controls::table::{Control as Row, Kind, cid, table};
use crate::wire::Errno;
use crate::wire::control::{
    CTRL_FLAG_NEXT_COMPOUND, CTRL_FLAG_NEXT_CTRL, CTRL_FLAG_READ_ONLY, CTRL_FLAG_WRITE_ONLY,
    Control, ExtControl, ExtControls, QueryCtrl, QueryExtCtrl, QueryMenu,
};

const EINVAL: u32 = Errno::EINVAL.0;
const EACCES: u32 = Errno::EACCES.0;
const ERANGE: u32 = Errno::ERANGE.0;
const ENOSPC: u32 = Errno::ENOSPC.0;
const EFAULT: u32 = Errno::EFAULT.0;

const USER: u32 = 0x0098_0000;
const DEFAULTS: u32 = 0x0f00_0000;
/// Address of the text in guest memory.
const TEXT: u64 = 0x8000;

/// The response to one of the ioctls of several controls.
#[derive(Debug)]
struct Answer {
    status: u32,
    error_idx: u32,
    list: Vec<ExtControl>,
}

impl Answer {
    fn values(&self) -> Vec<i64> {
        self.list
            .iter()
            .map(|control| control.value.get())
            .collect()
    }
}

fn ext(id: u32, value: i64) -> ExtControl {
    ExtControl {
        id: id.into(),
        value: value.into(),
        ..FromZeros::new_zeroed()
    }
}

fn text(size: u32) -> ExtControl {
    ExtControl {
        size: size.into(),
        ..ext(cid::TEXT, 0x1234_5678_9abc)
    }
}

/// Returns the payload of such an ioctl.
fn ext_payload(which: u32, list: &[ExtControl], segments: &[(u64, u32)]) -> Vec<u8> {
    let head = ExtControls {
        which: which.into(),
        count: (list.len() as u32).into(),
        error_idx: 77.into(),
        controls: 0xfeed_beef.into(),
        ..FromZeros::new_zeroed()
    };
    let mut payload = [head.as_bytes(), list.as_bytes()].concat();
    for (start, len) in segments {
        payload.extend_from_slice(&words(&[*start as u32, 0, *len, 0]));
    }
    payload
}

impl Rig {
    fn ext(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        which: u32,
        list: &[ExtControl],
        segments: &[(u64, u32)],
    ) -> Answer {
        let payload = ext_payload(which, list, segments);
        let (_, reply) = self.give(&command(session, ioctl as u32, &payload), 1 << 16);
        let status = u32::from_le_bytes(reply[..4].try_into().unwrap());
        assert_eq!(
            reply.len(),
            8 + 32 + 20 * list.len(),
            "all of it comes back"
        );
        let head = ExtControls::read_from_bytes(&reply[8..40]).unwrap();
        assert_eq!(
            (head.count.get(), head.controls.get()),
            (list.len() as u32, 0xfeed_beef)
        );
        let (list, _) =
            <[ExtControl]>::ref_from_prefix_with_elems(&reply[40..], list.len()).unwrap();
        Answer {
            status,
            error_idx: head.error_idx.get(),
            list: list.to_vec(),
        }
    }

    fn value(&mut self, session: u32, id: u32) -> Result<i32, u32> {
        let asked = words(&[id, 0xaaaa_aaaa]);
        let answer = self.ioctl(session, Ioctl::GCtrl, &asked)?;
        Ok(Control::read_from_bytes(&answer).unwrap().value.get())
    }

    pub(super) fn set(&mut self, session: u32, id: u32, value: i32) -> Result<i32, u32> {
        let asked = words(&[id, value as u32]);
        let answer = self.ioctl(session, Ioctl::SCtrl, &asked)?;
        Ok(Control::read_from_bytes(&answer).unwrap().value.get())
    }

    fn settings(&self) -> Settings {
        self.stage.lock().unwrap().settings.clone()
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }
}

#[test]
fn every_control_is_found_by_its_id_and_after_the_one_before() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    let mut last = 0;
    for row in table(CardKind::Capture, true) {
        for id in [row.id, last | CTRL_FLAG_NEXT_CTRL, last | 0xc000_0000] {
            let mut asked = QueryExtCtrl::new_zeroed();
            asked.id = id.into();
            let found = rig.get(session, Ioctl::QueryExtCtrl, &asked);
            check_described(&row, &found);
            let mut asked = QueryCtrl::new_zeroed();
            asked.id = id.into();
            let short = rig.get(session, Ioctl::QueryCtrl, &asked);
            assert_eq!(
                (short.id, short.type_, short.flags),
                (found.id, found.type_, found.flags)
            );
            assert_eq!(short.name, found.name);
            if row.kind != Kind::Integer64 {
                assert_eq!(i64::from(short.minimum.get()), row.minimum);
                assert_eq!(i64::from(short.maximum.get()), row.maximum);
                assert_eq!(i64::from(short.default_value.get()), row.default);
            }
        }
        last = row.id;
    }
    for none in [
        0,
        cid::BRIGHTNESS - 1,
        last | CTRL_FLAG_NEXT_CTRL,
        0x0800_0000,
        0x0fff_ffff | CTRL_FLAG_NEXT_CTRL,
        CTRL_FLAG_NEXT_COMPOUND,
        cid::HUE | CTRL_FLAG_NEXT_COMPOUND,
        u32::MAX,
    ] {
        for ioctl in [Ioctl::QueryExtCtrl, Ioctl::QueryCtrl] {
            let asked = [words(&[none]), vec![0; ioctl.payload_size() - 4]].concat();
            assert_eq!(rig.ioctl(session, ioctl, &asked), Err(EINVAL), "{none:#x}");
        }
    }
}

fn check_described(row: &Row, found: &QueryExtCtrl) {
    assert_eq!(found.id, row.id);
    assert_eq!(found.type_, row.kind.type_());
    assert_eq!(found.name[..row.name.len()], *row.name.as_bytes());
    assert_eq!(found.name[row.name.len()], 0);
    assert_eq!(
        (found.minimum.get(), found.maximum.get()),
        (row.minimum, row.maximum)
    );
    assert_eq!(found.default_value, row.default);
    let stepless = matches!(row.kind, Kind::Class | Kind::Button | Kind::Bitmask);
    assert_eq!(found.step.get(), u64::from(!stepless));
    assert_eq!(found.flags, row.flags);
    assert_eq!((found.elems.get(), found.nr_of_dims.get()), (1, 0));
    let size = match row.kind {
        Kind::Text => row.maximum as u32 + 1,
        Kind::Integer64 => 8,
        _ => 4,
    };
    assert_eq!(found.elem_size, size);
}

#[test]
fn menus_have_their_items_and_no_more() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    let mut item = |id, index| {
        let mut asked = QueryMenu::new_zeroed();
        (asked.id, asked.index) = (u32::into(id), u32::into(index));
        let answer = rig.ioctl(session, Ioctl::QueryMenu, asked.as_bytes())?;
        Ok(QueryMenu::read_from_bytes(&answer).unwrap().item)
    };
    assert_eq!(item(cid::TEST_PATTERN, 0).unwrap()[..9], *b"Disabled\0");
    let patterns = crate::source::pattern::NAMES;
    for (index, name) in (1..).zip(patterns) {
        let found = item(cid::TEST_PATTERN, index).unwrap();
        assert_eq!(found[..name.len()], *name.as_bytes());
    }
    assert_eq!(
        item(cid::TEST_PATTERN, patterns.len() as u32 + 1),
        Err(EINVAL)
    );
    assert_eq!(
        item(cid::MOTION, 4).unwrap()[..9],
        [8, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    for (id, index) in [
        (cid::MOTION, 7),
        (cid::MOTION, u32::MAX),
        (cid::HUE, 0),
        (cid::USER_CLASS, 0),
        (0, 0),
    ] {
        assert_eq!(item(id, index), Err(EINVAL));
    }
}

#[test]
fn values_are_taken_as_the_kernel_takes_them() {
    let mut rig = Rig::new(Rate::Guest);
    let (session, other) = (rig.open(), rig.open());
    for (id, asked, taken) in [
        (cid::BRIGHTNESS, 200, 200),
        (cid::BRIGHTNESS, 256, 255),
        (cid::BRIGHTNESS, -1, 0),
        (cid::HUE, i32::MIN, -128),
        (cid::HUE, i32::MAX, 127),
        (cid::HFLIP, 7, 1),
        (cid::HFLIP, -1, 1),
        (cid::HFLIP, 0, 0),
        (cid::OVERLAY, -1, 3),
        (cid::OVERLAY, 4, 0),
        (cid::TEST_PATTERN, 1, 1),
        (cid::MOTION, 6, 6),
        (cid::JPEG_COMPRESSION_QUALITY, 0, 1),
        (cid::DROP_FRAMES, 5, 5),
        (cid::STALL, 70_000, 60_000),
        (cid::SIGNAL_LOST, 2, 1),
    ] {
        assert_eq!(rig.set(session, id, asked), Ok(taken), "{id:#x}");
        assert_eq!(rig.value(other, id), Ok(taken), "{id:#x}");
    }
    let patterns = crate::source::pattern::NAMES.len() as i32;
    for (id, asked, errno) in [
        (cid::TEST_PATTERN, patterns + 1, ERANGE),
        (cid::TEST_PATTERN, -1, ERANGE),
        (cid::MOTION, 7, ERANGE),
        (cid::USER_CLASS, 0, EACCES),
        (cid::TEXT, 0, EINVAL),
        (cid::NOISE_SEED, 0, EINVAL),
        (cid::BRIGHTNESS | CTRL_FLAG_NEXT_CTRL, 0, EINVAL),
        (0, 0, EINVAL),
    ] {
        assert_eq!(rig.set(session, id, asked), Err(errno), "{id:#x}");
    }
    assert_eq!(rig.value(session, cid::TEST_PATTERN), Ok(1));
    for (id, errno) in [
        (cid::INJECTION_CLASS, EACCES),
        (cid::KILL_SESSION, EACCES),
        (cid::TEXT, EINVAL),
        (cid::NOISE_SEED, EINVAL),
        (1, EINVAL),
    ] {
        assert_eq!(rig.value(session, id), Err(errno), "{id:#x}");
    }
}

#[test]
fn what_is_set_reaches_the_camera() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    assert_eq!(
        rig.card.endpoint.camera().unwrap().settings(),
        &Settings::default()
    );
    rig.write(TEXT, b"hello\0");
    let list = [
        ext(cid::BRIGHTNESS, 1),
        ext(cid::CONTRAST, 2),
        ext(cid::SATURATION, 3),
        ext(cid::HUE, -4),
        ext(cid::GAIN, 5),
        ext(cid::HFLIP, 1),
        ext(cid::VFLIP, 1),
        ext(cid::JPEG_COMPRESSION_QUALITY, 6),
        ext(cid::TEST_PATTERN, 1),
        ext(cid::MOTION, 5),
        ext(cid::OVERLAY, 1),
        text(6),
        ext(cid::NOISE_SEED, i64::MIN),
    ];
    let answer = rig.ext(session, Ioctl::SExtCtrls, 0, &list, &[(TEXT, 6)]);
    assert_eq!(answer.status, 0);
    let Settings { adjust, .. } = rig.settings();
    assert_eq!(
        (adjust.brightness, adjust.contrast, adjust.saturation),
        (1, 2, 3)
    );
    assert_eq!((adjust.hue, adjust.gain), (-4, 5));
    assert!(adjust.hflip && adjust.vflip);
    let settings = rig.settings();
    assert_eq!((settings.quality, settings.test_pattern), (6, Some(0)));
    assert_eq!((settings.motion, settings.overlay), (16, 1));
    assert_eq!(
        (settings.text.as_str(), settings.noise_seed),
        ("hello", i64::MIN)
    );
    rig.card.reset();
    assert_eq!(rig.settings(), Settings::default());
}

#[test]
fn several_controls_are_all_set_or_none() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    let good = [ext(cid::BRIGHTNESS, 1), ext(cid::CONTRAST, 300)];
    let tried = rig.ext(session, Ioctl::TryExtCtrls, 0, &good, &[]);
    assert_eq!((tried.status, tried.values()), (0, vec![1, 255]));
    assert_eq!(
        rig.value(session, cid::BRIGHTNESS),
        Ok(128),
        "nothing was set"
    );
    for (bad, errno) in [
        (ext(cid::MOTION, 7), ERANGE),
        (ext(cid::INJECTION_CLASS, 0), EACCES),
        (ext(0x1234, 0), EINVAL),
        (text(0), ERANGE),
        (text(8), EINVAL),
    ] {
        let list = [good[0], good[1], bad];
        for (ioctl, at) in [(Ioctl::TryExtCtrls, 2), (Ioctl::SExtCtrls, 3)] {
            let answer = rig.ext(session, ioctl, 0, &list, &[]);
            assert_eq!((answer.status, answer.error_idx), (errno, at), "{bad:?}");
            assert_eq!(rig.value(session, cid::BRIGHTNESS), Ok(128));
        }
    }
    let set = rig.ext(session, Ioctl::SExtCtrls, USER, &good, &[]);
    assert_eq!(
        (set.status, set.error_idx, set.values()),
        (0, 2, vec![1, 255])
    );
    let get = rig.ext(session, Ioctl::GExtCtrls, USER, &good, &[]);
    assert_eq!((get.status, get.values()), (0, vec![1, 255]));
    let get = rig.ext(session, Ioctl::GExtCtrls, DEFAULTS, &good, &[]);
    assert_eq!((get.status, get.values()), (0, vec![128, 128]));
    // The upper half of the union stays unchanged for a 32-bit value.
    let wide = [ext(cid::BRIGHTNESS, 0x0102_0304_0000_0009)];
    let set = rig.ext(session, Ioctl::SExtCtrls, 0, &wide, &[]);
    assert_eq!(set.values(), [0x0102_0304_0000_0009]);
}

#[test]
fn which_controls_may_go_together_is_v4l2s_to_say() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    let both = [ext(cid::BRIGHTNESS, 1), ext(cid::MOTION, 1)];
    for (ioctl, at) in [
        (Ioctl::GExtCtrls, 2),
        (Ioctl::SExtCtrls, 2),
        (Ioctl::TryExtCtrls, 1),
    ] {
        let answer = rig.ext(session, ioctl, USER, &both, &[]);
        assert_eq!((answer.status, answer.error_idx), (EINVAL, at), "{ioctl:?}");
        let answer = rig.ext(session, ioctl, 0x0f01_0000, &both, &[]);
        assert_eq!((answer.status, answer.error_idx), (EINVAL, 2), "a request");
        // A list without controls asks whether the class exists.
        for (which, status) in [
            (0, 0),
            (USER, 0),
            (0x00f2_0000, 0),
            (0x00f3_0000, EINVAL),
            (cid::BRIGHTNESS, EINVAL),
        ] {
            let answer = rig.ext(session, ioctl, which, &[], &[]);
            assert_eq!(answer.status, status, "{ioctl:?} of class {which:#x}");
        }
        let status = if ioctl == Ioctl::GExtCtrls { 0 } else { EINVAL };
        let answer = rig.ext(session, ioctl, DEFAULTS, &both, &[]);
        assert_eq!(answer.status, status, "{ioctl:?} of defaults");
    }
    let button = [ext(cid::BRIGHTNESS, 1), ext(cid::KILL_SESSION, 1)];
    let answer = rig.ext(session, Ioctl::GExtCtrls, 0, &button, &[]);
    assert_eq!((answer.status, answer.error_idx), (EACCES, 2));
    // The list is longer than V4L2 allows.
    let many = vec![ext(cid::HUE, 0); 1025];
    let payload = ext_payload(0, &many, &[]);
    let request = command(session, Ioctl::GExtCtrls as u32, &payload);
    assert_eq!(rig.give(&request, 1 << 16).1, words(&[EINVAL, 0]));
    let answer = rig.ext(session, Ioctl::GExtCtrls, 0, &many[..1024], &[]);
    assert_eq!(answer.status, 0);
}

#[test]
fn text_lies_where_the_entries_say_and_nowhere_else() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    // There are two texts, each in several segments; the second value set wins.
    rig.write(0x8000, b"first\0");
    rig.write(0x9000, b"sec");
    rig.write(0xa000, b"ond\0 and what follows");
    let list = [text(6), ext(cid::HUE, 9), text(20)];
    let segments = [(0x8000, 6), (0x9000, 3), (0xa000, 17)];
    let answer = rig.ext(session, Ioctl::SExtCtrls, 0, &list, &segments);
    assert_eq!(answer.status, 0);
    assert_eq!(
        answer.list[0].value, 0x1234_5678_9abc,
        "the pointer comes back"
    );
    assert_eq!(rig.settings().text, "second");
    assert_eq!(rig.settings().adjust.hue, 9);

    rig.write(0, &[0xee; MEMORY]);
    let everything = rig.everything();
    let answer = rig.ext(session, Ioctl::GExtCtrls, 0, &[text(6)], &[(0xb000, 6)]);
    assert_eq!((answer.status, answer.error_idx), (ENOSPC, 0));
    assert_eq!(answer.list[0].size, 64, "what is needed at most");
    assert!(rig.everything() == everything);
    let segments = [(0xb001, 5), (0xc000, 90)];
    let answer = rig.ext(session, Ioctl::GExtCtrls, 0, &[text(95)], &segments);
    assert_eq!(answer.status, 0);
    let mut expected = everything;
    expected[0xb001..0xb006].copy_from_slice(b"secon");
    expected[0xc000..0xc002].copy_from_slice(b"d\0");
    assert!(rig.everything() == expected);
    let answer = rig.ext(
        session,
        Ioctl::GExtCtrls,
        DEFAULTS,
        &[text(1)],
        &[(0xd000, 1)],
    );
    assert_eq!(answer.status, 0, "the default is empty");

    let high = MEMORY as u64;
    for (size, segments, errno) in [
        (6, vec![], EINVAL),
        (6, vec![(0x8000, 5)], EINVAL),
        (6, vec![(0x8000, 3), (high, 3)], EFAULT),
        (6, vec![(0x8000, 3), (0x9000, 0), (0x9000, 3)], EINVAL),
        (6, vec![(RING.start - 1, 6)], EINVAL),
        (u32::MAX, vec![(0x8000, 6)], EINVAL),
    ] {
        for ioctl in [Ioctl::GExtCtrls, Ioctl::TryExtCtrls, Ioctl::SExtCtrls] {
            let answer = rig.ext(session, ioctl, 0, &[text(size)], &segments);
            assert_eq!(answer.status, errno, "{ioctl:?} {segments:x?}");
        }
    }
    assert_eq!(rig.settings().text, "second");
    assert!(
        rig.everything() == {
            expected[0xd000] = 0;
            expected
        }
    );
}

#[test]
fn a_text_is_as_long_as_it_may_be_and_text() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    for (bytes, size, result) in [
        (&[b'a'; 64][..], 63, Ok(62)),
        (&[b'a'; 64], 64, Err(ERANGE)),
        (&[b'a'; 200], 200, Err(ERANGE)),
        (&[&[b'a'; 63][..], &[0; 9]].concat(), 64, Ok(63)),
        (&[&[b'a'; 63][..], &[0; 9]].concat(), 72, Ok(63)),
        (b"\0", 1, Ok(0)),
        (b"a", 1, Ok(0)),
        (b"\xff\xfe\0", 3, Err(EINVAL)),
        ("Ж\0".as_bytes(), 3, Ok(2)),
    ] {
        rig.write(TEXT, bytes);
        let answer = rig.ext(session, Ioctl::SExtCtrls, 0, &[text(size)], &[(TEXT, size)]);
        assert_eq!(answer.status, result.err().unwrap_or(0), "{size}");
        if let Ok(length) = result {
            assert_eq!(
                rig.card.endpoint.camera().unwrap().settings().text.len(),
                length
            );
        }
    }
}

#[test]
fn the_host_sees_and_sets_what_the_guest_does() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    let listed = rig.card.controls();
    let expected = table(CardKind::Capture, true)
        .into_iter()
        .filter(|row| row.kind != Kind::Class);
    assert!(listed.iter().map(|c| c.id).eq(expected.map(|row| row.id)));
    for control in &listed {
        let hidden = control.flags & CTRL_FLAG_WRITE_ONLY != 0;
        assert_eq!(control.value.is_none(), hidden, "{}", control.name);
        assert_eq!(control.flags & CTRL_FLAG_READ_ONLY, 0);
        let json = serde_json::to_string(control).unwrap();
        assert_eq!(
            serde_json::from_str::<crate::card::ControlInfo>(&json).unwrap(),
            *control
        );
    }
    let text = |text: &str| Value::Text(text.into());
    for (name, value, id, taken) in [
        ("brightness", Value::Integer(3), cid::BRIGHTNESS, 3),
        ("Brightness", text("0x10"), cid::BRIGHTNESS, 16),
        ("0x980900", text("17"), cid::BRIGHTNESS, 17),
        ("9963776", text("18"), cid::BRIGHTNESS, 18),
        ("horizontal_flip", text("on"), cid::HFLIP, 1),
        ("test_pattern", text("bars"), cid::TEST_PATTERN, 1),
        ("test_pattern", text("Disabled"), cid::TEST_PATTERN, 0),
        ("Test Pattern", text("1"), cid::TEST_PATTERN, 1),
        ("overlay", text("2"), cid::OVERLAY, 2),
        ("hue", text("-5"), cid::HUE, -5),
        ("drop_frames", Value::Integer(4), cid::DROP_FRAMES, 4),
    ] {
        rig.card.set_control(rig.now, name, &value).unwrap();
        assert_eq!(rig.value(session, id), Ok(taken), "{name}");
    }
    rig.card
        .set_control(rig.now, "text", &text("of the host"))
        .unwrap();
    assert_eq!(rig.settings().text, "of the host");
    rig.card
        .set_control(rig.now, "noise_seed", &Value::Integer(i64::MAX))
        .unwrap();
    assert_eq!(rig.settings().noise_seed, i64::MAX);
    for (name, value, message) in [
        (
            "brightnes",
            Value::Integer(1),
            "the card has no control \"brightnes\"",
        ),
        (
            "brightness",
            Value::Integer(256),
            "the control \"brightness\" takes a number from 0 to 255, not \"256\"",
        ),
        (
            "overlay",
            Value::Integer(4),
            "the control \"overlay\" takes bits of 0x3, not \"4\"",
        ),
        (
            "horizontal_flip",
            text("maybe"),
            "the control \"horizontal_flip\" takes 0 or 1, not \"maybe\"",
        ),
        (
            "pinhole",
            Value::Integer(1),
            "the control \"pinhole\" cannot be set",
        ),
    ] {
        let error = rig.card.set_control(rig.now, name, &value).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}
