//! What runs in a guest: its init, and the server of the host's requests.
//!
//! The program `pinhole-agent` is [`main`] alone. It sets up the guest, then serves
//! the requests of [`crate::agent::protocol`] that arrive over a virtio-serial port
//! until it is told to power the machine off. As process 1 it must never end: the
//! kernel would panic. It is static, as an init must be. On a machine that is no guest
//! [`serve_here`] serves them, and [`apart`] is what its requests run.

mod apart;
mod bench;
mod cell;
mod children;
mod console;
mod failure;
mod files;
mod frame_vector;
mod health;
mod hello;
mod here;
mod init;
mod ioctls;
mod kmemleak;
mod kmsg;
mod locate;
mod modules;
mod port;
mod run;
mod server;
mod survey;
mod sweep;
mod usb_camera;
mod watch;

use std::process::ExitCode;

pub use here::serve_here;
use server::{End, Server};

use crate::agent::cell::Scope;

/// Runs this program as the process of a cell or a survey, if its first argument makes
/// it one; `None` if not.
pub fn apart() -> Option<ExitCode> {
    match argument().as_deref() {
        Some(cell::process::ARGUMENT) => Some(cell::process::main()),
        Some(survey::ARGUMENT) => Some(survey::main()),
        _ => None,
    }
}

/// Returns this program's first argument; what is no text is none of the guest's side.
fn argument() -> Option<String> {
    std::env::args_os().nth(1)?.into_string().ok()
}

/// Runs the program `pinhole-agent`; returns only if this process is not the init of
/// a guest.
pub fn main() -> ExitCode {
    if let Some(ended) = apart() {
        return ended;
    }
    match argument().as_deref() {
        Some(bench::ARGUMENT) => return bench::main(),
        Some(frame_vector::ARGUMENT) => return frame_vector::main(),
        Some(ioctls::ARGUMENT) => return ioctls::main(),
        Some(usb_camera::ARGUMENT) => return usb_camera::main(),
        _ => {}
    }
    if std::process::id() != 1 {
        eprintln!("pinhole-agent: this is the init of a Pinhole guest; it does nothing elsewhere");
        return ExitCode::from(2);
    }
    let problems = init::set_up();
    let children = children::Children::start();
    let server = Server::new(children, Scope::Guest);
    loop {
        let port = port::open();
        match port::speak(&server, &port, &problems) {
            Ok(End::PowerOff) => init::power_off(),
            Ok(End::Closed) => kmsg::say("the host left the channel"),
            Err(error) => kmsg::say(&format!("the channel failed: {error}")),
        }
    }
}
