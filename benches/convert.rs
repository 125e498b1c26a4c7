//! The time to make frames that are converted, scaled or compressed, and the rate
//! at which a camera gives them.
//!
//! Each case is a group, in which the function `baseline` is the library's own call, or a copy
//! where no library is needed, on memory in one piece; `pinhole` does the same
//! for the card. `stream` is a frame's share of a stream whose frames are made
//! ahead, on as many threads as the card has, and are copied by one more.

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use pinhole::source::convert::Converter;
use pinhole::source::raster::{Chroma, Raster};
use pinhole::source::{self, Begun, Camera, FrameInfo, Layout, Pace, Pattern, PixelFormat, Source};
use tempfile::NamedTempFile;
use yuv::{BufferStoreMut, YuvPackedImageMut, YuvPlanarImage, YuvRange, YuvStandardMatrix};

const HD: (u32, u32) = (1920, 1080);
const UHD: (u32, u32) = (3840, 2160);

fn raster(format: PixelFormat, size: (u32, u32)) -> Raster {
    let layout = Layout::new(format, size.0, size.1);
    Raster::of(&layout).expect("a format that is not compressed")
}

/// Returns a frame of a film: a picture that is neither flat nor noise.
fn frame_of(raster: &Raster, number: usize) -> Vec<u8> {
    (0..raster.bytes)
        .map(|i| (i * 7 + i / 97 + number * 5) as u8)
        .collect()
}

/// Measures the converter.
fn pinhole(from: &Raster, to: &Raster) -> impl FnMut() + use<> {
    let frame = frame_of(from, 0);
    let mut converter = Converter::new(from, None, to);
    let mut out = vec![0; to.bytes];
    move || {
        let converted = converter.convert(black_box(&frame), black_box(&mut out));
        converted.expect("a frame of the right size");
    }
}

fn planes<'a>(raster: &Raster, frame: &'a [u8]) -> YuvPlanarImage<'a, u8> {
    let mut planes = raster.planes().map(|plane| {
        let bytes = &frame[plane.offset..plane.offset + plane.stride * plane.lines];
        (bytes, plane.stride as u32)
    });
    let mut next = || planes.next().expect("three planes");
    let [y, u, v] = [next(), next(), next()];
    YuvPlanarImage {
        y_plane: y.0,
        y_stride: y.1,
        u_plane: u.0,
        u_stride: u.1,
        v_plane: v.0,
        v_stride: v.1,
        width: raster.width,
        height: raster.height,
    }
}

/// Returns the crate's conversion to that format, or a copy.
fn crates_conversion(from: &Raster, format: PixelFormat) -> impl FnMut() + use<> {
    let from = from.clone();
    let frame = frame_of(&from, 0);
    let (width, height) = HD;
    let mut out = vec![0; raster(format, HD).bytes.max(3 * (width * height) as usize)];
    let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt601);
    move || {
        let image = planes(&from, black_box(&frame));
        match format {
            PixelFormat::Rgb3 | PixelFormat::Rgbp => {
                yuv::yuv420_to_rgb(&image, &mut out, 3 * width, range, matrix)
            }
            PixelFormat::Xr24 => yuv::yuv420_to_bgra(&image, &mut out, 4 * width, range, matrix),
            PixelFormat::Yuyv if from.chroma() == Some(Chroma::Yuv420) => {
                let mut packed = YuvPackedImageMut {
                    yuy: BufferStoreMut::Borrowed(&mut out[..2 * (width * height) as usize]),
                    yuy_stride: 2 * width,
                    width,
                    height,
                };
                yuv::yuv420_to_yuyv422(&mut packed, &image)
            }
            _ => {
                out[..frame.len()].copy_from_slice(&frame);
                Ok(())
            }
        }
        .expect("a frame of the right size");
        black_box(&mut out);
    }
}

