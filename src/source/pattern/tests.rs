use std::collections::HashMap;
use std::time::Duration;

use super::watermark::{PAGE, sequence_bits, watermark, watermark_millis};
use super::*;
use crate::source::PixelFormat;

/// Sizes of which some divide nothing and some are the largest that there are.
const SIZES: [(u32, u32); 8] = [
    (16, 16),
    (17, 19),
    (18, 22),
    (65, 51),
    (176, 144),
    (640, 481),
    (16, 2160),
    (3840, 17),
];

fn drawable() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed())
}

fn prepared(layout: &Layout) -> Pattern {
    let mut pattern = Pattern::default();
    pattern.prepare(layout);
    pattern
}

/// A frame as the card asks for it, `piece` bytes at a time and never across
/// the end of a memory plane.
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

/// The pages of a frame, which are those of its memory planes.
fn pages<'a>(layout: &Layout, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    layout.memory_planes().flat_map(move |plane| {
        bytes[plane.offset as usize..][..plane.sizeimage as usize].chunks(PAGE)
    })
}

/// Of each length that a format's shortest page can have, up to 64 bytes, the
/// smallest picture that has such a page.
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
    // The clocks stand still, so that nothing but the sequence number tells
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
            (178, 146, &[97, 1021, 4095]),
            (3840, 16, &[4095]),
        ] {
            let layout = Layout::new(format, width, height);
            let mut pattern = prepared(&layout);
            let whole = frame(&mut pattern, &layout, &info, PAGE);
            for piece in pieces {
                assert!(
                    frame(&mut pattern, &layout, &info, *piece) == whole,
                    "{format} {width}x{height} cut every {piece} bytes"
                );
            }
        }
    }
}

#[test]
fn every_size_of_a_wide_range_is_drawn() {
    for format in drawable() {
        for (width, height) in SIZES {
            let layout = Layout::new(format, width, height);
            let mut pattern = prepared(&layout);
            let mut frames = [0, u32::MAX].map(|sequence| {
                let info = FrameInfo {
                    stream: 1,
                    sequence,
                    elapsed: Duration::from_millis(3999),
                    wall: Duration::MAX,
                };
                frame(&mut pattern, &layout, &info, PAGE)
            });
            // The marks apart, the number can be read in the picture.
            for bytes in &mut frames {
                bytes.iter_mut().for_each(|byte| *byte &= 0xe0);
            }
            assert!(frames[0] != frames[1], "{format} {width}x{height}");
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
fn a_frame_ends_where_it_ends() {
    let layout = Layout::new(PixelFormat::Grey, 16, 16);
    let mut pattern = prepared(&layout);
    let mut beyond = [0xee; 64];
    pattern.fill(256, &mut beyond);
    assert_eq!(beyond, [0; 64]);
}
