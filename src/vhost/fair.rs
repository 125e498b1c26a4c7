//! A mutex that whoever waits for it gets next.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex whose holder cannot take it again before one who waits for it.
///
/// The worker gives the card back and takes it again within microseconds, for
/// as long as there is something to do; a thread that std's mutex wakes for it
/// meanwhile comes too late each time. Here the one who waits holds the turn,
/// which the worker needs as well.
#[derive(Debug, Default)]
pub struct Fair<T> {
    turn: Turn,
    value: Mutex<T>,
}

impl<T> Fair<T> {
    /// A mutex around `value`.
    pub fn new(value: T) -> Self {
        Self {
            turn: Turn::default(),
            value: Mutex::new(value),
        }
    }

    /// Takes the value, whether or not a thread has panicked with it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.turn
            .take(|| self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to wait for a mutex.
#[derive(Debug, Default)]
pub struct Turn(Mutex<()>);

impl Turn {
    /// Runs `lock`, which waits for the mutex: nobody else does meanwhile.
    pub fn take<G>(&self, lock: impl FnOnce() -> G) -> G {
        let _turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    /// What the worker has in overload: it holds the lock but for moments.
    #[test]
    fn one_who_waits_is_not_passed_over() {
        const MOST: usize = 100;
        let fair = Fair::new(0);
        let (asks, done) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut held = fair.lock();
                    if asks.load(Ordering::Relaxed) {
                        *held += 1;
                    }
                    if *held > MOST {
                        break;
                    }
                    thread::sleep(Duration::from_millis(2));
                }
            });
            for _ in 0..20 {
                asks.store(true, Ordering::Relaxed);
                let mut held = fair.lock();
                asks.store(false, Ordering::Relaxed);
                assert!(*held <= MOST, "passed over {held} times");
                *held = 0;
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
