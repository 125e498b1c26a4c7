//! Counters of /proc/vmstat, sampled while a program runs.
//!
//! The kernel keeps part of each counter per processor and adds them up now and
//! then. Before each sample the sampler requests that
//! (Documentation/admin-guide/sysctl/vm.rst, stat_refresh), so that the sample
//! is exact.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::agent::protocol::Watch;

/// A sampler of given counters.
pub struct Sampler {
    file: File,
    text: Vec<u8>,
    names: Vec<String>,
    seen: BTreeMap<String, Watch>,
}

impl Sampler {
    /// Returns a sampler of the counters `names`, with one sample taken.
    pub fn new(names: Vec<String>) -> io::Result<Self> {
        let mut sampler = Self {
            file: File::open("/proc/vmstat")?,
            text: vec![0; 64 << 10],
            names,
            seen: BTreeMap::new(),
        };
        sampler.sample()?;
        Ok(sampler)
    }

    /// Takes a sample.
    pub fn sample(&mut self) -> io::Result<()> {
        // Only root may request it; for others the sample has what was added up
        // before.
        let _ = std::fs::read("/proc/sys/vm/stat_refresh");
        let mut length = 0;
        loop {
            match self.file.read_at(&mut self.text[length..], length as u64)? {
                0 => break,
                n => length += n,
            }
        }
        let text = String::from_utf8_lossy(&self.text[..length]);
        for name in &self.names {
            if let Some(value) = value(&text, name) {
                note(&mut self.seen, name, value);
            }
        }
        Ok(())
    }

    /// Returns the samples of the counters that exist.
    pub fn finish(self) -> BTreeMap<String, Watch> {
        self.seen
    }
}

/// Returns the value of a counter, or the difference of two, in the text of
/// /proc/vmstat. The counters of one reading are not from exactly the same
/// moment; a negative difference becomes zero.
fn value(text: &str, name: &str) -> Option<u64> {
    let counter = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(counter, _)| *counter == name)
            .and_then(|(_, value)| value.parse::<u64>().ok())
    };
    match name.split_once('-') {
        None => counter(name),
        Some((from, less)) => Some(counter(from)?.saturating_sub(counter(less)?)),
    }
}

fn note(seen: &mut BTreeMap<String, Watch>, name: &str, value: u64) {
    match seen.get_mut(name) {
        Some(watch) => {
            watch.last = value;
            watch.min = watch.min.min(value);
            watch.max = watch.max.max(value);
        }
        None => {
            let watch = Watch {
                first: value,
                last: value,
                min: value,
                max: value,
            };
            seen.insert(name.to_owned(), watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_counters_that_exist_are_seen() {
        let names = vec!["nr_free_pages".to_owned(), "nr_dragons".to_owned()];
        let mut sampler = Sampler::new(names).unwrap();
        sampler.sample().unwrap();
        let seen = sampler.finish();
        assert_eq!(seen.len(), 1);
        let watch = seen["nr_free_pages"];
        assert!(watch.min > 0 && watch.min <= watch.first && watch.last <= watch.max);
    }

    #[test]
    fn a_difference_is_taken_within_one_reading() {
        let text = "nr_a 10\nnr_b 4\nnr_ab 7\n";
        assert_eq!(value(text, "nr_a"), Some(10));
        assert_eq!(value(text, "nr_a-nr_b"), Some(6));
        assert_eq!(value(text, "nr_b-nr_a"), Some(0));
        assert_eq!(value(text, "nr_a-nr_c"), None);
    }

    #[test]
    fn extremes_and_ends_are_kept() {
        let mut seen = BTreeMap::new();
        for value in [5, 9, 2, 7] {
            note(&mut seen, "x", value);
        }
        let watch = Watch {
            first: 5,
            last: 7,
            min: 2,
            max: 9,
        };
        assert_eq!(seen["x"], watch);
    }
}
