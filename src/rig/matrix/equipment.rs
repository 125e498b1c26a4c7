//! The equipment that a guest needs so that all kinds of memory can be laid out
//! in it.
//!
//! A guest without it can still run cells: those that need a missing part
//! report it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::testbed::TestbedSpec;

/// Kernel parameters: hugetlb pages; two NUMA nodes; secret memory, which must
/// be enabled before Linux 6.5; two ranges of the guest's memory that are
/// treated as persistent (Documentation/admin-guide/kernel-parameters). They
/// suit a guest with a gigabyte.
const PARAMETERS: &str =
    "hugepages=16 numa=fake=2 secretmem.enable=1 memmap=64M!512M memmap=64M!576M";

/// QEMU's devices: one with registers and no driver, and one with memory of its
/// own.
const DEVICES: [&str; 6] = [
    "-device",
    "edu",
    "-object",
    "memory-backend-memfd,id=ivshmem,size=4M,share=on",
    "-device",
    "ivshmem-plain,memdev=ivshmem",
];

/// Size in bytes of the disk with an ext4; it must fit in the first of the
/// ranges.
const DISK: u64 = 32 << 20;

/// Why the equipment cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum EquipmentError {
    /// The disk could not be created.
    #[error("cannot make the disk {path}: {source}")]
    Disk {
        /// Path of the disk.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// mke2fs failed.
    #[error("mke2fs (package e2fsprogs) failed on {path}: {said}")]
    Mke2fs {
        /// Path of the disk.
        path: PathBuf,
        /// Error output of mke2fs.
        said: String,
    },
}

/// Adds to `spec` the equipment for all kinds of memory; the disk is created in
/// `dir`.
///
/// # Errors
///
/// [`EquipmentError`] if the disk cannot be created.
pub fn equip(spec: &mut TestbedSpec, dir: &Path) -> Result<(), EquipmentError> {
    let path = dir.join("ext4.raw");
    make_disk(&path)?;
    spec.disks.push(path);
    spec.append = format!("{} {PARAMETERS}", spec.append).trim_start().into();
    spec.qemu_arguments.extend(DEVICES.map(Into::into));
    Ok(())
}

/// Creates a disk with an ext4 whose blocks are as large as pages, as direct
/// access requires.
fn make_disk(path: &Path) -> Result<(), EquipmentError> {
    let failed = |source| EquipmentError::Disk {
        path: path.to_owned(),
        source,
    };
    std::fs::File::create(path)
        .and_then(|file| file.set_len(DISK))
        .map_err(failed)?;
    // mke2fs is not in every user's PATH.
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
