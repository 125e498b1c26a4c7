//! Events: which session gets them, in which order, and how many may wait.

use super::*;
use crate::card::Value;
use crate::card::controls::table::cid;
use crate::wire::Errno;
use crate::wire::event::{EventCtrl, V4l2Event};

const EINVAL: u32 = Errno::EINVAL.0;
const EOS: u32 = 2;
const CTRL: u32 = 3;
const FRAME_SYNC: u32 = 4;
const SOURCE_CHANGE: u32 = 5;
const SEND_INITIAL: u32 = 1;
const ALLOW_FEEDBACK: u32 = 2;

impl Rig {
    pub(super) fn subscribe(&mut self, session: u32, type_: u32, id: u32) {
        self.subscribe_as(session, type_, id, 0).unwrap();
    }

    fn subscribe_as(&mut self, session: u32, type_: u32, id: u32, flags: u32) -> Result<(), u32> {
        let asked = words(&[type_, id, flags, 0, 0, 0, 0, 0]);
        self.ioctl(session, Ioctl::SubscribeEvent, &asked).map(drop)
    }

    fn unsubscribe(&mut self, session: u32, type_: u32, id: u32) {
        let asked = words(&[type_, id, 0, 0, 0, 0, 0, 0]);
        self.ioctl(session, Ioctl::UnsubscribeEvent, &asked)
            .unwrap();
    }

