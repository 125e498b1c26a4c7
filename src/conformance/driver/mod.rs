//! The suite for drivers: any virtio-media driver, in a guest whose media devices do
//! and say what the suite wants.
//!
//! | file | what is in it |
//! |---|---|
//! | [`stand`] | the guest, with four scripted devices |
//! | [`subject`] | a device, its camera, and where the guest has it |
//! | [`image`] | payloads of ioctls, as a program has them in its memory |
//! | [`finding`] | what an experiment found of a clause |
//! | [`rings`] | clauses that a record of the queues decides |
//! | [`traffic`] | what programs do every day |
//! | [`capture`] | a program that captures one frame, step by step |
//! | [`answers`] | short answers, pointers in events |
//! | [`sessions`] | sessions that the device gives up |
//! | [`memory`] | memory that the device has when its program is gone |
//! | [`liars`] | devices that lie |
//! | [`robust`] | devices that say too much, are late, are slow, or die |
//!
//! The driver's errors may be any that programs know: how another author's driver
//! fails is not for the suite to say, only that it does, when it has to.

mod answers;
mod capture;
mod finding;
mod image;
mod liars;
mod memory;
mod rings;
mod robust;
mod sessions;
pub mod stand;
mod subject;
mod traffic;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::finding::{Experiment, Finding, told};
use self::rings::Seen;
use self::stand::{Broken, Stand, StandError};
use super::clause::Side;
use super::clauses::{self, ClauseId};
use super::verdict::{ClauseOutcome, SuiteOutcome, Verdict};
use crate::rig::testbed::TestbedSpec;
use crate::scripted::device::record::Entry;
use crate::vm::interrupt;
use crate::vm::progress::Progress;

/// The experiments, with the clauses that each is about, in the order in which they
/// are made: what may break a guest comes late.
const EXPERIMENTS: &[(&[&str], Experiment)] = &[
    (&["DV-1"], traffic::traffic),
    (&["MV-4"], answers::errors_without_payload),
    (&["GV-21"], answers::data_beyond_the_length),
    (&["MV-6"], answers::pointers_in_events),
    (&["MV-5", "MP-20", "DV-11"], sessions::given_up),
    (&["GV-10"], memory::kept),
    (&["DV-7"], robust::slow),
    (&["DV-2"], liars::made_up),
    (&["DV-3"], liars::garbage),
    (&["DV-4"], liars::false_events),
    (&["DV-5"], robust::flood),
    (&["DV-9"], robust::no_session),
    (&["DV-6"], robust::silent),
    (&["DV-8"], robust::wrong_chain),
    (&["DV-10"], robust::dead),
];

/// Experiments up to this one are with devices that keep all rules of their own, so
/// that the records of them are what a driver puts on the rings of such.
const LAWFUL: &str = "GV-10";

/// Clauses that a back end of vhost-user cannot make a driver show.
const UNSEEN: &[(&str, &str)] = &[
    (
        "MP-15",
        "the scripted devices have no VIRTIO_OBJECT: there is no object to refer to",
    ),
    (
        "GV-2",
        "a vhost-user back end has no means to set DEVICE_NEEDS_RESET",
    ),
    (
        "GV-6",
        "a media device's configuration does not change while it runs, and single reads of it \
         do not come to the back end",
    ),
];

/// Boots a guest with the driver, and holds the driver against clauses; all of its
/// own, if none is named. A guest that breaks is replaced.
///
/// # Errors
///
/// [`StandError`] if there is no guest with the driver in it.
pub fn run(
    spec: &TestbedSpec,
    wanted: &[ClauseId],
    progress: &Progress,
) -> Result<SuiteOutcome, StandError> {
    let begun = Instant::now();
    let mut stand = Stand::boot(spec, progress)?;
    let outcome = judge(&mut stand, spec, wanted, progress, begun);
    stand.finish();
    Ok(outcome)
}

