//! The picture that a device shows, as it writes it into memory of its own driver.

use std::io;
use std::os::fd::AsFd;

use crate::agent::cell::Subject;
use crate::agent::survey::Picture;
use crate::card::{BufferType, Direction};
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::wire::buffer::{BUF_FLAG_ERROR, MEMORY_MMAP};
use crate::wire::format::PixFormat;
use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use zerocopy::FromZeros;

use crate::guest::cell::device::{Device, Memory};
use crate::guest::cell::patience::FRAME_LIMIT;
use crate::guest::cell::span::{self, MemoryAccess, Span};

/// Number of streams whose frames must all be equal, by what their buffers hold before
/// the device writes: a byte that it leaves out is another one then.
const FILLINGS: [u8; 2] = [0x00, 0xa5];

/// Number of frames of each stream.
const FRAMES: usize = 3;

/// Returns the picture that the device shows in all frames of two streams; why there
/// is none, in a sentence.
pub fn look(path: &str, subject: &Subject) -> Result<Picture, String> {
    let mut frames = Vec::new();
    for filling in FILLINGS {
        let stream = capture(path, subject, filling)
            .map_err(|error| format!("a capture into memory of its driver failed: {error}"))?;
        frames.extend(stream);
    }
    still(&frames, subject.sizeimage as usize)
}

/// Returns the picture that all frames are, in buffers of that many bytes.
fn still(frames: &[Vec<u8>], sizeimage: usize) -> Result<Picture, String> {
    let Some(first) = frames.first().filter(|first| !first.is_empty()) else {
        return Err("its frames are empty".into());
    };
    let streams = frames.chunks(FRAMES);
    let is_moving = streams
        .clone()
        .any(|stream| stream.iter().any(|frame| *frame != stream[0]));
    if is_moving {
        return Err("its frames differ".into());
    }
    if frames.iter().any(|frame| frame != first) {
        return Err(
            "its frames differ from one stream to another, or it leaves bytes of them as they were"
                .into(),
        );
    }
    let mut buffer = first.clone();
    buffer.resize(sizeimage.max(first.len()), 0);
    let blocks = buffer.chunks(DIGEST_BLOCK);
    Ok(Picture {
        bytes: first.len() as u32,
        digests: blocks.map(Digest::of).collect(),
    })
}

/// Captures some frames into MMAP buffers that hold `filling` before; returns the bytes
/// of each that the device says it has written.
fn capture(path: &str, subject: &Subject, filling: u8) -> io::Result<Vec<Vec<u8>>> {
    let type_ = BufferType {
        direction: Direction::Capture,
        api: subject.api,
    };
    let device = Device::open_for(path, type_)?;
    device.change_format(PixFormat {
        width: subject.width.into(),
        height: subject.height.into(),
        pixelformat: subject.pixelformat.into(),
        ..FromZeros::new_zeroed()
    })?;
    let made = device.request_buffers(subject.buffers.max(2), MEMORY_MMAP)?;
    let mut mappings = Vec::new();
    for index in 0..made {
        let (length, offset) = (device.mmap_length(index)?, device.mmap_offset(index)?);
        let rights = PROT_READ | PROT_WRITE;
        let mapping = span::map_file(length, rights, MAP_SHARED, device.as_fd(), offset)?;
        mappings.push(mapping);
    }
    let frames = stream(&device, &mappings, filling);
    let stopped = device.stream_off();
    mappings.into_iter().try_for_each(span::unmap)?;
    device.request_buffers(0, MEMORY_MMAP)?;
    let frames = frames?;
    stopped.map(|()| frames)
}

fn stream(device: &Device, mappings: &[Span], filling: u8) -> io::Result<Vec<Vec<u8>>> {
    let access = MemoryAccess::new()?;
    let queue = |index: u32, mapping: Span| {
        access.write(mapping.start, &vec![filling; mapping.len])?;
        device.queue(index, Memory::Driver(mapping.len))
    };
    for (index, mapping) in (0..).zip(mappings) {
        queue(index, *mapping)?;
    }
    device.stream_on()?;
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        device.wait(FRAME_LIMIT)?;
        let frame = device.dequeue(MEMORY_MMAP)?;
        let index = frame.index.get();
        let mapping = mappings.get(index as usize).copied();
        let mapping = mapping.ok_or_else(|| {
            io::Error::other(format!("buffer {index} came back, of {}", mappings.len()))
        })?;
        if frame.flags.get() & BUF_FLAG_ERROR != 0 {
            return Err(io::Error::other("a frame came in error"));
        }
        let used = (frame.bytesused.get() as usize).min(mapping.len);
        frames.push(access.read(mapping.part(0, used))?);
        queue(index, mapping)?;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_the_same_in_all_frames() {
        let frame: Vec<u8> = (0..5000).map(|at| (at / 7) as u8).collect();
        let frames = vec![frame.clone(); 2 * FRAMES];
        let picture = still(&frames, 8192).unwrap();
        assert_eq!(picture.bytes, 5000);
        let whole = [&frame[..], &[0; 3192]].concat();
        let digests = [Digest::of(&whole[..4096]), Digest::of(&whole[4096..])];
        assert_eq!(picture.digests, digests);

        let mut moving = frames.clone();
        moving[1][7] ^= 1;
        assert_eq!(still(&moving, 8192).unwrap_err(), "its frames differ");
        let mut left = frames.clone();
        left[FRAMES..].iter_mut().for_each(|frame| frame[9] ^= 1);
        let why = still(&left, 8192).unwrap_err();
        assert!(why.contains("leaves bytes"), "{why}");
        let mut shorter = frames.clone();
        shorter[2].pop();
        assert!(still(&shorter, 8192).is_err());
        assert!(still(&[], 8192).is_err());
        assert!(still(&vec![Vec::new(); 6], 8192).is_err());
    }
}
