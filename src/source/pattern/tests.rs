use std::collections::HashMap;
use std::time::Duration;

use super::watermark::{PAGE, sequence_bits, watermark, watermark_millis};
use super::*;
use crate::source::PixelFormat;

/// Sizes of pictures, some of them odd.
const SIZES: [(u32, u32); 7] = [
    (16, 16),
    (17, 19),
    (18, 22),
    (65, 51),
    (176, 144),
    (16, 400),
    (900, 17),
];

fn drawable() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed())
}

fn prepared(layout: &Layout) -> Pattern {
    let mut pattern = Pattern::default();
    pattern.prepare(layout);
    pattern
}

/// Returns every pattern that has overlays.
fn painted(layout: &Layout) -> impl Iterator<Item = (&'static str, Pattern)> {
    let names = NAMES.iter().filter(|name| **name != "integrity");
    names.map(|name| (*name, named(name, layout)))
}

fn named(name: &str, layout: &Layout) -> Pattern {
    let mut pattern = Pattern::named(name).unwrap();
    pattern.prepare(layout);
    pattern
}

/// Returns a frame of a pattern without overlays, as red, green and blue
/// without their lowest bits, which belong to the mark.
fn bare(name: &str, sequence: u32, settings: &Settings) -> (Layout, Vec<u8>) {
    let layout = Layout::new(PixelFormat::Rgb3, 161, 127);
    let mut pattern = named(name, &layout);
    pattern.set(&Settings {
        overlay: 0,
        ..settings.clone()
    });
    let info = FrameInfo {
        sequence,
        ..FrameInfo::default()
    };
    let mut bytes = frame(&mut pattern, &layout, &info, PAGE);
    bytes.iter_mut().for_each(|byte| *byte &= 0xfe);
    (layout, bytes)
}

/// Returns a frame, read as the card reads it: `piece` bytes at a time, and
/// never across the end of a memory plane.
fn frame(pattern: &mut Pattern, layout: &Layout, info: &FrameInfo, piece: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; layout.sizeimage as usize];
    let begun = pattern.begin(info);
    assert_eq!(
        begun,
        Begun::Frame {
            bytes: layout.sizeimage
        }
    );
    for plane in layout.memory_planes() {
        let first = plane.offset as usize;
        let memory = &mut bytes[first..][..plane.sizeimage as usize];
        for (i, out) in memory.chunks_mut(piece).enumerate() {
            pattern.fill(first + i * piece, out);
        }
    }
    bytes
}

/// Returns the pages of a frame, which are those of its memory planes.
fn pages<'a>(layout: &Layout, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    layout.memory_planes().flat_map(move |plane| {
        bytes[plane.offset as usize..][..plane.sizeimage as usize].chunks(PAGE)
    })
}

/// For each length that a format's shortest page can have, up to 64 bytes,
/// returns the smallest picture that has such a page.
fn with_short_pages(format: PixelFormat) -> HashMap<usize, Layout> {
    let mut smallest = HashMap::<usize, Layout>::new();
    for height in 16..260 {
        for width in 16..64 {
            let layout = Layout::new(format, width, height);
            let tails = layout.memory_planes().map(|p| p.sizeimage as usize % PAGE);
            for tail in tails.filter(|tail| (1..=64).contains(tail)) {
                let known = smallest.entry(tail).or_insert(layout);
                if layout.sizeimage < known.sizeimage {
                    *known = layout;
                }
            }
        }
    }
    smallest
}

#[test]
fn every_page_can_be_told_its_frame() {
    let mut lengths = std::collections::BTreeSet::new();
    for format in drawable() {
        let mut layouts = vec![Layout::new(format, 17, 19), Layout::new(format, 639, 479)];
        layouts.extend(with_short_pages(format).into_values());
        for layout in layouts {
            let mut pattern = prepared(&layout);
            for sequence in [0, 0x1234_5678, u32::MAX] {
                let info = FrameInfo {
                    sequence,
                    wall: Duration::from_millis(0x1_8765_4321),
                    ..FrameInfo::default()
                };
                let bytes = frame(&mut pattern, &layout, &info, PAGE);
                for page in pages(&layout, &bytes) {
                    lengths.insert(page.len());
                    let mask = u32::MAX >> (32 - sequence_bits(page.len()));
                    assert_eq!(watermark(page), sequence & mask, "{layout:?}");
                    let millis = (page.len() >= 64).then_some(0x8765_4321);
                    assert_eq!(watermark_millis(page), millis, "{layout:?}");
                }
            }
        }
    }
    for length in [1, 2, 3, 4, 6, 8, 12, 31, 32, 63, 64, PAGE] {
        assert!(lengths.contains(&length), "no page of {length} bytes");
    }
}

