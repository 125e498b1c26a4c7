//! Distribution of work to several guests at once, one piece after the other.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::error::MatrixError;
use crate::vm::progress::Step;

/// A queue of pieces of work, each of which is given to one job.
pub(super) struct WorkQueue<'a, T> {
    all: &'a [T],
    /// The indices of those that no job has got.
    left: Mutex<BTreeSet<usize>>,
    /// Number of pieces in whose time a job could not boot a guest.
    least: usize,
    /// Whether a job has failed, so that no job gets further work.
    stopped: AtomicBool,
    step: &'a Step,
}

impl<'a, T: Display> WorkQueue<'a, T> {
    fn new(all: &'a [T], least: usize, step: &'a Step) -> Self {
        Self {
            all,
            left: Mutex::new((0..all.len()).collect()),
            least,
            stopped: AtomicBool::new(false),
            step,
        }
    }

    /// Returns the next piece, and its index among all, for a job whose guest is for
    /// pieces of the group `own`, if it has one: the first of that group while there are
    /// any, then of the last group that no job has begun. Of a group that others are at, a
    /// job gets no more if they are done with it before it could boot a guest for it.
    pub(super) fn next_of<G: PartialEq>(
        &self,
        own: Option<G>,
        group: impl Fn(&T) -> G,
    ) -> Option<(usize, &'a T)> {
        self.take(|left| {
            let group = |place: &usize| group(&self.all[*place]);
            let first_of = |wanted: G| left.iter().find(|place| group(place) == wanted);
            // The first group may be another job's, which has a guest for it.
            let of_new = || {
                let mut begun = Vec::new();
                for place in (0..self.all.len()).filter(|place| !left.contains(place)) {
                    let group = group(&place);
                    if !begun.contains(&group) {
                        begun.push(group);
                    }
                }
                let mut groups = left.iter().rev().map(group);
                groups.find(|group| !begun.contains(group))
            };
            let of_others = || left.last().filter(|_| left.len() >= self.least);
            let of_own = own.and_then(first_of);
            let of_new = || of_new().and_then(first_of);
            of_own.or_else(of_new).or_else(of_others).copied()
        })
    }

    /// Takes the piece that `choose` chooses of those that are left.
    fn take(
        &self,
        choose: impl FnOnce(&BTreeSet<usize>) -> Option<usize>,
    ) -> Option<(usize, &'a T)> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let place = choose(&left)?;
        left.remove(&place);
        let done = self.all.len() - left.len() - 1;
        drop(left);
        let piece = &self.all[place];
        self.step.position(done as u64, self.all.len() as u64);
        self.step.update(&piece.to_string());
        Some((place, piece))
    }

    /// Shows what a job is doing besides its pieces.
    pub(super) fn update(&self, detail: &str) {
        self.step.update(detail);
    }
}

/// The output of a job.
pub(super) struct JobOutput<R> {
    /// The results, in the order in which they came.
    pub(super) results: Vec<R>,
    /// The index of each result's piece among all.
    places: Vec<usize>,
    /// Number of guests that were booted for the pieces.
    pub(super) boots: u32,
    /// The moment from which, and the reason for which, the kernel's checks did
    /// not see everything.
    pub(super) blind: Option<String>,
}

impl<R> JobOutput<R> {
    const fn new() -> Self {
        Self {
            results: Vec::new(),
            places: Vec::new(),
            boots: 0,
            blind: None,
        }
    }

    /// Adds the result of the piece with the index `place`.
    pub(super) fn add(&mut self, place: usize, result: R) {
        self.places.push(place);
        self.results.push(result);
    }

    /// Merges the outputs; the results are in the order of the pieces.
    fn of(outputs: impl IntoIterator<Item = Self>) -> Self {
        let mut whole = Self::new();
        let mut placed = Vec::new();
        for output in outputs {
            placed.extend(output.places.into_iter().zip(output.results));
            whole.boots += output.boots;
            whole.blind = whole.blind.or(output.blind);
        }
        placed.sort_by_key(|(place, _)| *place);
        (whole.places, whole.results) = placed.into_iter().unzip();
        whole
    }
}

