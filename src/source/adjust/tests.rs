use super::*;

/// Returns pseudorandom bytes, the same ones each time.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn drawable() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed())
}

fn adjusted(settings: Adjust, layout: &Layout, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    Adjuster::new(settings).apply(layout, &mut frame);
    frame
}

/// Returns the settings that are tested; each of them changes something.
fn settings() -> [Adjust; 9] {
    let neutral = Adjust::default();
    [
        Adjust {
            brightness: 168,
            ..neutral
        },
        Adjust {
            brightness: 28,
            ..neutral
        },
        Adjust {
            contrast: 200,
            ..neutral
        },
        Adjust {
            contrast: 0,
            ..neutral
        },
        Adjust {
            saturation: 64,
            ..neutral
        },
        Adjust {
            saturation: 0,
            ..neutral
        },
        Adjust {
            hue: -50,
            ..neutral
        },
        Adjust {
            gain: 160,
            ..neutral
        },
        Adjust {
            brightness: 140,
            contrast: 90,
            saturation: 180,
            hue: 100,
            gain: 80,
            ..neutral
        },
    ]
}

/// The documented formula: returns luma and colour differences of full range,
/// before they are clamped.
fn formula(settings: &Adjust, [l, u, v]: [f64; 3]) -> [f64; 3] {
    let gain = f64::from(settings.gain) / 64.0;
    let contrast = f64::from(settings.contrast) / 128.0;
    let luma = (l * gain - 127.5) * contrast + 127.5 + f64::from(settings.brightness) - 128.0;
    let strength = gain * f64::from(settings.saturation) / 128.0;
    let angle = f64::from(settings.hue) / 128.0 * PI;
    let (u, v) = (u * strength, v * strength);
    [
        luma,
        u * angle.cos() - v * angle.sin(),
        u * angle.sin() + v * angle.cos(),
    ]
}

fn near(got: u8, wanted: f64, low: f64, high: f64) -> bool {
    (f64::from(got) - wanted.clamp(low, high)).abs() <= 0.51
}

#[test]
fn packed_yuv_follows_the_formula() {
    let layout = Layout::new(PixelFormat::Yuyv, 128, 64);
    let frame = bytes(layout.sizeimage as usize);
    for settings in settings() {
        let result = adjusted(settings, &layout, &frame);
        let (was, is) = (frame.as_chunks::<4>().0, result.as_chunks::<4>().0);
        for (was, is) in was.iter().zip(is) {
            let [y, u, z, v] = was.map(f64::from);
            for (luma, got) in [(y, is[0]), (z, is[2])] {
                let full = [
                    (luma - 16.0) * 255.0 / 219.0,
                    (u - 128.0) * 255.0 / 224.0,
                    (v - 128.0) * 255.0 / 224.0,
                ];
                let to = formula(&settings, full);
                let to = [
                    to[0] * 219.0 / 255.0 + 16.0,
                    to[1] * 224.0 / 255.0 + 128.0,
                    to[2] * 224.0 / 255.0 + 128.0,
                ];
                for (got, to) in [(got, to[0]), (is[1], to[1]), (is[3], to[2])] {
                    assert!(near(got, to, 1.0, 254.0), "{settings:?}: {was:?} to {is:?}");
                }
            }
        }
    }
}

#[test]
fn rgb_follows_the_formula() {
    let layout = Layout::new(PixelFormat::Rgb3, 67, 33);
    let frame = bytes(layout.sizeimage as usize);
    for settings in settings() {
        let result = adjusted(settings, &layout, &frame);
        let (was, is) = (frame.as_chunks::<3>().0, result.as_chunks::<3>().0);
        for (was, is) in was.iter().zip(is) {
            let [r, g, b] = was.map(f64::from);
            // This computes by the definition of Y'CbCr, not by its matrix.
            let l = 0.299 * r + 0.587 * g + 0.114 * b;
            let [l, u, v] = formula(&settings, [l, (b - l) / 1.772, (r - l) / 1.402]);
            let (r, b) = (l + 1.402 * v, l + 1.772 * u);
            let g = (l - 0.299 * r - 0.114 * b) / 0.587;
            for (got, to) in is.iter().zip([r, g, b]) {
                assert!(
                    near(*got, to, 0.0, 255.0),
                    "{settings:?}: {was:?} to {is:?}"
                );
            }
        }
    }
}

#[test]
fn grey_follows_the_formula_in_eight_bits_and_in_sixteen() {
    let grey = Layout::new(PixelFormat::Grey, 64, 33);
    let wide = Layout::new(PixelFormat::Y16, 64, 33);
    let frame = bytes(wide.sizeimage as usize);
    for settings in settings() {
        let luma = |level: f64| formula(&settings, [level, 0.0, 0.0])[0];
        let small = &frame[..grey.sizeimage as usize];
        for (was, is) in small.iter().zip(adjusted(settings, &grey, small)) {
            assert!(near(is, luma(f64::from(*was)), 0.0, 255.0), "{settings:?}");
        }
        let result = adjusted(settings, &wide, &frame);
        let (was, is) = (frame.as_chunks().0, result.as_chunks().0);
        for (was, is) in was.iter().zip(is) {
            let wanted = luma(f64::from(u16::from_le_bytes(*was)) / 257.0) * 257.0;
            let got = f64::from(u16::from_le_bytes(*is));
            let off = (got - wanted.clamp(0.0, 65_535.0)).abs();
            assert!(off <= 1.0, "{settings:?}: {got}, not {wanted}");
        }
    }
}

