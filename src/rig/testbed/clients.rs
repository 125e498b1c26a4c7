//! Real V4L2 applications in the guest: how they are installed, and their
//! command lines for a capture, for showing frames, or for having them converted.
//!
//! They are in the clients' image ([`crate::vm::images::clients`]), a disk that
//! is mounted and entered with chroot(8). The same image serves every kernel,
//! so that only the kernel differs between guests.

use std::time::Duration;

use crate::agent::protocol::{Call, Load, Run};
use crate::source::Layout;
use crate::vm::channel::{Agent, AgentError};

/// Serial number by which the guest identifies the disk.
pub const SERIAL: &str = "clients";

/// Mount point of the image in the guest; its programs run with it as their
/// root.
pub const ROOT: &str = "/clients";

/// How long the guest may take to mount it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shell script that mounts the disk with the serial number $1 at $2, and gives
/// each of the programs in the following arguments a name in PATH. GStreamer's
/// registry of plugins is in a writable directory; GStreamer scans for plugins
/// itself, without a helper program.
const MOUNT: &str = r#"
serial=$1 root=$2
shift 2
for disk in /sys/block/vd*; do
    [ "$(cat "$disk/serial")" = "$serial" ] && device=/dev/${disk##*/}
done
mkdir -p "$root" /usr/local/bin
mount -t squashfs -o ro "${device:?no disk has the serial number $serial}" "$root"
for dir in dev proc run sys tmp; do
    mount -o rbind "/$dir" "$root/$dir"
done
for program; do
    cat > "/usr/local/bin/$program" << END
#!/bin/sh
export GST_REGISTRY=/tmp/gstreamer-registry GST_REGISTRY_FORK=no
exec chroot $root $program "\$@"
END
    chmod 755 "/usr/local/bin/$program"
done
"#;

/// The programs that get a name in the guest's PATH. Those of v4l-utils do not:
/// the guest has its own.
const PROGRAMS: [&str; 3] = ["ffmpeg", "gst-inspect-1.0", "gst-launch-1.0"];

/// Why the clients could not be installed in the guest.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The agent failed to execute a request.
    #[error("the clients' image could not be mounted: {0}")]
    Agent(#[from] AgentError),
    /// Mounting failed.
    #[error("the clients' image could not be mounted: {0}")]
    Mount(String),
}

/// Mounts the image in a guest that has it as a disk with the serial number
/// [`SERIAL`].
///
/// # Errors
///
/// [`ClientsError`] if there is no such disk or it cannot be mounted.
pub fn mount(agent: &Agent) -> Result<(), ClientsError> {
    ask(
        agent,
        Load {
            module: "squashfs".into(),
            params: String::new(),
        },
    )?;
    let words = ["sh", "-ec", MOUNT, "sh", SERIAL, ROOT];
    let answer = ask(agent, Run::new(words.into_iter().chain(PROGRAMS)))?;
    if answer.status.success() {
        return Ok(());
    }
    Err(ClientsError::Mount(answer.stderr.trim().to_owned()))
}

fn ask<C: Call>(agent: &Agent, request: C) -> Result<C::Answer, AgentError> {
    agent.call(request, PATIENCE)
}

/// Returns the command for a program of the image that has no name in the
/// guest's PATH.
pub fn inside(argv: &[&str]) -> Vec<String> {
    words(&[&["chroot", ROOT], argv].concat())
}

/// How `v4l2src` and `v4l2sink` get their buffers (their property `io-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoMode {
    /// read(). GStreamer's sink writes nothing in this mode.
    Rw,
    /// V4L2_MEMORY_MMAP.
    Mmap,
    /// V4L2_MEMORY_USERPTR.
    Userptr,
    /// V4L2_MEMORY_MMAP, exported as dma-bufs (VIDIOC_EXPBUF).
    Dmabuf,
}

impl IoMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Rw, Self::Mmap, Self::Userptr, Self::Dmabuf];

    /// Returns the name of the mode in GStreamer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rw => "rw",
            Self::Mmap => "mmap",
            Self::Userptr => "userptr",
            Self::Dmabuf => "dmabuf",
        }
    }
}

/// The clients' names of a raw format. Neither client supports VYUY.
struct RawFormat {
    /// V4L2 name of the format.
    name: &'static str,
    /// GStreamer's name of the format in video/x-raw.
    gstreamer: &'static str,
    /// Whether GStreamer's `videoflip` supports the format.
    flips: bool,
    /// FFmpeg's pix_fmt, if the v4l2 input of FFmpeg 7.1 can be told to use it.
    /// FFmpeg would take YU12 for YV12, and does not support YVYU, VYUY or
    /// NV21.
    ffmpeg: Option<&'static str>,
}

