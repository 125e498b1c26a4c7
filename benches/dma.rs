//! The time of a 1920x1080 NV12 frame from QBUF to its event, in pages that are
//! scattered as a process's pages are, compared with a copy of as many bytes
//! into the same pages.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pinhole::card::{Card, Now, Rate, Spec, Witness};
use pinhole::dma::{Bus, FrameWriter, ScatterList, Segment};
use pinhole::source::{Begun, Camera, FrameInfo, Layout, Pattern, PixelFormat, Source};
use pinhole::wire::buffer::{Buffer, MEMORY_USERPTR, RequestBuffers};
use pinhole::wire::format::{BUF_TYPE_VIDEO_CAPTURE, Format, PixFormat};
use pinhole::wire::{Ioctl, Reply};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use zerocopy::{FromZeros, IntoBytes};

const PAGE: u32 = 4096;
/// Offset of the buffer in its first page.
const OFFSET: u32 = 16;

/// A source whose only cost is the writing.
struct Blank;

impl Source for Blank {
    fn prepare(&mut self, _layout: &Layout) {}
    fn begin(&mut self, _frame: &FrameInfo) -> Begun {
        Begun::Frame { bytes: u32::MAX }
    }
    fn fill(&mut self, _offset: usize, out: &mut [u8]) {
        out.fill(0x80);
    }
}

/// Returns segments for `size` bytes: each page of guest memory occurs at most
/// once, and none is adjacent to the one before it.
fn segments(size: u32) -> Vec<Segment> {
    let pages = (size + OFFSET).div_ceil(PAGE);
    let mut left = size;
    (0..pages)
        .map(|page| {
            let skip = if page == 0 { OFFSET } else { 0 };
            let len = left.min(PAGE - skip);
            left -= len;
            // 1021 is prime, so this visits every second one of 2 * 1021 pages
            // without repetition.
            let place = u64::from(page * 389 % 1021 * 2);
            Segment {
                start: place * u64::from(PAGE) + u64::from(skip),
                len,
            }
        })
        .collect()
}

fn give(card: &mut Card, bus: Bus<'_>, reply: &mut Reply, request: &[u8]) {
    reply.begin(4096);
    card.command(Now::default(), request, bus, reply).unwrap();
}

fn ioctl(session: u32, ioctl: Ioctl, payload: &[&[u8]]) -> Vec<u8> {
    let mut request: Vec<u8> = [3, 0, session, ioctl as u32]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    request.extend(payload.concat());
    request
}

fn dma(criterion: &mut Criterion) {
    let layout = Layout::new(PixelFormat::Nv12, 1920, 1080);
    let size = layout.sizeimage;
    let segments = segments(size);
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2048 * PAGE as usize)]).unwrap();
    let bus = Bus {
        memory: &memory,
        forbidden: &[],
    };
    let mut group = criterion.benchmark_group("NV12-1920x1080");
    group.throughput(Throughput::Bytes(size.into()));

    let mut list = ScatterList::default();
    list.resolve(segments.iter().copied(), size, size, bus)
        .unwrap();
    let frame = vec![0x80; size as usize];
    group.bench_function("copy", |bencher| {
        bencher.iter(|| {
            let mut writer = FrameWriter::new(&list, None);
            writer.write(black_box(&frame)).unwrap();
        });
    });

    let list: Vec<u8> = segments
        .iter()
        .flat_map(|segment| {
            let mut entry = [0; 16];
            entry[..8].copy_from_slice(&segment.start.to_le_bytes());
            entry[8..12].copy_from_slice(&segment.len.to_le_bytes());
            entry
        })
        .collect();
    let mut format = Format::capture(PixFormat::new_zeroed());
    format.pix.width = layout.width.into();
    format.pix.height = layout.height.into();
    format.pix.pixelformat = layout.format.fourcc().into();
    let mut request = RequestBuffers::new_zeroed();
    request.count = 1.into();
    request.type_ = BUF_TYPE_VIDEO_CAPTURE.into();
    request.memory = MEMORY_USERPTR.into();
    let mut buffer = Buffer::new_zeroed();
    buffer.type_ = BUF_TYPE_VIDEO_CAPTURE.into();
    buffer.memory = MEMORY_USERPTR.into();
    buffer.length = size.into();

    let cases: [(&str, Box<dyn Source>, Witness); 4] = [
        ("blank", Box::new(Blank), Witness::off()),
        (
            "blank with witness",
            Box::new(Blank),
            Witness::new(Box::new(io::sink())),
        ),
        ("bars", Box::new(Pattern::default()), Witness::off()),
        (
            "bars with witness",
            Box::new(Pattern::default()),
            Witness::new(Box::new(io::sink())),
        ),
    ];
    for (name, source, witness) in cases {
        let mut card = Card::new(Spec {
            witness,
            ..Spec::new(Camera::with("Camera", source), Rate::Max)
        });
        let mut reply = Reply::default();
        let mut event = Vec::new();
        for request in [
            vec![1, 0, 0, 0, 0, 0, 0, 0],
            ioctl(1, Ioctl::SFmt, &[format.as_bytes()]),
            ioctl(1, Ioctl::ReqBufs, &[request.as_bytes()]),
            ioctl(1, Ioctl::StreamOn, &[&1u32.to_le_bytes()]),
        ] {
            give(&mut card, bus, &mut reply, &request);
        }
        let qbuf = ioctl(1, Ioctl::QBuf, &[buffer.as_bytes(), &list]);
        let mut now = Now::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                now.monotonic += Duration::from_millis(1);
                give(&mut card, bus, &mut reply, &qbuf);
                card.tick(now);
                assert!(card.next_event(&mut event));
                card.event_sent();
                card.flush_witness();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, dma);
criterion_main!(benches);
