//! The picture that a device shows, as it writes it into memory of its own driver.

use std::io;
use std::time::{Duration, Instant};

use crate::agent::cell::Subject;
use crate::agent::cell::picture::Picture;
use crate::card::{BufferType, Direction};
use crate::wire::buffer::{BUF_FLAG_ERROR, MEMORY_MMAP};

use super::failed::failed;
use crate::guest::cell::device::{Device, Memory};
use crate::guest::cell::patience::{self, FRAME_LIMIT};
use crate::guest::cell::span::{self, MemoryAccess, Span};

/// What buffers hold before the device writes, one after the other, the same frame or
/// picture: a byte that it leaves out is another one then.
pub const FILLINGS: [u8; 2] = [0x00, 0xa5];

/// Least number of frames of a stream that must be equal, and the least time that they
/// take: what a device shows may move slowly.
const FRAMES: usize = 10;
const TIME: Duration = Duration::from_millis(500);

/// Most frames in error before the first whole one.
const ERRORS_MAX: usize = 10;

/// What was seen of a device that gives frames.
pub struct Seen {
    /// The picture that it shows, or why there is none.
    pub picture: Result<Picture, String>,
    /// Number of frames that came in error before the first whole one.
    errors: usize,
}

impl Seen {
    /// Returns what is to be known of it, a sentence each.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let errors = (self.errors > 0).then(|| {
            format!(
                "{} frames came in error before the first whole one",
                self.errors
            )
        });
        let picture = self.picture.as_ref().err();
        let picture = picture.map(|why| format!("it shows no still picture: {why}"));
        errors.into_iter().chain(picture)
    }
}

/// The frames of a stream.
#[derive(Debug, Clone)]
struct Stream {
    /// The first whole one: the bytes that the device says it has written.
    first: Vec<u8>,
    /// Whether all that came after it are the same.
    is_still: bool,
    /// Number of frames in error before it.
    errors: usize,
}

/// Why there are no frames.
enum NoFrames {
    /// The device gives none.
    AtAll(String),
    /// There is no memory of the driver's own for them, or they end too soon: a cell may
    /// have some.
    Here(String),
}

impl NoFrames {
    fn of(call: &str, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EBUSY) => Self::AtAll(failed(call, error)),
            _ => Self::Here(format!("{call}: {error}")),
        }
    }

    fn of_stream(call: &str, error: &io::Error) -> Self {
        Self::AtAll(match error.raw_os_error() {
            Some(libc::EBUSY) => failed(call, error),
            _ => format!("it gives no frames into its own driver's memory either: {call}: {error}"),
        })
    }
}

/// Looks at the frames of two streams.
///
/// # Errors
///
/// A sentence if the device gives no frames, or another program has it.
pub fn look(path: &str, subject: &Subject) -> Result<Seen, String> {
    let mut streams: Vec<Stream> = Vec::new();
    for filling in FILLINGS {
        match capture(path, subject, filling) {
            Ok(stream) => streams.push(stream),
            Err(NoFrames::AtAll(why)) => return Err(why),
            Err(NoFrames::Here(why)) => {
                let why = format!("a capture into memory of its driver failed: {why}");
                return Ok(Seen {
                    picture: Err(why),
                    errors: errors(&streams),
                });
            }
        }
    }
    Ok(Seen {
        picture: still(&streams, subject.sizeimage as usize),
        errors: errors(&streams),
    })
}

fn errors(streams: &[Stream]) -> usize {
    streams.iter().map(|stream| stream.errors).sum()
}

/// Returns the picture that all frames are, in buffers of that many bytes.
fn still(streams: &[Stream], sizeimage: usize) -> Result<Picture, String> {
    let first = streams.first().map(|stream| &stream.first[..]);
    let Some([value, rest @ ..]) = first else {
        return Err("its frames are empty".into());
    };
    if streams.iter().any(|stream| !stream.is_still) {
        return Err("its frames differ".into());
    }
    if streams
        .iter()
        .any(|stream| Some(&stream.first[..]) != first)
    {
        return Err(
            "its frames differ from one stream to another, or it leaves bytes of them as they were"
                .into(),
        );
    }
    if rest.iter().all(|byte| byte == value) {
        return Err(format!(
            "each byte of its frames is {value:#04x}, so that no part of them is like no other"
        ));
    }
    Ok(Picture::of(&streams[0].first, sizeimage))
}

