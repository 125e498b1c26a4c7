//! The programs that stream inside the guest: their command lines, and their
//! output.

use clap::ValueEnum as _;

use crate::card::Direction;
use crate::source::Layout;

/// How the application provides memory to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// V4L2_MEMORY_USERPTR: the program's own pages.
    Userptr,
    /// V4L2_MEMORY_MMAP: the driver's pages, mapped.
    Mmap,
    /// V4L2_MEMORY_DMABUF: pages of another device (vivid), imported.
    Dmabuf,
    /// read(): the driver's pages, copied by the kernel.
    Read,
    /// write(): the driver's pages, copied by the kernel.
    Write,
}

impl Memory {
    /// Returns the name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Userptr => "userptr",
            Self::Mmap => "mmap",
            Self::Dmabuf => "dmabuf",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// Returns whether a program copies every frame by a system call, and so
    /// sees no buffers.
    pub fn is_copied(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    /// Returns the ways of a program that streams in that direction.
    pub fn of(direction: Direction) -> impl Iterator<Item = Self> {
        let other = match direction {
            Direction::Capture => Self::Write,
            Direction::Output => Self::Read,
        };
        let all = Self::value_variants().iter().copied();
        all.filter(move |memory| *memory != other)
    }
}

/// A frame rate that the card can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Frames per second, which the application sets with VIDIOC_S_PARM.
    Fps(u32),
    /// A frame as soon as a buffer is queued.
    Max,
}

impl Rate {
    /// The highest rate that an application can request.
    pub const FASTEST: u32 = 240;

    /// Returns the frames per second; `None` for [`Rate::Max`].
    pub fn fps(self) -> Option<u32> {
        match self {
            Self::Fps(fps) => Some(fps),
            Self::Max => None,
        }
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(fps) if (1..=Self::FASTEST).contains(&fps) => Ok(Self::Fps(fps)),
            _ => Err(format!(
                "a rate is a number from 1 to {}, or max",
                Self::FASTEST
            )),
        }
    }
}

/// Returns the number of buffers that the application requests: enough to
/// bridge the pauses of an emulated guest, as far as the guest's memory allows,
/// and no more than V4L2 allows (VIDEO_MAX_FRAME).
pub fn buffers(layout: &Layout) -> u32 {
    const ROOM: u32 = 128 << 20;
    (ROOM / layout.sizeimage).clamp(4, 32)
}

/// Returns how many frames an application has queued, or read to queue them, when
/// a frame that it plays is back: as many as it has buffers.
pub fn ahead(memory: Memory, layout: &Layout) -> u32 {
    /// The number of buffers that v4l2-ctl imports unless it is told another one.
    const IMPORTED: u32 = 4;
    match memory {
        Memory::Dmabuf => IMPORTED,
        _ => buffers(layout),
    }
}

/// Returns the command that sets the format, and the rate if one is given, as a
/// user would before streaming.
pub fn configure(
    direction: Direction,
    device: &str,
    layout: &Layout,
    fps: Option<u32>,
) -> Vec<String> {
    let Layout {
        format,
        width,
        height,
        ..
    } = layout;
    let mut argv: Vec<String> = ["v4l2-ctl", "--device", device].map(str::to_owned).into();
    let (set_format, set_rate) = match direction {
        Direction::Capture => ("--set-fmt-video", "--set-parm"),
        Direction::Output => ("--set-fmt-video-out", "--set-output-parm"),
    };
    // The code has four characters, even if the last is a space.
    argv.push(format!(
        "{set_format}=width={width},height={height},pixelformat={format:<4}"
    ));
    argv.extend(fps.map(|fps| format!("{set_rate}={fps}")));
    argv
}

/// Number of buffers, or more, that the kernel has for write()
/// (`__vb2_init_fileio()` in videobuf2-core.c).
const WRITTEN_AHEAD: u32 = 4;

/// A program that streams inside the guest.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// What the card is for.
    pub direction: Direction,
    /// The video device.
    pub device: &'a str,
    /// How the program provides its memory.
    pub memory: Memory,
    /// The device whose buffers are imported in [`Memory::Dmabuf`].
    pub exporter: &'a str,
    /// Format and size of the frames.
    pub layout: &'a Layout,
    /// Number of frames.
    pub frames: u32,
    /// Frames per second, as far as they are bounded.
    pub fps: Option<u32>,
    /// The file or disk that frames are written to, or played from.
    pub file: &'a str,
}

