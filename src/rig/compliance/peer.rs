//! The kernel's own virtual device of a card's kind, which is judged beside the
//! card.

use serde::{Deserialize, Serialize};

use super::{ComplianceError, Judgement, OPTIONS, PATIENCE, judge};
use crate::agent::protocol::{Load, Run};
use crate::card::{BufferApi, CardKind};
use crate::vm::channel::{Agent, AgentError};

/// The device, where it is loaded after the card's driver.
const DEVICE: &str = "/dev/video1";

/// The results for the kernel's own device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The device's module.
    pub module: String,
    /// The results.
    pub judgement: PeerJudgement,
}

/// What v4l2-compliance says of the kernel's own device. It may not come to an end there:
/// that tells nothing of the card, whose results stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PeerJudgement {
    /// The results.
    Judged(Judgement),
    /// It gave none; these were its last words, and how it ended.
    Ended(String),
}

/// Returns the module whose device is most similar to a card of that kind, and
/// its parameters but for the API: vivid with one video device with one input or
/// output, HDMI, or vim2m (Documentation/admin-guide/media/vivid.rst).
fn module(kind: CardKind) -> (&'static str, &'static str) {
    match kind {
        CardKind::Capture => (
            "vivid",
            "n_devs=1 node_types=0x1 num_inputs=1 input_types=3",
        ),
        CardKind::Output => (
            "vivid",
            "n_devs=1 node_types=0x100 num_outputs=1 output_types=1",
        ),
        CardKind::M2m => ("vim2m", "default_transtime=1"),
    }
}

/// Loads the kernel's own device, and tests it; `None` if the guest's kernel has
/// none. `progress` is as [`judge`] has it.
///
/// # Errors
/// [`ComplianceError`] if the device could not be tested.
pub fn judge_peer(
    agent: &Agent,
    kind: CardKind,
    planes: BufferApi,
    progress: impl FnMut(usize),
) -> Result<Option<Peer>, ComplianceError> {
    let failed = |what| move |source: AgentError| ComplianceError::Agent { what, source };
    let (module, params) = module(kind);
    let known = format!("grep -q '/{module}\\.ko' /lib/modules/$(uname -r)/modules.dep");
    let look = agent.call(Run::new(["sh", "-c", &known]), PATIENCE);
    let look = look.map_err(failed("look for the kernel's own device"))?;
    if !look.status.success() {
        return Ok(None);
    }
    let multiplanar = match planes {
        BufferApi::Single => 1,
        BufferApi::Multi => 2,
    };
    let load = Load {
        module: module.into(),
        params: format!("{params} multiplanar={multiplanar}"),
    };
    let loaded = agent.call(load, PATIENCE);
    loaded.map_err(failed("load the kernel's own device"))?;
    let judgement = match judge(agent, DEVICE, &OPTIONS, progress) {
        Ok(judgement) => PeerJudgement::Judged(judgement),
        Err(ComplianceError::NoTotal { last, .. }) => PeerJudgement::Ended(last),
        Err(error) => return Err(error),
    };
    Ok(Some(Peer {
        module: module.into(),
        judgement,
    }))
}
