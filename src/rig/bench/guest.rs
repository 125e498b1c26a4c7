//! A guest in which is measured.

use std::time::Duration;

use super::{BenchError, cannot};
use crate::agent::bench::{Pin, PinAnswer, Stream, StreamAnswer};
use crate::agent::protocol::{Call, Load, Run};
use crate::rig::testbed::{Finished, Testbed, TestbedSpec};
use crate::vm::command_line::Hardware;
use crate::vm::progress::Progress;

/// The device of the card.
pub const CARD: &str = "/dev/video0";
/// The device of vivid, which is loaded after the card's driver.
pub const VIVID: &str = "/dev/video1";

/// How long a measurement may take in the guest.
const LIMIT: Duration = Duration::from_secs(300);

/// How much longer the guest may take to answer, and to load a module.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running guest with the card.
pub struct BenchGuest {
    testbed: Testbed,
    /// Number of processors.
    pub cpus: u32,
    /// The timings that vivid has, which is loaded when it is first wanted.
    vivid: Option<(u32, u32)>,
}

impl BenchGuest {
    /// Boots a guest.
    pub fn boot(spec: &TestbedSpec, progress: &Progress) -> Result<Self, BenchError> {
        Ok(Self {
            testbed: Testbed::start(spec, progress)?,
            cpus: spec.cpus.unwrap_or(Hardware::default().cpus),
            vivid: None,
        })
    }

    /// Returns the testbed.
    pub fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// Turns the guest off.
    pub fn finish(self) -> Result<Finished, BenchError> {
        Ok(self.testbed.finish()?)
    }

    /// Makes vivid have an input of that size, at 60 frames a second. It has
    /// one input, HDMI, so that it need not scale, and whose rate no size
    /// lessens.
    pub fn set_vivid(&mut self, size: (u32, u32)) -> Result<(), BenchError> {
        if self.vivid.is_none() {
            let load = Load {
                module: "vivid".into(),
                params: "n_devs=1 node_types=0x1 num_inputs=1 input_types=3".into(),
            };
            self.ask("load vivid", load)?;
        }
        if self.vivid != Some(size) {
            let (width, height) = size;
            let timings = match size {
                // CTA-861 VIC 16 and VIC 4.
                (1920, 1080) => "pixelclock=148500000,hfp=88,hs=44,hbp=148,vfp=4,vs=5,vbp=36",
                _ => "pixelclock=74250000,hfp=110,hs=40,hbp=220,vfp=5,vs=5,vbp=20",
            };
            let run = Run::new([
                "v4l2-ctl",
                "--device",
                VIVID,
                "--set-dv-bt-timings",
                &format!("width={width},height={height},interlaced=0,polarities=3,{timings}"),
            ]);
            let answer = self.ask("set vivid's timings", run)?;
            if !answer.status.success() {
                log::warn!("vivid keeps its timings: {}", answer.stderr.trim());
            }
            self.vivid = Some(size);
        }
        Ok(())
    }

    /// Streams.
    pub fn stream(&self, request: Stream) -> Result<StreamAnswer, BenchError> {
        let what = format!("stream from {}", request.device);
        let request = Stream {
            limit_ms: LIMIT.as_millis() as u64,
            ..request
        };
        let agent = self.testbed.machine.agent();
        let answer = agent.call(request, LIMIT + PATIENCE);
        answer.map_err(|source| cannot(what, source))
    }

    /// Pins memory.
    pub fn pin(&self, request: Pin) -> Result<PinAnswer, BenchError> {
        let request = Pin {
            limit_ms: LIMIT.as_millis() as u64,
            ..request
        };
        let agent = self.testbed.machine.agent();
        let answer = agent.call(request, LIMIT + PATIENCE);
        answer.map_err(|source| cannot("pin memory", source))
    }

    /// Makes another request.
    pub fn ask<C: Call>(&self, what: &str, request: C) -> Result<C::Answer, BenchError> {
        let agent = self.testbed.machine.agent();
        let answer = agent.call(request, PATIENCE);
        answer.map_err(|source| cannot(what, source))
    }
}