impl Program<'_> {
    /// Returns the program's command line.
    pub fn command(&self) -> Vec<String> {
        let buffers = buffers(self.layout);
        let out = match self.direction {
            Direction::Capture => "",
            Direction::Output => "-out",
        };
        match self.memory {
            Memory::Userptr => self.v4l2_ctl([format!("--stream{out}-user={buffers}")]),
            Memory::Mmap => self.v4l2_ctl([format!("--stream{out}-mmap={buffers}")]),
            Memory::Dmabuf => self.v4l2_ctl([
                format!("--stream{out}-dmabuf"),
                format!("--export-device={}", self.exporter),
            ]),
            Memory::Read => {
                let target = format!("of={}", self.file);
                self.dd(self.device).into_iter().chain([target]).collect()
            }
            Memory::Write => {
                // The kernel's few buffers that wait when the device is closed
                // are not played: the shell has it open until they are.
                let seconds = 1 + self.fps.map_or(0, |fps| WRITTEN_AHEAD.div_ceil(fps));
                let dd = self.dd(self.file).join(" ");
                let line = format!(
                    "{{ {dd}; code=$?; sleep {seconds}; }} >{}; exit $code",
                    self.device
                );
                words(["sh", "-c", &line]).collect()
            }
        }
    }

    fn v4l2_ctl<const N: usize>(&self, mode: [String; N]) -> Vec<String> {
        let file = match self.direction {
            Direction::Capture => format!("--stream-to={}", self.file),
            Direction::Output => format!("--stream-from={}", self.file),
        };
        // Of frames that it plays, v4l2-ctl counts those that it has queued, and
        // those in the last buffers are lost when it ends.
        let ahead = match self.direction {
            Direction::Capture => 0,
            Direction::Output => ahead(self.memory, self.layout),
        };
        let count = format!("--stream-count={}", self.frames.saturating_add(ahead));
        let device = words(["v4l2-ctl", "--device", self.device]);
        let mode = device.chain(mode).chain([count, file]);
        mode.chain(words(["--verbose"])).collect()
    }

    fn dd(&self, from: &str) -> [String; 4] {
        [
            "dd".to_owned(),
            format!("if={from}"),
            format!("bs={}", self.layout.sizeimage),
            format!("count={}", self.frames),
        ]
    }
}

fn words<const N: usize>(words: [&str; N]) -> impl Iterator<Item = String> {
    words.map(str::to_owned).into_iter()
}

/// A buffer that v4l2-ctl dequeued.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dequeued {
    /// V4L2 sequence number.
    pub sequence: u32,
    /// Bytes in the buffer, in all its planes.
    pub bytes: u64,
    /// Timestamp in seconds, by the guest's monotonic clock.
    pub timestamp: f64,
    /// Whether the buffer carried V4L2_BUF_FLAG_ERROR.
    pub error: bool,
}

impl Dequeued {
    /// Returns whether v4l2-ctl writes such a buffer to its file.
    pub fn is_written(&self) -> bool {
        !self.error && self.bytes > 0
    }
}

/// Parses a line that `v4l2-ctl --verbose` prints for a buffer, `cap` one that it
/// captured or `out` one that it played:
/// `cap dqbuf: 1 seq:      1 bytesused: 614400 ts: 12.345678 delta: 16.6 ms field: None (ts-monotonic)`.
pub fn dequeued(line: &str) -> Option<Dequeued> {
    // v4l2-ctl prints progress before it without a newline.
    let line = &line[line.find("cap dqbuf:").or(line.find("out dqbuf:"))?..];
    let after = |key: &str| line.split_once(key)?.1.split_whitespace().next();
    // The numbers of several planes are separated by slashes.
    let planes = after(" bytesused:")?.split('/').map(str::parse::<u32>);
    Some(Dequeued {
        sequence: after(" seq:")?.parse().ok()?,
        bytes: planes
            .map(|bytes| bytes.ok().map(u64::from))
            .sum::<Option<_>>()?,
        timestamp: after(" ts:")?.parse().ok()?,
        error: line
            .rsplit_once('(')
            .is_some_and(|(_, flags)| flags.split([',', ' ', ')']).any(|flag| flag == "error")),
    })
}

/// Returns the number of frames that `dd` copied, from its last line: `60+0
/// records out`. The second number counts frames shorter than the longest; they
/// count only if the format's frames vary in length.
pub fn copied(output: &str, of_any_length: bool) -> u32 {
    let records = |line: &str| {
        let (whole, short) = line.strip_suffix(" records out")?.split_once('+')?;
        let (whole, short) = (whole.parse::<u32>().ok()?, short.parse::<u32>().ok()?);
        Some(match of_any_length {
            true => whole.saturating_add(short),
            false => whole,
        })
    };
    output.lines().find_map(records).unwrap_or(0)
}