/// Holds the driver of a guest against clauses, as [`run`] does. `spec` is what the
/// guest is replaced from if it breaks.
pub fn judge(
    stand: &mut Stand,
    spec: &TestbedSpec,
    wanted: &[ClauseId],
    progress: &Progress,
    begun: Instant,
) -> SuiteOutcome {
    let mut suite = Suite {
        subject: subject(stand),
        properties: properties(stand),
        wanted,
        findings: BTreeMap::new(),
        records: Vec::new(),
        stopped: None,
    };
    suite.experiment(stand, spec, progress);
    suite.outcome(begun)
}

fn subject(stand: &Stand) -> String {
    format!("the driver {} on {}", stand.driver(), stand.release())
}

fn properties(stand: &Stand) -> Vec<(String, String)> {
    let node = |subject: &subject::Subject| {
        let place = subject.place.as_ref();
        place.map_or_else(|| "not bound".to_owned(), |place| place.node.clone())
    };
    let mut properties = vec![
        ("single-planar device".into(), node(&stand.plain)),
        ("multi-planar device".into(), node(&stand.planes)),
        (
            "device with VIRTIO_F_ACCESS_PLATFORM".into(),
            node(&stand.platform),
        ),
        (
            "device with a larger configuration".into(),
            node(&stand.large),
        ),
    ];
    if let Some(first) = stand.complaints_before.first() {
        let count = stand.complaints_before.len();
        let told = format!("{count}, the first of them: {first}");
        properties.push((
            "complaints of the kernel before the driver came".into(),
            told,
        ));
    }
    properties
}

struct Suite<'a> {
    subject: String,
    properties: Vec<(String, String)>,
    wanted: &'a [ClauseId],
    findings: BTreeMap<&'static str, (Finding, Duration)>,
    /// What the devices recorded as long as they kept all rules.
    records: Vec<Vec<Entry>>,
    stopped: Option<String>,
}