/// Distributes the pieces to as many as `jobs` jobs, each of which runs `work` in
/// its own thread. No further job is started for fewer than `least` pieces, in
/// whose time it could not boot its guest. If one fails, the others stop after their
/// current piece. Returns the results so far in any case, with the first error.
pub(super) fn run<T, R>(
    all: &[T],
    jobs: usize,
    least: usize,
    step: &Step,
    work: impl Fn(&WorkQueue<T>, &mut JobOutput<R>) -> Result<(), MatrixError> + Sync,
) -> (JobOutput<R>, Result<(), MatrixError>)
where
    T: Display + Sync,
    R: Send,
{
    let queue = WorkQueue::new(all, least, step);
    let job = || {
        let mut output = JobOutput::new();
        let ran = work(&queue, &mut output);
        if ran.is_err() {
            queue.stopped.store(true, Ordering::Relaxed);
        }
        (output, ran)
    };
    let done: Vec<_> = thread::scope(|scope| {
        let jobs = jobs.min(all.len() / least).max(1);
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(job)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|job| job.unwrap_or_else(|cause| panic::resume_unwind(cause)))
            .collect()
    });
    let (outputs, ran): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    (JobOutput::of(outputs), ran.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::vm::progress::Progress;

    #[test]
    fn each_piece_is_dealt_once_and_the_results_come_in_order() {
        let pieces: Vec<_> = (0..100).collect();
        let step = Progress::silent().step("dealing");
        let both = Barrier::new(2);
        let (output, ran) = run(&pieces, 2, 1, &step, |queue, output| {
            output.boots = 1;
            both.wait();
            while let Some((place, piece)) = queue.next_of(Some(()), |_| ()) {
                output.add(place, *piece);
            }
            Ok(())
        });
        ran.unwrap();
        assert_eq!(output.results, pieces);
        assert_eq!(output.boots, 2);
    }

    #[test]
    fn an_error_stops_every_job_and_loses_nothing() {
        let pieces: Vec<_> = (0..100).collect();
        let step = Progress::silent().step("dealing");
        let both = Barrier::new(2);
        let (output, ran) = run(&pieces, 2, 1, &step, |queue, output| {
            let (place, piece) = queue.next_of(Some(()), |_| ()).unwrap();
            both.wait();
            output.add(place, *piece);
            if place == 0 {
                return Err(MatrixError::Release("none".into()));
            }
            while !queue.stopped.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            assert!(queue.next_of(Some(()), |_| ()).is_none());
            Ok(())
        });
        assert!(matches!(ran, Err(MatrixError::Release(_))));
        assert_eq!(output.results, [0, 1]);
    }

    #[test]
    fn a_job_stays_with_its_group_and_helps_others_where_that_is_worth_a_guest() {
        let pieces = ["a1", "a2", "b1", "b2", "b3", "b4", "c1"];
        let step = Progress::silent().step("dealing");
        let queue = WorkQueue::new(&pieces, 3, &step);
        let next = |own: Option<&str>| {
            let own = own.map(|group| group.as_bytes()[0]);
            let piece = queue.next_of(own, |piece| piece.as_bytes()[0]);
            piece.map(|(place, piece)| {
                assert_eq!(pieces[place], *piece);
                *piece
            })
        };
        assert_eq!(next(None), Some("c1"));
        assert_eq!(next(None), Some("b1"));
        assert_eq!(next(Some("c")), Some("a1"));
        assert_eq!(next(Some("b")), Some("b2"));
        // Three are left: enough.
        assert_eq!(next(Some("c")), Some("b4"));
        assert_eq!(next(Some("c")), None);
        assert_eq!(next(Some("a")), Some("a2"));
        assert_eq!(next(Some("b")), Some("b3"));
        assert_eq!(next(Some("b")), None);
    }

    #[test]
    fn a_job_alone_gets_group_after_group_each_in_its_order() {
        let pieces = ["a1", "a2", "a3", "b1", "b2", "c1", "c2"];
        let step = Progress::silent().step("dealing");
        let queue = WorkQueue::new(&pieces, 3, &step);
        let group = |piece: &&str| piece.as_bytes()[0];
        let mut own = Some(b'a');
        let mut got = Vec::new();
        while let Some((_, piece)) = queue.next_of(own, group) {
            own = Some(group(piece));
            got.push(*piece);
        }
        assert_eq!(got, ["a1", "a2", "a3", "c1", "c2", "b1", "b2"]);
    }

    #[test]
    fn no_job_is_started_for_less_than_it_is_worth() {
        let step = Progress::silent().step("dealing");
        let boots = |pieces: &[i32], least| {
            let (output, _) = run(pieces, 8, least, &step, |_, output: &mut JobOutput<i32>| {
                output.boots = 1;
                Ok(())
            });
            output.boots
        };
        assert_eq!(boots(&[], 1), 1);
        assert_eq!(boots(&[7], 1), 1);
        assert_eq!(boots(&[7; 5], 1), 5);
        assert_eq!(boots(&[7; 5], 3), 1);
        assert_eq!(boots(&[7; 6], 3), 2);
        assert_eq!(boots(&[7; 99], 3), 8);
    }
}
