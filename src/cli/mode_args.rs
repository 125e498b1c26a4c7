//! The lists of sizes and rates that a card may have.

use std::ffi::OsString;

use crate::card::{BufferApi, ModeError, Modes};

/// What the card has, where it is not to have everything.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ModeArgs {
    /// The sizes that the card has in every format, such as 640x480,1280x720, as
    /// most cameras have a list; it begins with the first. Without, it has all
    /// from 16x16 to 3840x2160
    #[arg(long, value_name = "WxH,...", value_delimiter = ',', value_parser = size)]
    sizes: Vec<(u32, u32)>,

    /// The frames a second that the card has, such as 30,60,30000/1001; it begins
    /// with the first. Without, it has all from 1 to 240
    #[arg(long, value_name = "FPS,...", value_delimiter = ',', value_parser = rate)]
    rates: Vec<(u32, u32)>,
}

impl ModeArgs {
    /// Returns the lists of a card.
    ///
    /// # Errors
    ///
    /// [`ModeError`] if the card cannot have all of them.
    pub fn modes(&self, planes: BufferApi) -> Result<Modes, ModeError> {
        Modes::new(planes, &self.sizes, &self.rates)
    }

    /// Returns the lists as arguments of `pinhole device`.
    pub fn arguments(&self) -> Vec<OsString> {
        let pairs = |name: &str, pairs: &[(u32, u32)], between: char| {
            let texts: Vec<_> = pairs
                .iter()
                .map(|(one, other)| format!("{one}{between}{other}"))
                .collect();
            let list = (!texts.is_empty()).then(|| [name.into(), texts.join(",").into()]);
            list.into_iter().flatten().collect::<Vec<OsString>>()
        };
        [
            pairs("--sizes", &self.sizes, 'x'),
            pairs("--rates", &self.rates, '/'),
        ]
        .concat()
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let size = text.split_once('x');
    size.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
        .ok_or_else(|| "a size is pixels and lines, such as 640x480".to_owned())
}

fn rate(text: &str) -> Result<(u32, u32), String> {
    let (frames, seconds) = text.split_once('/').unwrap_or((text, "1"));
    let rate = frames.parse().ok().zip(seconds.parse().ok());
    rate.ok_or_else(|| "a rate is a number or a fraction, such as 30 or 30000/1001".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_handed_on() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            modes: ModeArgs,
        }
        let read = |words: &[OsString]| {
            let line = std::iter::once("device".into()).chain(words.iter().cloned());
            <Line as clap::Parser>::try_parse_from(line).map(|line| line.modes)
        };
        let words = ["--sizes", "640x480,1280x720", "--rates", "30,30000/1001"];
        let modes = read(&words.map(OsString::from)).unwrap();
        assert_eq!(modes.sizes, [(640, 480), (1280, 720)]);
        assert_eq!(modes.rates, [(30, 1), (30000, 1001)]);
        let again = read(&modes.arguments()).unwrap();
        assert_eq!((again.sizes, again.rates), (modes.sizes, modes.rates));
        assert!(ModeArgs::default().arguments().is_empty());
        for (name, wrong) in [
            ("--sizes", "640"),
            ("--sizes", "640x"),
            ("--sizes", "640x480,"),
            ("--sizes", "-1x480"),
            ("--rates", "x"),
            ("--rates", "30/"),
        ] {
            assert!(read(&[name.into(), wrong.into()]).is_err(), "{wrong}");
        }
    }
}