#[test]
fn no_page_is_that_of_any_of_the_thousand_frames_before() {
    // The clocks stand still, so that only the sequence number distinguishes
    // one frame from the next.
    for (format, width, height) in [
        (PixelFormat::Yuyv, 16, 16),
        (PixelFormat::Rgb3, 17, 19),
        (PixelFormat::Nm12, 18, 22),
        (PixelFormat::Grey, 66, 63),
    ] {
        let layout = Layout::new(format, width, height);
        let mut pattern = prepared(&layout);
        let mut seen = HashMap::new();
        for step in 0..1100u32 {
            let info = FrameInfo {
                sequence: (u32::MAX - 700).wrapping_add(step),
                ..FrameInfo::default()
            };
            let bytes = frame(&mut pattern, &layout, &info, PAGE);
            for (number, page) in pages(&layout, &bytes).enumerate() {
                if let Some(before) = seen.insert((number, page.to_vec()), step) {
                    assert!(step - before > 1000, "{layout:?}, page {number}");
                }
            }
        }
    }
}

#[test]
fn it_does_not_matter_how_a_frame_is_cut() {
    let info = FrameInfo {
        stream: 1,
        sequence: 4_000_000_001,
        elapsed: Duration::from_millis(1234),
        wall: Duration::from_millis(86_399_999),
    };
    for format in drawable() {
        for (width, height, pieces) in [
            (17, 19, &[1, 3, 97][..]),
            (66, 50, &[1021, 4095]),
            (3840, 16, &[4095]),
        ] {
            let layout = Layout::new(format, width, height);
            for name in NAMES {
                let mut pattern = named(name, &layout);
                pattern.set(&Settings {
                    text: "It's all here".into(),
                    ..Settings::default()
                });
                let whole = frame(&mut pattern, &layout, &info, PAGE);
                for piece in pieces {
                    assert!(
                        frame(&mut pattern, &layout, &info, *piece) == whole,
                        "{name} {format} {width}x{height} cut every {piece} bytes"
                    );
                }
            }
        }
    }
}

#[test]
fn every_size_of_a_wide_range_is_drawn() {
    for format in drawable() {
        for (width, height) in SIZES {
            let layout = Layout::new(format, width, height);
            for (name, mut pattern) in painted(&layout) {
                let mut frames = [0, u32::MAX].map(|sequence| {
                    let info = FrameInfo {
                        stream: 1,
                        sequence,
                        elapsed: Duration::from_millis(3999),
                        wall: Duration::MAX,
                    };
                    frame(&mut pattern, &layout, &info, PAGE)
                });
                // Without the marks, the number can still be read in the
                // picture.
                for bytes in &mut frames {
                    bytes.iter_mut().for_each(|byte| *byte &= 0xe0);
                }
                assert!(frames[0] != frames[1], "{name} {format} {width}x{height}");
            }
        }
    }
}

#[test]
fn the_last_column_of_an_odd_width_is_drawn_too() {
    let layout = Layout::new(PixelFormat::Rgb3, 17, 19);
    let bytes = frame(&mut prepared(&layout), &layout, &FrameInfo::default(), PAGE);
    let pixel = |x: usize| &bytes[x * 3..][..3];
    assert_eq!(pixel(0), [191, 191, 191]);
    assert_eq!(pixel(16), [0, 0, 191]);
}

#[test]
fn every_pattern_marks_its_pages_but_integrity_which_needs_no_mark() {
    let layout = Layout::new(PixelFormat::Nm12, 320, 240);
    let info = FrameInfo {
        stream: 3,
        sequence: 77,
        wall: Duration::from_millis(4711),
        ..FrameInfo::default()
    };
    for (name, mut pattern) in painted(&layout) {
        assert!(pattern.is_marked() && !pattern.is_exact(), "{name}");
        let bytes = frame(&mut pattern, &layout, &info, PAGE);
        for page in pages(&layout, &bytes) {
            assert_eq!((watermark(page), watermark_millis(page)), (77, Some(4711)));
        }
    }
    let mut pattern = named("integrity", &layout);
    assert!(pattern.is_exact() && !pattern.is_marked());
    let bytes = frame(&mut pattern, &layout, &info, PAGE);
    for (number, plane) in layout.memory_planes().enumerate() {
        let memory = &bytes[plane.offset as usize..][..plane.sizeimage as usize];
        for (at, line) in memory.as_chunks().0.iter().enumerate() {
            let expected = integrity::Line {
                stream: 3,
                sequence: 77,
                plane: number as u8,
                offset: (at * integrity::LINE) as u32,
            };
            assert_eq!(integrity::Line::of(line), Some(expected));
        }
    }
}

