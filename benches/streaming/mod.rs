//! What the measurements share: guest memory as QEMU shares it, buffers that lie
//! in it as a process's pages do, and a card that streams into them.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use pinhole::card::witness::Target;
use pinhole::card::{Card, Endpoint, Now, Rate, Spec, Witness};
use pinhole::dma::{Bus, Segment};
use pinhole::sink::{Display, Output};
use pinhole::source::{Begun, Camera, FrameInfo, Layout, Source};
use pinhole::wire::buffer::{Buffer, MEMORY_USERPTR, RequestBuffers};
use pinhole::wire::format::{BUF_TYPE_VIDEO_CAPTURE, BUF_TYPE_VIDEO_OUTPUT, Format, PixFormat};
use pinhole::wire::{Ioctl, Reply};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};
use zerocopy::{FromZeros, IntoBytes};

pub const PAGE: u32 = 4096;

/// The way in which buffers lie in memory.
#[derive(Clone, Copy)]
pub struct Scatter {
    /// Number of buffers. They are used in turn; 32 are more than a cache
    /// holds.
    pub buffers: usize,
    /// Offset of a plane in its first page.
    pub offset: u32,
    /// Length of a segment in bytes, in whole pages.
    pub segment: u32,
}

/// Guest memory, and the buffers in it.
pub struct Memory {
    pub guest: GuestMemoryMmap,
    /// For each buffer the segments of each of its planes. Every segment but
    /// the ends of a plane is as long as was asked for, and none is adjacent to
    /// the one before it.
    pub buffers: Vec<Vec<Vec<Segment>>>,
}

impl Memory {
    /// Makes memory with buffers for frames of that layout.
    pub fn new(layout: &Layout, scatter: Scatter) -> Self {
        let Scatter {
            buffers,
            offset,
            segment,
        } = scatter;
        let sizes: Vec<u32> = layout.memory_planes().map(|p| p.sizeimage).collect();
        let needed: usize = sizes
            .iter()
            .map(|s| (s + offset).div_ceil(segment))
            .sum::<u32>() as usize
            * buffers;
        // The places are visited in steps that have no divisor in common with
        // their number, a power of two.
        let places = (needed * 2).next_power_of_two();
        let step = (places * 389 / 1021) | 1;
        let mut place = 0;
        let mut next = || {
            place = (place + step) % places;
            place as u64 * u64::from(segment)
        };
        let mut plane = |size: u32| {
            let mut left = size;
            let mut segments = Vec::new();
            while left > 0 {
                let skip = if segments.is_empty() { offset } else { 0 };
                let len = left.min(segment - skip);
                left -= len;
                segments.push(Segment {
                    start: next() + u64::from(skip),
                    len,
                });
            }
            segments
        };
        let buffers = (0..buffers)
            .map(|_| sizes.iter().map(|size| plane(*size)).collect())
            .collect();
        let bytes = places * segment as usize;
        let memfd = memfd_create("pinhole-bench", MemfdFlags::CLOEXEC).expect("a memfd");
        ftruncate(&memfd, bytes as u64).expect("room in the memfd");
        let file = FileOffset::new(File::from(memfd), 0);
        let guest = GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), bytes, Some(file))])
            .expect("a mapping of the memfd");
        Self { guest, buffers }
    }

    pub fn bus(&self) -> Bus<'_> {
        Bus {
            memory: &self.guest,
            forbidden: &[],
        }
    }
}

/// A source whose only cost is the writing.
pub struct Blank;

impl Source for Blank {
    fn prepare(&mut self, _layout: &Layout) {}
    fn begin(&mut self, _frame: &FrameInfo) -> Begun {
        Begun::Frame { bytes: u32::MAX }
    }
    fn fill(&mut self, _offset: usize, out: &mut [u8]) {
        out.fill(0x80);
    }
}

/// A witness's file that keeps nothing.
pub struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Nowhere {}

/// Returns a camera with that source, as the endpoint of a card.
pub fn camera(source: Box<dyn Source>) -> Endpoint {
    Endpoint::Camera(Box::new(Camera::with("Camera", source)))
}

