//! Sessions that the card gives up, in the ways in which it can say so, and
//! events of sessions that are no more.

use pinhole::agent::protocol::RunAnswer;
use pinhole::scripted::device::ioctl::EINVAL;

use crate::scripted::Scripted;
use crate::scripted::camera::{Camera, QBUF, REQBUFS, SINGLE, STREAMON, Shared};
use crate::test_guest::LIMIT;

/// What a card says that does not know the session.
const ENODEV: u32 = 19;

/// `VIRTIO_MEDIA_EVT_*`.
const ERROR: u32 = 0;
const DQBUF: u32 = 1;
const EVENT: u32 = 2;

/// Bytes of an event DQBUF of a single-planar buffer.
const USED: u32 = 8 + 88;

/// `struct v4l2_buffer` of a whole frame.
fn returned(index: u32, sequence: u32) -> Vec<u8> {
    let mut bytes = vec![0; 88];
    for (at, value) in [(0, index), (4, 1), (8, 3072), (56, sequence), (60, 2)] {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// Streams two frames.
const STREAM: &str =
    "v4l2-ctl -d /dev/video0 --stream-user=2 --stream-count=2 --stream-to=/dev/null";

/// Runs [`STREAM`], with `meanwhile` between STREAMON and the first frame.
fn stream(guest: &Scripted, camera: &Shared, meanwhile: impl FnOnce()) -> RunAnswer {
    let run = pinhole::agent::protocol::Run::new(["sh", "-c", STREAM]);
    let pending = guest.machine.agent().start(run).unwrap();
    guest.wait("the stream starts", || {
        let camera = camera.get();
        camera.streaming && camera.queued.len() == 2
    });
    meanwhile();
    for (sequence, index) in [0, 1].into_iter().enumerate() {
        guest
            .device
            .send(DQBUF, &returned(index, sequence as u32), USED);
    }
    pending.wait(LIMIT).unwrap()
}

#[test]
#[ignore = "boots a guest"]
fn a_lost_session_ends_its_stream_and_no_other() {
    // At the probe, the one buffer ioctl asks whether it takes shared pages.
    let camera = Shared::new(Camera {
        refuse_one: Some((REQBUFS, EINVAL)),
        ..Camera::default()
    });
    let guest = Scripted::boot(SINGLE, camera.answers());
    let log = guest.log();
    assert!(
        log.contains("takes no buffers in guest memory (SHARED_PAGES)"),
        "{log}"
    );
    let good = |answer: RunAnswer| {
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(
            answer.status.success() && !said.contains("error"),
            "{said}\n{}",
            guest.log()
        );
    };
    good(stream(&guest, &camera, || {}));

    // The card knows the session no more when a buffer comes.
    camera.get().refuse_one = Some((QBUF, ENODEV));
    let said = guest.run(STREAM);
    let said = format!("{}{}", said.stdout, said.stderr);
    assert!(said.contains("Input/output error"), "{said}");
    guest.wait("another session", || guest.device.sessions() == 2);
    assert!(guest.log().contains("gave up the session"));
    good(stream(&guest, &camera, || {}));

    // Nor when the stream is to start: the next session has none of its buffers.
    let before = camera.get().streamons;
    camera.get().refuse_one = Some((STREAMON, ENODEV));
    let said = guest.run(STREAM);
    let said = format!("{}{}", said.stdout, said.stderr);
    assert!(
        said.contains("STREAMON returned -1 (Input/output error)"),
        "{said}"
    );
    assert_eq!(camera.get().streamons, before + 1);
    guest.wait("another session", || guest.device.sessions() == 3);

    // What the old sessions still have to say, and what makes no sense, does
    // nothing to the stream of the new one.
    good(stream(&guest, &camera, || {
        guest.device.send_to(2, ERROR, &5u64.to_le_bytes(), 16);
        guest.device.send_to(2, DQBUF, &returned(0, 9), USED);
        guest.device.send_to(77, ERROR, &5u64.to_le_bytes(), 16);
        guest.device.send(EVENT, &[0xff; 136], 144);
        guest.device.send(99, &[], 8);
        guest.device.send(ERROR, &[], 4);
    }));
    assert_eq!(guest.device.sessions(), 3);
    guest.must("v4l2-ctl -d /dev/video0 --log-status");
    let log = guest.log();
    assert!(log.contains("6 events ignored"), "{log}");
    guest.finish();
}
