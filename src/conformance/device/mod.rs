//! The suite for devices: a scripted driver against a vhost-user back end,
//! without a guest.
//!
//! Each clause is tried on a connection of its own. A device lacks what it
//! refuses; that is no failure.
//!
//! | file | what is in it |
//! |---|---|
//! | [`subject`] | the back end: a socket, or a command that is started |
//! | [`survey`] | what the device has, found out before the clauses |
//! | [`lab`] | what a test works with |
//! | `stop` | how a test ends |
//! | `layout` | the layout of a device's structures, by its buffers' type |
//! | `sessions`, `ioctls`, `buffers`, `region`, `events`, `setup`, `rings` | the tests, by what they are about |
//! | `stream` | buffers and frames, for the tests |

mod buffers;
mod events;
mod ioctls;
pub mod lab;
mod layout;
mod region;
mod rings;
mod sessions;
mod setup;
mod stop;
mod stream;
pub mod subject;
pub mod survey;

use std::io;
use std::time::{Duration, Instant};

use super::clause::Side;
use super::clauses::ClauseId;
use super::verdict::{ClauseOutcome, SuiteOutcome, Verdict};
use crate::scripted::driver::{Fault, Log};
use crate::vm::interrupt;
use lab::Lab;
use stop::{Stop, Tested};
use subject::{Subject, SubjectError};
use survey::Survey;

/// A test of a clause.
struct Test {
    clause: &'static str,
    run: fn(&mut Lab) -> Tested,
}

/// The tests, in the order in which they are run.
#[rustfmt::skip] // a table
const TESTS: &[Test] = &[
    Test { clause: "GD-4", run: setup::features_have_what_they_need },
    Test { clause: "GD-5", run: setup::any_subset_is_accepted },
    Test { clause: "GD-6", run: setup::no_unknown_feature },
    Test { clause: "GD-10", run: setup::configuration_before_features },
    Test { clause: "GD-14", run: setup::version_1 },
    Test { clause: "MP-1", run: setup::two_queues_and_no_features },
    Test { clause: "MP-2", run: setup::configuration },
    Test { clause: "GD-1", run: setup::nothing_before_driver_ok },
    Test { clause: "GD-7", run: setup::features_again_after_reset },
    Test { clause: "GD-9", run: setup::nothing_after_reset },
    Test { clause: "GD-12", run: setup::a_queue_elsewhere },
    Test { clause: "GD-17", run: rings::any_cut },
    Test { clause: "GD-18", run: rings::a_long_chain },
    Test { clause: "GD-19", run: rings::readable_is_not_written },
    Test { clause: "GD-20", run: rings::writable_is_not_read },
    Test { clause: "GD-21", run: rings::tables_are_not_written },
    Test { clause: "GD-22", run: rings::an_indirect_descriptor_for_writing },
    Test { clause: "GD-23", run: rings::an_indirect_end },
    Test { clause: "GD-24", run: rings::notifications_by_flags },
    Test { clause: "GD-24b", run: rings::no_notifications_by_flags },
    Test { clause: "GD-25", run: rings::notifications_by_index },
    Test { clause: "GD-25b", run: rings::no_notifications_by_index },
    Test { clause: "GD-26", run: rings::entries_before_the_index },
    Test { clause: "GD-27", run: rings::data_before_the_index },
    Test { clause: "GD-28", run: rings::flags_and_spurious_kicks },
    Test { clause: "MD-1", run: sessions::ids_differ },
    Test { clause: "MP-12", run: sessions::close_frees },
    Test { clause: "MD-2", run: ioctls::payloads_are_whole },
    Test { clause: "MD-3", run: ioctls::errors_have_their_payload },
    Test { clause: "MD-4", run: ioctls::pointers_come_back },
    Test { clause: "MD-5", run: ioctls::unsupported },
    Test { clause: "MP-4", run: ioctls::statuses_are_errnos },
    Test { clause: "MP-7", run: ioctls::payloads_in_one_place },
    Test { clause: "MP-11", run: ioctls::log_status },
    Test { clause: "MD-8", run: buffers::userptr_comes_back },
    Test { clause: "MD-9", run: buffers::descriptors_come_back },
    Test { clause: "MP-10", run: buffers::segments },
    Test { clause: "MP-14", run: buffers::memory_types },
    Test { clause: "MP-16", run: buffers::each_comes_back_once },
    Test { clause: "MP-17", run: buffers::no_pointers_in_events },
    Test { clause: "MD-6", run: region::length },
    Test { clause: "MD-7", run: region::until_munmap },
    Test { clause: "MP-13", run: region::where_and_how },
    Test { clause: "MP-18", run: events::to_subscribers },
    Test { clause: "MD-10", run: sessions::dead_ids_are_not_used },
    Test { clause: "MP-19", run: sessions::a_dead_session_has_errors },
];

