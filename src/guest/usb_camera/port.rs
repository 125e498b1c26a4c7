//! The port that the camera is plugged into: the first one of high speed of `vhci_hcd`.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// The file that plugs a device in, given a port, one end of a socket, a number for the
/// device, and its speed (`attach_store()`, drivers/usb/usbip/vhci_sysfs.c).
const ATTACH: &str = "/sys/devices/platform/vhci_hcd.0/attach";

/// USB_SPEED_HIGH (linux/usb/ch9.h).
const HIGH_SPEED: u32 = 3;

/// Plugs the camera in, and returns its end of the socket. When it is closed, the
/// camera is unplugged.
///
/// # Errors
///
/// [`io::Error`] if there is no `vhci_hcd`, or its port is taken.
pub fn plug_in() -> io::Result<UnixStream> {
    let (kernel, camera) = UnixStream::pair()?;
    let line = format!("0 {} 1 {HIGH_SPEED}", kernel.as_raw_fd());
    fs::write(ATTACH, line)
        .map_err(|error| io::Error::new(error.kind(), format!("write {ATTACH}: {error}")))?;
    Ok(camera)
}
