//! Settings of the guest that a cell changes for itself alone: they are as before when
//! its process has ended, however it ended.
//!
//! The process notes what was there before it changes a setting, and the agent, which
//! outlives it, sets that again.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::{Stop, setup};

/// What was there: a line for each setting, its path and its value.
const LEDGER: &str = "/run/cell/borrowed";

/// Changes a setting, a file of /proc or /sys whose value is one word, for as long as
/// this process lives.
///
/// # Errors
///
/// [`Stop::Impossible`] if there is no such setting, or the machine must not be changed.
pub fn set(path: &str, value: &str) -> Result<(), Stop> {
    setup::permit(format_args!("{value} in {path}"))?;
    let before = fs::read_to_string(path)
        .map_err(|error| Stop::Impossible(format!("there is no {path}: {error}")))?;
    set_from(path, before.trim(), value)
}

/// The same of a setting that is `before` now, which its file does not say in one word.
pub fn set_from(path: &str, before: &str, value: &str) -> Result<(), Stop> {
    setup::permit(format_args!("{value} in {path}"))?;
    note(Path::new(LEDGER), path, before)?;
    setup::knob(path, value)
}

/// Sets what the process of a cell changed to what was there before. Of those that
/// cannot be, the first is the error.
pub fn give_back() -> io::Result<()> {
    give_back_from(Path::new(LEDGER))
}

fn note(ledger: &Path, path: &str, before: &str) -> io::Result<()> {
    if let Some(dir) = ledger.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut ledger = OpenOptions::new().create(true).append(true).open(ledger)?;
    writeln!(ledger, "{path} {before}")
}

/// The last is undone first.
fn give_back_from(ledger: &Path) -> io::Result<()> {
    let noted = match fs::read_to_string(ledger) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        noted => noted?,
    };
    fs::remove_file(ledger)?;
    let settings = noted.lines().rev();
    let mut result = Ok(());
    for (path, before) in settings.filter_map(|line| line.split_once(' ')) {
        let set = fs::write(path, before);
        let failed = |error| io::Error::other(format!("{before} to {path}: {error}"));
        result = result.and(set.map_err(failed));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_again_what_it_was_at_first() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("cell/borrowed");
        give_back_from(&ledger).unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        for (path, before) in [(&one, "16"), (&other, "0"), (&one, "20")] {
            note(&ledger, path.to_str().unwrap(), before).unwrap();
        }
        give_back_from(&ledger).unwrap();
        assert_eq!(fs::read_to_string(&one).unwrap(), "16");
        assert_eq!(fs::read_to_string(&other).unwrap(), "0");
        // One that cannot be given back keeps no other.
        fs::write(&one, "3").unwrap();
        for (path, before) in [(&one, "16"), (&dir.path().join("none/there"), "1")] {
            note(&ledger, path.to_str().unwrap(), before).unwrap();
        }
        let error = give_back_from(&ledger).unwrap_err().to_string();
        assert!(error.contains("none/there"), "{error}");
        assert_eq!(fs::read_to_string(&one).unwrap(), "16");
        // Once it is given back nothing is left to be.
        fs::write(&one, "3").unwrap();
        give_back_from(&ledger).unwrap();
        assert_eq!(fs::read_to_string(&one).unwrap(), "3");
    }
}