/// Captures frames into MMAP buffers that hold `filling` before.
fn capture(path: &str, subject: &Subject, filling: u8) -> Result<Stream, NoFrames> {
    let of = |call| move |error: io::Error| NoFrames::of(call, &error);
    let type_ = BufferType {
        direction: Direction::Capture,
        api: subject.api,
    };
    let device = Device::open_for(path, type_).map_err(of("open"))?;
    device.set_subject(subject).map_err(of("VIDIOC_S_FMT"))?;
    let made = device.request_buffers(subject.buffers.max(2), MEMORY_MMAP);
    let made = made.map_err(of("VIDIOC_REQBUFS"))?;
    let mut mappings = Vec::new();
    for index in 0..made {
        mappings.push(device.map(index).map_err(of("mmap"))?);
    }
    let stream = stream(&device, &mappings, filling);
    let stopped = device.stream_off();
    let unmapped = mappings.into_iter().try_for_each(span::unmap);
    unmapped.map_err(of("munmap"))?;
    let freed = device.request_buffers(0, MEMORY_MMAP);
    let stream = stream?;
    stopped.map_err(of("VIDIOC_STREAMOFF"))?;
    freed.map_err(of("VIDIOC_REQBUFS of no buffers"))?;
    Ok(stream)
}

fn stream(device: &Device, mappings: &[Span], filling: u8) -> Result<Stream, NoFrames> {
    let of = |call| move |error: io::Error| NoFrames::of_stream(call, &error);
    let access = MemoryAccess::new().map_err(of("memory"))?;
    let queue = |index: u32, mapping: Span| {
        access.write(mapping.start, &vec![filling; mapping.len])?;
        device.queue(index, Memory::Driver(mapping.len))
    };
    for (index, mapping) in (0..).zip(mappings) {
        queue(index, *mapping).map_err(of("VIDIOC_QBUF"))?;
    }
    device.stream_on().map_err(of("VIDIOC_STREAMON"))?;
    let next = |limit: Instant| -> Result<Option<Vec<u8>>, NoFrames> {
        let left = limit.saturating_duration_since(Instant::now());
        device.wait(left).map_err(of("poll for a frame"))?;
        let frame = device.dequeue(MEMORY_MMAP).map_err(of("VIDIOC_DQBUF"))?;
        let index = frame.index.get();
        let mapping = mappings.get(index as usize).copied().ok_or_else(|| {
            NoFrames::AtAll(format!(
                "it gives back buffer {index}, of {}",
                mappings.len()
            ))
        })?;
        let used = (frame.bytesused.get() as usize).min(mapping.len);
        let bytes = match frame.flags.get() & BUF_FLAG_ERROR {
            0 => Some(access.read(mapping.part(0, used)).map_err(of("memory"))?),
            _ => None,
        };
        queue(index, mapping).map_err(of("VIDIOC_QBUF"))?;
        Ok(bytes)
    };
    frames(patience::of(FRAME_LIMIT), next)
}

