//! The time to convert a film's frame to a frame of the card.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pinhole::source::convert::Converter;
use pinhole::source::raster::{Chroma, Raster};
use pinhole::source::{Layout, PixelFormat};

fn convert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convert");
    let hd = (1920, 1080);
    for (chroma, full, format, size) in [
        (Chroma::Yuv420, false, PixelFormat::Nv12, hd),
        (Chroma::Yuv420, false, PixelFormat::Yv12, hd),
        (Chroma::Yuv420, false, PixelFormat::Yuyv, hd),
        (Chroma::Yuv422, false, PixelFormat::Yuyv, hd),
        (Chroma::Yuv420, true, PixelFormat::Nv12, hd),
        (Chroma::Yuv420, false, PixelFormat::Rgb3, hd),
        (Chroma::Yuv420, false, PixelFormat::Xr24, hd),
        (Chroma::Yuv420, false, PixelFormat::Rgbp, hd),
        (Chroma::Yuv420, false, PixelFormat::Nv12, (1280, 720)),
        (Chroma::Yuv420, false, PixelFormat::Nv12, (3840, 2160)),
        (Chroma::Yuv420, false, PixelFormat::Rgb3, (1280, 720)),
    ] {
        let from = Raster::yuv(chroma, hd.0, hd.1, full);
        let layout = Layout::new(format, size.0, size.1);
        let to = Raster::of(&layout).expect("a format that is not compressed");
        let frame: Vec<u8> = (0..from.bytes).map(|i| (i * 7 + i / 97) as u8).collect();
        let mut converter = Converter::new(&from, None, &to);
        group.throughput(Throughput::Bytes(to.bytes as u64));
        let range = if full { "full-" } else { "" };
        let name = format!("{range}{chroma:?}-1920x1080/{format}-{}x{}", size.0, size.1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| converter.convert(black_box(&frame)));
        });
    }
    group.finish();
}

criterion_group!(benches, convert);
criterion_main!(benches);
