//! The time to the first frame, beside that of the bare kernel to its init.

use std::time::Duration;

use serde::Serialize;

use super::BenchError;
use super::guest::{BenchGuest, CARD};
use super::spread::Spread;
use crate::agent::bench::{Stream, StreamMemory};
use crate::rig::testbed::{CardProcess, Testbed, TestbedSpec};
use crate::vm::progress::Progress;

/// The times of boots, in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Boot {
    /// From QEMU's start to the init, in a guest without a card.
    pub bare_init: Spread,
    /// The same by the guest's own clock, which begins with its kernel.
    pub bare_init_uptime: Spread,
    /// From QEMU's start to the init, in a guest with the card.
    pub init: Spread,
    /// From the same start to the application's first frame, of 1280x720 YUYV.
    pub first_frame: Spread,
    /// The same by the guest's own clock.
    pub first_frame_uptime: Spread,
}

/// Boots the guest that often without the card and with it, in turns.
pub fn measure(spec: &TestbedSpec, runs: u32, progress: &Progress) -> Result<Boot, BenchError> {
    let mut bare: Vec<(f64, f64)> = Vec::new();
    let mut with: Vec<(f64, f64, f64)> = Vec::new();
    for _ in 0..runs {
        let absent = TestbedSpec {
            card: CardProcess::Absent,
            ..spec.clone()
        };
        let testbed = Testbed::start(&absent, progress)?;
        bare.push((
            testbed.machine.boot_time().as_secs_f64(),
            Duration::from_millis(testbed.machine.hello().uptime_ms).as_secs_f64(),
        ));
        testbed.finish()?;

        let guest = BenchGuest::boot(spec, progress)?;
        let answer = guest.stream(Stream {
            device: CARD.to_owned(),
            memory: StreamMemory::Userptr,
            format: "YUYV".to_owned(),
            width: 1280,
            height: 720,
            rate: None,
            buffers: 2,
            warm_up: 1,
            frames: 1,
            limit_ms: 0,
        })?;
        let init = guest.testbed().machine.boot_time().as_secs_f64();
        let init_uptime =
            Duration::from_millis(guest.testbed().machine.hello().uptime_ms).as_secs_f64();
        let first_uptime = Duration::from_micros(answer.first_frame_us).as_secs_f64();
        // Between the init and the first frame both clocks run.
        with.push((init, init + first_uptime - init_uptime, first_uptime));
        guest.finish()?;
    }
    Ok(Boot {
        bare_init: Spread::of(bare.iter().map(|one| one.0)),
        bare_init_uptime: Spread::of(bare.iter().map(|one| one.1)),
        init: Spread::of(with.iter().map(|one| one.0)),
        first_frame: Spread::of(with.iter().map(|one| one.1)),
        first_frame_uptime: Spread::of(with.iter().map(|one| one.2)),
    })
}
