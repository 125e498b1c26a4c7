//! Boots a guest that is fit for cells, and runs a cell or two in advance of the
//! others with a driver that is not Pinhole's: one that never takes a buffer would fail
//! all cells for the same reason, and one that only takes memory in one piece is not to
//! be blamed for that with each of them.

use super::error::MatrixError;
use super::guest::CellGuest;
use super::health::{self, GuestState};
use super::name::CellName;
use super::observation::Observation;
use super::outcome::CellOutcome;
use super::spec::Judged;
use super::testimony::Testimony;
use crate::agent::cell::{CellAnswer, Ends, Flow, Kind};
use crate::rig::testbed::TestbedSpec;
use crate::vm::progress::Progress;

/// How often a guest is booted to find one in which all of its kernel's checks
/// work.
const BOOTS: u32 = 3;

/// What a driver did with the buffer of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tried {
    /// It took it.
    Taken,
    /// It refused it with this error number.
    Refused(i32),
    /// It was not given it, for this reason.
    Withheld(String),
}

/// Boots a guest as [`CellGuest::boot`] does, and tries its driver. A guest in which a
/// check has turned itself off meanwhile is replaced, until [`BOOTS`] guests have been
/// tried.
///
/// # Errors
///
/// [`MatrixError`] if there is no guest to be had, or the driver takes no memory of a
/// process.
pub(super) fn boot(
    spec: &TestbedSpec,
    judged: Option<&Judged>,
    progress: &Progress,
) -> Result<CellGuest, MatrixError> {
    let mut boots = 1;
    loop {
        let mut guest = CellGuest::boot(spec, judged, progress)?;
        match health::unsound(&guest.checks) {
            Some(why) if boots < BOOTS && !guest.place.is_here() => {
                log::warn!("a guest that has just booted is no good, {why}: booting another");
                boots += 1;
            }
            _ => {
                let state = run(&mut guest)?;
                if matches!(state, GuestState::Broken(_)) && !guest.place.is_here() {
                    // The same cell, when it is run, tells of it.
                    boots += 1;
                    guest = CellGuest::boot(spec, judged, progress)?;
                }
                guest.boots = match guest.place.is_here() {
                    true => 0,
                    false => boots,
                };
                return Ok(guest);
            }
        }
    }
}

/// Tries a guest's driver, and notes in it what is found. Returns the state of the
/// guest. If the driver has no other place and nothing more can be run there,
/// [`CellGuest::ended`] has the cell, which is a finding, and the error.
///
/// # Errors
///
/// [`MatrixError::NoUserPointers`] if the driver takes no memory of a process.
fn run(guest: &mut CellGuest) -> Result<GuestState, MatrixError> {
    if guest.ours {
        return Ok(GuestState::Fit);
    }
    let (ordinary, state) = one(guest, Kind::AnonTouched)?;
    let (Some(ordinary), true) = (ordinary, guest.ended.is_none()) else {
        return Ok(state);
    };
    let refused = match ordinary {
        Tried::Taken => return Ok(state),
        Tried::Withheld(why) => return Err(no_user_pointers(guest, why)),
        // The card's witness tells the rest.
        Tried::Refused(_) if guest.surveyed().is_none() => return Ok(state),
        Tried::Refused(errno) => errno,
    };
    let (in_one_piece, state) = one(guest, Kind::Thp)?;
    let (Some(in_one_piece), true) = (in_one_piece, guest.ended.is_none()) else {
        return Ok(state);
    };
    let scatters = scatters(refused, &in_one_piece);
    match (scatters, &mut guest.testimony) {
        (Ok(scatters), Testimony::Survey(surveyed)) => surveyed.scatters = scatters,
        (Ok(_), Testimony::Card(..)) => {}
        (Err(why), _) => return Err(no_user_pointers(guest, why)),
    }
    Ok(state)
}

/// Runs a cell of that kind, and returns what the driver did with its buffer, if that
/// is known, and the state of the guest.
fn one(guest: &mut CellGuest, kind: Kind) -> Result<(Option<Tried>, GuestState), MatrixError> {
    let cell = CellName {
        flow: match guest.testimony.flow() {
            // Both of its buffers are of that kind.
            Flow::M2m(_) => Flow::M2m(Ends::Adjacent),
            flow => flow,
        },
        ..CellName::plain(kind)
    };
    let (outcome, state) = guest.run(&cell)?;
    if let Err(error) = guest.go_on(&state, &outcome) {
        guest.ended = Some((Box::new(outcome), error));
        return Ok((None, state));
    }
    let tried = tried(&outcome);
    // What the kernel said counts for the first cell.
    guest.loading = outcome.answer.map(|answer| answer.log).unwrap_or_default();
    Ok((tried, state))
}

