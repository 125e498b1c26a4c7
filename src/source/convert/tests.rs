use super::*;
use crate::source::PixelFormat;
use crate::source::fixtures::{flat, near, noise, raster, uncompressed};
use crate::source::format::Component;
use crate::source::pattern::canvas::Ink;

fn convert(from: &Raster, crop: Option<Rect>, to: &Raster, frame: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; to.bytes];
    let mut converter = Converter::new(from, crop, to);
    converter.convert(frame, &mut out).unwrap();
    out
}

#[test]
fn samples_of_the_same_kind_are_only_rearranged() {
    use PixelFormat::*;
    // The samples of a 16x16 picture, by component.
    let y = |i: usize| i as u8;
    let u = |i: usize| (100 + i * 7) as u8;
    let v = |i: usize| (50 + i * 11) as u8;
    type Expected<'a> = &'a dyn Fn() -> Vec<u8>;
    let all = |count, sample: &dyn Fn(usize) -> u8| (0..count).map(sample).collect::<Vec<u8>>();
    let pairs = |count, a: &dyn Fn(usize) -> u8, b: &dyn Fn(usize) -> u8| {
        (0..count).flat_map(|i| [a(i), b(i)]).collect::<Vec<u8>>()
    };
    let planar = |chroma| [all(256, &y), all(chroma, &u), all(chroma, &v)].concat();
    let fours = |order: fn([u8; 4]) -> [u8; 4]| {
        let groups = (0..128).map(|i| order([y(2 * i), u(i), y(2 * i + 1), v(i)]));
        groups.flatten().collect::<Vec<u8>>()
    };
    let yuv420: [(PixelFormat, Expected); 6] = [
        (Yu12, &|| planar(64)),
        (Ym12, &|| planar(64)),
        (Yv12, &|| [all(256, &y), all(64, &v), all(64, &u)].concat()),
        (Nv12, &|| [all(256, &y), pairs(64, &u, &v)].concat()),
        (Nm12, &|| [all(256, &y), pairs(64, &u, &v)].concat()),
        (Nv21, &|| [all(256, &y), pairs(64, &v, &u)].concat()),
    ];
    let yuv422: [(PixelFormat, Expected); 7] = [
        (P422, &|| planar(128)),
        (Nv16, &|| [all(256, &y), pairs(128, &u, &v)].concat()),
        (Nm16, &|| [all(256, &y), pairs(128, &u, &v)].concat()),
        (Yuyv, &|| fours(|[y, u, z, v]| [y, u, z, v])),
        (Uyvy, &|| fours(|[y, u, z, v]| [u, y, v, z])),
        (Yvyu, &|| fours(|[y, u, z, v]| [y, v, z, u])),
        (Vyuy, &|| fours(|[y, u, z, v]| [v, y, u, z])),
    ];
    for family in [&yuv420[..], &yuv422[..]] {
        for (from, frame) in family {
            for (to, expected) in family {
                let (a, b) = (raster(*from, 16, 16), raster(*to, 16, 16));
                let got = convert(&a, None, &b, &frame());
                assert!(got == expected(), "{from} to {to}");
            }
        }
    }
    // The rasters of films are among these, so this holds for films as well.
    for (chroma, format) in [(Chroma::Yuv420, Yu12), (Chroma::Yuv422, P422)] {
        assert_eq!(Raster::yuv(chroma, 16, 16, false), raster(format, 16, 16));
    }
    let rgb = noise(3 * 256);
    let pixels = rgb.as_chunks().0;
    let packed = |order: fn([u8; 3]) -> Vec<u8>| pixels.iter().copied().flat_map(order).collect();
    let family: [(PixelFormat, Vec<u8>); 4] = [
        (Rgb3, rgb.clone()),
        (Bgr3, packed(|[r, g, b]| vec![b, g, r])),
        (Xr24, packed(|[r, g, b]| vec![b, g, r, 0])),
        (Bx24, packed(|[r, g, b]| vec![0, r, g, b])),
    ];
    for (from, frame) in &family {
        for (to, expected) in &family {
            let (a, b) = (raster(*from, 16, 16), raster(*to, 16, 16));
            assert!(convert(&a, None, &b, frame) == *expected, "{from} to {to}");
        }
    }
}

