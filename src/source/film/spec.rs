//! The specification of a film: `KIND:FILE,OPTION,...`.

use super::error::FilmError;
use crate::source::format::PixelFormat;
use crate::source::layout::Layout;
use crate::source::name::split_path;

/// What follows the last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The first frame.
    Loop,
    /// The end of the stream.
    Once,
}

/// How the shown frame is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// The frame that is due; frames are repeated or left out.
    Time,
    /// The next frame.
    Frame,
}

/// The specification of a film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The path, or `-` for standard input.
    pub path: String,
    /// `loop` or `once`.
    pub ending: Option<Ending>,
    /// `fit=source`: the card takes on the film's size.
    pub follow: bool,
    /// `rate=time` or `rate=frame`.
    pub rate: Option<Rate>,
    /// `format=FOURCC`, only for `raw`.
    pub format: Option<PixelFormat>,
    /// `size=WxH`, only for `raw`.
    pub size: Option<(u32, u32)>,
    /// `fps=N` or `fps=N/M`, only for `raw`, as seconds between frames.
    pub interval: Option<(u32, u32)>,
}

impl Spec {
    /// Parses `text`, which follows after `kind` and a colon. A comma in the
    /// path is doubled, as in QEMU's options.
    pub fn parse(kind: &str, text: &str) -> Result<Self, FilmError> {
        let mut spec = Self {
            path: String::new(),
            ending: None,
            follow: false,
            rate: None,
            format: None,
            size: None,
            interval: None,
        };
        let mut seen: Vec<&str> = Vec::new();
        let mut read = || -> Result<(), String> {
            let (path, options) = split_path(text);
            if path.is_empty() {
                return Err("it names no file".into());
            }
            spec.path = path;
            for option in options.into_iter().flat_map(|text| text.split(',')) {
                let (name, value) = option.split_once('=').unwrap_or((option, ""));
                let name = match name {
                    "once" => "loop",
                    name => name,
                };
                if seen.contains(&name) {
                    return Err(format!("\"{option}\" says something again"));
                }
                seen.push(name);
                spec.option(kind, option, name, value)?;
            }
            Ok(())
        };
        read().map_err(|problem| FilmError::Spec {
            spec: format!("{kind}:{text}"),
            problem,
        })?;
        Ok(spec)
    }

    fn option(&mut self, kind: &str, text: &str, name: &str, value: &str) -> Result<(), String> {
        let raw = kind == "raw";
        match (name, value) {
            _ if text == "loop" => self.ending = Some(Ending::Loop),
            _ if text == "once" => self.ending = Some(Ending::Once),
            ("fit", "scale") => self.follow = false,
            ("fit", "source") => self.follow = true,
            ("rate", "time") => self.rate = Some(Rate::Time),
            ("rate", "frame") => self.rate = Some(Rate::Frame),
            ("format", name) if raw => {
                let format: PixelFormat = name.parse().map_err(|e| format!("{e}"))?;
                if format.is_compressed() {
                    return Err(format!("{format} is compressed"));
                }
                self.format = Some(format);
            }
            ("size", value) if raw => {
                self.size = value
                    .split_once('x')
                    .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
                if self.size.is_none() {
                    return Err(format!("\"{value}\" is no size; say 640x480"));
                }
            }
            ("fps", value) if raw => {
                let (above, below) = value.split_once('/').unwrap_or((value, "1"));
                self.interval = match (below.parse(), above.parse()) {
                    (Ok(below), Ok(above)) if below > 0 && above > 0 => Some((below, above)),
                    _ => return Err(format!("\"{value}\" is no rate; say 30 or 30000/1001")),
                };
            }
            _ => {
                let more = if raw { ", format=, size=, fps=" } else { "" };
                return Err(format!(
                    "there is no option \"{text}\"; try loop, once, fit=scale, fit=source, \
                     rate=time, rate=frame{more}"
                ));
            }
        }
        Ok(())
    }

    /// Returns the layout of the frames of a raw file.
    pub fn layout(&self, kind: &str, text: &str) -> Result<Layout, FilmError> {
        let fail = |problem| FilmError::Spec {
            spec: format!("{kind}:{text}"),
            problem,
        };
        let (Some(format), Some((width, height))) = (self.format, self.size) else {
            let problem = "say what its frames are: raw:FILE,format=NV12,size=640x480,fps=30";
            return Err(fail(problem.into()));
        };
        if !Layout::has_size(format, width, height) {
            return Err(fail(format!("there is no {format} of {width}x{height}")));
        }
        Ok(Layout::new(format, width, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let spec = Spec::parse(
            "raw",
            "a,,b.raw,once,fit=source,rate=frame,format=nv12,size=640x480,fps=30000/1001",
        )
        .unwrap();
        assert_eq!(
            spec,
            Spec {
                path: "a,b.raw".into(),
                ending: Some(Ending::Once),
                follow: true,
                rate: Some(Rate::Frame),
                format: Some(PixelFormat::Nv12),
                size: Some((640, 480)),
                interval: Some((1001, 30000)),
            }
        );
        let spec = Spec::parse("y4m", "/films/a=b:c.y4m").unwrap();
        assert_eq!(
            (spec.path.as_str(), spec.ending),
            ("/films/a=b:c.y4m", None)
        );
        assert_eq!(Spec::parse("y4m", ",,,once").unwrap().path, ",");
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (kind, text, problem) in [
            ("y4m", "", "it names no file"),
            ("y4m", ",loop", "it names no file"),
            ("y4m", "f,", "there is no option \"\""),
            ("y4m", "f,loop=1", "there is no option \"loop=1\""),
            ("y4m", "f,fit=x", "there is no option \"fit=x\""),
            ("y4m", "f,size=16x16", "there is no option \"size=16x16\""),
            ("y4m", "f,loop,once", "\"once\" says something again"),
            (
                "y4m",
                "f,fit=scale,fit=source",
                "\"fit=source\" says something again",
            ),
            ("raw", "f,format=XYZ1", "there is no pixel format \"XYZ1\""),
            ("raw", "f,format=MJPG", "MJPG is compressed"),
            ("raw", "f,size=16", "\"16\" is no size"),
            ("raw", "f,size=-1x16", "\"-1x16\" is no size"),
            ("raw", "f,size=99999999999x16", "is no size"),
            ("raw", "f,fps=0", "\"0\" is no rate"),
            ("raw", "f,fps=1/0", "\"1/0\" is no rate"),
            ("raw", "f,fps=", "\"\" is no rate"),
        ] {
            let error = Spec::parse(kind, text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(error.contains(&format!("\"{kind}:{text}\"")), "{error}");
        }
        for (text, problem) in [
            ("f", "say what its frames are"),
            ("f,format=NV12", "say what its frames are"),
            ("f,format=NV12,size=17x16", "there is no NV12 of 17x16"),
            (
                "f,format=GREY,size=4294967295x4294967295",
                "there is no GREY of",
            ),
        ] {
            let spec = Spec::parse("raw", text).unwrap();
            let error = spec.layout("raw", text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
