//! Moves samples to other places.

use crate::source::format::Component;
use crate::source::raster::{Channel, Raster};

/// The change of a sample's value.
#[derive(Debug)]
enum Map {
    /// No change: pictures that differ only in their packing stay bit-exact.
    Same,
    /// A change of the range, by table.
    Table(Box<[u8; 256]>),
}

/// The origin of a component.
#[derive(Debug)]
enum Origin {
    Samples(Channel, Map),
    Constant(u8),
}

/// Copies the samples of one raster to their places in another of the same size
/// and the same sampling.
#[derive(Debug)]
pub struct Rearrange {
    moves: Vec<(Origin, Channel)>,
}

impl Rearrange {
    /// Makes a rearrangement of `from` into `to`. Their ranges may differ. A
    /// component that `from` lacks gets its neutral value: grey has no colour.
    ///
    /// # Panics
    ///
    /// If a component that both have is sampled differently.
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

/// Returns the origin of a component of `to`.
fn origin(component: Component, from: &Raster, to: &Raster) -> Origin {
    use Component::{L, U, V, X, Y};
    let find = |component| from.channel(component);
    let map = |table: fn(usize) -> f64| {
        Map::Table(Box::new(std::array::from_fn(|i| {
            // `as` saturates: a value below 0 becomes 0, one above 255 becomes
            // 255.
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
        // Grey gives its level to red, green and blue.
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

/// Copies every sample, with compiled loops for the steps that formats have.
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

/// As [`spread`], with steps that the compiler knows.
fn steps<const FROM: usize, const TO: usize>(from: &[u8], to: &mut [u8], map: impl Fn(u8) -> u8) {
    for (to, from) in to.chunks_mut(TO).zip(from.chunks(FROM)) {
        to[0] = map(from[0]);
    }
}
