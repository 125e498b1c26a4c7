//! Applications that others wrote, GStreamer and FFmpeg: what the card reads is
//! what they show.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pinhole::agent::protocol::Run;
use pinhole::card::CardKind;
use pinhole::card::witness::Record;
use pinhole::rig::testbed::TestbedSpec;
use pinhole::rig::testbed::clients::{IoMode, ffmpeg_shows, gstreamer_shows};
use pinhole::source::{Layout, PixelFormat};

use crate::test_guest::{LIMIT, TestGuest};

/// Frames of a file.
const FRAMES: usize = 12;

/// Frames that a client may leave in its queue when its file ends.
const LEFT: usize = 4;

/// Frames a second.
const FPS: u32 = 30;

/// Where the client finds them.
const FILE: &str = "/tmp/frames";

/// A guest with the clients and an output card, and the frames that they show.
struct Stage {
    guest: TestGuest,
    shown: PathBuf,
    /// How much of what was shown has been looked at.
    seen: usize,
    _folder: tempfile::TempDir,
}

/// The content of a file with frames of that layout. No two bytes at the same
/// place of two frames are alike, and no two pages.
fn film(layout: &Layout) -> Vec<u8> {
    let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 16) as u8;
    (0..FRAMES * layout.sizeimage as usize).map(byte).collect()
}

impl Stage {
    /// Boots a guest with a disk that has the films of those layouts.
    fn open(layouts: &[Layout]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("films");
        let films: Vec<u8> = layouts.iter().flat_map(film).collect();
        fs::write(&disk, films).unwrap();
        let whole = disk.metadata().unwrap().len().next_multiple_of(512);
        fs::File::options()
            .write(true)
            .open(&disk)
            .unwrap()
            .set_len(whole)
            .unwrap();
        let shown = folder.path().join("shown");
        let guest = TestGuest::start(TestbedSpec {
            kind: CardKind::Output,
            disks: vec![disk],
            clients: true,
            card_arguments: vec!["--sink".into(), format!("raw:{}", shown.display()).into()],
            ..TestbedSpec::default()
        });
        Self {
            guest,
            shown,
            seen: 0,
            _folder: folder,
        }
    }

    /// Runs a client to its end, and returns the frames that the card has read
    /// meanwhile: their numbers in the film.
    fn show(&mut self, client: Run, film: &[u8], layout: &Layout) -> Vec<usize> {
        let line = client.argv.join(" ");
        let agent = self.guest.testbed.machine.agent();
        let client = Run {
            timeout_ms: Some(LIMIT.as_millis() as u64),
            ..client
        };
        let answer = agent.call(client, 2 * LIMIT).unwrap();
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(answer.status.success(), "{line}: {}\n{said}", answer.status);
        let length = layout.sizeimage as usize;
        // The stream has ended: the card has passed on all that it read.
        let shown = self.settled();
        let frames = shown[self.seen..].chunks(length);
        self.seen = shown.len();
        let number = |frame: &[u8]| {
            let found = film.chunks(length).position(|one| one == frame);
            found.unwrap_or_else(|| panic!("{line}: the card read what is no frame of the film"))
        };
        frames.map(number).collect()
    }

    /// Returns what was shown, once the card's thread has written all that the
    /// witness says was read.
    fn settled(&self) -> Vec<u8> {
        let bytes = |record: &Record| match record {
            Record::Frame { planes, .. } => planes.iter().map(|plane| plane.bytes as usize).sum(),
            _ => 0,
        };
        let deadline = Instant::now() + LIMIT;
        loop {
            let records = self.guest.records();
            let read: usize = records.iter().map(bytes).sum();
            let shown = fs::read(&self.shown).unwrap();
            if matches!(records.last(), Some(Record::StreamOff { .. })) && shown.len() == read {
                return shown;
            }
            let held = shown.len();
            assert!(
                Instant::now() < deadline,
                "{held} of {read} bytes are shown"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
#[ignore = "boots a guest"]
fn what_gstreamer_and_ffmpeg_show_is_what_the_card_reads() {
    let formats = [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Rgb3];
    let layouts = formats.map(|format| Layout::new(format, 352, 288));
    let mut stage = Stage::open(&layouts);
    let mut offset = 0;
    for layout in &layouts {
        let film = film(layout);
        let length = layout.sizeimage as usize * FRAMES;
        stage.guest.must(&format!(
            "tail -c +{} /dev/vda | head -c {length} > {FILE}",
            offset + 1
        ));
        offset += length;
        // One format in all kinds of memory; clients take long to start.
        let modes = match layout.format {
            PixelFormat::Yuyv => &[IoMode::Mmap, IoMode::Userptr, IoMode::Dmabuf][..],
            _ => &[IoMode::Userptr],
        };
        for &mode in modes {
            let client = gstreamer_shows(layout, FPS, mode, FILE).unwrap();
            let mut shown = stage.show(client, &film, layout);
            assert_eq!(shown.first(), Some(&0), "{layout:?}, {mode:?}: {shown:?}");
            // The preview.
            shown.remove(0);
            is_in_order(&shown, layout);
        }
        let client = ffmpeg_shows(layout, FPS, FILE).unwrap();
        is_in_order(&stage.show(client, &film, layout), layout);
    }
    stage.guest.no_splats();
    stage.guest.testbed.finish().unwrap();
}

/// The film was shown from its first frame on, without a gap, and almost to its
/// end.
fn is_in_order(shown: &[usize], layout: &Layout) {
    assert!(
        shown.iter().copied().eq(0..shown.len()),
        "{layout:?}: {shown:?}"
    );
    assert!(shown.len() + LEFT >= FRAMES, "{layout:?}: {shown:?}");
}
