//! The time to draw patterns, compared with memset of as many bytes.
//!
//! The benchmark asks for frames as the card does: a piece at a time, into
//! private memory that is used again for the next piece.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pinhole::dma::PIECE;
use pinhole::source::{FrameInfo, Layout, Pattern, PixelFormat, Source, pattern};

/// Memory that lies as the card's own does.
#[repr(align(64))]
struct Piece([u8; PIECE]);

/// Measures every pattern in every format at 1920x1080, and the default one at
/// other sizes.
fn render(criterion: &mut Criterion) {
    let hd = PixelFormat::ALL
        .into_iter()
        .filter(|format| !format.is_compressed())
        .map(|format| (format, 1920, 1080, pattern::NAMES));
    let others = [
        (PixelFormat::Yuyv, 1280, 720),
        (PixelFormat::Nv12, 3840, 2160),
        (PixelFormat::Xr24, 3840, 2160),
    ]
    .map(|(format, width, height)| (format, width, height, &pattern::NAMES[..1]));
    for (format, width, height, names) in hd.chain(others) {
        let layout = Layout::new(format, width, height);
        let mut buffer = vec![0u8; layout.sizeimage as usize];
        let mut piece = Box::new(Piece([0; PIECE]));
        let mut group = criterion.benchmark_group(format!("render/{format}-{width}x{height}"));
        group.throughput(Throughput::Bytes(layout.sizeimage.into()));
        group.bench_function("memset", |bencher| {
            bencher.iter(|| black_box(&mut buffer).fill(black_box(0x5a)));
        });
        for name in names {
            let mut pattern = Pattern::named(name).expect("a pattern's own name");
            pattern.prepare(&layout);
            let mut frame = FrameInfo::default();
            group.bench_function(*name, |bencher| {
                bencher.iter(|| {
                    frame.sequence = frame.sequence.wrapping_add(1);
                    frame.elapsed += Duration::from_nanos(16_666_667);
                    frame.wall += Duration::from_nanos(16_666_667);
                    let _ = pattern.begin(&frame);
                    for plane in layout.memory_planes() {
                        let end = (plane.offset + plane.sizeimage) as usize;
                        for offset in (plane.offset as usize..end).step_by(PIECE) {
                            let piece = &mut piece.0[..PIECE.min(end - offset)];
                            pattern.fill(offset, piece);
                            black_box(piece);
                        }
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // There are many, and a median settles soon.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = render
}
criterion_main!(benches);