#[test]
fn nothing_is_done_to_what_lies_so_already() {
    for format in uncompressed() {
        let raster = raster(format, 34, 20);
        assert!(!is_needed(&raster, None, &raster), "{format}");
        let frame = noise(raster.bytes);
        assert!(convert(&raster, None, &raster, &frame) == frame, "{format}");
    }
}

#[test]
fn a_colour_is_the_same_in_every_format_and_size() {
    let inks = [
        Ink::rgb(0, 0, 0),
        Ink::rgb(255, 255, 255),
        Ink::rgb(20, 200, 60),
        Ink::rgb(16, 32, 222),
    ];
    let odd = [Chroma::Yuv420, Chroma::Yuv422, Chroma::Yuv444];
    let mut sources: Vec<Raster> = uncompressed().map(|f| raster(f, 34, 20)).collect();
    sources.extend(odd.map(|chroma| Raster::yuv(chroma, 17, 19, false)));
    sources.push(Raster::yuv(Chroma::Yuv420, 1, 1, false));
    for from in &sources {
        for format in uncompressed() {
            for size in [(34, 20), (17, 19), (64, 16)] {
                let to = raster(format, size.0, size.1);
                for ink in inks {
                    let grey = |r: &Raster| r.model == Model::Grey;
                    let got = convert(from, None, &to, &flat(from, ink));
                    let ink = match grey(from) {
                        true => Ink::grey(ink.component(Component::L)),
                        false => ink,
                    };
                    let expected = flat(&to, ink);
                    let is_565 = |r: &Raster| r.model == Model::Rgb565;
                    if is_565(&to) {
                        let levels = |words: &[u8]| {
                            let words = words.as_chunks().0.iter();
                            words
                                .map(|word| from_565(*word))
                                .collect::<Vec<_>>()
                                .concat()
                        };
                        near(&levels(&got), &levels(&expected), 9, &(from, &to, ink));
                    } else {
                        let tolerance = if is_565(from) { 9 } else { 3 };
                        near(&got, &expected, tolerance, &(from, &to, ink));
                    }
                }
            }
        }
    }
}

#[test]
fn luma_stays_as_it_is_where_chroma_alone_is_sampled_anew() {
    let from = Raster::yuv(Chroma::Yuv420, 34, 20, false);
    let frame = noise(from.bytes);
    for format in [PixelFormat::P422, PixelFormat::Nv16, PixelFormat::Yuyv] {
        let to = raster(format, 34, 20);
        let got = convert(&from, None, &to, &frame);
        let y = to.channel(Component::Y).unwrap();
        for (line, row) in frame[..34 * 20].chunks(34).enumerate() {
            let start = y.offset + line * y.stride;
            let luma = got[start..].iter().step_by(y.step).take(34);
            assert!(luma.eq(row), "{format}, line {line}");
        }
    }
}

#[test]
fn a_full_range_becomes_the_limited_one_and_back() {
    let levels: Vec<u8> = (0..=255).collect();
    let full = Raster::yuv(Chroma::Yuv444, 16, 16, true);
    let frame = [&levels[..], &levels[..], &levels[..]].concat();
    let limited = Raster::yuv(Chroma::Yuv444, 16, 16, false);
    let got = convert(&full, None, &limited, &frame);
    assert_eq!([got[0], got[128], got[255]], [16, 126, 235]);
    assert_eq!([got[256], got[256 + 128], got[511]], [16, 128, 240]);
    // Values beyond black and white of a limited range are clamped.
    let luma = Raster::grey(16, 16, false);
    let got = convert(&luma, None, &raster(PixelFormat::Grey, 16, 16), &levels);
    assert_eq!(
        [got[0], got[16], got[126], got[235], got[255]],
        [0, 0, 128, 255, 255]
    );
}

