use super::*;
use crate::source::PixelFormat;
use crate::source::fixtures::{flat, near, noise, raster, uncompressed};
use crate::source::format::Component;
use crate::source::pattern::canvas::{Ink, Row};
use crate::source::raster::{Channel, Model};
use crate::source::rgb565::from_565;

const ANGLES: [u16; 4] = [0, 90, 180, 270];

/// The colours of the quarters of a picture, clockwise from the upper left one.
const QUARTERS: [Ink; 4] = [
    Ink::rgb(230, 30, 30),
    Ink::rgb(20, 200, 60),
    Ink::rgb(16, 32, 222),
    Ink::rgb(240, 240, 240),
];

fn transformer(from: &Layout, to: &Layout, how: &Transform) -> Transformer {
    Transformer::new(from, to, how).unwrap()
}

fn turned(rotate: u16) -> Transform {
    Transform {
        rotate,
        ..Transform::default()
    }
}

/// Returns all ways in which a picture can be turned and mirrored.
fn ways() -> impl Iterator<Item = Transform> {
    let mirrors = [(false, false), (true, false), (false, true), (true, true)];
    ANGLES.into_iter().flat_map(move |rotate| {
        mirrors.map(|(hflip, vflip)| Transform {
            hflip,
            vflip,
            ..turned(rotate)
        })
    })
}

/// Returns a picture of four quarters.
fn quarters(layout: &Layout) -> Vec<u8> {
    let mut frame = vec![0; layout.sizeimage as usize];
    let half = layout.width as i32 / 2;
    for plane in layout.planes() {
        let bytes = &mut frame[plane.offset..plane.offset + plane.stride * plane.lines];
        for (line, number) in bytes.chunks_mut(plane.stride).zip(0..) {
            let (left, right) = match number < plane.lines / 2 {
                true => (0, 1),
                false => (3, 2),
            };
            let mut row = Row::new(line, plane.format);
            row.fill(0, half, QUARTERS[left]);
            row.fill(half, i32::MAX, QUARTERS[right]);
        }
    }
    frame
}

/// Returns the colours of the quarters of the new picture.
fn expected(how: &Transform) -> [Ink; 4] {
    let mut quarters = QUARTERS;
    quarters.rotate_right(usize::from(how.rotate) / 90);
    if how.hflip {
        quarters.swap(0, 1);
        quarters.swap(2, 3);
    }
    if how.vflip {
        quarters.swap(0, 3);
        quarters.swap(1, 2);
    }
    quarters
}

/// Checks the samples in the middles of the quarters of a raw picture.
fn check_quarters(layout: &Layout, frame: &[u8], how: &Transform, is_grey: bool) {
    let raster = Raster::of(layout).unwrap();
    let what = (layout, how);
    for (ink, (x, y)) in expected(how)
        .into_iter()
        .zip([(1, 1), (3, 1), (3, 3), (1, 3)])
    {
        let ink = match is_grey {
            true => Ink::grey(ink.component(Component::L)),
            false => ink,
        };
        let at = |channel: &Channel| {
            let (column, line) = (channel.columns * x / 4, channel.lines * y / 4);
            channel.offset + line * channel.stride + column * channel.step
        };
        if raster.model == Model::Rgb565 {
            let low = at(&raster.channel(Component::Rgb565Low).unwrap());
            let got = from_565([frame[low], frame[low + 1]]);
            let wanted = [Component::R, Component::G, Component::B].map(|c| ink.component(c));
            near(&got, &wanted, 9, &what);
            continue;
        }
        for channel in raster.channels() {
            let wanted = ink.component(channel.component);
            near(&[frame[at(&channel)]], &[wanted], 9, &(what, channel));
        }
    }
}

fn check_jpeg(layout: &Layout, jpeg: &[u8], how: &Transform) {
    let picture = image::load_from_memory(jpeg).unwrap().into_rgb8();
    let (width, height) = picture.dimensions();
    assert_eq!((width, height), (layout.width, layout.height));
    for (ink, (x, y)) in expected(how)
        .into_iter()
        .zip([(1, 1), (3, 1), (3, 3), (1, 3)])
    {
        let got = picture.get_pixel(width * x / 4, height * y / 4).0;
        let wanted = [Component::R, Component::G, Component::B].map(|c| ink.component(c));
        // A JPEG of this quality mixes the colours of a block a little.
        near(&got, &wanted, 16, &(layout, how));
    }
}