/// Returns the clauses that the suite tests, in its order.
pub fn clauses() -> impl Iterator<Item = ClauseId> {
    TESTS.iter().map(|test| ClauseId::known(test.clause))
}

/// How the suite is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The clauses to try; all if there are none.
    pub clauses: Vec<ClauseId>,
    /// How long an answer may take.
    pub limit: Duration,
    /// How long nothing has to happen where nothing may.
    pub quiet: Duration,
    /// Id of a control that makes the device give up the session on which it is
    /// set, if it has one.
    pub error_control: Option<u32>,
    /// Whether the front end has a shared memory region, if the device has one.
    pub region: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clauses: Vec::new(),
            limit: Duration::from_secs(5),
            quiet: Duration::from_millis(60),
            error_control: None,
            region: true,
        }
    }
}

/// Why the suite could not begin.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is nothing to connect to.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// Signals cannot be waited for.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    /// What is there does not answer as a media device does.
    #[error("{subject} is no vhost-user media device, or a broken one: {fault}")]
    NoDevice {
        /// What it was.
        subject: String,
        /// What it did.
        fault: Fault,
    },
}

/// Runs the suite, and calls `step` before each clause.
///
/// # Errors
/// [`DeviceError`] if no clause could be tried.
pub fn run(
    subject: &mut Subject,
    settings: &Settings,
    step: &mut dyn FnMut(ClauseId),
) -> Result<SuiteOutcome, DeviceError> {
    let began = Instant::now();
    let log = Log::new();
    // From here on a signal ends the suite and not the process, which may have a
    // back end to end.
    interrupt::watch().map_err(DeviceError::Signals)?;
    let survey = Survey::make(subject, settings, &log)?;
    let mut outcome = SuiteOutcome {
        subject: subject.to_string(),
        side: Side::Device,
        properties: survey.properties(),
        clauses: Vec::new(),
        stopped: None,
        elapsed_ms: 0,
    };
    let chosen = TESTS.iter().filter(|test| {
        let clause = ClauseId::known(test.clause);
        settings.clauses.is_empty() || settings.clauses.contains(&clause)
    });
    for test in chosen {
        let clause = ClauseId::known(test.clause);
        step(clause);
        if interrupt::requested() {
            outcome.stopped = Some("interrupted".into());
            break;
        }
        if let Err(error) = subject.make_ready(settings.limit) {
            outcome.stopped = Some(error.to_string());
            break;
        }
        let started = Instant::now();
        log.take();
        let mut lab = Lab {
            subject,
            survey: &survey,
            settings,
            log: log.clone(),
        };
        let verdict = match (test.run)(&mut lab) {
            Ok(()) => Verdict::Passed,
            Err(Stop::Failed { expected, seen }) => Verdict::Failed { expected, seen },
            Err(Stop::NotOffered(why)) => Verdict::NotOffered { why },
            Err(Stop::NotReached(why)) => Verdict::NotReached { why },
        };
        // A back end that is not as it was may be wrong in all that follows.
        if matches!(verdict, Verdict::Failed { .. } | Verdict::NotReached { .. }) {
            subject.renew();
        }
        outcome.clauses.push(ClauseOutcome {
            clause: clause.clause(),
            verdict,
            evidence: log.take(),
            elapsed_ms: milliseconds(started),
        });
    }
    outcome.elapsed_ms = milliseconds(began);
    Ok(outcome)
}

fn milliseconds(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::clauses;
    use super::*;

    #[test]
    fn every_clause_that_binds_the_device_has_one_test() {
        let tested: Vec<_> = clauses().map(|id| id.clause().id).collect();
        let bound: BTreeSet<_> = clauses::of(Side::Device).map(|clause| clause.id).collect();
        assert_eq!(tested.iter().copied().collect::<BTreeSet<_>>(), bound);
        assert_eq!(tested.len(), bound.len());
    }
}
