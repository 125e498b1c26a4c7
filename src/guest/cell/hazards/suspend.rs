//! The hazard of a system that goes to sleep and wakes up
//! (Documentation/power/suspend-and-cpuhotplug.rst, basic-pm-debugging.rst).
//!
//! All devices are suspended and resumed, the card's driver among them; then the kernel
//! goes on, instead of waiting for somebody to wake it (`pm_test`). One of them is the port
//! over which the agent talks with the host: Linux 7.3 takes it for one that nobody
//! has opened when it wakes up (`host_connected` in debugfs, virtio-ports), and nothing
//! goes through it any more, with this driver or without. Linux 6.12 does not; where
//! it began between them is not known.

use std::fs;
use std::path::Path;

use super::context::HazardContext;
use crate::guest::cell::{Stop, borrowed, virtiofs};
use crate::guest::modules;

/// How far to go: to the suspended devices, and back.
const TEST: &str = "/sys/power/pm_test";
/// Seconds that are spent there, in a busy loop.
const DELAY: &str = "/sys/module/suspend/parameters/pm_test_delay";
/// What puts the system to sleep.
const STATE: &str = "/sys/power/state";

/// Kernel after whose sleep the agent is known to be heard, the newest: major and minor.
const HEARD: [u32; 2] = [6, 12];

/// Returns an error if the kernel cannot be put to sleep for a test, or nobody would hear
/// of what came of it.
pub fn check() -> Result<(), Stop> {
    if !is_heard(&modules::release()) {
        return Err(Stop::Impossible(
            "when this kernel wakes up, the port to the host is dead (seen with Linux 7.3, and \
             not with 6.12)"
                .into(),
        ));
    }
    match [TEST, DELAY, STATE]
        .iter()
        .find(|path| !Path::new(path).exists())
    {
        None => Ok(()),
        Some(path) => Err(Stop::Impossible(format!(
            "this kernel cannot be put to sleep for a test: there is no {path}"
        ))),
    }
}

/// Suspends and resumes all devices.
pub fn sleep_and_wake(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    virtiofs::let_sleep()?;
    borrowed::set(DELAY, "0")?;
    // It is read with all that it can be.
    borrowed::set_from(TEST, "none", "devices")?;
    context
        .writer
        .must("suspend", || fs::write(STATE, "freeze"))
}

/// Returns whether a kernel of that release is one whose agent is heard.
fn is_heard(release: &str) -> bool {
    let mut numbers = release
        .split(['.', '-', '+'])
        .map_while(|part| part.parse().ok());
    let version: [u32; 2] = [numbers.next(), numbers.next()].map(Option::unwrap_or_default);
    version <= HEARD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_known_to_come_back_up_to_a_kernel() {
        for (release, heard) in [
            ("5.10.0-32-amd64", true),
            ("6.12.117+deb13-amd64", true),
            ("6.13.0", false),
            ("6.13+", false),
            ("7.3-rc1", false),
            ("7.3.4+deb13-amd64", false),
        ] {
            assert_eq!(is_heard(release), heard, "{release}");
        }
    }
}
