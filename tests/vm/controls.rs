//! The card's controls and events, as an application in the guest sees them.

use std::time::Duration;

use pinhole::agent::protocol::{Run, RunAnswer};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::vm::channel::Pending;

use crate::test_guest::{LIMIT, TestGuest};

/// Starts to wait for one event; returns once v4l2-ctl has subscribed.
fn wait_for(guest: &TestGuest, event: &str) -> Pending<Run> {
    let line = format!("exec v4l2-ctl -d /dev/video0 --wait-for-event={event}");
    let run = Run::new(["sh", "-c", &line]);
    let pending = guest.testbed.machine.agent().start(run).unwrap();
    // It sleeps in the kernel once it has subscribed.
    let asleep = format!(
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | \
         grep -q '^v4l2-ctl .*wait-for-event={event}' && cat $p/stack; done"
    );
    let begun = std::time::Instant::now();
    loop {
        let said = guest.run(&asleep).stdout;
        if said.contains("v4l2_event_dequeue") {
            return pending;
        }
        assert!(begun.elapsed() < LIMIT, "nobody waits for {event}: {said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn came(pending: Pending<Run>) -> RunAnswer {
    let answer = pending.wait(LIMIT).unwrap();
    assert!(answer.status.success(), "{answer:?}");
    answer
}

fn set(guest: &TestGuest, what: &str) {
    guest.must(&format!("v4l2-ctl -d /dev/video0 -c {what}"));
}

fn get(guest: &TestGuest, what: &str) -> String {
    let said = guest.must(&format!("v4l2-ctl -d /dev/video0 -C {what}"));
    let (name, value) = said.trim().split_once(": ").unwrap();
    assert_eq!(name, what);
    value.to_owned()
}

fn controls_and_events_on(kernel: &str) {
    let guest = TestGuest::start(TestbedSpec {
        kernel: Some(kernel.into()),
        ..TestbedSpec::default()
    });

    // Every kind of control, in classes of V4L2's and of the card's own.
    for (control, value, shown) in [
        ("brightness", "200", "200"),
        ("vertical_flip", "1", "1"),
        ("test_pattern", "2", "2 ("),
        ("motion", "5", "5 ("),
        ("overlay", "1", "0x00000001"),
        ("text", "Pinhole", "Pinhole"),
        // The oldest v4l2-ctl takes 32 bits of it only.
        ("noise_seed", "-1234567890", "-1234567890"),
    ] {
        set(&guest, &format!("{control}={value}"));
        let is = get(&guest, control);
        let plain = is.trim_matches('\'');
        assert!(
            plain.starts_with(shown) || plain == value,
            "{control}: {is}"
        );
    }
    let list = guest.must("v4l2-ctl -d /dev/video0 -l");
    assert!(
        list.contains("\nPinhole\n") && list.contains("\nError Injection\n"),
        "{list}"
    );
    // Another application is told; one that sets what is there already is not.
    let other = wait_for(&guest, "ctrl=contrast");
    set(&guest, "contrast=10");
    assert!(came(other).stdout.contains("value: 10"));

    // The card's own events.
    let source = wait_for(&guest, "source_change=0");
    set(&guest, "source_change=0");
    assert!(came(source).stdout.contains("source_change"));
    let lost = wait_for(&guest, "ctrl=signal_lost");
    set(&guest, "signal_lost=1");
    came(lost);
    let inputs = guest.must("v4l2-ctl -d /dev/video0 --list-inputs");
    assert!(inputs.contains("no signal"), "{inputs}");
    set(&guest, "signal_lost=0");

    // The end of a stream: an event, a last buffer, and then nothing. Without
    // --stream-poll v4l2-ctl would wait for another event for ever.
    let already = guest.frames();
    let run = "exec v4l2-ctl -d /dev/video0 --stream-mmap --stream-poll --verbose 2>&1";
    let stream = Run::new(["sh", "-c", run]);
    let stream = guest.testbed.machine.agent().start(stream).unwrap();
    guest.wait_for_frames(already + 10);
    // It need not be waited for: there is one with every frame.
    let sync = guest.must("v4l2-ctl -d /dev/video0 --wait-for-event=frame_sync");
    assert!(sync.contains("frame_sync"), "{sync}");
    let end = wait_for(&guest, "eos");
    set(&guest, "end_of_stream=0");
    assert!(came(end).stdout.contains("eos"));
    let ended = stream.wait(LIMIT).unwrap();
    assert!(ended.stdout.contains("EOS EVENT"), "{ended:?}");
    guest.still_works();

    // Injected errors are seen as such.
    set(&guest, "error_frames=3");
    let line = "v4l2-ctl -d /dev/video0 --stream-mmap --stream-count=8 --verbose 2>&1";
    let said = guest.must(line);
    assert_eq!(said.matches("error").count(), 3, "{said}");
    assert_eq!(get(&guest, "error_frames"), "0");
    set(&guest, "fail_streamon=1");
    let said = guest.run("v4l2-ctl -d /dev/video0 --stream-mmap --stream-count=1 2>&1");
    assert!(said.stdout.contains("Input/output error"), "{said:?}");
    guest.still_works();

    // A session that the card gives up: the stream ends with an error, the next
    // one works, and changes are still reported.
    let stream = guest.stream();
    set(&guest, "kill_session=0");
    let ended = stream.wait(LIMIT).unwrap();
    // An older v4l2-ctl says only where it failed.
    let failed = ["Input/output error", "qbuf error"];
    let failed = failed.iter().any(|error| ended.stderr.contains(error));
    assert!(failed, "{ended:?}");
    guest.still_works();
    let source = wait_for(&guest, "source_change=0");
    set(&guest, "source_change=0");
    came(source);
    assert_eq!(get(&guest, "brightness"), "200");
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn controls_and_events_on_trixie() {
    controls_and_events_on("trixie");
}

#[test]
#[ignore = "boots a guest"]
fn controls_and_events_on_trixie_backports() {
    controls_and_events_on("trixie-backports");
}

#[test]
#[ignore = "boots a guest"]
fn controls_and_events_on_bookworm() {
    controls_and_events_on("bookworm");
}

#[test]
#[ignore = "boots a guest"]
fn controls_and_events_on_bullseye() {
    controls_and_events_on("bullseye");
}

#[test]
#[ignore = "boots a guest"]
fn a_part_of_the_picture_can_be_selected() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    image::RgbImage::new(800, 600).save(&picture).unwrap();
    let guest = TestGuest::start(TestbedSpec {
        source: Some(format!("image:{}", picture.display())),
        ..TestbedSpec::default()
    });
    let selection = |target: &str| {
        let line = format!("v4l2-ctl -d /dev/video0 --get-selection target={target}");
        let said = guest.must(&line);
        let (_, rectangle) = said.split_once("Left ").expect(&said);
        rectangle.split(", Flags").next().unwrap().trim().to_owned()
    };
    guest.must("v4l2-ctl -d /dev/video0 --set-fmt-video=width=640,height=480");
    let whole = "0, Top 0, Width 640, Height 480";
    for target in ["compose", "compose_bounds"] {
        assert_eq!(selection(target), whole, "{target}");
    }
    for target in ["crop", "crop_bounds", "crop_default"] {
        let picture = "0, Top 0, Width 800, Height 600";
        assert_eq!(selection(target), picture, "{target}");
    }
    guest.must(
        "v4l2-ctl -d /dev/video0 \
         --set-selection target=crop,left=64,top=32,width=320,height=240",
    );
    assert_eq!(selection("crop"), "64, Top 32, Width 320, Height 240");
    assert_eq!(selection("compose"), whole);

    // What there are buffers for stays as it is.
    let stream = guest.stream();
    let refused = guest.run(
        "v4l2-ctl -d /dev/video0 \
         --set-selection target=crop,left=0,top=0,width=640,height=480",
    );
    assert!(
        refused.stdout.contains("Device or resource busy"),
        "{refused:?}"
    );
    assert_eq!(selection("crop"), "64, Top 32, Width 320, Height 240");
    guest.must("v4l2-ctl -d /dev/video0 --set-input=0");
    guest.interrupt(stream);
    guest.still_works();
    guest.testbed.finish().unwrap();
}