#[test]
fn a_frame_of_the_same_layout_is_the_frame_itself() {
    for format in uncompressed() {
        for (width, height) in [(16, 16), (17, 19), (640, 480)] {
            let layout = Layout::new(format, width, height);
            let frame = noise(layout.sizeimage as usize);
            let whole = Transform {
                crop: Some(Rect {
                    left: 0,
                    top: 0,
                    width: layout.width,
                    height: layout.height,
                }),
                ..Transform::default()
            };
            for how in [Transform::default(), whole] {
                let mut transformer = transformer(&layout, &layout, &how);
                let got = transformer.transform(&frame).unwrap();
                assert!(std::ptr::eq(got, &frame[..]), "{layout:?}");
            }
        }
    }
}

#[test]
fn colours_survive_each_pair_of_formats() {
    let ink = Ink::rgb(20, 200, 60);
    for from in uncompressed() {
        let from = Layout::new(from, 34, 20);
        let old = Raster::of(&from).unwrap();
        let ink = match old.model {
            Model::Grey => Ink::grey(ink.component(Component::L)),
            _ => ink,
        };
        let frame = flat(&old, ink);
        for to in uncompressed() {
            for (width, height) in [(34, 20), (20, 34), (17, 19)] {
                let to = Layout::new(to, width, height);
                let wanted = flat(&Raster::of(&to).unwrap(), ink);
                for rotate in ANGLES {
                    let mut transformer = transformer(&from, &to, &turned(rotate));
                    let got = transformer.transform(&frame).unwrap();
                    let what = (&from, &to, rotate);
                    match Raster::of(&to).unwrap().model {
                        Model::Rgb565 => {
                            let levels = |frame: &[u8]| {
                                let words = frame.as_chunks().0.iter();
                                words.flat_map(|word| from_565(*word)).collect::<Vec<_>>()
                            };
                            near(&levels(got), &levels(&wanted), 9, &what);
                        }
                        _ => near(got, &wanted, 9, &what),
                    }
                }
            }
        }
    }
}

#[test]
fn quarters_go_where_they_are_turned_and_mirrored() {
    for from in uncompressed() {
        let from = Layout::new(from, 64, 48);
        let frame = quarters(&from);
        let is_grey = Raster::of(&from).unwrap().model == Model::Grey;
        // The same size, the same size on its side, and odd ones.
        for (width, height) in [(64, 48), (48, 64), (37, 91)] {
            for to in [
                from.format,
                PixelFormat::Yuyv,
                PixelFormat::Rgb3,
                PixelFormat::Nm12,
            ] {
                let to = Layout::new(to, width, height);
                for how in ways() {
                    let mut transformer = transformer(&from, &to, &how);
                    let got = transformer.transform(&frame).unwrap();
                    assert_eq!(got.len(), to.sizeimage as usize);
                    check_quarters(&to, got, &how, is_grey);
                }
            }
        }
    }
}

#[test]
fn a_jpeg_is_the_picture() {
    for (format, width, height) in [
        (PixelFormat::Nv12, 64, 48),
        (PixelFormat::Yu12, 64, 48),
        (PixelFormat::Vyuy, 64, 48),
        (PixelFormat::Bgr3, 65, 47),
    ] {
        let from = Layout::new(format, width, height);
        let frame = quarters(&from);
        for (width, height) in [(64, 48), (97, 33)] {
            let to = Layout::new(PixelFormat::Mjpg, width, height);
            for how in ways() {
                let mut transformer = transformer(&from, &to, &how);
                check_jpeg(&to, transformer.transform(&frame).unwrap(), &how);
            }
        }
    }
}

#[test]
fn better_quality_takes_more_bytes() {
    let from = Layout::new(PixelFormat::Yuyv, 64, 48);
    let to = Layout::new(PixelFormat::Mjpg, 64, 48);
    let frame = noise(from.sizeimage as usize);
    let lengths = [10, 50, 90].map(|quality| {
        let how = Transform {
            quality,
            ..Transform::default()
        };
        transformer(&from, &to, &how)
            .transform(&frame)
            .unwrap()
            .len()
    });
    assert!(lengths.is_sorted_by(|a, b| a < b), "{lengths:?}");
}

#[test]
fn a_half_turn_is_exact_in_every_format() {
    for format in uncompressed() {
        let layout = Layout::new(format, 34, 20);
        let frame = noise(layout.sizeimage as usize);
        let mut half = transformer(&layout, &layout, &turned(180));
        let once = half.transform(&frame).unwrap().to_vec();
        assert!(once != frame, "{format}");
        assert!(half.transform(&once).unwrap() == frame, "{format}");
    }
}

