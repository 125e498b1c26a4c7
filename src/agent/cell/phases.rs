//! The phases of a cell, to see where its time goes.

use std::collections::BTreeMap;
use std::time::Duration;

super::table! {
    /// A phase of a cell. Time of a phase within another is not the other's.
    Phase:
    Prepare = "prepare", "the agent, before the cell's process is started";
    Process = "process", "starting and ending the cell's process";
    Memory = "memory", "laying the memory out";
    Device = "device", "system calls on the device, and waiting for the frame";
    Hazard = "hazard", "what happens to the memory";
    Pages = "pages", "looking at page frames and counters in /proc";
    Contents = "contents", "reading what the memory holds";
    Rest = "rest", "everything else in the cell's process";
    Conclude = "conclude", "the agent, after the process has ended";
    Channel = "channel", "the request's way to the guest, and the answer's back";
    Judge = "judge", "the oracles, on the host";
    Aftermath = "aftermath", "asking for what the kernel has logged since";
}

/// Time in each phase, in microseconds.
pub type Phases = BTreeMap<Phase, u64>;

/// Adds time to a phase.
pub fn spend(phases: &mut Phases, phase: Phase, time: Duration) {
    *phases.entry(phase).or_default() += time.as_micros() as u64;
}

/// Returns the time of all phases.
pub fn total(phases: &Phases) -> Duration {
    Duration::from_micros(phases.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_and_read_back() {
        let mut phases = Phases::new();
        spend(&mut phases, Phase::Pages, Duration::from_micros(3));
        spend(&mut phases, Phase::Pages, Duration::from_micros(4));
        spend(&mut phases, Phase::Judge, Duration::from_micros(5));
        assert_eq!(total(&phases), Duration::from_micros(12));
        let text = serde_json::to_string(&phases).unwrap();
        assert_eq!(text, r#"{"pages":7,"judge":5}"#);
        assert_eq!(serde_json::from_str::<Phases>(&text).unwrap(), phases);
    }
}