/// Measures conversions without a change of size.
fn convert(criterion: &mut Criterion) {
    for (chroma, full, format) in [
        (Chroma::Yuv420, false, PixelFormat::Nv12),
        (Chroma::Yuv420, false, PixelFormat::Yv12),
        (Chroma::Yuv420, false, PixelFormat::Yuyv),
        (Chroma::Yuv422, false, PixelFormat::Yuyv),
        (Chroma::Yuv420, true, PixelFormat::Nv12),
        (Chroma::Yuv420, false, PixelFormat::Rgb3),
        (Chroma::Yuv420, false, PixelFormat::Xr24),
        (Chroma::Yuv420, false, PixelFormat::Rgbp),
    ] {
        let from = Raster::yuv(chroma, HD.0, HD.1, full);
        let to = raster(format, HD);
        let range = if full { "full-" } else { "" };
        let name = format!("convert/{range}{chroma:?}-{format}-1920x1080");
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(to.bytes as u64));
        let mut run = crates_conversion(&from, format);
        group.bench_function("baseline", |b| b.iter(&mut run));
        let mut run = pinhole(&from, &to);
        group.bench_function("pinhole", |b| b.iter(&mut run));
        group.finish();
    }
}

/// Returns the crate's scaling of each plane.
fn crates_scaling(from: &Raster, to: &Raster) -> impl FnMut() + use<> {
    let frame = frame_of(from, 0);
    let (from, to) = (from.clone(), to.clone());
    let mut out = vec![0; to.bytes];
    let mut resizer = Resizer::new();
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    move || {
        let mut rest = &mut out[..];
        for (a, b) in from.planes().zip(to.planes()) {
            let (plane, after) = std::mem::take(&mut rest).split_at_mut(b.stride * b.lines);
            rest = after;
            let size = |stride: usize, lines: usize| (stride as u32, lines as u32);
            let (width, height) = size(a.stride, a.lines);
            let bytes = &frame[a.offset..a.offset + a.stride * a.lines];
            let image = ImageRef::new(width, height, bytes, PixelType::U8).expect("a plane");
            let (width, height) = size(b.stride, b.lines);
            let mut scaled =
                Image::from_slice_u8(width, height, plane, PixelType::U8).expect("a plane");
            resizer
                .resize(&image, &mut scaled, &options)
                .expect("planes of the same kind");
        }
        black_box(&mut out);
    }
}

/// Measures changes of size of a 4:2:0 film of 1920x1080. The baseline scales its
/// planes.
fn scale(criterion: &mut Criterion) {
    let from = Raster::yuv(Chroma::Yuv420, HD.0, HD.1, false);
    for (format, size) in [
        (PixelFormat::Nv12, (1280, 720)),
        (PixelFormat::Rgb3, (1280, 720)),
        (PixelFormat::Yu12, UHD),
        (PixelFormat::Nv12, UHD),
        (PixelFormat::Yuyv, UHD),
        (PixelFormat::Rgb3, UHD),
    ] {
        let to = raster(format, size);
        let name = format!("scale/{format}-{}x{}", size.0, size.1);
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        group.throughput(Throughput::Bytes(to.bytes as u64));
        let mut run = crates_scaling(&from, &raster(PixelFormat::Yu12, size));
        group.bench_function("baseline", |b| b.iter(&mut run));
        let mut run = pinhole(&from, &to);
        group.bench_function("pinhole", |b| b.iter(&mut run));
        group.finish();
    }
}

/// Returns the next frame of a stream of 60 frames a second.
fn next(frame: &FrameInfo) -> FrameInfo {
    Pace::Every(1, 60).after(frame)
}

/// A camera and the memory into which its frames are copied.
struct Show {
    camera: Camera,
    memory: Vec<u8>,
    frame: FrameInfo,
}

