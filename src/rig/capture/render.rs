//! The frames that an application plays, as a source makes them.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::disk::{Disk, DiskError};
use super::tool::Rate;
use crate::rig::plural::count;
use crate::source::{Begun, Camera, FrameInfo, Layout, Pace};
use crate::vm::interrupt;
use crate::vm::progress::Progress;

/// How long a frame is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a late frame is asked for again.
const LOOK: Duration = Duration::from_millis(2);

/// Why the frames could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The file of frames cannot be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The source has too few frames.
    #[error("the source ends after {}; {wanted} are to be played", count(*.frames as usize, "frame"))]
    Ended {
        /// Number of frames that it had.
        frames: u32,
        /// Number of frames to be played.
        wanted: u32,
    },
    /// The source's next frame does not come.
    #[error("the source has no frame for {} s", PATIENCE.as_secs())]
    Late,
    /// SIGINT or SIGTERM has arrived.
    #[error("interrupted")]
    Interrupted,
}

/// Writes `frames` frames of `layout`, as `camera` shows them at that rate, to the
/// file of `disk`. A compressed frame is followed by zeros up to the size of the
/// longest one, because the program that plays the file knows no other length.
///
/// # Errors
///
/// [`RenderError`] if the source has too few frames, or they cannot be written.
pub fn render(
    mut camera: Camera,
    layout: &Layout,
    rate: Rate,
    frames: u32,
    disk: &Disk,
    progress: &Progress,
) -> Result<(), RenderError> {
    let mut file = disk.open()?;
    let step = progress.step(format!("drawing {}", count(frames as usize, "frame")));
    let pace = Pace::Every(1, rate.fps().unwrap_or(Rate::FASTEST));
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut info = FrameInfo {
        stream: 1,
        wall: wall.unwrap_or_default(),
        ..FrameInfo::default()
    };
    camera.prepare(layout);
    camera.expect(pace, Some(info));
    let mut content = vec![0; layout.sizeimage as usize];
    for frame in 0..frames {
        let bytes = match begin(&mut camera, &info)? {
            Some(bytes) => bytes as usize,
            None => {
                let wanted = frames;
                return Err(RenderError::Ended {
                    frames: frame,
                    wanted,
                });
            }
        };
        let (drawn, rest) = content.split_at_mut(bytes.min(layout.sizeimage as usize));
        for plane in layout.memory_planes() {
            let first = plane.offset as usize;
            let end = drawn.len().min(first + plane.sizeimage as usize);
            // A frame may end before this plane.
            camera.fill(first, drawn.get_mut(first..end).unwrap_or_default());
        }
        rest.fill(0);
        let written = file.write_all(&content);
        written.map_err(|source| disk.error("write", source))?;
        info = pace.after(&info);
        step.position(u64::from(frame) + 1, frames.into());
    }
    step.done();
    Ok(())
}

/// Begins a frame, and waits for it; returns its length, or `None` if none comes
/// any more.
fn begin(camera: &mut Camera, info: &FrameInfo) -> Result<Option<u32>, RenderError> {
    let until = Instant::now() + PATIENCE;
    loop {
        if interrupt::requested() {
            return Err(RenderError::Interrupted);
        }
        match camera.begin(info) {
            Begun::Frame { bytes } => return Ok(Some(bytes)),
            Begun::Ended => return Ok(None),
            Begun::Late if Instant::now() >= until => return Err(RenderError::Late),
            Begun::Late => thread::sleep(LOOK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::capture::folder::Folder;
    use crate::source::{Input, Pattern, PixelFormat, Source};

    fn rendered(camera: Camera, layout: &Layout, frames: u32) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let claimed = Folder::claim(folder.path()).unwrap();
        let disk = Disk::make(&claimed, layout.sizeimage, frames).unwrap();
        let progress = Progress::silent();
        render(camera, layout, Rate::Fps(30), frames, &disk, &progress)
            .map_err(|error| error.to_string())?;
        let mut content = std::fs::read(claimed.frames()).unwrap();
        content.truncate(frames as usize * layout.sizeimage as usize);
        Ok(content)
    }

    fn pattern(name: &str) -> Camera {
        Camera::with(name, Box::new(Pattern::named(name).unwrap()))
    }

    #[test]
    fn frames_are_those_that_a_capture_card_would_show() {
        for format in [PixelFormat::Yuyv, PixelFormat::Ym12] {
            let layout = Layout::new(format, 64, 48);
            let frames = rendered(pattern("integrity"), &layout, 3).unwrap();
            let mut camera = pattern("integrity");
            camera.prepare(&layout);
            for (sequence, frame) in (0..).zip(frames.chunks(layout.sizeimage as usize)) {
                let info = FrameInfo {
                    stream: 1,
                    sequence,
                    ..FrameInfo::default()
                };
                assert!(matches!(camera.begin(&info), Begun::Frame { .. }));
                let mut expected = vec![0; frame.len()];
                for plane in layout.memory_planes() {
                    let range = plane.offset as usize..(plane.offset + plane.sizeimage) as usize;
                    camera.fill(range.start, &mut expected[range]);
                }
                assert!(frame == expected, "{format}, {sequence}");
            }
        }
    }

    #[cfg(feature = "films")]
    #[test]
    fn compressed_frames_have_the_length_of_the_longest() {
        let layout = Layout::new(PixelFormat::Mjpg, 64, 48);
        let frames = rendered(pattern("bars"), &layout, 3).unwrap();
        for frame in frames.chunks(layout.sizeimage as usize) {
            assert!(frame.starts_with(&[0xff, 0xd8]), "it is no JPEG");
            assert!(frame.ends_with(&[0; 64]));
        }
    }

    /// A source of two frames.
    struct Two(u32);

    impl Source for Two {
        fn prepare(&mut self, _layout: &Layout) {}

        fn begin(&mut self, _frame: &FrameInfo) -> Begun {
            self.0 += 1;
            match self.0 {
                3.. => Begun::Ended,
                _ => Begun::Frame { bytes: 256 },
            }
        }

        fn fill(&mut self, _offset: usize, out: &mut [u8]) {
            out.fill(self.0 as u8);
        }
    }

    fn two() -> Camera {
        Camera::new(vec![Input {
            name: "two".into(),
            source: Box::new(Two(0)),
        }])
    }

    #[test]
    fn a_frame_that_ends_before_its_last_planes_is_followed_by_zeros() {
        let layout = Layout::new(PixelFormat::Ym12, 64, 48);
        let one = rendered(two(), &layout, 1).unwrap();
        assert!(one[..256] == [1; 256] && one[256..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_source_with_too_few_frames_is_said() {
        let layout = Layout::new(PixelFormat::Grey, 16, 16);
        let both = rendered(two(), &layout, 2).unwrap();
        assert!(both == [[1; 256], [2; 256]].concat());
        let said = "the source ends after 2 frames; 3 are to be played";
        assert_eq!(rendered(two(), &layout, 3).unwrap_err(), said);
    }
}