    /// Returns all waiting events, as (session, type, id, sequence number).
    fn events(&mut self) -> Vec<(u32, u32, u32, u32)> {
        let sent = self.sent().into_iter();
        sent.map(|sent| match sent {
            Sent::Event(SessionEvent { header, event }) => (
                header.session_id.get(),
                event.type_.get(),
                event.id.get(),
                event.sequence.get(),
            ),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    /// Returns the one event that waits.
    fn event(&mut self) -> V4l2Event {
        match &self.sent()[..] {
            [Sent::Event(event)] => event.event,
            other => panic!("{other:?}"),
        }
    }
}

fn control(event: &V4l2Event) -> EventCtrl {
    EventCtrl::read_from_bytes(&event.u[..40]).unwrap()
}

#[test]
fn a_change_is_told_to_every_subscriber_but_the_one_who_made_it() {
    let mut rig = Rig::new(Rate::Guest);
    let sessions = [rig.open(), rig.open(), rig.open(), rig.open()];
    let [one, two, three, none] = sessions;
    rig.subscribe(one, CTRL, cid::HUE);
    rig.subscribe(two, CTRL, cid::HUE);
    rig.subscribe_as(three, CTRL, cid::HUE, ALLOW_FEEDBACK)
        .unwrap();
    rig.subscribe(none, CTRL, cid::GAIN);
    rig.set(one, cid::HUE, 5).unwrap();
    assert_eq!(
        rig.events(),
        [(two, CTRL, cid::HUE, 1), (three, CTRL, cid::HUE, 1)]
    );
    rig.set(three, cid::HUE, 6).unwrap();
    assert_eq!(
        rig.events(),
        [
            (one, CTRL, cid::HUE, 1),
            (two, CTRL, cid::HUE, 2),
            (three, CTRL, cid::HUE, 2)
        ]
    );
    // The host is not a session.
    rig.card
        .set_control(rig.now, "hue", &Value::Integer(7))
        .unwrap();
    assert_eq!(rig.events().len(), 3);
    // Setting the same value again is no change; pressing a button always is.
    rig.set(none, cid::HUE, 7).unwrap();
    assert!(rig.events().is_empty());
    rig.subscribe(one, CTRL, cid::SOURCE_CHANGE);
    for _ in 0..2 {
        rig.set(two, cid::SOURCE_CHANGE, 1).unwrap();
        assert_eq!(rig.events().len(), 1);
    }
    // A countdown raises no event.
    rig.subscribe(one, CTRL, cid::DROP_FRAMES);
    rig.set(two, cid::DROP_FRAMES, 9).unwrap();
    assert!(rig.events().is_empty());
    rig.unsubscribe(one, CTRL, cid::HUE);
    rig.unsubscribe(one, CTRL, cid::HUE);
    rig.unsubscribe(two, 0, 0);
    rig.card
        .set_control(rig.now, "hue", &Value::Integer(8))
        .unwrap();
    assert_eq!(rig.events(), [(three, CTRL, cid::HUE, 4)]);
}

#[test]
fn an_event_says_what_has_changed() {
    let mut rig = Rig::new(Rate::Guest);
    let (session, other) = (rig.open(), rig.open());
    rig.subscribe(session, CTRL, cid::HUE);
    rig.set(other, cid::HUE, -7).unwrap();
    let event = rig.event();
    let about = control(&event);
    assert_eq!(
        (about.changes.get(), about.type_.get(), about.value.get()),
        (1, 1, -7)
    );
    assert_eq!((about.minimum.get(), about.maximum.get()), (-128, 127));
    assert_eq!(
        (
            about.step.get(),
            about.default_value.get(),
            about.flags.get()
        ),
        (1, 0, 0x20)
    );
    assert_eq!(
        event.timestamp_sec.get() as u64,
        rig.now.monotonic.as_secs()
    );
    assert_eq!((event.pending.get(), event.sequence.get()), (0, 1));

    rig.subscribe_as(session, CTRL, cid::GAIN, SEND_INITIAL)
        .unwrap();
    let about = control(&rig.event());
    assert_eq!((about.changes.get(), about.value.get()), (3, 64));
    // Subscribing again has no effect; a button has no value, and a class has
    // no event.
    rig.subscribe_as(session, CTRL, cid::GAIN, SEND_INITIAL)
        .unwrap();
    rig.subscribe_as(session, CTRL, cid::USER_CLASS, SEND_INITIAL)
        .unwrap();
    rig.subscribe_as(session, SOURCE_CHANGE, 1, SEND_INITIAL)
        .unwrap();
    assert!(rig.events().is_empty());
    rig.subscribe_as(session, CTRL, cid::KILL_SESSION, SEND_INITIAL)
        .unwrap();
    assert_eq!(control(&rig.event()).changes, 2);
}

#[test]
fn what_a_session_may_subscribe_to() {
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    for (type_, id) in [
        (EOS, 0),
        (FRAME_SYNC, 0),
        (SOURCE_CHANGE, 0),
        (SOURCE_CHANGE, 1),
    ] {
        rig.subscribe(session, type_, id);
    }
    for (type_, id) in [
        (0, 0),
        (1, 0),
        (6, 0),
        (EOS, 1),
        (FRAME_SYNC, 1),
        (SOURCE_CHANGE, 2),
        (CTRL, 0),
        (CTRL, cid::HUE | 0x8000_0000),
        (0x0800_0000, 0),
        (u32::MAX, u32::MAX),
    ] {
        assert_eq!(
            rig.subscribe_as(session, type_, id, 0),
            Err(EINVAL),
            "{type_} {id}"
        );
    }
}

#[test]
fn events_that_wait_become_one_with_all_that_has_changed() {
    let mut rig = Rig::new(Rate::Guest);
    let (session, other) = (rig.open(), rig.open());
    rig.subscribe_as(session, CTRL, cid::HUE, SEND_INITIAL)
        .unwrap();
    rig.subscribe(session, CTRL, cid::GAIN);
    rig.set(other, cid::GAIN, 1).unwrap();
    for value in 1..100 {
        rig.set(other, cid::HUE, value).unwrap();
    }
    let events: Vec<V4l2Event> = rig
        .sent()
        .into_iter()
        .map(|sent| match sent {
            Sent::Event(event) => event.event,
            other => panic!("{other:?}"),
        })
        .collect();
    let [gain, hue] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (gain.id.get(), gain.sequence.get(), gain.pending.get()),
        (cid::GAIN, 2, 1)
    );
    assert_eq!(
        (hue.id.get(), hue.sequence.get(), hue.pending.get()),
        (cid::HUE, 101, 0)
    );
    assert_eq!(control(hue).value, 99);
    assert_eq!(control(hue).changes, 3, "those of the first event, too");
}

#[test]
fn events_and_buffers_come_in_the_order_in_which_they_happened() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 3);
    rig.subscribe(session, FRAME_SYNC, 0);
    rig.subscribe(session, CTRL, cid::HUE);
    rig.subscribe(session, EOS, 0);
    for index in 0..3 {
        rig.queue(
            session,
            index,
            &[(0x8000 + u64::from(index) * 0x1000, FRAME)],
        )
        .unwrap();
    }
    rig.stream_on(session);
    rig.run(16_667);
    rig.card
        .set_control(rig.now, "hue", &Value::Integer(1))
        .unwrap();
    rig.card
        .set_control(rig.now, "end_of_stream", &Value::Integer(1))
        .unwrap();
    // The next frame sync replaces one that has not been sent.
    rig.run(16_667);
    let sent: Vec<(u8, u32)> = rig
        .sent()
        .iter()
        .map(|sent| match sent {
            Sent::Buffer(event) => (1, event.buffer.sequence.get()),
            Sent::Event(event) => (2, event.event.type_.get()),
            Sent::Died(_) => panic!("{sent:?}"),
        })
        .collect();
    assert_eq!(sent, [(1, 0), (2, CTRL), (2, FRAME_SYNC), (1, 1), (2, EOS)]);
}

#[test]
fn closed_and_dead_sessions_hear_nothing() {
    let mut rig = Rig::new(Rate::Guest);
    for end in [0, 1] {
        let session = rig.open();
        rig.subscribe(session, CTRL, cid::HUE);
        rig.card
            .set_control(rig.now, "hue", &Value::Integer(1 + end))
            .unwrap();
        match end {
            0 => rig.close(session),
            _ => rig.card.fail_session(session, Errno::EIO),
        }
        let sent = rig.sent();
        assert_eq!(sent.len(), end as usize, "{sent:?}");
        rig.card
            .set_control(rig.now, "hue", &Value::Integer(100 + end))
            .unwrap();
        assert!(rig.sent().is_empty());
    }
    // The next session has no subscriptions, whatever its id.
    rig.card.reset();
    rig.open();
    rig.card
        .set_control(rig.now, "hue", &Value::Integer(1))
        .unwrap();
    assert!(rig.sent().is_empty());
}
