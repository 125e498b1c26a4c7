//! The driver and a card that shows frames: what it is given is what the program
//! has said and written, and what it says of it later changes none of that.

use pinhole::agent::protocol::Run;

use crate::scripted::camera::{Camera, MULTI_OUTPUT, SINGLE_OUTPUT, Shared};
use crate::scripted::{Scripted, returned_planes};
use crate::test_guest::LIMIT;

/// `VIRTIO_MEDIA_EVT_DQBUF`.
const DQBUF: u32 = 1;

/// `V4L2_BUF_FLAG_ERROR`.
const ERROR: u32 = 0x40;

/// The lengths of the planes of a multi-planar screen, and of a single-planar one.
/// v4l2-ctl writes a picture of 3072 bytes to each before it reads its file.
const PLANES: [u32; 2] = [3072, 4500];
const PLANE: [u32; 1] = [3072];

/// How many frames v4l2-ctl queues, two of them at once.
const FRAMES: u8 = 5;

/// A screen, its lengths of planes, and its `V4L2_BUF_TYPE_*`.
fn screens() -> [(u32, Camera, &'static [u32], u32); 2] {
    let multi = Camera {
        planes: PLANES.to_vec(),
        ..Camera::default()
    };
    [
        (SINGLE_OUTPUT, Camera::default(), &PLANE, 2),
        (MULTI_OUTPUT, multi, &PLANES, 10),
    ]
}

#[test]
#[ignore = "boots two guests"]
fn a_screen_is_given_what_the_program_wrote_and_cannot_change_what_it_said() {
    for (caps, camera, planes, kind) in screens() {
        let camera = Shared::new(camera);
        let guest = Scripted::boot(caps, camera.answers());
        let whole: Vec<_> = planes.iter().map(u32::to_string).collect();
        let whole = whole.join("/");
        // Each byte of a frame's plane is the same. v4l2-ctl counts the frames that it
        // queues, and the last two it does not wait for.
        let mut frames = Vec::new();
        for frame in 0..FRAMES {
            for (plane, length) in planes.iter().enumerate() {
                let fill = 16 * frame + plane as u8 + 1;
                frames.push((fill, *length));
            }
        }
        let make: String = frames
            .iter()
            .map(|(fill, length)| {
                format!("head -c {length} /dev/zero | tr '\\000' '\\{fill:03o}';")
            })
            .collect();
        guest.must(&format!("{{ {make} }} >/tmp/frames"));
        let start = |memory: &str| {
            camera.get().queued.clear();
            let args = format!(
                "--stream-out-{memory}=2 --stream-count={FRAMES} --stream-from=/tmp/frames \
                 --verbose"
            );
            guest.stream(&camera, &args)
        };
        let said = |index: u32, flags: u32, used: u32| {
            let used: Vec<_> = planes.iter().map(|_| (used, 0)).collect();
            let mut event = returned_planes(kind, index, used.len() as u32, flags, &used);
            if planes.len() == 1 {
                event[8..12].copy_from_slice(&used[0].0.to_le_bytes());
                event.truncate(88);
            }
            event
        };
        let event_length = 8 + 88 + if planes.len() == 1 { 0 } else { 8 * 64 };

        for memory in ["user", "mmap"] {
            let stream = start(memory);
            let given: Vec<_> = planes.iter().map(|length| (*length, 0)).collect();
            assert_eq!(camera.get().used, given, "{memory}");
            for frame in 0..3usize {
                // The third frame comes in the first buffer, when that is back.
                guest.wait("the frame is queued", || camera.get().queued.len() > frame);
                let (index, memory) = camera.get().queued[frame].clone();
                for (plane, entries) in memory.iter().enumerate() {
                    let fill = frames[planes.len() * frame + plane].0;
                    for &(start, length) in entries {
                        let read = guest.device.read(start, length);
                        assert!(read.iter().all(|byte| *byte == fill), "{frame} {plane}");
                    }
                }
                // One byte, it says, of a frame that is broken.
                let event = said(index, if frame == 1 { ERROR } else { 0 }, 1);
                guest.device.send(DQBUF, &event, event_length);
            }
            let ended = stream.wait(LIMIT).unwrap();
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(ended.status.success(), "{said}");
            let returned: Vec<_> = said
                .lines()
                .filter(|line| line.contains("dqbuf:"))
                .collect();
            assert!(returned.len() >= 3, "{said}");
            for line in &returned {
                assert!(line.contains(&format!("bytesused: {whole} ")), "{line}");
            }
            assert!(returned[1].contains("error"), "{said}");
            assert!(!returned[0].contains("error"), "{said}");
        }

        // It cannot have read more than there is.
        let stream = start("user");
        let event = said(0, 0, 4501);
        guest.device.send(DQBUF, &event, event_length);
        let ended = stream.wait(LIMIT).unwrap();
        assert!(ended.stderr.contains("Input/output error"), "{ended:?}");
        assert!(guest.log().contains("read more than a"));

        // write(), where there is one plane.
        if planes.len() == 1 {
            camera.get().queued.clear();
            let line = "exec >/dev/video0; head -c 3072 /tmp/frames; \
                 until [ -e /tmp/read ]; do sleep 0.1; done";
            let run = Run::new(["sh", "-c", line]);
            let pending = guest.machine.agent().start(run).unwrap();
            guest.wait("the frame is queued", || !camera.get().queued.is_empty());
            let (start, length) = camera.get().queued[0].1[0][0];
            assert_eq!(guest.device.read(start, length), vec![1; 3072]);
            guest.must("touch /tmp/read");
            let ended = pending.wait(LIMIT).unwrap();
            assert!(ended.status.success(), "{ended:?}");
        }
        guest.finish();
    }
}