/// Returns what the driver did with the buffer of a cell; `None` if nobody knows.
fn tried(outcome: &CellOutcome) -> Option<Tried> {
    let answer = outcome.answer.as_ref()?;
    let why = answer.impossible.as_deref().or(before_queueing(answer));
    Some(match (why, outcome.observation) {
        (Some(why), _) => Tried::Withheld(why.to_owned()),
        (None, Some(Observation::Refused(errno))) => Tried::Refused(errno),
        (None, _) => Tried::Taken,
    })
}

/// Returns why a cell failed, if it failed before it queued a buffer.
fn before_queueing(answer: &CellAnswer) -> Option<&str> {
    let queued = answer.call("VIDIOC_QBUF").is_some();
    answer.failed.as_deref().filter(|_| !queued)
}

/// Returns whether a driver is expected to take memory that may lie in several pieces,
/// having refused such with `errno`, and done that with memory in one piece. It need
/// not if its error is one that says so, as those of videobuf2's dma-contig and of
/// drivers that check the addresses do.
///
/// # Errors
///
/// Why it takes no memory at all.
fn scatters(errno: i32, in_one_piece: &Tried) -> Result<bool, String> {
    let refused = format!("VIDIOC_QBUF of ordinary memory: {}", said(errno));
    match in_one_piece {
        Tried::Taken => Ok(![libc::EFAULT, libc::EINVAL, libc::ENOMEM].contains(&errno)),
        Tried::Refused(errno) => Err(format!(
            "{refused}, and of memory in one piece: {}",
            said(*errno)
        )),
        Tried::Withheld(why) => Err(format!(
            "{refused}, and memory in one piece could not be tried: {why}"
        )),
    }
}

fn said(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}

fn no_user_pointers(guest: &CellGuest, why: String) -> MatrixError {
    MatrixError::NoUserPointers {
        driver: guest.driver().to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::evidence::CallSeen;
    use crate::rig::matrix::observation::Reads;

    fn outcome(answer: CellAnswer, observation: Option<Observation>) -> CellOutcome {
        CellOutcome {
            answer: Some(answer),
            observation,
            ..CellOutcome::impossible(CellName::plain(Kind::AnonTouched), String::new())
        }
    }

    #[test]
    fn a_driver_that_queues_nothing_is_no_driver_to_judge() {
        let mut answer = CellAnswer::default();
        let data = Some(Observation::Captured(Reads::Written));
        let of = |answer: &CellAnswer| tried(&outcome(answer.clone(), data));
        assert_eq!(of(&answer), Some(Tried::Taken));
        answer.failed = Some("VIDIOC_REQBUFS: Invalid argument".into());
        let why = "VIDIOC_REQBUFS: Invalid argument".to_owned();
        assert_eq!(of(&answer), Some(Tried::Withheld(why)));
        answer.calls.push(CallSeen {
            name: "VIDIOC_QBUF".into(),
            errno: None,
            at_us: 1,
            took_us: 1,
            queue: 0,
        });
        assert_eq!(of(&answer), Some(Tried::Taken));
        let refused = Some(Observation::Refused(libc::EFAULT));
        let refused = tried(&outcome(answer.clone(), refused));
        assert_eq!(refused, Some(Tried::Refused(libc::EFAULT)));
        answer.impossible = Some("there are no huge pages".into());
        let why = "there are no huge pages".to_owned();
        let impossible = tried(&outcome(answer, None));
        assert_eq!(impossible, Some(Tried::Withheld(why)));
        let broken = CellOutcome {
            answer: None,
            ..outcome(CellAnswer::default(), None)
        };
        assert_eq!(tried(&broken), None);
    }

    #[test]
    fn a_driver_is_excused_from_memory_in_pieces_only_if_it_takes_other() {
        for errno in [libc::EFAULT, libc::EINVAL, libc::ENOMEM] {
            assert_eq!(scatters(errno, &Tried::Taken), Ok(false));
        }
        // That is no error of memory.
        for errno in [libc::EIO, libc::EBUSY, libc::ENODEV] {
            assert_eq!(scatters(errno, &Tried::Taken), Ok(true));
        }
        let refused = Tried::Refused(libc::EINVAL);
        assert_eq!(
            scatters(libc::EFAULT, &refused).unwrap_err(),
            "VIDIOC_QBUF of ordinary memory: Bad address (os error 14), and of memory in one \
             piece: Invalid argument (os error 22)"
        );
        let impossible = Tried::Withheld("there are no huge pages".into());
        let why = scatters(libc::EFAULT, &impossible).unwrap_err();
        assert!(why.ends_with("could not be tried: there are no huge pages"));
    }
}
