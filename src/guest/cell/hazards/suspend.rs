//! The hazard of a system that goes to sleep and wakes up
//! (Documentation/power/suspend-and-cpuhotplug.rst, basic-pm-debugging.rst).
//!
//! All devices are suspended and resumed, the card's driver among them; then the kernel
//! goes on, instead of waiting for somebody to wake it (`pm_test`).

use std::fs;
use std::path::Path;

use super::context::HazardContext;
use crate::guest::cell::Stop;
use crate::guest::cell::setup::knob;

/// How far to go: to the suspended devices, and back.
const TEST: &str = "/sys/power/pm_test";
/// Seconds that are spent there, in a busy loop.
const DELAY: &str = "/sys/module/suspend/parameters/pm_test_delay";
/// What puts the system to sleep.
const STATE: &str = "/sys/power/state";

/// Returns an error if the kernel cannot be put to sleep for a test.
pub fn check() -> Result<(), Stop> {
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
    let delay = fs::read_to_string(DELAY)?;
    knob(DELAY, "0")?;
    knob(TEST, "devices")?;
    let slept = context
        .writer
        .must("suspend", || fs::write(STATE, "freeze"));
    // What could be set can be set back.
    let _ = fs::write(TEST, "none");
    let _ = fs::write(DELAY, delay);
    slept
}
