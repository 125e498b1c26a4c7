//! The time to write a frame into pages that are scattered as a process's pages
//! are, and to read one out of them, and the time of a frame from QBUF to its event, both compared with a
//! plain copy into the same pages; and the witness's digests, compared with the
//! digest of as many bytes in one piece.

mod streaming;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pinhole::card::Witness;
use pinhole::card::witness::Background;
use pinhole::dma::{DIGEST_BLOCK, Digest, FrameWriter, PIECE, ScatterList, Staging};
use pinhole::source::{Layout, Pattern, PixelFormat, Source};
use streaming::{Blank, Memory, Nowhere, PAGE, Scatter, Streaming, camera, display};
use vm_memory::{GuestAddress, GuestMemoryBackend};

const BUFFERS: usize = 32;

/// Measures the copy into segments of several lengths and places. The card
/// copies what was drawn last, which the processor has at hand; the plain copy,
/// a frame that lies elsewhere.
fn copy(criterion: &mut Criterion) {
    for (format, width, height) in [
        (PixelFormat::Yuyv, 1280, 720),
        (PixelFormat::Nv12, 1920, 1080),
        (PixelFormat::Nm12, 1920, 1080),
        (PixelFormat::Nv12, 3840, 2160),
    ] {
        let layout = Layout::new(format, width, height);
        for (offset, segment) in [(0, PAGE), (16, PAGE), (1234, PAGE), (0, 16 * PAGE)] {
            let memory = Memory::new(
                &layout,
                Scatter {
                    buffers: BUFFERS,
                    offset,
                    segment,
                },
            );
            let name = format!("copy/{format}-{width}x{height}/{segment}+{offset}");
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Bytes(layout.sizeimage.into()));
            plain_copy(&mut group, &layout, &memory);
            let mut staging = Staging::default();
            let lists: Vec<Vec<ScatterList>> = memory
                .buffers
                .iter()
                .map(|planes| {
                    let lists = planes.iter().zip(layout.memory_planes());
                    let list = lists.map(|(segments, plane)| {
                        let mut list = ScatterList::default();
                        let size = plane.sizeimage;
                        list.resolve(segments.iter().copied(), size, size, memory.bus())
                            .expect("segments in memory");
                        list
                    });
                    list.collect()
                })
                .collect();
            let mut turn = lists.iter().cycle();
            group.bench_function("card", |bencher| {
                bencher.iter(|| {
                    let lists = turn.next().expect("a cycle has no end");
                    for (list, plane) in lists.iter().zip(layout.memory_planes()) {
                        let mut writer = FrameWriter::new(list, &mut staging, None);
                        for offset in (0..plane.sizeimage as usize).step_by(PIECE) {
                            let length = PIECE.min(plane.sizeimage as usize - offset);
                            let drawn = |piece: &mut [u8]| _ = black_box(piece);
                            writer.write(length, drawn).expect("room in the list");
                        }
                        writer.finish().expect("room in the list");
                    }
                });
            });
            group.finish();
        }
    }
}

/// Measures the copy of a frame into the memory's buffers in turn.
fn plain_copy(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    layout: &Layout,
    memory: &Memory,
) {
    let start = memory
        .guest
        .get_host_address(GuestAddress(0))
        .expect("memory at 0");
    let frame = vec![0x80_u8; layout.sizeimage as usize];
    let mut turn = memory.buffers.iter().cycle();
    group.bench_function("plain", |bencher| {
        bencher.iter(|| {
            let segments = turn.next().expect("a cycle has no end").iter().flatten();
            let mut rest = black_box(&frame[..]);
            for segment in segments {
                let (now, later) = rest.split_at(segment.len as usize);
                let place = start.wrapping_add(segment.start as usize);
                // SAFETY: the segment lies in the memory that is mapped at
                // `start`, and no reference to that memory exists.
                unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), place, now.len()) };
                rest = later;
            }
        });
    });
}

/// Measures a frame from QBUF to its event.
fn frame(criterion: &mut Criterion) {
    for (format, width, height) in [
        (PixelFormat::Yuyv, 1280, 720),
        (PixelFormat::Nv12, 1920, 1080),
        (PixelFormat::Nv12, 3840, 2160),
    ] {
        let layout = Layout::new(format, width, height);
        let memory = Memory::new(
            &layout,
            Scatter {
                buffers: BUFFERS,
                offset: 16,
                segment: PAGE,
            },
        );
        let mut group = criterion.benchmark_group(format!("frame/{format}-{width}x{height}"));
        group.throughput(Throughput::Bytes(layout.sizeimage.into()));
        plain_copy(&mut group, &layout, &memory);
        let blank: fn() -> Box<dyn Source> = || Box::new(Blank);
        let bars: fn() -> Box<dyn Source> = || Box::new(Pattern::default());
        for (name, source) in [("blank", Some(blank)), ("bars", Some(bars)), ("read", None)] {
            for witnessed in [false, true] {
                let witness = match witnessed {
                    true => Witness::new(Background::start(Nowhere).expect("a thread")),
                    false => Witness::off(),
                };
                let name = format!("{name}{}", if witnessed { " with witness" } else { "" });
                let endpoint = source.map_or_else(display, |source| camera(source()));
                let mut streaming = Streaming::new(&memory, &layout, endpoint, witness);
                group.bench_function(name, |bencher| bencher.iter(|| streaming.frame()));
            }
        }
        group.finish();
    }
}

/// Measures the digests of a frame's blocks.
fn digest(criterion: &mut Criterion) {
    let size = Layout::new(PixelFormat::Nv12, 1920, 1080).sizeimage;
    let frame: Vec<u8> = (0..size).map(|i| (i * 7 + i / 97) as u8).collect();
    let mut group = criterion.benchmark_group("digest/NV12-1920x1080");
    group.throughput(Throughput::Bytes(size.into()));
    group.bench_function("one piece", |bencher| {
        bencher.iter(|| black_box(Digest::of(black_box(&frame))));
    });
    let mut digests = Vec::with_capacity(frame.len().div_ceil(DIGEST_BLOCK));
    group.bench_function("blocks", |bencher| {
        bencher.iter(|| {
            digests.clear();
            digests.extend(black_box(&frame).chunks(DIGEST_BLOCK).map(Digest::of));
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    // There are many, and a median settles soon.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = copy, frame, digest
}
criterion_main!(benches);
