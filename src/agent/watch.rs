//! Counters of /proc/vmstat, sampled while something runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use pinhole::agent::protocol::Watch;

/// Samples the counters it was told of.
pub struct Sampler {
    file: File,
    text: Vec<u8>,
    names: Vec<String>,
    seen: BTreeMap<String, Watch>,
}

impl Sampler {
    /// A sampler of the counters `names`, with one sample taken.
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
        let mut length = 0;
        loop {
            match self.file.read_at(&mut self.text[length..], length as u64)? {
                0 => break,
                n => length += n,
            }
        }
        let text = String::from_utf8_lossy(&self.text[..length]);
        for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            let Ok(value) = value.parse() else { continue };
            if self.names.iter().any(|wanted| wanted == name) {
                note(&mut self.seen, name, value);
            }
        }
        Ok(())
    }

    /// What was seen of the counters that exist.
    pub fn finish(self) -> BTreeMap<String, Watch> {
        self.seen
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
