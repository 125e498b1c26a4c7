//! The mem-to-mem card with applications that others wrote, v4l2-ctl and
//! GStreamer: the card read what they gave, they got what it wrote, and that is what
//! comes of the one by the other.

use std::fs;

use pinhole::agent::protocol::Run;
use pinhole::card::witness::{DIGEST_BLOCK, Digest, PlaneRecord, Record};
use pinhole::card::{BufferApi, CardKind, Direction};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::rig::testbed::clients::{IoMode, gstreamer_converts};
use pinhole::source::transform::{Transform, Transformer};
use pinhole::source::{Layout, PixelFormat};

use crate::studio::{FILE, Studio};

/// Frames of a film.
const FRAMES: usize = 8;

/// Frames that a client may leave in its queues when its file ends: v4l2-ctl does not
/// wait for those that it has not got when all that it gave came back.
const LEFT: usize = 4;

/// Where the application finds them, and on which disk they come.
const GIVEN: &str = "/tmp/given";
const DISK: &str = "/dev/vdb";

/// A guest with the clients and a mem-to-mem card, and a film for it.
struct Works {
    studio: Studio,
    given: Layout,
    film: Vec<u8>,
    /// The records of the witness that have been looked at.
    seen: usize,
    _folder: tempfile::TempDir,
}

/// Returns frames of that layout: pictures that are neither flat nor noise, no two
/// of them alike.
fn film(layout: &Layout) -> Vec<u8> {
    let length = layout.sizeimage as usize;
    let byte = |at: usize| (at * 7 + at / 97 + (at / length) * 31) as u8;
    (0..FRAMES * length).map(byte).collect()
}

impl Works {
    /// Boots a guest with a card that is given frames of that layout.
    fn open(kernel: &str, planes: BufferApi, given: Layout, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("film");
        let film = film(&given);
        let mut sectors = film.clone();
        sectors.resize(film.len().next_multiple_of(512), 0);
        fs::write(&disk, sectors).unwrap();
        let studio = Studio::open(TestbedSpec {
            kernel: Some(kernel.into()),
            kind: CardKind::M2m,
            planes,
            disks: vec![disk],
            card_arguments: arguments.iter().map(Into::into).collect(),
            ..TestbedSpec::default()
        });
        let bytes = film.len();
        studio
            .guest
            .must(&format!("head -c {bytes} {DISK} > {GIVEN}"));
        Self {
            studio,
            given,
            film,
            seen: 0,
            _folder: folder,
        }
    }

    /// Runs a client to its end. The card must have read the film, the client must
    /// have got what the card wrote, and that must be frames of `made` as `how` says.
    fn verify(&mut self, client: Run, made: &Layout, how: &Transform) {
        let line = client.argv.join(" ");
        let (answer, got) = self.studio.record(client);
        let mut transformer = Transformer::new(&self.given, made, how).unwrap();
        let frames = self.film.chunks(self.given.sizeimage as usize);
        let mut wanted: Vec<_> = frames
            .map(|frame| transformer.transform(frame).unwrap().to_vec())
            .collect();

        let records = self.studio.guest.records();
        let new = records[self.seen..].to_vec();
        self.seen = records.len();
        let read = digests(&new, Direction::Output);
        let written = digests(&new, Direction::Capture);
        assert_eq!(read.len(), written.len(), "{line}");
        let film = self.film.chunks(self.given.sizeimage as usize);
        // A client may leave frames in its queue when its file ends, and v4l2-ctl
        // gives some more when it has all that it wants.
        for (number, frame) in film.enumerate().take(read.len()) {
            let of_film = of_planes(&self.given, frame);
            assert!(read[number] == of_film, "{line}: frame {number} as read");
        }
        wanted.truncate(written.len());
        for (number, frame) in wanted.iter().enumerate() {
            let of_frame = of_planes(made, frame);
            assert!(
                written[number] == of_frame,
                "{line}: frame {number} as made"
            );
        }
        let is_got = |count: &usize| wanted[..*count].concat() == got;
        let count = (0..=wanted.len()).find(is_got);
        assert!(
            count.is_some_and(|count| count + LEFT >= FRAMES),
            "{line}: of {} frames the application got {count:?}, in {} bytes\n{}{}",
            wanted.len(),
            got.len(),
            answer.stdout,
            answer.stderr
        );
    }