/// Returns a pixel's luma and chroma, or its red, green and blue, in any
/// format.
fn pixel(layout: &Layout, frame: &[u8], x: usize, y: usize) -> Vec<(Component, u8)> {
    let mut samples = Vec::new();
    for plane in layout.planes() {
        let (across, down) = (plane.format.pixels as usize, plane.format.lines as usize);
        let group = plane.format.samples;
        let at = plane.offset + y / down * plane.stride + x / across * group.len();
        for (i, (component, of)) in group.iter().enumerate() {
            // A luma sample belongs to one pixel, a chroma sample to the whole
            // group.
            if *component != Component::Y || usize::from(*of) == x % across {
                samples.push((*component, frame[at + i]));
            }
        }
    }
    samples.sort_by_key(|(component, _)| *component as u8);
    samples
}

#[test]
fn every_format_is_adjusted_as_the_packed_ones_are() {
    let yuyv = Layout::new(PixelFormat::Yuyv, 16, 16);
    let rgb3 = Layout::new(PixelFormat::Rgb3, 16, 16);
    let value = |component| match component {
        Component::Y => 90,
        Component::U => 100,
        Component::V => 180,
        Component::R => 200,
        Component::G => 120,
        Component::B => 40,
        _ => 77,
    };
    let one_colour = |layout: &Layout| {
        let mut frame = vec![0; layout.sizeimage as usize];
        for plane in layout.planes() {
            let bytes = &mut frame[bytes_of(&plane)];
            let samples = plane.format.samples.iter().cycle();
            for (byte, (component, _)) in bytes.iter_mut().zip(samples) {
                *byte = value(*component);
            }
        }
        frame
    };
    for settings in settings() {
        let expected = [&yuyv, &rgb3].map(|layout| {
            pixel(
                layout,
                &adjusted(settings, layout, &one_colour(layout)),
                0,
                0,
            )
        });
        for format in drawable().filter(|f| f.planes()[0].samples[0].0 != Component::L) {
            let layout = Layout::new(format, 18, 20);
            let result = adjusted(settings, &layout, &one_colour(&layout));
            for (x, y) in [(0, 0), (17, 19), (5, 8)] {
                let mut got = pixel(&layout, &result, x, y);
                if format == PixelFormat::Rgbp {
                    continue; // a test of its own
                }
                let unused = |sample: &(Component, u8)| sample.0 == Component::X;
                assert!(
                    got.iter()
                        .filter(|s| unused(s))
                        .all(|(_, byte)| *byte == 77)
                );
                got.retain(|sample| !unused(sample));
                assert!(expected.contains(&got), "{format} {settings:?}: {got:?}");
            }
        }
    }
}

#[test]
fn rgb565_keeps_the_bits_that_it_has() {
    let layout = Layout::new(PixelFormat::Rgbp, 16, 16);
    let rgb3 = Layout::new(PixelFormat::Rgb3, 16, 16);
    // 24, 40, 12 of 31, 63, 31, which are 198, 162, 99 of 255.
    let frame = (24u16 << 11 | 40 << 5 | 12).to_le_bytes().repeat(256);
    let whole = [198, 162, 99].repeat(256);
    for settings in settings() {
        let word = u16::from_le_bytes([0, 1].map(|i| adjusted(settings, &layout, &frame)[i]));
        let wanted = adjusted(settings, &rgb3, &whole);
        let (r, g, b) = (word >> 11, word >> 5 & 63, word & 31);
        let wanted = [wanted[0] >> 3, wanted[1] >> 2, wanted[2] >> 3].map(u16::from);
        assert_eq!([r, g, b], wanted, "{settings:?}");
    }
}

#[test]
fn pictures_are_flipped() {
    for format in drawable() {
        let layout = Layout::new(format, 17, 19);
        let frame = bytes(layout.sizeimage as usize);
        let (width, height) = (layout.width as usize, layout.height as usize);
        for (hflip, vflip) in [(true, false), (false, true), (true, true)] {
            let settings = Adjust {
                hflip,
                vflip,
                ..Adjust::default()
            };
            let result = adjusted(settings, &layout, &frame);
            for y in 0..height {
                for x in 0..width {
                    let from_x = if hflip { width - 1 - x } else { x };
                    let from_y = if vflip { height - 1 - y } else { y };
                    assert_eq!(
                        pixel(&layout, &result, x, y),
                        pixel(&layout, &frame, from_x, from_y),
                        "{format} {hflip} {vflip} at {x},{y}"
                    );
                }
            }
            assert!(adjusted(settings, &layout, &result) == frame, "{format}");
        }
    }
}

#[test]
fn settings_out_of_bounds_become_the_bound() {
    let layout = Layout::new(PixelFormat::Rgb3, 16, 16);
    let frame = bytes(layout.sizeimage as usize);
    for (wild, bound) in [(i32::MAX, 255), (i32::MIN, 0)] {
        let all = |value, hue| Adjust {
            brightness: value,
            contrast: value,
            saturation: value,
            gain: value,
            hue,
            ..Adjust::default()
        };
        let hue = if wild > 0 { 127 } else { -128 };
        let (wild, bound) = (all(wild, wild), all(bound, hue));
        assert!(adjusted(wild, &layout, &frame) == adjusted(bound, &layout, &frame));
    }
}