const RAW: [RawFormat; 16] = [
    raw("YUYV", "YUY2", true, Some("yuyv422")),
    raw("UYVY", "UYVY", true, Some("uyvy422")),
    raw("YVYU", "YVYU", true, None),
    raw("RGB3", "RGB", true, Some("rgb24")),
    raw("BGR3", "BGR", true, Some("bgr24")),
    raw("XR24", "BGRx", true, Some("bgr0")),
    raw("BX24", "xRGB", true, Some("0rgb")),
    raw("RGBP", "RGB16", false, Some("rgb565le")),
    raw("GREY", "GRAY8", true, Some("gray")),
    raw("Y16", "GRAY16_LE", true, Some("gray16le")),
    raw("NV12", "NV12", true, Some("nv12")),
    raw("NV21", "NV21", true, None),
    raw("NV16", "NV16", false, Some("nv16")),
    raw("YU12", "I420", true, Some("yuv420p")),
    raw("YV12", "YV12", true, None),
    raw("422P", "Y42B", false, Some("yuv422p")),
];

const fn raw(
    name: &'static str,
    gstreamer: &'static str,
    flips: bool,
    ffmpeg: Option<&'static str>,
) -> RawFormat {
    RawFormat {
        name,
        gstreamer,
        flips,
        ffmpeg,
    }
}

impl RawFormat {
    fn of(layout: &Layout) -> Option<&'static Self> {
        let name = layout.format.name();
        RAW.iter().find(|format| format.name == name)
    }
}

/// Returns the command that captures `frames` frames with GStreamer's `v4l2src`
/// and writes them unchanged to the file `to`. Returns `None` for a format that
/// GStreamer, or its `videoflip` if that is needed, does not support.
///
/// GStreamer rounds the lines of its frames up to four bytes. For a format and
/// size for which the card does not, the file contains padding that the card
/// did not send.
///
/// In [`IoMode::Userptr`] the source uses the memory of the element behind it,
/// and a file sink has none. Two flips that undo each other have memory, and
/// change nothing.
pub fn gstreamer(layout: &Layout, fps: u32, mode: IoMode, frames: u32, to: &str) -> Option<Run> {
    let raw = RawFormat::of(layout);
    if mode == IoMode::Userptr && !raw.is_some_and(|format| format.flips) {
        return None;
    }
    let kind = match layout.format.is_compressed() {
        true => "image/jpeg".to_owned(),
        false => format!("video/x-raw,format={}", raw?.gstreamer),
    };
    let source = [
        "v4l2src",
        "device=/dev/video0",
        &format!("io-mode={}", mode.name()),
        &format!("num-buffers={frames}"),
    ]
    .join(" ");
    let caps = format!(
        "{kind},width={},height={},framerate={fps}/1",
        layout.width, layout.height
    );
    let sink = format!("filesink location={to}");
    let flip = "videoflip video-direction=vert";
    let pipeline = match mode {
        IoMode::Userptr => [&source, &caps, flip, flip, &sink].join(" ! "),
        _ => [&source, &caps, sink.as_str()].join(" ! "),
    };
    Some(run_gstreamer(&pipeline))
}

/// Returns the command that captures `frames` frames with FFmpeg's v4l2 input,
/// which maps the driver's buffers, and writes them unchanged to the file `to`.
/// Returns `None` for a format that it does not support.
pub fn ffmpeg(layout: &Layout, fps: u32, frames: u32, to: &str) -> Option<Run> {
    let (format, form) = match layout.format.is_compressed() {
        true => ("mjpeg", "mjpeg"),
        false => (RawFormat::of(layout)?.ffmpeg?, "rawvideo"),
    };
    let size = format!("{}x{}", layout.width, layout.height);
    let (fps, frames) = (fps.to_string(), frames.to_string());
    let input = [
        "-f",
        "v4l2",
        "-input_format",
        format,
        "-video_size",
        &size,
        "-framerate",
        &fps,
        "-i",
        "/dev/video0",
    ];
    // FFmpeg neither repeats nor drops a late frame, and copies a JPEG
    // unchanged.
    let codec = if form == "mjpeg" { "copy" } else { "rawvideo" };
    let output = [
        "-frames:v",
        &frames,
        "-fps_mode",
        "passthrough",
        "-codec:v",
        codec,
        "-f",
        form,
        "-y",
        to,
    ];
    Some(run_ffmpeg(&input, &output))
}

