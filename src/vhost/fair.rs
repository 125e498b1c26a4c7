//! A fair mutex: a thread that waits for it gets it next.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex whose holder cannot take it again before a thread that waits for it.
///
/// The worker releases the card and takes it again within microseconds, for as
/// long as there is work. A thread that the standard library's mutex wakes in
/// between comes too late each time. Here the waiting thread holds the turn,
/// which the worker needs as well.
#[derive(Debug, Default)]
pub struct Fair<T> {
    turn: Turn,
    value: Mutex<T>,
}

impl<T> Fair<T> {
    /// Creates a mutex around `value`.
    pub fn new(value: T) -> Self {
        Self {
            turn: Turn::default(),
            value: Mutex::new(value),
        }
    }

    /// Locks the mutex and returns the value, even if a thread has panicked
    /// while it held the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.turn
            .take(|| self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to wait for a mutex.
#[derive(Debug, Default)]
pub struct Turn(Mutex<()>);

impl Turn {
    /// Runs `lock`, which waits for the mutex; no other thread waits for it
    /// meanwhile.
    pub fn take<G>(&self, lock: impl FnOnce() -> G) -> G {
        let _turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    /// As under overload, the worker releases the lock only for moments.
    #[test]
    fn one_who_waits_is_not_passed_over() {
        const MOST: usize = 30;
        let fair = Fair::new(0);
        let rounds = AtomicUsize::new(0);
        let (asks, done) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut passed = fair.lock();
                    *passed += usize::from(asks.load(Ordering::Relaxed));
                    if *passed > MOST {
                        break;
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(2));
                }
            });
            for _ in 0..50 {
                // The worker has just taken the lock.
                let before = rounds.load(Ordering::Relaxed);
                while rounds.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
                asks.store(true, Ordering::Relaxed);
                let mut passed = fair.lock();
                asks.store(false, Ordering::Relaxed);
                if *passed > MOST {
                    done.store(true, Ordering::Relaxed);
                    panic!("passed over {passed} times");
                }
                *passed = 0;
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
