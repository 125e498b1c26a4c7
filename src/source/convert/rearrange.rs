//! The same samples in other places.

use crate::source::format::Component;
use crate::source::raster::{Channel, Raster};

/// What becomes of a sample on its way.
#[derive(Debug)]
enum Map {
    /// Nothing: pictures that differ in their packing alone stay bit-exact.
    Same,
    /// Another range.
    Table(Box<[u8; 256]>),
}

/// Where a component comes from.
#[derive(Debug)]
enum Origin {
    Samples(Channel, Map),
    Constant(u8),
}

/// Takes the samples of one raster to where they lie in another of the same
/// size and the same sampling.
#[derive(Debug)]
pub struct Rearrange {
    moves: Vec<(Origin, Channel)>,
}

impl Rearrange {
    /// A rearrangement of `from` into `to`, which may differ in their ranges
    /// also. What `from` does not have is neutral: grey has no colour.
    ///
    /// # Panics
    ///
    /// Where a component that both have is sampled differently.
    pub fn new(from: &Raster, to: &Raster) -> Self {
        let moves = to.channels().map(|channel| {
            let origin = origin(channel.component, from, to);
            if let Origin::Samples(origin, _) = &origin {
                let size = |c: &Channel| (c.columns, c.lines);
                assert_eq!(size(origin), size(&channel), "{from:?} to {to:?}");
            }
            (origin, channel)
        });
        Self {
            moves: moves.collect(),
        }
    }

    /// Rearranges a frame.
    pub fn run(&self, frame: &[u8], out: &mut [u8]) {
        for (from, to) in &self.moves {
            for line in 0..to.lines {
                let end = to.stride * line + to.offset + (to.columns - 1) * to.step + 1;
                let out = &mut out[to.stride * line + to.offset..end];
                match from {
                    Origin::Samples(from, map) => {
                        let samples = &frame[from.stride * line + from.offset..];
                        copy(samples, from.step, out, to.step, map);
                    }
                    Origin::Constant(value) => {
                        out.iter_mut().step_by(to.step).for_each(|s| *s = *value);
                    }
                }
            }
        }
    }
}

/// Where a component of `to` comes from.
fn origin(component: Component, from: &Raster, to: &Raster) -> Origin {
    use Component::{L, U, V, X, Y};
    let find = |component| from.channel(component);
    let map = |table: fn(usize) -> f64| {
        Map::Table(Box::new(std::array::from_fn(|i| {
            // As `as` saturates, beyond black is black.
            table(i).round() as u8
        })))
    };
    let level = |channel| {
        let map = match (from.full_range, to.full_range) {
            (true, false) => map(|i| 16.0 + i as f64 * 219.0 / 255.0),
            (false, true) => map(|i| (i as f64 - 16.0) * 255.0 / 219.0),
            _ => Map::Same,
        };
        Origin::Samples(channel, map)
    };
    match component {
        X => Origin::Constant(0),
        Y | L => find(Y).or(find(L)).map_or(Origin::Constant(0), level),
        U | V => find(component).map_or(Origin::Constant(128), |channel| {
            let map = match (from.full_range, to.full_range) {
                (true, false) => map(|i| 128.0 + (i as f64 - 128.0) * 224.0 / 255.0),
                (false, true) => map(|i| 128.0 + (i as f64 - 128.0) * 255.0 / 224.0),
                _ => Map::Same,
            };
            Origin::Samples(channel, map)
        }),
        // Red, green and blue of grey are its level.
        _ => find(component).map_or_else(
            || find(L).or(find(Y)).map_or(Origin::Constant(0), level),
            |channel| Origin::Samples(channel, Map::Same),
        ),
    }
}

fn copy(from: &[u8], from_step: usize, to: &mut [u8], to_step: usize, map: &Map) {
    match map {
        Map::Same => match (from_step, to_step) {
            (1, 1) => to.copy_from_slice(&from[..to.len()]),
            _ => spread(from, from_step, to, to_step, |sample| sample),
        },
        Map::Table(table) => {
            spread(from, from_step, to, to_step, |sample| {
                table[usize::from(sample)]
            });
        }
    }
}

/// Copies every sample, over the steps that formats have.
fn spread(from: &[u8], from_step: usize, to: &mut [u8], to_step: usize, map: impl Fn(u8) -> u8) {
    match (from_step, to_step) {
        (1, 2) => steps::<1, 2>(from, to, map),
        (1, 4) => steps::<1, 4>(from, to, map),
        (2, 1) => steps::<2, 1>(from, to, map),
        (4, 1) => steps::<4, 1>(from, to, map),
        (3, 4) => steps::<3, 4>(from, to, map),
        (3, 3) => steps::<3, 3>(from, to, map),
        (1, 1) => steps::<1, 1>(from, to, map),
        _ => {
            let samples = from.iter().step_by(from_step);
            let places = to.iter_mut().step_by(to_step);
            places.zip(samples).for_each(|(to, from)| *to = map(*from));
        }
    }
}

/// As [`spread`], of steps that the compiler knows.
fn steps<const FROM: usize, const TO: usize>(from: &[u8], to: &mut [u8], map: impl Fn(u8) -> u8) {
    for (to, from) in to.chunks_mut(TO).zip(from.chunks(FROM)) {
        to[0] = map(from[0]);
    }
}