#[test]
fn a_crop_is_a_part_of_the_picture() {
    let crop = Rect {
        left: 3,
        top: 2,
        width: 17,
        height: 19,
    };
    let from = raster(PixelFormat::Rgb3, 34, 32);
    let frame = noise(from.bytes);
    let got = convert(
        &from,
        Some(crop),
        &raster(PixelFormat::Rgb3, 17, 19),
        &frame,
    );
    for (line, row) in got.chunks(17 * 3).enumerate() {
        let start = ((line + 2) * 34 + 3) * 3;
        assert!(*row == frame[start..start + 17 * 3], "line {line}");
    }
    // Chroma samples that the crop does not cut stay unchanged, too.
    let crop = Rect {
        left: 4,
        top: 2,
        width: 16,
        height: 16,
    };
    let from = raster(PixelFormat::Nv12, 34, 32);
    let frame = noise(from.bytes);
    let got = convert(
        &from,
        Some(crop),
        &raster(PixelFormat::Nv12, 16, 16),
        &frame,
    );
    let chroma = &frame[34 * 32..];
    for (line, row) in got[16 * 16..].chunks(16).enumerate() {
        let start = (line + 1) * 34 + 4;
        assert!(*row == chroma[start..start + 16], "chroma line {line}");
    }
}

#[test]
fn no_crop_reaches_beyond_the_picture() {
    let from = Raster::yuv(Chroma::Yuv420, 17, 19, false);
    let frame = noise(from.bytes);
    let to = raster(PixelFormat::Yuyv, 32, 32);
    let whole = convert(&from, None, &to, &frame);
    for (left, top, width, height, is_whole) in [
        (0, 0, 0, 0, true),
        (17, 0, 5, 5, true),
        (u32::MAX, u32::MAX, u32::MAX, u32::MAX, true),
        (0, 0, u32::MAX, u32::MAX, true),
        (16, 18, 100, 100, false),
        (1, 1, 1, 1, false),
    ] {
        let crop = Rect {
            left,
            top,
            width,
            height,
        };
        let got = convert(&from, Some(crop), &to, &frame);
        assert_eq!(got == whole, is_whole, "{crop:?}");
    }
}

#[test]
fn a_picture_is_stretched_as_a_whole() {
    // The picture is dark on the left and bright on the right, before and after
    // scaling.
    for (from, to) in [
        ((16, 16), (3840, 2160)),
        ((3840, 2160), (16, 16)),
        ((17, 19), (640, 480)),
    ] {
        let from = Raster::yuv(Chroma::Yuv420, from.0, from.1, false);
        let mut frame = flat(&from, Ink::grey(0));
        let luma = (from.width * from.height) as usize;
        for line in frame[..luma].chunks_mut(from.width as usize) {
            let half = line.len() / 2;
            line[half..].fill(235);
        }
        let to = raster(PixelFormat::Nv12, to.0, to.1);
        let got = convert(&from, None, &to, &frame);
        let width = to.width as usize;
        for line in [0, to.height as usize - 1] {
            let row = &got[line * width..][..width];
            assert_eq!((row[0], row[width - 1]), (16, 235), "{from:?} to {to:?}");
            let dark = row.iter().filter(|y| **y < 126).count();
            assert!(dark.abs_diff(width / 2) <= width / 16, "{dark} of {width}");
        }
    }
}

#[test]
fn a_frame_that_is_too_short_is_refused() {
    let from = Raster::yuv(Chroma::Yuv420, 17, 19, false);
    let to = raster(PixelFormat::Rgb3, 17, 19);
    let mut converter = Converter::new(&from, None, &to);
    let mut out = vec![0; to.bytes];
    let short = vec![0; from.bytes - 1];
    let error = converter.convert(&short, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "it has 502 bytes where 503 belong");
}
