//! The overlay: the init and the files that a machine adds to its guest's
//! initramfs.
//!
//! The base archive is built once and kept; the parts that change with this
//! program and from one run to the next form a separate archive behind it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::images::initramfs::{Archive, pad};
use super::process;

/// File name of the agent, which is beside this program's own file.
const AGENT: &str = "pinhole-agent";

/// Files to add to the guest.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// The program that becomes the init; by default the agent beside this
    /// program.
    pub init: Option<PathBuf>,
    /// Pairs of a path in the guest and a file of the host. The path must not
    /// lead over a link: the kernel would put a directory in its place.
    pub files: Vec<(String, PathBuf)>,
}

/// Why the initramfs could not be composed.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The result could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The agent is not beside this program.
    #[error("{AGENT} is not beside this program: build both with `cargo build --release`")]
    NoAgent,
    /// The agent is not an x86-64 ELF program.
    #[error("{} is not an x86-64 ELF program", .0.display())]
    NotElf(PathBuf),
}

/// Writes to `path` the archive `base`, followed by an archive with the agent
/// as init and the files of `overlay`.
pub fn compose(base: &Path, overlay: &Overlay, path: &Path) -> Result<(), OverlayError> {
    let mut bytes = read(base)?;
    pad(&mut bytes);
    let init = overlay.init.clone().or_else(|| process::companion(AGENT));
    let init = init.ok_or(OverlayError::NoAgent)?;
    let program = loadable(&read(&init)?).ok_or(OverlayError::NotElf(init))?;
    let mut archive = Archive::new();
    archive.add_file("/init", 0o755, &program);
    for (inside, outside) in &overlay.files {
        archive.add_file(inside, 0o644, &read(outside)?);
    }
    bytes.extend_from_slice(&archive.finish());
    File::create(path)
        .and_then(|mut file| file.write_all(&bytes))
        .map_err(|source| OverlayError::Write {
            path: path.to_owned(),
            source,
        })
}

fn read(path: &Path) -> Result<Vec<u8>, OverlayError> {
    fs::read(path).map_err(|source| OverlayError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Returns the part of an ELF program that is loaded when it runs: everything
/// up to the end of its last segment. The rest is for linkers and debuggers,
/// and makes up most of the agent's file.
fn loadable(program: &[u8]) -> Option<Vec<u8>> {
    const PROGRAM_HEADER: usize = 56;
    let field = |at: usize, size: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(program.get(at..at.checked_add(size)?)?);
        Some(u64::from_le_bytes(bytes))
    };
    // The file must be ELF64 and little-endian; elf(5) has the offsets.
    if program.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(field(32, 8)?).ok()?;
    let count = field(56, 2)? as usize;
    let mut end = table.checked_add(count * PROGRAM_HEADER)?;
    for index in 0..count {
        let header = table.checked_add(index * PROGRAM_HEADER)?;
        let (offset, size) = (
            field(header.checked_add(8)?, 8)?,
            field(header.checked_add(32)?, 8)?,
        );
        end = end.max(usize::try_from(offset.checked_add(size)?).ok()?);
    }
    let mut loaded = program.get(..end)?.to_vec();
    // The section headers are cut off, so e_shoff, e_shnum and e_shstrndx
    // become zero.
    loaded.get_mut(40..48)?.fill(0);
    loaded.get_mut(60..64)?.fill(0);
    Some(loaded)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::vm::executable;

    #[test]
    fn a_program_without_its_tail_still_runs() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let short = loadable(&own).unwrap();
        assert!(short.len() < own.len());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        executable::write(&path, short);
        let output = Command::new(&path).arg("--list").output().unwrap();
        assert!(output.status.success());
        let name = b"a_program_without_its_tail_still_runs";
        assert!(
            output
                .stdout
                .windows(name.len())
                .any(|window| window == name)
        );
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let own = fs::read("/proc/self/exe").unwrap();
        for length in [0, 5, 63, 64, 200] {
            assert_eq!(loadable(&own[..length]), None, "{length}");
        }
        let mut wild = own[..4096].to_vec();
        wild[32..40].fill(0xff);
        assert_eq!(loadable(&wild), None);
    }
}
