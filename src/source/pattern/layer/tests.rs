use super::*;
use crate::source::PixelFormat;
use crate::source::pattern::painting::Band;

const GROUND: Ink = Ink::grey(16);

fn drawable() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed())
}

/// Draws a smooth disc, with a spot that may be lit and a smaller disc whose
/// rim lies on that of the first.
fn draw(row: &mut Row<'_>, y: u32, lines: u32, lit: bool) {
    let below = y as f32 + lines as f32 / 2.0 - 40.0;
    row.disc(61.3, below, 30.4, Ink::grey(255));
    row.disc(61.3, below, 29.9, GROUND);
    let spot = if lit { Ink::rgb(255, 176, 0) } else { GROUND };
    if (30..34).contains(&y) {
        row.fill(50, 55, spot);
    }
}

fn layer(layout: &Layout, painting: Option<&dyn Painting>) -> Layer {
    let drawing = |lit| move |row: &mut Row<'_>, y, lines| draw(row, y, lines, lit);
    let drawings: [Drawing<'_>; 2] = [&drawing(false), &drawing(true)];
    Layer::new(layout, 30..92, 9..72, GROUND, &drawings, painting)
}

/// A picture that never changes, of other bytes for each line.
#[derive(Debug)]
struct Photo(Vec<Vec<Vec<u8>>>, Vec<u32>);

impl Photo {
    fn new(layout: &Layout) -> Self {
        let line = |line: usize, stride| (0..stride).map(|x| (x * 37 + line * 11) as u8).collect();
        let planes = layout.planes();
        let planes = planes.map(|p| (0..p.lines).map(|y| line(y, p.stride)).collect());
        Self(
            planes.collect(),
            layout.planes().map(|p| p.format.lines).collect(),
        )
    }
}

impl Painting for Photo {
    fn band(&self, plane: usize, y: u32) -> Band<'_> {
        Band {
            line: Line::Still(&self.0[plane][(y / self.1[plane]) as usize]),
            end: y + 1,
        }
    }
}

/// Compares every line of the layer, painted in pieces over that picture,
/// with what is drawn.
fn compare(layer: &Layer, layout: &Layout, lit: impl Fn(u32) -> bool) {
    let photo = Photo::new(layout);
    for (number, plane) in layout.planes().enumerate() {
        for line in 0..plane.lines {
            let y = line as u32 * plane.format.lines;
            let picture = &photo.0[number][line];
            let mut drawn = picture.clone();
            if layer.lines.contains(&y) {
                let row = &mut Row::new(&mut drawn, plane.format);
                draw(row, y, plane.format.lines, lit(y));
            }
            let zeros = vec![0; plane.stride];
            let pictures = [
                Line::Still(picture),
                Line::Moving(picture),
                Line::Mixed(picture, &zeros),
            ];
            for (picture, piece) in pictures
                .into_iter()
                .flat_map(|p| [1, 7, 64, plane.stride].map(|piece| (p, piece)))
            {
                let mut painted = vec![0xee; plane.stride];
                for (start, out) in (0..).step_by(piece).zip(painted.chunks_mut(piece)) {
                    let part = &mut Part::new(start, out);
                    layer.plane(number).paint_over(line, picture, part);
                }
                let differ = painted.iter().zip(&drawn).map(|(a, b)| a.abs_diff(*b));
                // A mixture is rounded once, and what is drawn each time.
                assert!(
                    differ.max().is_none_or(|most| most <= 1),
                    "{}, line {line}, in pieces of {piece}",
                    layout.format
                );
            }
        }
    }
}

#[test]
fn what_is_painted_is_what_was_drawn() {
    for format in drawable() {
        let layout = Layout::new(format, 128, 80);
        compare(&layer(&layout, None), &layout, |_| false);
        let photo = Photo::new(&layout);
        compare(&layer(&layout, Some(&photo)), &layout, |_| false);
    }
}

#[test]
fn another_drawing_is_shown_in_the_lines_that_are_redrawn() {
    for format in drawable() {
        let layout = Layout::new(format, 128, 80);
        let photo = Photo::new(&layout);
        for painting in [None, Some(&photo as &dyn Painting)] {
            let mut layer = layer(&layout, painting);
            let lit = |row: &mut Row<'_>, y, lines| draw(row, y, lines, true);
            layer.redraw(32..400, &lit, painting);
            compare(&layer, &layout, |y| y >= 32);
        }
    }
}

#[test]
fn the_ground_is_kept_once() {
    let layout = Layout::new(PixelFormat::Grey, 1920, 1080);
    let fill = |row: &mut Row<'_>, _: u32, _: u32| row.fill(100, 1800, GROUND);
    let layer = Layer::new(&layout, 100..1800, 100..900, GROUND, &[&fill], None);
    let plane = layer.plane(0);
    assert!(plane.chunks.is_empty() && plane.blends.is_empty());
    assert!(plane.rows.iter().all(|row| row.ground == (100..1800)));
    assert_eq!(plane.rows.len(), 800);
}

#[test]
fn a_layer_beyond_the_picture_is_cut_off() {
    for format in drawable() {
        let layout = Layout::new(format, 18, 18);
        let fill = |row: &mut Row<'_>, _: u32, _: u32| row.fill(-50, 50, GROUND);
        let layer = Layer::new(&layout, -50..50, 0..50, GROUND, &[&fill], None);
        for (number, plane) in layout.planes().enumerate() {
            let mut out = vec![0xee; plane.stride];
            layer
                .plane(number)
                .paint(plane.lines - 1, &mut Part::new(0, &mut out));
            assert!(out.iter().all(|byte| *byte != 0xee));
        }
    }
}