#[test]
fn a_quarter_turn_onto_its_side_is_exact_where_chroma_is_square() {
    for format in uncompressed() {
        let layout = Layout::new(format, 34, 20);
        let side = Layout::new(format, 20, 34);
        let frame = noise(layout.sizeimage as usize);
        let mut there = transformer(&layout, &side, &turned(90));
        let mut back = transformer(&side, &layout, &turned(270));
        let once = there.transform(&frame).unwrap();
        let twice = back.transform(once).unwrap();
        let is_square = turn::is_turnable(&raster(format, 34, 20));
        assert_eq!(twice == frame, is_square, "{format}");
        // Luma is exact in every format.
        let raster = Raster::of(&layout).unwrap();
        if let Some(luma) = raster.channel(Component::Y) {
            let of = |frame: &[u8]| -> Vec<u8> {
                let lines = (0..luma.lines).map(|line| luma.offset + line * luma.stride);
                let samples = |begin| (0..luma.columns).map(move |i| begin + i * luma.step);
                lines.flat_map(samples).map(|at| frame[at]).collect()
            };
            assert!(of(twice) == of(&frame), "{format}");
        }
    }
}

#[test]
fn a_part_fills_the_new_picture() {
    let from = Layout::new(PixelFormat::Nm12, 64, 48);
    let frame = quarters(&from);
    for (ink, (left, top)) in QUARTERS
        .into_iter()
        .zip([(0, 0), (36, 0), (36, 28), (0, 28)])
    {
        for rotate in ANGLES {
            let how = Transform {
                crop: Some(Rect {
                    left,
                    top,
                    width: 28,
                    height: 20,
                }),
                ..turned(rotate)
            };
            for format in uncompressed().filter(|format| *format != PixelFormat::Rgbp) {
                let to = Layout::new(format, 33, 70);
                let mut transformer = transformer(&from, &to, &how);
                let got = transformer.transform(&frame).unwrap();
                let wanted = flat(&Raster::of(&to).unwrap(), ink);
                near(got, &wanted, 9, &(&how, &to));
            }
        }
    }
}

#[test]
fn the_smallest_picture_becomes_the_largest_and_the_reverse() {
    let (small, large) = ((16, 16), (3840, 2160));
    for (from, to) in [(small, large), (large, small)] {
        let from = Layout::new(PixelFormat::Nv12, from.0, from.1);
        let frame = quarters(&from);
        for (format, rotate) in [
            (PixelFormat::Xr24, 90),
            (PixelFormat::Yuyv, 0),
            (PixelFormat::Mjpg, 270),
        ] {
            let to = Layout::new(format, to.0, to.1);
            let how = turned(rotate);
            let mut transformer = transformer(&from, &to, &how);
            let got = transformer.transform(&frame).unwrap();
            match format.is_compressed() {
                true => check_jpeg(&to, got, &how),
                false => check_quarters(&to, got, &how, false),
            }
        }
    }
}

#[test]
fn every_frame_is_made_in_the_same_memory() {
    let from = Layout::new(PixelFormat::Uyvy, 64, 48);
    for format in [PixelFormat::Nv21, PixelFormat::Mjpg] {
        let to = Layout::new(format, 48, 64);
        let mut transformer = transformer(&from, &to, &turned(90));
        let frame = quarters(&from);
        let mut place = || transformer.transform(&frame).unwrap().as_ptr();
        assert_eq!(place(), place(), "{format}");
    }
}

#[test]
fn a_frame_may_be_longer_but_not_shorter_than_its_layout() {
    let layout = Layout::new(PixelFormat::Grey, 16, 16);
    for rotate in ANGLES {
        let mut transformer = transformer(&layout, &layout, &turned(rotate));
        let got = transformer.transform(&[7; 300]).unwrap();
        assert_eq!(got, [7; 256]);
        let error = transformer.transform(&[7; 255]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the frame has 255 bytes where 256 belong"
        );
    }
}

#[test]
fn other_angles_and_compressed_frames_are_refused() {
    let raw = Layout::new(PixelFormat::Grey, 16, 16);
    let jpeg = Layout::new(PixelFormat::Mjpg, 16, 16);
    let refused = |from, how: &Transform| Transformer::new(from, &raw, how).unwrap_err();
    let angle = refused(&raw, &turned(45));
    assert!(matches!(angle, TransformError::Angle(45)), "{angle}");
    let compressed = refused(&jpeg, &Transform::default());
    assert!(
        matches!(compressed, TransformError::Compressed),
        "{compressed}"
    );
}
