//! An oracle's objections, each with how bad it is.

use crate::agent::cell::table;

table! {
    /// How bad a finding is, the worst first.
    Severity:
    MemoryWritten = "memory-written", "memory is written that should not be, or could be: the device has addresses of pages that nobody holds for it";
    MemoryRead = "memory-read", "the device reads memory that it should not, or could: it has addresses of pages that nobody holds for it, and what it sends may be another's";
    KernelBroken = "kernel-broken", "the kernel went down, or reports an error in itself";
    DataLost = "data-lost", "what the card wrote does not get to the application, or the other way round, or the kernel may drop it";
    Leaked = "leaked", "pins, mappings or memory are not given back";
    WrongError = "wrong-error", "a call fails in a way that its documentation does not have, or the driver complains where nothing is wrong";
    Slow = "slow", "it takes too long, or keeps the kernel from reclaiming pages";
    Flaky = "flaky", "the same cell does not come to the same each time it is run";
}

/// The objections of an oracle, in the order in which they were raised.
#[derive(Debug, Default)]
pub struct Objections(Vec<(Severity, String)>);

impl Objections {
    /// Adds an objection: a sentence with the relevant numbers.
    pub fn push(&mut self, severity: Severity, what: impl Into<String>) {
        self.0.push((severity, what.into()));
    }
}

impl IntoIterator for Objections {
    type Item = (Severity, String);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

const MORE: &str = " (and ";

/// Returns an objection that stands for `more` others.
pub fn and_more(what: String, more: usize) -> String {
    match more {
        0 => what,
        more => format!("{what}{MORE}{more} more like it)"),
    }
}

/// Returns what objections that differ only in their numbers have in common: the
/// text without the words that contain a digit, and without how many more there
/// are ([`and_more`]).
pub fn kind(what: &str) -> String {
    let what = what.split(MORE).next().unwrap_or_default();
    let words = what.split(|c: char| !c.is_alphanumeric());
    let has_digit = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    let words = words.filter(|word| !word.is_empty() && !has_digit(word));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_make_no_other_kind() {
        let pins = |text: &str| kind(&format!("{text} pages were pinned"));
        assert_eq!(pins("0"), pins("0x1f"));
        assert_ne!(pins("no"), pins("0"));
        assert_eq!(kind("[  120.47] x"), kind("[   90.54] x"));
        let said = || "pagealloc: memory corruption".to_owned();
        assert_eq!(kind(&and_more(said(), 4)), kind(&and_more(said(), 0)));
    }

    #[test]
    fn the_worst_comes_first() {
        assert!(Severity::ALL.is_sorted());
        assert_eq!(Severity::ALL[0], Severity::MemoryWritten);
        assert!(Severity::DataLost < Severity::WrongError);
    }
}
