//! What frames come from or go to, as `pinhole device` takes it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;

use crate::card::{CardKind, Endpoint};
use crate::m2m::Makes;
use crate::sink::{self, Display, Output, is_standard_output};
use crate::source::{self, Access, Camera, Input, pattern};

/// What the card is for, and its inputs or outputs.
#[derive(Debug, clap::Args)]
pub struct EndpointArgs {
    /// What the card is for.
    #[arg(long, value_enum, default_value_t = KindArg::Capture)]
    kind: KindArg,

    /// What the camera of a capture card sees; given several times, the card
    /// has as many inputs. With one, its second input is a pattern. A source is
    /// pattern:NAME, y4m:FILE, image:FILE, or
    /// raw:FILE,format=NV12,size=640x480,fps=30. FILE may be a FIFO, - or
    /// /dev/stdin for standard input, and what a shell makes of <(...);
    /// options after commas are loop, once, rate=time, rate=frame, fit=scale
    /// and fit=source. [default: pattern]
    #[arg(long, value_name = "SPEC")]
    source: Vec<String>,

    /// Where the frames of an output card go; given several times, the card has
    /// as many outputs. With one, its second output is digest. A sink is digest
    /// (the card reads frames, and nothing keeps them), y4m:FILE or raw:FILE.
    /// FILE may be a FIFO, whose reader is waited for, and - for standard output.
    /// [default: digest]
    #[arg(long, value_name = "SPEC")]
    sink: Vec<String>,

    /// Which frames an m2m card makes [default: all]
    #[arg(long, value_enum, value_name = "FRAMES")]
    makes: Option<MakesArg>,
}

/// Which frames an m2m card makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MakesArg {
    /// Raw frames and JPEGs.
    All,
    /// Raw frames alone: GStreamer takes it for a converter (v4l2convert).
    Raw,
    /// JPEGs alone: GStreamer takes it for an encoder (v4l2jpegenc).
    Jpeg,
}

impl MakesArg {
    /// Returns the arguments of `pinhole device`.
    pub fn arguments(self) -> [OsString; 2] {
        let name = self.to_possible_value();
        let name = name.map_or_else(String::new, |name| name.get_name().to_owned());
        ["--makes".into(), name.into()]
    }
}

impl From<MakesArg> for Makes {
    fn from(makes: MakesArg) -> Self {
        match makes {
            MakesArg::All => Self::All,
            MakesArg::Raw => Self::Raw,
            MakesArg::Jpeg => Self::Jpeg,
        }
    }
}

/// What a card is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// The card writes frames into the guest's memory.
    Capture,
    /// The card reads frames out of the guest's memory.
    Output,
    /// The card reads a frame and writes what it makes of it: converted, scaled,
    /// turned, compressed. It has neither inputs nor outputs.
    M2m,
}

impl From<KindArg> for CardKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Capture => Self::Capture,
            KindArg::Output => Self::Output,
            KindArg::M2m => Self::M2m,
        }
    }
}

impl EndpointArgs {
    /// Returns what the card is for.
    pub fn kind(&self) -> CardKind {
        self.kind.into()
    }

    /// Returns which frames an m2m card makes.
    pub fn makes(&self) -> Makes {
        self.makes.map(Makes::from).unwrap_or_default()
    }

    /// Returns the specifications of the sources; none but for a capture card.
    ///
    /// # Errors
    /// Inputs, outputs or frames to make are asked of a card of another kind, or two
    /// outputs are standard output.
    pub fn sources(&self) -> anyhow::Result<Vec<String>> {
        match self.kind {
            KindArg::Capture | KindArg::Output if self.makes.is_some() => {
                bail!("--makes is for an m2m card: say --kind m2m")
            }
            KindArg::Capture if !self.sink.is_empty() => {
                bail!("a capture card has no --sink: say --kind output")
            }
            KindArg::Output if !self.source.is_empty() => {
                bail!("an output card has no --source: say --kind capture")
            }
            KindArg::M2m if !self.source.is_empty() || !self.sink.is_empty() => {
                bail!("an m2m card has no --source and no --sink")
            }
            KindArg::Output if self.sink.iter().filter(|it| is_standard_output(it)).count() > 1 => {
                bail!("one sink alone can be standard output")
            }
            KindArg::Capture if self.source.is_empty() => Ok(vec!["pattern".to_owned()]),
            KindArg::Capture | KindArg::Output | KindArg::M2m => Ok(self.source.clone()),
        }
    }

    /// Opens the outputs; `None` but for an output card. There are at least two.
    ///
    /// This waits for the reader of a FIFO.
    ///
    /// # Errors
    /// A sink makes no sense, or its file cannot be written.
    pub fn open_outputs(&self) -> anyhow::Result<Option<Vec<Output>>> {
        if self.kind != KindArg::Output {
            return Ok(None);
        }
        let outputs = self.sink.iter().map(|spec| sink::open(spec));
        let mut outputs: Vec<_> = outputs.collect::<Result<_, _>>()?;
        while outputs.len() < 2 {
            outputs.push(Output::digest());
        }
        Ok(Some(outputs))
    }

