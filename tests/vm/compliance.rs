//! v4l2-compliance, the V4L2 project's own judge: it finds nothing wrong.

use pinhole::card::{BufferApi, CardKind};
use pinhole::rig::compliance::{judge, testbed};

use crate::test_guest::TestGuest;

/// The device complies on a kernel, where it streams as `options` say.
fn complies(kernel: &str, kind: CardKind, planes: BufferApi, options: &[&str]) {
    let guest = TestGuest::start(testbed(kernel, kind, planes));
    let agent = guest.testbed.machine.agent();
    let judgement = judge(agent, "/dev/video0", options, |_| {}).unwrap();
    // Where the machine has no time for its guest, frames are dropped, and the
    // sequence numbers say so.
    let slow = |line: &String| line.contains(": got sequence number ");
    let ours: Vec<_> = judgement
        .complaints
        .iter()
        .filter(|line| !slow(line))
        .collect();
    assert!(judgement.failed == 0 && ours.is_empty(), "{judgement:#?}");
    assert!(judgement.total > 40, "{judgement:#?}");
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

/// A few frames at each size of each format, whose time most of a run is; `make
/// compliance` streams for a quarter of an hour a kernel.
const QUICK: [&str; 2] = ["--streaming=4", "--stream-all-formats=1"];

#[test]
#[ignore = "boots guests"]
fn the_single_planar_device_complies_on_every_kernel() {
    for kernel in ["bullseye", "bookworm", "trixie", "trixie-backports"] {
        complies(kernel, CardKind::Capture, BufferApi::Single, &QUICK);
    }
}

#[test]
#[ignore = "boots a guest"]
fn the_multi_planar_device_complies() {
    complies("trixie", CardKind::Capture, BufferApi::Multi, &QUICK);
}

#[test]
#[ignore = "boots guests"]
fn the_output_device_complies() {
    complies("bookworm", CardKind::Output, BufferApi::Single, &QUICK);
    complies("trixie", CardKind::Output, BufferApi::Multi, &QUICK);
}