/// Returns the frames per second over all of `times` (in seconds, ascending);
/// `None` for fewer than two.
pub fn rate(times: &[f64]) -> Option<f64> {
    let (first, last) = (times.first()?, times.last()?);
    (last > first).then(|| (times.len() - 1) as f64 / (last - first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    const OUTPUT: &str = "\
VIDIOC_QUERYCAP: ok
\t\tVIDIOC_STREAMON returned 0 (Success)
cap dqbuf: 0 seq:      0 bytesused: 1843200 ts: 5.000000 field: None (ts-monotonic, ts-src-eof)
cap dqbuf: 1 seq:      1 bytesused: 1843200 ts: 5.016667 delta: 16.667 ms field: None (ts-monotonic, ts-src-eof)
cap dqbuf: 2 seq:      3 bytesused: 1843200 ts: 5.050000 delta: 33.333 ms fps: 60.00 dropped: 1 field: None (error, ts-monotonic, ts-src-eof)
";

    #[test]
    fn the_lines_of_v4l2_ctl_are_read() {
        let frames: Vec<_> = OUTPUT.lines().filter_map(dequeued).collect();
        assert_eq!(
            frames
                .iter()
                .map(|frame| frame.sequence)
                .collect::<Vec<_>>(),
            [0, 1, 3]
        );
        assert_eq!(
            frames.iter().map(|frame| frame.error).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(frames[1].timestamp, 5.016667);
        assert_eq!(frames[1].bytes, 1_843_200);
        assert!(frames[1].is_written() && !frames[2].is_written());
        let planes = "cap dqbuf: 0 seq: 7 bytesused: 307200/76800/76800 ts: 5.0 field: None";
        assert_eq!(dequeued(planes).unwrap().bytes, 460_800);
        assert_eq!(dequeued(&planes.replace("cap", "out")), dequeued(planes));
        for wrong in ["", "1/", "x", "-1", "4294967296"] {
            let line = format!("cap dqbuf: 0 seq: 7 bytesused: {wrong} ts: 5.0 field: None");
            assert_eq!(dequeued(&line), None, "{wrong}");
        }
    }

    #[test]
    fn whole_frames_that_dd_copied_are_counted() {
        let said = "60+1 records in\n60+1 records out\n110592000 bytes copied\n";
        assert_eq!((copied(said, false), copied(said, true)), (60, 61));
        assert_eq!(copied("dd: /dev/video0: Input/output error\n", true), 0);
    }

    #[test]
    fn a_rate_needs_two_times() {
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[1.0]), None);
        assert_eq!(rate(&[1.0, 1.5, 2.0]), Some(2.0));
    }

    #[test]
    fn the_buffers_of_large_frames_fit_a_guest() {
        let of = |width, height| buffers(&Layout::new(PixelFormat::Rgb3, width, height));
        assert_eq!((of(16, 16), of(1280, 720), of(3840, 2160)), (32, 32, 5));
    }

    #[test]
    fn every_way_of_streaming_names_the_device_the_count_and_the_file() {
        let layout = Layout::new(PixelFormat::Nv12, 640, 480);
        for direction in [Direction::Capture, Direction::Output] {
            for memory in Memory::of(direction) {
                let program = Program {
                    direction,
                    device: "/dev/video0",
                    memory,
                    exporter: "/dev/video1",
                    layout: &layout,
                    frames: 42,
                    fps: Some(30),
                    file: "/dev/vda",
                };
                let line = program.command().join(" ");
                let count = match (direction, memory) {
                    (Direction::Output, Memory::Userptr | Memory::Mmap) => "count=74",
                    (Direction::Output, Memory::Dmabuf) => "count=46",
                    _ => "count=42",
                };
                for word in ["/dev/video0", count, "=/dev/vda"] {
                    assert!(line.contains(word), "{line}");
                }
                let plays = line.contains("--stream-out-") || line.contains(">/dev/video0");
                assert_eq!(plays, direction == Direction::Output, "{line}");
            }
        }
        assert!(Memory::of(Direction::Capture).all(|memory| memory != Memory::Write));
        assert!(Memory::of(Direction::Output).all(|memory| memory != Memory::Read));
    }

    #[test]
    fn the_format_and_the_rate_are_set_before() {
        let layout = Layout::new(PixelFormat::Y16, 640, 480);
        for (direction, set_format, set_rate) in [
            (Direction::Capture, "--set-fmt-video=", "--set-parm=60"),
            (
                Direction::Output,
                "--set-fmt-video-out=",
                "--set-output-parm=60",
            ),
        ] {
            let argv = configure(direction, "/dev/video0", &layout, Some(60));
            let format = format!("{set_format}width=640,height=480,pixelformat=Y16 ");
            assert!(argv.contains(&format), "{argv:?}");
            assert!(argv.iter().any(|word| word == set_rate), "{argv:?}");
        }
    }
}
