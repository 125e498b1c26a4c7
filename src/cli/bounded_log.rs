//! A bounded log, with which nobody can fill a disk.
//!
//! A guest can start and stop a stream as often as it likes, and so can
//! everybody who can connect to the card. So each place in the program that
//! logs has a number of lines, and then one a minute; the next line tells how
//! many were left out. Lines of the levels debug and trace, which only RUST_LOG
//! enables, are not bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Log, Metadata, Record};

/// Number of lines that one place may log at once.
const BURST: u64 = 30;

/// Time after which a place may log one line more.
const PERIOD: Duration = Duration::from_secs(60);

/// The state of a place in the program.
#[derive(Debug)]
struct Place {
    lines: u64,
    /// Time at which `lines` was increased last.
    since: Instant,
    /// Number of lines left out since the last line that was logged.
    left_out: u64,
}

impl Place {
    fn new(now: Instant) -> Self {
        Self {
            lines: BURST,
            since: now,
            left_out: 0,
        }
    }

    /// Takes a line: returns how many were left out before it, or `None` if it
    /// may not be logged now.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let periods = now.saturating_duration_since(self.since).as_secs() / PERIOD.as_secs();
        if periods > 0 {
            self.lines = self.lines.saturating_add(periods).min(BURST);
            self.since = now;
        }
        if self.lines == 0 {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// A logger that passes on a bounded number of lines of each place in the
/// program.
pub struct BoundedLog<L> {
    log: L,
    /// The places by file and line; there are no more than the program has.
    places: Mutex<HashMap<(&'static str, u32), Place>>,
}

impl<L: Log> BoundedLog<L> {
    /// Makes a logger that passes lines on to `log`.
    pub fn new(log: L) -> Self {
        Self {
            log,
            places: Mutex::default(),
        }
    }

    fn take(&self, record: &Record<'_>, now: Instant) -> Option<u64> {
        let (Some(file), Some(line)) = (record.file_static(), record.line()) else {
            return Some(0);
        };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry((file, line));
        place.or_insert_with(|| Place::new(now)).take(now)
    }
}

impl<L: Log> Log for BoundedLog<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.log.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() > Level::Info {
            return self.log.log(record);
        }
        if !self.log.enabled(record.metadata()) {
            return;
        }
        match self.take(record, Instant::now()) {
            None => (),
            Some(0) => self.log.log(record),
            Some(left_out) => self.log.log(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .module_path(record.module_path())
                    .args(format_args!(
                        "{} (and {left_out} lines like it before)",
                        record.args()
                    ))
                    .build(),
            ),
        }
    }

    fn flush(&self) {
        self.log.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_so_many_lines_and_then_one_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut place = Place::new(start);
        for _ in 0..BURST {
            assert_eq!(place.take(start), Some(0));
        }
        for second in 0..60 {
            assert_eq!(place.take(at(second)), None);
        }
        assert_eq!(place.take(at(60)), Some(60));
        assert_eq!(place.take(at(60)), None);
        assert_eq!(place.take(at(119)), None);
        assert_eq!(place.take(at(120)), Some(2));
        // After an hour of rest it has as many lines as at first.
        for _ in 0..BURST {
            assert_eq!(place.take(at(4000)), Some(0));
        }
        assert_eq!(place.take(at(4000)), None);
    }

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Log for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    #[test]
    fn one_place_does_not_take_the_lines_of_another_nor_those_of_debug() {
        let log = BoundedLog::new(Lines::default());
        let say = |level, line| {
            let mut record = Record::builder();
            record
                .level(level)
                .file_static(Some("file"))
                .line(Some(line));
            log.log(&record.args(format_args!("{line}")).build());
        };
        for _ in 0..1000 {
            say(Level::Warn, 1);
            say(Level::Debug, 2);
        }
        say(Level::Info, 3);
        let lines = log.log.0.lock().unwrap();
        let count = |wanted: &str| lines.iter().filter(|line| *line == wanted).count();
        assert_eq!(
            (count("1"), count("2"), count("3")),
            (BURST as usize, 1000, 1)
        );
    }
}
