//! v4l2-compliance, the V4L2 project's own judge: it finds nothing wrong.

use pinhole::card::{BufferApi, CardKind};
use pinhole::rig::compliance::{SIZE, judge, testbed};
use pinhole::rig::testbed::TestbedSpec;

use crate::test_guest::TestGuest;

/// A frame at each size and rate of each format; `make compliance` streams for a
/// quarter of an hour a kernel.
const QUICK: [&str; 2] = ["--streaming=10", "--stream-all-formats=1"];

/// As [`testbed`], with one size: most of the time is that of the slowest rates, once for
/// each size.
fn of_one_size(kernel: &str, kind: CardKind, planes: BufferApi) -> TestbedSpec {
    TestbedSpec {
        card_arguments: ["--sizes", SIZE].map(Into::into).into(),
        ..testbed(kernel, kind, planes)
    }
}

/// The device complies in a guest.
fn complies(guest: TestbedSpec) {
    let guest = TestGuest::start(guest);
    let agent = guest.testbed.machine.agent();
    let judgement = judge(agent, "/dev/video0", &QUICK, |_| {}).unwrap();
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

#[test]
#[ignore = "boots guests"]
fn the_single_planar_device_complies_on_every_kernel() {
    complies(testbed("trixie", CardKind::Capture, BufferApi::Single));
    for kernel in ["bullseye", "bookworm", "trixie-backports"] {
        complies(of_one_size(kernel, CardKind::Capture, BufferApi::Single));
    }
}

#[test]
#[ignore = "boots a guest"]
fn the_multi_planar_device_complies() {
    complies(of_one_size("trixie", CardKind::Capture, BufferApi::Multi));
}

#[test]
#[ignore = "boots guests"]
fn the_output_device_complies() {
    complies(of_one_size("bookworm", CardKind::Output, BufferApi::Single));
    complies(of_one_size("trixie", CardKind::Output, BufferApi::Multi));
}