impl Suite<'_> {
    fn wants(&self, id: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|one| one.clause().id == id)
    }

    fn found(&mut self, id: &'static str, finding: Finding, took: Duration) {
        self.findings.insert(id, (finding, took));
    }

    /// Makes the experiments that the wanted clauses take.
    fn experiment(&mut self, stand: &mut Stand, spec: &TestbedSpec, progress: &Progress) {
        let step = progress.step(format!("conformance of {}", self.subject));
        let mut fresh = Ok(());
        // What a suite before it recorded is not this one's.
        let mut marks = match stand.was_used() {
            false => [0; 4],
            true => stand.subjects().map(|subject| subject.device.mark()),
        };
        if stand.is_spent() {
            fresh = Err(Broken::Stuck("spent".to_owned()));
        } else if stand.was_used() {
            fresh = stand.bind_again();
        }
        // What records decide is decided by all of them.
        let records = rings::CHECKS.iter().any(|(id, _)| self.wants(id));
        for (ids, experiment) in EXPERIMENTS {
            let lawful = ids.contains(&LAWFUL);
            // The records of every day decide most clauses.
            let traffic = ids.contains(&"DV-1");
            let fed = records && !self.past_lawful(ids);
            if !traffic && !fed && !ids.iter().any(|id| self.wants(id)) {
                if lawful {
                    self.keep(stand, marks);
                }
                continue;
            }
            step.update(&ids.join(", "));
            if fresh.is_err() || stand.is_spent() {
                if fresh.is_ok() && !self.past_lawful(ids) {
                    self.keep(stand, marks);
                }
                match stand.boot_again(spec, progress) {
                    Ok(()) => marks = [0; 4],
                    Err(error) => {
                        self.stopped = Some(format!("no other guest boots: {error}"));
                        break;
                    }
                }
            }
            let begun = Instant::now();
            let outcome = experiment(stand);
            // Whoever is asked then answers nothing, and no more is to be begun.
            if interrupt::requested() {
                self.stopped = Some("interrupted".to_owned());
                break;
            }
            let outcome = outcome.map_err(|broken| stand.explained(broken));
            let took = begun.elapsed();
            if traffic {
                self.bound(stand);
            }
            if lawful || outcome.is_err() && !self.past_lawful(ids) {
                self.keep(stand, marks);
            }
            match outcome {
                Ok(findings) => {
                    fresh = Ok(());
                    for (id, finding) in findings {
                        self.found(id, finding, took);
                    }
                }
                Err(broken) => {
                    for id in *ids {
                        self.found(id, Finding::broken(&broken), took);
                    }
                    fresh = Err(broken);
                }
            }
        }
        stand.use_up();
        for (id, check) in rings::CHECKS {
            let begun = Instant::now();
            let finding = on_records(&self.records, *check);
            self.found(id, finding, begun.elapsed());
        }
        for (id, why) in UNSEEN {
            self.found(id, Finding::not_offered(*why), Duration::ZERO);
        }
        step.done();
    }

    /// Returns whether experiments of these clauses come behind the lawful ones.
    fn past_lawful(&self, ids: &[&str]) -> bool {
        let place = |id: &str| EXPERIMENTS.iter().position(|(of, _)| of.contains(&id));
        place(ids[0]) > place(LAWFUL)
    }

    /// Keeps what the devices recorded.
    fn keep(&mut self, stand: &Stand, marks: [usize; 4]) {
        for (subject, mark) in stand.subjects().into_iter().zip(marks) {
            self.records.push(subject.device.record(mark));
        }
    }

    /// Judges what binding the driver to the other devices has shown.
    fn bound(&mut self, stand: &Stand) {
        let larger = match &stand.large.place {
            Some(_) => Finding::passed(Vec::new()),
            None => Finding::failed(
                "a node for a device with a configuration of 64 bytes, as for one with 40",
                "none",
                told(&stand.large.device.record(0)),
            ),
        };
        // A back end does not see the feature, and QEMU agrees to none without it.
        let platform = match &stand.platform.place {
            Some(_) => Finding::passed(Vec::new()),
            None => Finding::failed(
                "a node for a device that offers VIRTIO_F_ACCESS_PLATFORM and is not used without",
                "none",
                told(&stand.platform.device.record(0)),
            ),
        };
        self.found("GV-7", larger, Duration::ZERO);
        self.found("GV-13", platform, Duration::ZERO);
    }

    fn outcome(mut self, begun: Instant) -> SuiteOutcome {
        let clauses = clauses::of(Side::Driver);
        let wanted: Vec<_> = clauses.filter(|clause| self.wants(clause.id)).collect();
        let clauses = wanted.into_iter().map(|clause| {
            let (finding, took) = self.findings.remove(clause.id).unwrap_or_else(|| {
                let why = "the suite stopped before";
                (Finding::not_reached(why), Duration::ZERO)
            });
            ClauseOutcome {
                clause,
                verdict: finding.verdict,
                evidence: finding.evidence,
                elapsed_ms: took.as_millis() as u64,
            }
        });
        SuiteOutcome {
            clauses: clauses.collect(),
            subject: self.subject,
            side: Side::Driver,
            properties: self.properties,
            stopped: self.stopped,
            elapsed_ms: begun.elapsed().as_millis() as u64,
        }
    }
}

/// Holds records against a clause.
fn on_records(records: &[Vec<Entry>], check: rings::Check) -> Finding {
    let mut kept = false;
    for record in records {
        match check(record) {
            Seen::Nothing => {}
            Seen::Kept => kept = true,
            Seen::Broken {
                expected,
                seen,
                evidence,
            } => {
                return Finding {
                    verdict: Verdict::Failed { expected, seen },
                    evidence,
                };
            }
        }
    }
    match kept {
        true => Finding::passed(Vec::new()),
        false => Finding::not_offered("the driver sent nothing that the clause is about"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_clause_of_a_driver_has_one_way_to_be_decided() {
        let experiments = EXPERIMENTS.iter().flat_map(|(ids, _)| ids.iter().copied());
        let checks = rings::CHECKS.iter().map(|(id, _)| *id);
        let unseen = UNSEEN.iter().map(|(id, _)| *id);
        let bound = ["GV-7", "GV-13"];
        let all: Vec<_> = experiments
            .chain(checks)
            .chain(unseen)
            .chain(bound)
            .collect();
        let once: BTreeSet<_> = all.iter().copied().collect();
        assert_eq!(all.len(), once.len(), "{all:?}");
        let clauses: BTreeSet<_> = clauses::of(Side::Driver).map(|clause| clause.id).collect();
        assert_eq!(once, clauses);
    }
}