impl Show {
    /// Begins a stream, whose frames are made ahead if that is wanted.
    fn of(source: Box<dyn Source>, layout: &Layout, ahead: bool) -> Self {
        let mut camera = Camera::with("film", source);
        camera.prepare(layout);
        let frame = next(&FrameInfo::default());
        if ahead {
            camera.expect(Pace::Every(1, 60), Some(frame));
        }
        let memory = vec![0; layout.sizeimage as usize];
        let mut show = Self {
            camera,
            memory,
            frame,
        };
        // The buffers get their memory.
        (0..20).for_each(|_| show.next());
        show
    }

    /// Copies the next frame.
    fn next(&mut self) {
        let bytes = loop {
            match self.camera.begin(&self.frame) {
                Begun::Frame { bytes } => break bytes as usize,
                Begun::Late => std::thread::yield_now(),
                Begun::Ended => panic!("the film begins again"),
            }
        };
        self.frame = next(&self.frame);
        let pages = self.memory[..bytes].chunks_mut(4096);
        for (number, page) in pages.enumerate() {
            self.camera.fill(number * 4096, page);
        }
        black_box(&mut self.memory);
    }
}

/// Measures JPEGs of the test card: the encoder alone, a frame that is made when
/// it is asked for, and a stream.
fn mjpg(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mjpg/1920x1080");
    group.sample_size(20).throughput(Throughput::Elements(1));
    let layout = Layout::new(PixelFormat::Rgb3, HD.0, HD.1);
    let mut card = Show::of(Box::new(Pattern::default()), &layout, false);
    card.next();
    let rgb = card.memory;
    let mut jpeg = Vec::new();
    group.bench_function("baseline", |bencher| {
        bencher.iter(|| {
            jpeg.clear();
            let mut encoder = Encoder::new(&mut jpeg, 85);
            encoder.set_sampling_factor(SamplingFactor::F_2_2);
            let encoded = encoder.encode(&rgb, HD.0 as u16, HD.1 as u16, ColorType::Rgb);
            encoded.expect("room in a vector");
        });
    });
    let layout = Layout::new(PixelFormat::Mjpg, HD.0, HD.1);
    for (name, ahead) in [("pinhole", false), ("stream", true)] {
        let mut show = Show::of(Box::new(Pattern::default()), &layout, ahead);
        group.bench_function(name, |bencher| {
            bencher.iter(|| show.next());
        });
    }
    group.finish();
}

/// Measures streams of a film of 1920x1080 as the card shows it.
fn film(criterion: &mut Criterion) {
    let raster = Raster::yuv(Chroma::Yuv420, HD.0, HD.1, false);
    let mut file = NamedTempFile::new().expect("a file");
    let header = format!("YUV4MPEG2 W{} H{} F60:1 C420jpeg\n", HD.0, HD.1);
    file.write_all(header.as_bytes()).expect("room for a film");
    for number in 0..10 {
        let frame = [&b"FRAME\n"[..], &frame_of(&raster, number)].concat();
        file.write_all(&frame).expect("room for a film");
    }
    let spec = format!("y4m:{},rate=frame", file.path().display());
    for (format, size) in [
        (PixelFormat::Nv12, HD),
        (PixelFormat::Mjpg, HD),
        (PixelFormat::Nv12, UHD),
    ] {
        let name = format!("film/{format}-{}x{}", size.0, size.1);
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).throughput(Throughput::Elements(1));
        let layout = Layout::new(format, size.0, size.1);
        if !format.is_compressed() {
            let mut run = crates_scaling(&raster, &self::raster(PixelFormat::Yu12, size));
            group.bench_function("baseline", |b| b.iter(&mut run));
        }
        for (function, ahead) in [("pinhole", false), ("stream", true)] {
            let source = source::open(&spec).expect("a film");
            let mut show = Show::of(source, &layout, ahead);
            group.bench_function(function, |bencher| {
                bencher.iter(|| show.next());
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // There are many, and a median settles soon.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = convert, scale, mjpg, film
}
criterion_main!(benches);
