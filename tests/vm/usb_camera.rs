//! The kernel's own driver of USB cameras, judged without one: a camera of software is
//! plugged into the guest.

use pinhole::agent::usb_camera;
use pinhole::rig::matrix::CellName;
use pinhole::rig::matrix::objection::Severity;
use pinhole::rig::matrix::oracle::Oracle;
use pinhole::rig::matrix::outcome::Verdict;
use pinhole::rig::testbed::driver::{DriverModule, OtherDriver};
use pinhole::rig::testbed::{CardProcess, Testbed, TestbedSpec};
use pinhole::vm::progress::Progress;

use crate::judging::judge;
use crate::test_guest::shell;

/// Memory of each way to be taken and refused, and a stream that ends in each way.
const CELLS: [&str; 9] = [
    "anon-touched@1234",
    "thp@64",
    "memfd-shared",
    "hole@1234",
    "anon-touched/munmap:after-dma",
    "heap/fork-child-writes",
    "anon-touched/streamoff",
    "anon-touched/close:after-dma",
    "anon-touched/sigkill",
];

fn testbed() -> TestbedSpec {
    TestbedSpec {
        card: CardProcess::Absent,
        kernel: Some("trixie".into()),
        driver: Some(OtherDriver {
            module: DriverModule::OfKernel(usb_camera::DRIVER.into()),
            params: String::new(),
            usb_camera: true,
        }),
        ..TestbedSpec::default()
    }
}

/// What the driver says when a stream ends while it copies a frame (docs/judge.md).
const RESUBMIT: &str = "Failed to resubmit video URB (-1)";

#[test]
#[ignore = "boots a guest"]
fn uvcvideo_is_judged_with_a_camera_of_software() {
    let outcome = judge(testbed(), &CELLS, &[]);
    let device = outcome.device.as_ref().unwrap();
    assert_eq!(device.driver, usb_camera::DRIVER);
    assert!(device.card.starts_with("Pinhole USB camera"), "{device:?}");
    // The picture stands still, and nothing else is to be said of it.
    assert_eq!(device.notes, [""; 0]);
    for oracle in [Oracle::Data, Oracle::Untouched, Oracle::Pins, Oracle::Order] {
        assert!(!device.missing.iter().any(|(missing, _)| *missing == oracle));
    }
    let named: Vec<_> = outcome.cells.iter().map(|cell| cell.cell).collect();
    let cells = CELLS.map(|cell| cell.parse::<CellName>().unwrap());
    assert_eq!(named, cells);
    for cell in &outcome.cells {
        let known = |finding: &pinhole::rig::matrix::oracle::Finding| {
            finding.oracle == Oracle::Log
                && finding.severity == Severity::WrongError
                && finding.what.contains(RESUBMIT)
        };
        let is_known = cell.verdict == Verdict::Finding && cell.findings.iter().all(known);
        assert!(is_known || cell.verdict == Verdict::Expected, "{cell:#?}");
    }
    assert_eq!(outcome.boots, 1);
}

#[test]
#[ignore = "boots a guest"]
fn the_camera_has_the_sizes_and_rates_that_it_says() {
    let testbed = Testbed::start(&testbed(), &Progress::silent()).unwrap();
    let listed = shell(&testbed.machine, "v4l2-ctl --list-formats-ext").stdout;
    for said in [
        "'YUYV'",
        "160x120",
        "320x180",
        "640x360",
        "30.000 fps",
        "10.000 fps",
    ] {
        assert!(listed.contains(said), "{said}: {listed}");
    }
    // Ten frames take a second then.
    let capture = "v4l2-ctl --set-fmt-video=width=640,height=360,pixelformat=YUYV \
                   --set-parm=10 --stream-mmap --stream-count=10 --stream-to=/tmp/frames && \
                   stat -c %s /tmp/frames && \
                   for at in 0 9; do dd if=/tmp/frames bs=460800 skip=$at count=1 2>/dev/null | \
                   md5sum; done";
    let captured = shell(&testbed.machine, capture);
    assert!(captured.status.success(), "{captured:?}");
    let lines: Vec<_> = captured.stdout.lines().collect();
    let [.., size, first, last] = &lines[..] else {
        panic!("{captured:?}")
    };
    assert_eq!(*size, "4608000");
    assert_eq!(first, last);
    assert!(captured.elapsed_ms > 900, "{captured:?}");
    testbed.finish().unwrap();
}
