//! v4l2-compliance, the V4L2 project's own judge.

use crate::bed::Bed;

/// The totals in the last line: `Total for pinhole device /dev/video0: 49,
/// Succeeded: 49, Failed: 0, Warnings: 0`.
fn total(report: &str, name: &str) -> u32 {
    let last = report
        .lines()
        .rev()
        .find(|line| line.starts_with("Total for "))
        .expect(report);
    let (_, count) = last.split_once(name).expect(last);
    count.split(',').next().unwrap().trim().parse().expect(last)
}

#[test]
#[ignore = "boots a guest"]
fn the_device_complies_with_v4l2_while_streaming_in_every_format() {
    let bed = Bed::boot("");
    let answer =
        bed.run("v4l2-compliance --device /dev/video0 --streaming=20 --stream-all-formats=5");
    let report = format!("{}{}", answer.stdout, answer.stderr);
    assert_eq!(total(&report, "Failed:"), 0, "{report}");
    // It streams at the highest rate that the card offers, 240 frames a
    // second, which a guest under emulation does not keep up with: frames are
    // dropped, and the numbers say so.
    let slow = report.matches("warn: ").count() == report.matches(": got sequence number ").count();
    assert!(slow, "{report}");
    assert!(total(&report, "Succeeded:") > 40, "{report}");
    bed.no_splats();
    bed.testbed.finish().unwrap();
}