#[test]
fn pictures_have_the_pixels_that_are_documented() {
    // 161x127: squares of 14, bands of 30.
    let colours = [
        [191, 191, 191],
        [191, 191, 0],
        [0, 191, 191],
        [0, 191, 0],
        [191, 0, 191],
        [191, 0, 0],
        [0, 0, 191],
    ];
    let level = |x: u32| (x * 255 / 160) as u8;
    let ramp = |x, y: u32| match y / 30 {
        0 => [level(x); 3],
        1 => [level(x), 0, 0],
        2 => [0, level(x), 0],
        _ => [0, 0, level(x)],
    };
    let squares = |x: u32, y: u32| {
        [if (x / 14 + y / 14).is_multiple_of(2) {
            255
        } else {
            0
        }; 3]
    };
    // 7 pixels a frame, 10 frames.
    let moving = |x: u32, y: u32| colours[((x + 70) / 14 + 2 * ((y + 70) / 14)) as usize % 7];
    let settings = Settings {
        motion: 7,
        ..Settings::default()
    };
    for (name, pixel) in [
        ("ramp", &ramp as &dyn Fn(u32, u32) -> [u8; 3]),
        ("checkerboard", &squares),
        ("solid", &|_, _| [224, 128, 32]),
        ("moving", &moving),
    ] {
        let (layout, bytes) = bare(name, 10, &settings);
        for (number, got) in (0..).zip(bytes.as_chunks().0) {
            let (x, y) = (number % layout.width, number / layout.width);
            let expected: [u8; 3] = pixel(x, y).map(|level| level & 0xfe);
            assert_eq!(*got, expected, "{name} at {x},{y}");
        }
    }
}

#[test]
fn noise_follows_from_seed_and_sequence_number() {
    let noise = |noise_seed, sequence| {
        let settings = Settings {
            noise_seed,
            ..Settings::default()
        };
        bare("noise", sequence, &settings).1
    };
    let one = noise(5, 3);
    assert!(one == noise(5, 3));
    let mut counts = [0u32; 256];
    for byte in &one {
        counts[usize::from(*byte)] += 1;
    }
    // 61341 bytes of 128 values: about 479 of each.
    for (value, count) in counts.into_iter().enumerate().step_by(2) {
        assert!((350..620).contains(&count), "{count} bytes of {value}");
    }
    for other in [noise(5, 4), noise(6, 3), noise(-5, 3), noise(0, 0)] {
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < one.len() / 64, "{same} bytes are the same");
    }
}

#[test]
fn what_is_written_over_a_picture_is_what_was_asked_for() {
    use crate::source::settings::overlay::{ALL, CLOCK, COUNTER};
    let layout = Layout::new(PixelFormat::Grey, 640, 480);
    let mut pattern = named("solid", &layout);
    let mut draw = |overlay, text: &str, sequence, seconds| {
        pattern.set(&Settings {
            overlay,
            text: text.into(),
            ..Settings::default()
        });
        let info = FrameInfo {
            sequence,
            wall: Duration::from_secs(seconds),
            ..FrameInfo::default()
        };
        let mut bytes = frame(&mut pattern, &layout, &info, PAGE);
        bytes.iter_mut().for_each(|byte| *byte &= 0xfe);
        bytes
    };
    let plain = draw(0, "", 1, 1);
    assert!(plain.iter().all(|byte| *byte == plain[0]));
    assert!(plain == draw(0, "", 2, 2));
    assert!(plain != draw(0, "x", 1, 1));
    assert!(draw(0, "x", 1, 1) != draw(0, "y", 1, 1));
    for (bits, counts, tells) in [
        (CLOCK, false, true),
        (COUNTER, true, false),
        (ALL, true, true),
    ] {
        let first = draw(bits, "", 1, 1);
        assert!(first != plain);
        assert_eq!(first != draw(bits, "", 2, 1), counts, "{bits}");
        assert_eq!(first != draw(bits, "", 1, 2), tells, "{bits}");
    }
}

#[test]
fn any_text_can_be_written_over_any_size() {
    let long = "x".repeat(1000);
    for text in ["x", "Ä\u{7}\u{1f600}", &long] {
        for (width, height) in SIZES {
            let layout = Layout::new(PixelFormat::Yu12, width, height);
            let mut pattern = Pattern::default();
            pattern.set(&Settings {
                text: text.into(),
                ..Settings::default()
            });
            pattern.prepare(&layout);
            frame(&mut pattern, &layout, &FrameInfo::default(), PAGE);
        }
    }
}

#[test]
fn a_frame_ends_where_it_ends() {
    let layout = Layout::new(PixelFormat::Grey, 16, 16);
    let mut pattern = prepared(&layout);
    let mut beyond = [0xee; 64];
    pattern.fill(256, &mut beyond);
    assert_eq!(beyond, [0; 64]);
}
