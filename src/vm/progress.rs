//! Progress messages of long steps, on stderr.
//!
//! On a terminal a step is a spinner, or a bar if its length is known, and
//! leaves one line behind if it took [`NOTABLE`] or longer. Otherwise (a log, a
//! pipe) a step prints one line at its start and one at its end.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Least duration for which a finished step leaves a line.
pub const NOTABLE: Duration = Duration::from_secs(2);

/// A display of steps; clones share it.
#[derive(Debug, Clone)]
pub struct Progress {
    to: Output,
}

#[derive(Debug, Clone)]
enum Output {
    Terminal(MultiProgress),
    Lines,
    Nowhere,
}

impl Progress {
    /// Returns a display on stderr, in the form that suits stderr.
    pub fn stderr() -> Self {
        let to = if std::io::stderr().is_terminal() {
            Output::Terminal(MultiProgress::new())
        } else {
            Output::Lines
        };
        Self { to }
    }

    /// Returns a display that prints nothing.
    pub fn silent() -> Self {
        Self {
            to: Output::Nowhere,
        }
    }

    /// Begins a step; `what` reads like "building the tree of trixie".
    pub fn step(&self, what: impl Into<String>) -> Step {
        let what = what.into();
        let bar = match &self.to {
            Output::Terminal(all) => {
                let bar = all.add(ProgressBar::new_spinner());
                bar.set_style(style("{spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}"));
                bar.set_prefix(what.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                Some(bar)
            }
            Output::Lines => {
                say(&format!("{what} ..."));
                None
            }
            Output::Nowhere => None,
        };
        Step {
            what,
            bar,
            to: self.to.clone(),
            begun: Instant::now(),
        }
    }
}

/// A step in progress. If it is dropped without [`Step::done`], it disappears;
/// the code that gave up reports why.
#[derive(Debug)]
pub struct Step {
    what: String,
    bar: Option<ProgressBar>,
    to: Output,
    begun: Instant,
}

impl Step {
    /// Sets the text that says what the step is doing.
    pub fn update(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(detail.to_owned());
        }
    }

    /// Sets how much of how much is done, in units of the caller's choice.
    pub fn position(&self, done: u64, of: u64) {
        if let Some(bar) = &self.bar {
            if bar.length() != Some(of) {
                bar.set_style(style(
                    "{spinner} {prefix} {elapsed:.dim} [{bar:24}] {percent}% {wide_msg:.dim}",
                ));
                bar.set_length(of);
            }
            bar.set_position(done);
        }
    }

    /// Ends the step; returns its duration.
    pub fn done(mut self) -> Duration {
        let took = self.begun.elapsed();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let line = format!("{}: {:.1} s", self.what, took.as_secs_f64());
        match &self.to {
            // An error here means that the terminal is gone.
            Output::Terminal(all) if took >= NOTABLE => drop(all.println(line)),
            Output::Lines => say(&line),
            _ => {}
        }
        took
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line to stderr; ignores errors.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