/// Returns a display that keeps nothing, as the endpoint of a card.
pub fn display() -> Endpoint {
    Endpoint::Display(Display::new(vec![Output::digest()]))
}

/// A card that streams into the buffers of a [`Memory`], or out of them; its
/// layout has one memory plane.
pub struct Streaming<'a> {
    card: Card,
    bus: Bus<'a>,
    reply: Reply,
    event: Vec<u8>,
    /// The QBUF of each buffer.
    queue: Vec<Vec<u8>>,
    next: usize,
    now: Now,
}

impl<'a> Streaming<'a> {
    pub fn new(memory: &'a Memory, layout: &Layout, endpoint: Endpoint, witness: Witness) -> Self {
        let type_ = match endpoint {
            Endpoint::Camera(_) => BUF_TYPE_VIDEO_CAPTURE,
            Endpoint::Display(_) => BUF_TYPE_VIDEO_OUTPUT,
        };
        let mut format = Format::of(type_, PixFormat::new_zeroed());
        format.pix.width = layout.width.into();
        format.pix.height = layout.height.into();
        format.pix.pixelformat = layout.format.fourcc().into();
        let mut buffers = RequestBuffers::new_zeroed();
        buffers.count = (memory.buffers.len() as u32).into();
        buffers.type_ = type_.into();
        buffers.memory = MEMORY_USERPTR.into();
        let queue = memory.buffers.iter().zip(0u32..).map(|(planes, index)| {
            let mut buffer = Buffer::new_zeroed();
            buffer.index = index.into();
            buffer.type_ = type_.into();
            buffer.memory = MEMORY_USERPTR.into();
            buffer.length = layout.sizeimage.into();
            ioctl(Ioctl::QBuf, &[buffer.as_bytes(), &entries(&planes[0])])
        });
        let mut streaming = Self {
            card: Card::new(Spec {
                witness,
                ..Spec::with(endpoint, Rate::Max)
            }),
            bus: memory.bus(),
            reply: Reply::default(),
            event: Vec::new(),
            queue: queue.collect(),
            next: 0,
            now: Now::default(),
        };
        let open = [1, 0, 0, 0, 0, 0, 0, 0];
        streaming.give(&open);
        streaming.give(&ioctl(Ioctl::SFmt, &[format.as_bytes()]));
        streaming.give(&ioctl(Ioctl::ReqBufs, &[buffers.as_bytes()]));
        streaming.give(&ioctl(Ioctl::StreamOn, &[&type_.to_le_bytes()]));
        streaming
    }

    fn give(&mut self, request: &[u8]) {
        self.reply.begin(4096);
        let done = self
            .card
            .command(self.now, request, self.bus, &mut self.reply);
        done.expect("a command that the card takes");
    }

    /// Queues the next buffer, has its frame made, and takes its event, as the
    /// back end does.
    pub fn frame(&mut self) {
        self.now.monotonic += Duration::from_millis(1);
        self.now.wall += Duration::from_millis(1);
        let request = &self.queue[self.next];
        self.next = (self.next + 1) % self.queue.len();
        self.reply.begin(4096);
        let done = self
            .card
            .command(self.now, request, self.bus, &mut self.reply);
        done.expect("a buffer that the card takes");
        assert!(self.card.tick(self.now));
        assert!(self.card.next_event(&mut self.event));
        self.card.event_sent();
        self.card.flush_witness();
    }
}

fn ioctl(ioctl: Ioctl, payload: &[&[u8]]) -> Vec<u8> {
    let mut request: Vec<u8> = [3, 0, 1, ioctl as u32]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    request.extend(payload.concat());
    request
}

/// Returns the scatter list of a QBUF.
fn entries(segments: &[Segment]) -> Vec<u8> {
    let entry = |segment: &Segment| {
        let mut entry = [0; 16];
        entry[..8].copy_from_slice(&segment.start.to_le_bytes());
        entry[8..12].copy_from_slice(&segment.len.to_le_bytes());
        entry
    };
    segments.iter().flat_map(entry).collect()
}