/// Takes the frames of a stream, each of which may take as long as `frame_limit`, given
/// the function that waits for the next one until then: `None` is one in error.
fn frames(
    frame_limit: Duration,
    mut next: impl FnMut(Instant) -> Result<Option<Vec<u8>>, NoFrames>,
) -> Result<Stream, NoFrames> {
    let limit = Instant::now() + frame_limit;
    let mut errors = 0;
    let first = loop {
        match next(limit)? {
            Some(first) => break first,
            None if errors == ERRORS_MAX => {
                return Err(NoFrames::AtAll(format!(
                    "its frames come in error, {ERRORS_MAX} and one more"
                )));
            }
            None => errors += 1,
        }
    };
    let begin = Instant::now();
    let mut count = 1;
    let mut is_still = true;
    while is_still && (count < FRAMES || begin.elapsed() < TIME) {
        let frame = match next(begin + frame_limit) {
            Ok(frame) => frame,
            Err(NoFrames::AtAll(_)) => {
                return Err(NoFrames::Here(format!("no frame came after {count}")));
            }
            Err(other) => return Err(other),
        };
        let frame =
            frame.ok_or_else(|| NoFrames::Here("a frame came in error after whole ones".into()))?;
        is_still = frame == first;
        count += 1;
    }
    Ok(Stream {
        first,
        is_still,
        errors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::Digest;

    fn timed_out() -> NoFrames {
        let error = io::Error::from_raw_os_error(libc::ETIMEDOUT);
        NoFrames::of_stream("poll for a frame", &error)
    }

    #[test]
    fn a_picture_is_the_same_in_all_frames() {
        let first: Vec<u8> = (0..5000).map(|at| (at / 7) as u8).collect();
        let stream = Stream {
            first,
            is_still: true,
            errors: 0,
        };
        let streams = [stream.clone(), stream];
        let picture = still(&streams, 8192).unwrap();
        assert_eq!(picture.bytes, 5000);
        let whole = [&streams[0].first[..], &[0; 3192]].concat();
        let digests = [Digest::of(&whole[..4096]), Digest::of(&whole[4096..])];
        assert_eq!(picture.digests, digests);

        let mut moving = streams.clone();
        moving[1].is_still = false;
        assert_eq!(still(&moving, 8192).unwrap_err(), "its frames differ");
        let mut left = streams.clone();
        left[1].first[9] ^= 1;
        let why = still(&left, 8192).unwrap_err();
        assert!(why.contains("leaves bytes"), "{why}");
        let mut shorter = streams.clone();
        shorter[1].first.pop();
        assert!(still(&shorter, 8192).is_err());
        assert!(still(&[], 8192).is_err());
        let of = |bytes: &[u8]| {
            streams.clone().map(|stream| Stream {
                first: bytes.to_vec(),
                ..stream
            })
        };
        assert!(still(&of(&[]), 8192).is_err());
        let why = still(&of(&[16; 5000]), 8192).unwrap_err();
        assert!(why.contains("is 0x10"), "{why}");
    }

    #[test]
    fn a_stream_is_still_if_it_is_for_long() {
        let begin = Instant::now();
        let mut count = 0;
        let of = |from: usize| {
            move |at: usize| match at < from {
                true => Ok(Some(vec![7, 8])),
                false => Ok(Some(vec![7, 9])),
            }
        };
        let mut taken = |change: usize| {
            count = 0;
            let frame = of(change);
            let stream = frames(FRAME_LIMIT, |_| {
                count += 1;
                std::thread::sleep(Duration::from_millis(1));
                frame(count)
            });
            (stream.is_ok_and(|stream| stream.is_still), count)
        };
        let (is_still, frames) = taken(usize::MAX);
        assert!(is_still && frames >= FRAMES, "{frames}");
        assert!(begin.elapsed() >= TIME);
        assert_eq!(taken(FRAMES), (false, FRAMES));
    }

    #[test]
    fn a_frame_may_take_longer_than_usual() {
        for limit in [FRAME_LIMIT, 6 * FRAME_LIMIT] {
            let begin = Instant::now();
            let mut deadlines = Vec::new();
            let seen = frames(limit, |until| {
                deadlines.push(until);
                match deadlines.len() {
                    1 => Ok(Some(vec![1])),
                    _ => Err(timed_out()),
                }
            });
            assert!(matches!(seen, Err(NoFrames::Here(_))));
            assert_eq!(deadlines.len(), 2);
            for until in deadlines {
                assert!((begin + limit..begin + limit + FRAME_LIMIT).contains(&until));
            }
        }
    }

    #[test]
    fn first_frames_may_be_in_error() {
        let of = |errors: usize, whole: usize| {
            let mut came = 0;
            frames(FRAME_LIMIT, |_| {
                came += 1;
                match came {
                    came if came <= errors => Ok(None),
                    came if came <= errors + whole => {
                        std::thread::sleep(TIME / FRAMES as u32);
                        Ok(Some(vec![1]))
                    }
                    _ => Err(timed_out()),
                }
            })
        };
        let stream = of(ERRORS_MAX, 20);
        assert!(stream.is_ok_and(|stream| stream.errors == ERRORS_MAX));
        assert!(matches!(of(ERRORS_MAX + 1, 20), Err(NoFrames::AtAll(_))));
        // It gave frames, so that cells may have some.
        assert!(matches!(of(0, 3), Err(NoFrames::Here(_))));
        let Err(NoFrames::AtAll(why)) = of(1, 0) else {
            panic!("there were no frames")
        };
        assert!(why.contains("own driver's memory either: poll"), "{why}");
        let seen = Seen {
            picture: Err("why".into()),
            errors: 3,
        };
        assert_eq!(seen.notes().count(), 2);
    }
}
