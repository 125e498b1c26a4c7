//! The equipment that a guest needs so that all kinds of memory can be laid out
//! in it.
//!
//! A guest without it can still run cells: those that need a missing part
//! report it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

/// A file system that is made on a disk.
struct FileSystem {
    /// Its name, which is that of the disk's file.
    name: &'static str,
    /// Size of the disk in bytes. The file takes no more than what is written to it.
    size: u64,
    program: &'static str,
    /// Package of the program.
    package: &'static str,
    /// The program's arguments, before the disk: with the first that it takes.
    arguments: &'static [&'static [&'static str]],
    /// Whether no guest is without it.
    is_needed: bool,
}

/// Each disk. That with an ext4 must fit in the first of the ranges, and its blocks be as
/// large as pages, as direct access requires. An xfs has 300 MB at least; Linux 5.10 does
/// not mount one with all that a later mkfs.xfs gives it, and that of xfsprogs 6.1 does not
/// take its own file for 5.10, but makes an xfs that 5.10 mounts.
const FILE_SYSTEMS: [FileSystem; 3] = [
    FileSystem {
        name: "ext4",
        size: 32 << 20,
        program: "mke2fs",
        package: "e2fsprogs",
        arguments: &[&["-q", "-t", "ext4", "-b", "4096"]],
        is_needed: true,
    },
    FileSystem {
        name: "xfs",
        size: 300 << 20,
        program: "mkfs.xfs",
        package: "xfsprogs",
        arguments: &[
            &["-q", "-c", "options=/usr/share/xfsprogs/mkfs/lts_5.10.conf"],
            &["-q", "-f"],
        ],
        is_needed: false,
    },
    FileSystem {
        name: "btrfs",
        size: 128 << 20,
        program: "mkfs.btrfs",
        package: "btrfs-progs",
        arguments: &[&["-q"]],
        is_needed: false,
    },
];

/// Why the equipment cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum EquipmentError {
    /// A disk could not be created.
    #[error("cannot make the disk {path}: {source}")]
    Disk {
        /// Path of the disk.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The directory that the guest shares could not be created.
    #[error("cannot make the directory {path}: {source}")]
    Shared {
        /// Path of the directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No file system could be made on it.
    #[error("{program} (package {package}) failed on {path}: {said}")]
    Mkfs {
        /// The program that makes it.
        program: &'static str,
        /// Its package.
        package: &'static str,
        /// Path of the disk.
        path: PathBuf,
        /// Error output of the program.
        said: String,
    },
}

/// Adds to `spec` the equipment for all kinds of memory; the disks, and the directory
/// that the guest shares, are created in `dir`. A file system that guests do without is
/// left out where this system cannot make it.
///
/// # Errors
///
/// [`EquipmentError`] if a disk or the directory cannot be created.
pub fn equip(spec: &mut TestbedSpec, dir: &Path) -> Result<(), EquipmentError> {
    for file_system in &FILE_SYSTEMS {
        spec.disks.extend(file_system.make_in(dir)?);
    }
    let shared = dir.join("shared");
    std::fs::create_dir(&shared).map_err(|source| EquipmentError::Shared {
        path: shared.clone(),
        source,
    })?;
    spec.shared = Some(shared);
    spec.append = format!("{} {PARAMETERS}", spec.append).trim_start().into();
    spec.qemu_arguments.extend(DEVICES.map(Into::into));
    Ok(())
}

impl FileSystem {
    /// Makes a disk with the file system in `dir`, and returns its path; `None` if that
    /// failed, and guests do without.
    fn make_in(&self, dir: &Path) -> Result<Option<PathBuf>, EquipmentError> {
        let path = dir.join(self.name).with_extension("raw");
        let failed = |source| EquipmentError::Disk {
            path: path.clone(),
            source,
        };
        std::fs::File::create(&path)
            .and_then(|file| file.set_len(self.size))
            .map_err(failed)?;
        let mut said = String::new();
        for arguments in self.arguments {
            match self.run(arguments, &path) {
                Ok(output) if output.status.success() => return Ok(Some(path)),
                Ok(output) => said = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_needed => {
                    log::info!("no guest has {}: there is no {}", self.name, self.program);
                    return Ok(None);
                }
                Err(error) => said = error.to_string(),
            }
        }
        if !self.is_needed {
            log::warn!("no guest has {}: {} says {said}", self.name, self.program);
            return Ok(None);
        }
        Err(EquipmentError::Mkfs {
            program: self.program,
            package: self.package,
            path,
            said,
        })
    }

    /// Runs the program, which is not in every user's PATH.
    fn run(&self, arguments: &[&str], path: &Path) -> io::Result<Output> {
        let places = ["", "/sbin/", "/usr/sbin/"].into_iter();
        let mut tried = places.map(|place| {
            Command::new(format!("{place}{}", self.program))
                .args(arguments)
                .arg(path)
                .output()
        });
        let kind = |output: &io::Result<_>| output.as_ref().err().map(io::Error::kind);
        let ran = tried.find(|output| kind(output) != Some(io::ErrorKind::NotFound));
        ran.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the superblock of each, and where.
    const MAGIC: [(usize, &[u8]); 3] = [
        (1024 + 56, &[0x53, 0xef]),
        (0, b"XFSB"),
        (0x1_0040, b"_BHRfS_M"),
    ];

    #[test]
    fn each_disk_holds_its_file_system_and_the_guest_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = TestbedSpec {
            append: "page_poison=1".into(),
            ..TestbedSpec::default()
        };
        equip(&mut spec, dir.path()).unwrap();
        assert!(spec.append.starts_with("page_poison=1 hugepages="));
        assert!(spec.shared.as_ref().unwrap().is_dir());
        assert_eq!(spec.disks[0], dir.path().join("ext4.raw"));
        for (file_system, (at, magic)) in FILE_SYSTEMS.iter().zip(MAGIC) {
            let path = dir.path().join(file_system.name).with_extension("raw");
            if !spec.disks.contains(&path) {
                assert!(!file_system.is_needed, "{}", file_system.name);
                continue;
            }
            let disk = std::fs::read(path).unwrap();
            assert_eq!(disk.len() as u64, file_system.size);
            assert_eq!(&disk[at..][..magic.len()], magic);
        }
        let missing = equip(&mut spec, Path::new("/no/such/place")).unwrap_err();
        assert!(missing.to_string().contains("/no/such/place/ext4.raw"));
    }

    #[test]
    fn what_this_system_cannot_make_is_left_out_or_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let [ext4, xfs, _] = FILE_SYSTEMS;
        let missing = FileSystem {
            program: "mkfs.pinhole-has-none",
            ..xfs
        };
        assert_eq!(missing.make_in(dir.path()).unwrap(), None);
        let needed = FileSystem {
            is_needed: true,
            ..missing
        };
        let why = needed.make_in(dir.path()).unwrap_err().to_string();
        assert!(why.contains("(package xfsprogs)"), "{why}");
        // The first arguments are none that the program takes.
        let second = FileSystem {
            arguments: &[&["--pinhole"], &["-q", "-t", "ext4"]],
            ..ext4
        };
        assert!(second.make_in(dir.path()).unwrap().is_some());
        let refused = FileSystem {
            arguments: &[&["--pinhole"]],
            ..ext4
        };
        let why = refused.make_in(dir.path()).unwrap_err().to_string();
        assert!(why.contains("mke2fs (package e2fsprogs)"), "{why}");
    }
}
