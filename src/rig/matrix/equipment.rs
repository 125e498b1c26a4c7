//! What a guest must have so that all kinds of memory can be laid out in it.
//!
//! A guest without it can still run cells: those that lack something say what.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::testbed::TestbedSpec;

/// Kernel parameters: pages of hugetlb; two NUMA nodes; secret memory, which
/// is to be asked for before Linux 6.5; two ranges of the guest's memory that
/// are to pass for persistent (Documentation/admin-guide/kernel-parameters).
/// They fit a guest of a gigabyte.
const PARAMETERS: &str =
    "hugepages=16 numa=fake=2 secretmem.enable=1 memmap=64M!512M memmap=64M!576M";

/// QEMU's devices: one with registers and no driver, one with memory of its
/// own.
const DEVICES: [&str; 6] = [
    "-device",
    "edu",
    "-object",
    "memory-backend-memfd,id=ivshmem,size=4M,share=on",
    "-device",
    "ivshmem-plain,memdev=ivshmem",
];

/// Bytes of the disk that holds an ext4; it must fit the first of the ranges.
const DISK: u64 = 32 << 20;

/// Why a guest cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum EquipmentError {
    /// The disk could not be made.
    #[error("cannot make the disk {path}: {source}")]
    Disk {
        /// The disk.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It could not be given a file system.
    #[error("mke2fs (package e2fsprogs) failed on {path}: {said}")]
    Mke2fs {
        /// The disk.
        path: PathBuf,
        /// Its last words.
        said: String,
    },
}

/// Adds to `spec` what all kinds of memory need; the disk is made in `dir`.
///
/// # Errors
///
/// [`EquipmentError`] where the disk cannot be made.
pub fn equip(spec: &mut TestbedSpec, dir: &Path) -> Result<(), EquipmentError> {
    let path = dir.join("ext4.raw");
    make_disk(&path)?;
    spec.disks.push(path);
    spec.append = format!("{} {PARAMETERS}", spec.append).trim_start().into();
    spec.qemu_arguments.extend(DEVICES.map(Into::into));
    Ok(())
}

/// A disk with an ext4 of blocks as large as pages, which direct access wants.
fn make_disk(path: &Path) -> Result<(), EquipmentError> {
    let failed = |source| EquipmentError::Disk {
        path: path.to_owned(),
        source,
    };
    std::fs::File::create(path)
        .and_then(|file| file.set_len(DISK))
        .map_err(failed)?;
    // It is not in every user's PATH.
    let output = ["mke2fs", "/sbin/mke2fs"]
        .into_iter()
        .map(|program| {
            Command::new(program)
                .args(["-q", "-t", "ext4", "-b", "4096"])
                .arg(path)
                .output()
        })
        .find(|output| !matches!(output, Err(error) if error.kind() == io::ErrorKind::NotFound))
        .unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    let said = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(EquipmentError::Mke2fs {
        path: path.to_owned(),
        said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_holds_an_ext4_and_the_guest_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = TestbedSpec {
            append: "page_poison=1".into(),
            ..TestbedSpec::default()
        };
        equip(&mut spec, dir.path()).unwrap();
        assert!(spec.append.starts_with("page_poison=1 hugepages="));
        let disk = std::fs::read(&spec.disks[0]).unwrap();
        assert_eq!(disk.len() as u64, DISK);
        assert_eq!(disk[1024 + 56..][..2], [0x53, 0xef]);
        let missing = equip(&mut spec, Path::new("/no/such/place")).unwrap_err();
        assert!(missing.to_string().contains("/no/such/place/ext4.raw"));
    }
}
