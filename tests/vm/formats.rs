//! Every format, at sizes that divide nothing and at the largest, as an
//! application has it in its own memory.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use pinhole::agent::protocol::Sync;
use pinhole::card::BufferApi;
use pinhole::report::picture::to_rgb;
use pinhole::rig::capture::tool;
use pinhole::rig::testbed::TestbedSpec;
use pinhole::source::{Layout, PixelFormat};

use crate::test_guest::{LIMIT, TestGuest};

/// Frames of a capture.
const FRAMES: usize = 4;

/// A guest with a disk that takes frames out of it.
fn guest(planes: BufferApi, disk: &Path) -> TestGuest {
    File::create(disk).unwrap().set_len(128 << 20).unwrap();
    TestGuest::start(TestbedSpec {
        planes,
        disks: vec![disk.to_owned()],
        ..TestbedSpec::default()
    })
}

/// Captures some frames into user pointers, and holds each against what the
/// card says it wrote; their bytes.
fn captured(guest: &TestGuest, disk: &Path, layout: &Layout) -> Vec<Vec<u8>> {
    let Layout {
        format,
        width,
        height,
        ..
    } = layout;
    let said = guest.must(&format!(
        "v4l2-ctl -d /dev/video0 --set-parm=30 \
         --set-fmt-video=width={width},height={height},pixelformat='{format:<4}' && \
         v4l2-ctl -d /dev/video0 --stream-user=4 --stream-count={FRAMES} --stream-to=/dev/vda \
         --verbose"
    ));
    guest.testbed.machine.agent().call(Sync {}, LIMIT).unwrap();
    let dequeued: Vec<_> = said.lines().filter_map(tool::dequeued).collect();
    assert_eq!(dequeued.len(), FRAMES, "{layout:?}: {said}");
    let witness = guest.witness_log();
    let mut file = File::open(disk).unwrap();
    let frames = (0..).zip(dequeued).map(|(number, buffer)| {
        assert!(buffer.is_written(), "{layout:?}: {said}");
        match format.is_compressed() {
            true => assert!(buffer.bytes < u64::from(layout.sizeimage), "{said}"),
            false => assert_eq!(buffer.bytes, u64::from(layout.sizeimage), "{said}"),
        }
        let mut content = vec![0; buffer.bytes as usize];
        file.read_exact(&mut content).unwrap();
        let verdict = witness.judge(number, Some(buffer.sequence), &content);
        assert!(verdict.verified, "{layout:?}: {verdict:?}");
        content
    });
    frames.collect()
}

/// The upper left bar, which is grey, in every format's own way.
fn shows_the_bars(layout: &Layout, frame: &[u8]) {
    let picture = to_rgb(frame, layout).unwrap();
    assert_eq!(picture.dimensions(), (layout.width, layout.height));
    for level in picture.get_pixel(layout.width / 16, layout.height / 16).0 {
        assert!(level.abs_diff(191) <= 4, "{layout:?}: {level}");
    }
}

fn every_format(planes: BufferApi, formats: &[PixelFormat], largest: &[PixelFormat]) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("frames");
    let guest = guest(planes, &disk);
    for format in formats {
        // 17x19 becomes what the format has: 17x19, 18x19 or 18x20.
        captured(&guest, &disk, &Layout::new(*format, 17, 19));
        let layout = Layout::new(*format, 321, 243);
        shows_the_bars(&layout, &captured(&guest, &disk, &layout)[FRAMES - 1]);
    }
    for format in largest {
        let layout = Layout::new(*format, 3840, 2160);
        shows_the_bars(&layout, &captured(&guest, &disk, &layout)[FRAMES - 1]);
    }
    guest.no_splats();
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn every_format_at_sizes_that_divide_nothing_and_at_the_largest() {
    use PixelFormat::{Nv12, Rgb3, Yuyv};
    let formats: Vec<_> = PixelFormat::ALL
        .into_iter()
        .filter(|format| !format.is_separate())
        .collect();
    every_format(BufferApi::Single, &formats, &[Yuyv, Rgb3, Nv12]);
}

#[test]
#[ignore = "boots a guest"]
fn every_multi_planar_format_at_sizes_that_divide_nothing_and_at_the_largest() {
    use PixelFormat::{Mjpg, Nm12, Nm16, Ym12, Yuyv};
    every_format(
        BufferApi::Multi,
        &[Nm12, Nm16, Ym12, Yuyv, Mjpg],
        &[Nm12, Ym12],
    );
}