/// Returns the command that shows the raw frames in the file `from` with
/// GStreamer's `v4l2sink`: the first of them twice, as its preview, and all but
/// those that the device has not read when the file ends. Returns `None` for a
/// format that GStreamer does not support.
pub fn gstreamer_shows(layout: &Layout, fps: u32, mode: IoMode, from: &str) -> Option<Run> {
    let format = RawFormat::of(layout)?.gstreamer;
    let source = format!("filesrc location={from} blocksize={}", layout.sizeimage);
    let caps = format!(
        "video/x-raw,format={format},width={},height={},framerate={fps}/1",
        layout.width, layout.height
    );
    let sink = format!(
        "v4l2sink device=/dev/video0 io-mode={} sync=false",
        mode.name()
    );
    let pipeline = [source, caps, sink].join(" ! ");
    Some(run_gstreamer(&pipeline))
}

/// Returns the command that shows the raw frames in the file `from` with FFmpeg's
/// v4l2 output, which writes them with write(): all but those that the device has
/// not read when the file ends. Returns `None` for a format that it does not
/// support.
pub fn ffmpeg_shows(layout: &Layout, fps: u32, from: &str) -> Option<Run> {
    let format = RawFormat::of(layout)?.ffmpeg?;
    let size = format!("{}x{}", layout.width, layout.height);
    let fps = fps.to_string();
    let input = [
        "-f",
        "rawvideo",
        "-pixel_format",
        format,
        "-video_size",
        &size,
        "-framerate",
        &fps,
        "-i",
        from,
    ];
    let output = ["-codec:v", "rawvideo", "-f", "v4l2", "/dev/video0"];
    Some(run_ffmpeg(&input, &output))
}

/// Returns the command that has a mem-to-mem card convert, or compress, the raw
/// frames in the file `from` with GStreamer's `v4l2convert` or `v4l2jpegenc`, and
/// writes what the card makes of them to the file `to`. GStreamer has the element
/// of a card that makes nothing else (`--makes`). `modes` are those of the frames
/// that are given and of those that are made; user pointers are for the first alone,
/// as a file sink has no memory for the second. Returns `None` for a format that GStreamer does not
/// support.
pub fn gstreamer_converts(
    given: &Layout,
    made: &Layout,
    modes: (IoMode, IoMode),
    from: &str,
    to: &str,
) -> Option<Run> {
    let caps = |layout: &Layout| {
        let Layout { width, height, .. } = layout;
        let kind = match layout.format.is_compressed() {
            true => "image/jpeg".to_owned(),
            false => format!("video/x-raw,format={}", RawFormat::of(layout)?.gstreamer),
        };
        Some(format!("{kind},width={width},height={height}"))
    };
    let source = format!("filesrc location={from} blocksize={}", given.sizeimage);
    let element = match made.format.is_compressed() {
        true => "v4l2jpegenc",
        false => "v4l2convert",
    };
    let (output, capture) = (modes.0.name(), modes.1.name());
    let element = format!("{element} output-io-mode={output} capture-io-mode={capture}");
    let caps_given = format!("{},framerate=30/1", caps(given)?);
    let sink = format!("filesink location={to}");
    let pipeline = [source, caps_given, element, caps(made)?, sink].join(" ! ");
    Some(run_gstreamer(&pipeline))
}

fn run_gstreamer(pipeline: &str) -> Run {
    let argv = ["gst-launch-1.0", "--quiet"].into_iter();
    Run::new(argv.chain(pipeline.split(' ')))
}

fn run_ffmpeg(input: &[&str], output: &[&str]) -> Run {
    let ffmpeg = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning"];
    Run::new(words(&[&ffmpeg[..], input, output].concat()))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    #[test]
    fn every_format_of_the_card_that_a_client_has_is_asked_for_by_name() {
        let layout = Layout::new(PixelFormat::Grey, 64, 32);
        let line = gstreamer(&layout, 25, IoMode::Userptr, 7, "/tmp/x");
        let line = line.unwrap().argv.join(" ");
        assert!(
            line.contains("io-mode=userptr num-buffers=7 ! video/x-raw,format=GRAY8,width=64,height=32,framerate=25/1 ! videoflip"),
            "{line}"
        );
        let line = ffmpeg(&layout, 25, 7, "/tmp/x").unwrap().argv.join(" ");
        assert!(
            line.contains(
                "-input_format gray -video_size 64x32 -framerate 25 -i /dev/video0 -frames:v 7"
            ),
            "{line}"
        );
    }
}