    /// Has v4l2-ctl convert the film, with memory of that kind for both queues and
    /// these controls.
    fn v4l2_ctl(&mut self, memory: &str, made: &Layout, controls: &str, how: &Transform) {
        let format = |layout: &Layout| {
            let Layout { width, height, .. } = layout;
            format!(
                "width={width},height={height},pixelformat={:<4}",
                layout.format
            )
        };
        let mut argv = vec![
            "v4l2-ctl".to_owned(),
            "--device=/dev/video0".to_owned(),
            format!("--set-fmt-video-out={}", format(&self.given)),
            format!("--set-fmt-video={}", format(made)),
            format!("--stream-out-{memory}=4"),
            format!("--stream-{memory}=4"),
            format!("--stream-count={FRAMES}"),
            format!("--stream-from={GIVEN}"),
            format!("--stream-to={FILE}"),
        ];
        if !controls.is_empty() {
            argv.insert(2, format!("--set-ctrl={controls}"));
        }
        self.verify(Run::new(argv), made, how);
    }
}

/// Returns the digests of the frames that went that way, plane by plane.
fn digests(records: &[Record], wanted: Direction) -> Vec<Vec<Vec<Digest>>> {
    let of = |record: &Record| match record {
        Record::Frame {
            direction, planes, ..
        } if *direction == Some(wanted) => {
            let digests = |plane: &PlaneRecord| plane.digests.clone();
            Some(planes.iter().map(digests).collect())
        }
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

/// Returns the digests of a frame's planes.
fn of_planes(layout: &Layout, frame: &[u8]) -> Vec<Vec<Digest>> {
    let planes = layout.memory_planes().map(|plane| {
        let end = plane.offset as usize + plane.sizeimage as usize;
        let bytes = &frame[plane.offset as usize..end.min(frame.len())];
        bytes.chunks(DIGEST_BLOCK).map(Digest::of).collect()
    });
    planes.collect()
}

#[test]
#[ignore = "boots guests"]
fn v4l2_ctl_gets_what_the_card_makes_of_what_it_gives_on_every_kernel() {
    let given = Layout::new(PixelFormat::Nv12, 1280, 720);
    let made = Layout::new(PixelFormat::Yuyv, 640, 360);
    for kernel in ["bullseye", "bookworm", "trixie", "trixie-backports"] {
        let mut works = Works::open(kernel, BufferApi::Single, given, &[]);
        for memory in ["user", "mmap"] {
            works.v4l2_ctl(memory, &made, "", &Transform::default());
        }
        works.studio.close();
    }
}

#[test]
#[ignore = "boots a guest"]
fn frames_are_turned_mirrored_and_compressed() {
    let given = Layout::new(PixelFormat::Rgb3, 320, 240);
    let mut works = Works::open("trixie", BufferApi::Single, given, &[]);
    let how = Transform {
        hflip: true,
        rotate: 90,
        ..Transform::default()
    };
    let controls = "horizontal_flip=1,rotate=90";
    let side = Layout::new(PixelFormat::Rgb3, 240, 320);
    works.v4l2_ctl("user", &side, controls, &how);
    let how = Transform {
        quality: 30,
        ..Transform::default()
    };
    let jpeg = Layout::new(PixelFormat::Mjpg, 320, 240);
    works.v4l2_ctl("user", &jpeg, "compression_quality=30", &how);
    works.studio.close();
}

#[test]
#[ignore = "boots guests"]
fn planes_with_memory_of_their_own_are_read_and_written() {
    let given = Layout::new(PixelFormat::Nm12, 324, 242);
    for kernel in ["bullseye", "trixie"] {
        let mut works = Works::open(kernel, BufferApi::Multi, given, &[]);
        for (memory, format) in [
            ("user", PixelFormat::Ym12),
            ("mmap", PixelFormat::Nm16),
            ("user", PixelFormat::Nm12),
        ] {
            let made = Layout::new(format, 324, 242);
            works.v4l2_ctl(memory, &made, "", &Transform::default());
        }
        works.studio.close();
    }
}

#[test]
#[ignore = "boots guests"]
fn gstreamer_converts_and_compresses() {
    let given = Layout::new(PixelFormat::Nv12, 640, 480);
    for (makes, format, modes) in [
        (
            "raw",
            PixelFormat::Yuyv,
            &[
                (IoMode::Mmap, IoMode::Mmap),
                (IoMode::Userptr, IoMode::Mmap),
                (IoMode::Dmabuf, IoMode::Dmabuf),
            ][..],
        ),
        (
            "jpeg",
            PixelFormat::Mjpg,
            &[(IoMode::Userptr, IoMode::Mmap)],
        ),
    ] {
        let made = match format.is_compressed() {
            true => Layout::new(format, 640, 480),
            false => Layout::new(format, 320, 240),
        };
        let arguments = ["--makes", makes];
        let mut works = Works::open("trixie", BufferApi::Single, given, &arguments);
        for &modes in modes {
            let client = gstreamer_converts(&given, &made, modes, GIVEN, FILE).unwrap();
            works.verify(client, &made, &Transform::default());
        }
        works.studio.close();
    }
}