    /// Returns the files that frames are written to.
    pub fn written(&self) -> impl Iterator<Item = PathBuf> {
        self.sink.iter().filter_map(|spec| sink::file_of(spec))
    }
}

/// Opens the inputs of a capture card with those sources, of which there are at
/// least two, or takes the outputs of an output card. An m2m card has neither.
///
/// # Errors
/// A source cannot be opened.
pub fn open(
    sources: &[String],
    access: &Access,
    outputs: Option<Vec<Output>>,
) -> anyhow::Result<Option<Endpoint>> {
    Ok(match outputs {
        Some(outputs) => Some(Endpoint::Display(Display::new(outputs))),
        None if sources.is_empty() => None,
        None => {
            let camera = Camera::new(open_inputs(sources, access)?);
            Some(Endpoint::Camera(Box::new(camera)))
        }
    })
}

fn open_inputs(specs: &[String], access: &Access) -> anyhow::Result<Vec<Input>> {
    let mut specs = specs.to_vec();
    if let [only] = &specs[..] {
        // The second input is the first pattern, or the second pattern if the
        // source is the first.
        let name = only.strip_prefix("pattern");
        let name = name.map(|name| name.trim_start_matches(':'));
        let first = name.is_some_and(|name| ["", pattern::NAMES[0]].contains(&name));
        let other = pattern::NAMES.get(usize::from(first));
        specs.push(format!("pattern:{}", other.unwrap_or(&pattern::NAMES[0])));
    }
    let inputs = specs.iter().map(|spec| source::open_input(spec, access));
    Ok(inputs.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(kind: KindArg, source: &[&str], sink: &[&str]) -> EndpointArgs {
        let strings = |specs: &[&str]| specs.iter().map(ToString::to_string).collect();
        EndpointArgs {
            kind,
            source: strings(source),
            sink: strings(sink),
            makes: None,
        }
    }

    #[test]
    fn there_are_two_inputs_at_least() {
        let names = |specs: &[&str]| {
            let sources = args(KindArg::Capture, specs, &[]).sources().unwrap();
            let inputs = open_inputs(&sources, &Access::default()).unwrap();
            let names = inputs.into_iter().map(|input| input.name);
            names.collect::<Vec<_>>()
        };
        let second = format!("pattern:{}", pattern::NAMES[1]);
        assert_eq!(names(&[]), ["pattern", &second]);
        assert_eq!(names(&["pattern"]), ["pattern", &second]);
        assert_eq!(names(&["pattern:bars"]), ["pattern:bars", &second]);
        assert_eq!(names(&[&second]), [&second, "pattern:bars"]);
        let three = ["pattern:bars", "pattern:bars", "pattern:ramp"];
        assert_eq!(names(&three), three);
    }

    #[test]
    fn there_are_two_outputs_at_least() {
        let names = |specs: &[&str]| {
            let outputs = args(KindArg::Output, &[], specs).open_outputs().unwrap();
            let names = outputs.unwrap().into_iter().map(|output| output.name);
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["digest", "digest"]);
        assert_eq!(names(&["raw:/dev/null"]), ["raw:null", "digest"]);
        assert_eq!(names(&["digest", "raw:/dev/null", "digest"]).len(), 3);
    }

    #[test]
    fn a_card_has_inputs_or_outputs() {
        let both = [
            args(KindArg::Capture, &[], &["digest"]),
            args(KindArg::Output, &["pattern"], &[]),
        ];
        for args in both {
            assert!(args.sources().is_err());
        }
        let output = args(KindArg::Output, &[], &[]);
        assert!(output.sources().unwrap().is_empty());
        let twice = args(KindArg::Output, &[], &["raw:-", "raw:-"]);
        assert!(twice.sources().is_err());
        for kind in [KindArg::Capture, KindArg::M2m] {
            assert!(args(kind, &[], &[]).open_outputs().unwrap().is_none());
        }
        assert!(args(KindArg::M2m, &[], &[]).sources().unwrap().is_empty());
        for (source, sink) in [(&["pattern"][..], &[][..]), (&[], &["digest"])] {
            assert!(args(KindArg::M2m, source, sink).sources().is_err());
        }
        for (kind, is_right) in [(KindArg::M2m, true), (KindArg::Output, false)] {
            let args = EndpointArgs {
                makes: Some(MakesArg::Raw),
                ..args(kind, &[], &[])
            };
            assert_eq!(args.sources().is_ok(), is_right);
            assert_eq!(args.makes(), Makes::Raw);
        }
    }
}
