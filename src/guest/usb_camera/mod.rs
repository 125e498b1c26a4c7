//! A USB camera made of software, plugged into this machine: a device for the kernel's
//! own driver of cameras, `uvcvideo`, where there is no hardware.
//!
//! | file | what is in it |
//! |---|---|
//! | [`descriptors`] | what the camera says it is: its descriptors, its sizes and rates |
//! | [`requests`] | what it answers at endpoint 0 |
//! | [`frames`] | its picture, as the packets of isochronous transfers |
//! | [`usbip`] | transfers on the wire between the kernel and the camera |
//! | [`port`] | the port that it is plugged into |
//! | [`camera`] | the camera, which waits for transfers and for the time of its next frame |
//!
//! The host controller is `vhci_hcd`, that of USB/IP: it carries out a transfer by
//! sending it through a socket, here one end of a pair, to whoever has the other. The
//! kernel's own UVC function (`usb_f_uvc`) would not do. Its endpoint is isochronous,
//! and the only controller without hardware that it could be bound to fails all such
//! transfers (`dummy_timer()`, drivers/usb/gadget/udc/dummy_hcd.c).
//!
//! The camera is a process of its own. If it ends, it is unplugged.

mod camera;
mod descriptors;
mod frames;
mod port;
mod requests;
mod usbip;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use self::camera::Camera;
use crate::guest::children::Children;
use crate::guest::failure::Failure;
use crate::guest::kmsg;
use crate::vm::wait::{WaitResult, readable_regardless};

/// Argument that makes this program the camera.
pub const ARGUMENT: &str = "usb-camera";

/// What the camera writes once the kernel has chosen its configuration.
const READY: &str = "ready";

/// Longest of what it writes, in bytes.
const SAID_MAX: u64 = 4096;

/// Plugs a camera in, which stays until this machine is turned off. Returns once the
/// kernel has chosen its configuration; `uvcvideo` finds it then, or when it is loaded.
///
/// # Errors
///
/// [`Failure`] if there is no `vhci_hcd`, or that takes longer than `limit`.
pub fn plug_in(children: &Children, limit: Duration) -> Result<(), Failure> {
    let failed = |error| Failure::io("start a USB camera", error);
    let deadline = Instant::now() + limit;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(ARGUMENT)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // Not ended with its parent, which is the thread of this request.
    let mut child = children.spawn(&mut command).map_err(failed)?;
    let Some(output) = child.process.stdout.take() else {
        return Err(Failure::new("a USB camera without an output"));
    };
    let waited = readable_regardless(&[output.as_fd()], Some(deadline)).map_err(failed)?;
    let mut said = String::new();
    if let WaitResult::Ready(_) = &waited {
        let mut lines = BufReader::new(output.take(SAID_MAX));
        lines.read_line(&mut said).map_err(failed)?;
    }
    if said.trim_end() == READY {
        return Ok(());
    }
    // It may have ended by itself.
    let _ = children.signal(child.pid, Signal::KILL);
    Err(Failure::new(match (waited, said.trim_end()) {
        (WaitResult::Ready(_), "") => "a USB camera ended before it was taken into use".to_owned(),
        (WaitResult::Ready(_), why) => format!("plug a USB camera in: {why}"),
        _ => format!(
            "a USB camera was not taken into use within {} s",
            limit.as_secs()
        ),
    }))
}

/// Runs the camera until it is unplugged; writes [`READY`] once it is in use, or why it
/// cannot be.
pub fn main() -> ExitCode {
    // The memory that cells take may be more than there is.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    // Who plugs it in reads no more once it is in use.
    let _ = writeln!(io::stdout(), "{error}");
    kmsg::say(&format!("the USB camera ended: {error}"));
    ExitCode::FAILURE
}

fn run() -> io::Result<()> {
    let socket = port::plug_in()?;
    let mut camera = Camera::new(socket);
    while !camera.is_configured() {
        if !camera.step()? {
            return Err(io::Error::other("it was unplugged again"));
        }
    }
    let mut output = io::stdout();
    writeln!(output, "{READY}")?;
    while camera.step()? {}
    Ok(())
}
