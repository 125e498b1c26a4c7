//! A machine's memory, which this program makes and shares with QEMU.
//!
//! It has no name, so that nothing of it is left when the processes that hold
//! it have ended, however they ended.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create, sendfile};

use super::process::pass_on;

/// From this much memory on a q35 machine has only [`LOW`] of it below 4 GiB,
/// and less than this wholly (`pc_q35_init()` in QEMU's hw/i386/pc_q35.c).
const SPLIT_FROM: u64 = 0xb000_0000;
const LOW: u64 = 0x8000_0000;

/// The address from which on the rest lies.
const HIGH_FROM: u64 = 1 << 32;

/// The memory of a machine.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    bytes: u64,
}

impl GuestMemory {
    /// Creates `mib` MiB of memory, whose size cannot be changed any more. The
    /// host's memory is only used for pages that somebody writes to.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn make(mib: u32) -> io::Result<Self> {
        let bytes = u64::from(mib) << 20;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("pinhole-guest", flags)?);
        file.set_len(bytes)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self { file, bytes })
    }

    /// Lets `command` inherit the memory; returns the path at which its process
    /// and the programs that this executes find it. The memory must not be
    /// dropped before the process is started.
    pub fn pass_to(&self, command: &mut Command) -> PathBuf {
        let fd = pass_on(&self.file, command);
        format!("/proc/self/fd/{fd}").into()
    }

    /// Reads the guest's memory from its physical address `from` on. The guest
    /// may write to it meanwhile.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if the guest has no such memory.
    pub fn read(&self, from: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = self.offset(from, buffer.len() as u64)?;
        self.file.read_exact_at(buffer, at)
    }

    /// Copies `length` bytes of the guest's memory from its physical address
    /// `from` on to the position `at` of a file. The bytes do not pass through
    /// this process.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if the guest has no such memory; others
    /// if the file cannot be written.
    pub fn copy_to(&self, from: u64, length: u64, mut file: &File, at: u64) -> io::Result<()> {
        let mut offset = self.offset(from, length)?;
        let end = offset + length;
        file.seek(SeekFrom::Start(at))?;
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
            if sendfile(file, &self.file, Some(&mut offset), left)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn offset(&self, from: u64, length: u64) -> io::Result<u64> {
        offset(self.bytes, from, length).ok_or_else(|| {
            let why = format!("the guest has no memory of {length} bytes at {from:#x}");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })
    }
}

/// Returns where in the file a range of physical addresses lies, of a machine
/// with `bytes` bytes of memory.
fn offset(bytes: u64, from: u64, length: u64) -> Option<u64> {
    let low = if bytes < SPLIT_FROM { bytes } else { LOW };
    let to = from.checked_add(length)?;
    match from {
        _ if to <= low => Some(from),
        HIGH_FROM.. if to - HIGH_FROM <= bytes - low => Some(low + (from - HIGH_FROM)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn addresses_are_those_of_a_q35_machine() {
        const GIB: u64 = 1 << 30;
        assert_eq!(offset(GIB, 0, GIB), Some(0));
        assert_eq!(offset(GIB, GIB - 1, 1), Some(GIB - 1));
        assert_eq!(offset(GIB, GIB - 1, 2), None);
        assert_eq!(offset(GIB, HIGH_FROM, 1), None);
        let most = SPLIT_FROM - (1 << 20);
        assert_eq!(offset(most, most - 1, 1), Some(most - 1));
        // From 2816 MiB on there is a hole from 2 to 4 GiB.
        for bytes in [SPLIT_FROM, 6 * GIB] {
            assert_eq!(offset(bytes, 2 * GIB - 1, 1), Some(2 * GIB - 1));
            assert_eq!(offset(bytes, 2 * GIB - 1, 2), None);
            assert_eq!(offset(bytes, 4 * GIB, 1), Some(2 * GIB));
            let above = bytes - 2 * GIB;
            assert_eq!(offset(bytes, 4 * GIB + above - 1, 1), Some(bytes - 1));
            assert_eq!(offset(bytes, 4 * GIB + above - 1, 2), None);
        }
        assert_eq!(offset(GIB, u64::MAX, 2), None);
    }

    #[test]
    fn another_process_finds_it_with_its_size() {
        let memory = GuestMemory::make(3).unwrap();
        let mut command = Command::new("sh");
        let path = memory.pass_to(&mut command);
        let script = format!(
            "printf seen | dd of={} bs=1 seek=5 conv=notrunc",
            path.display()
        );
        // A child of the process has it as well.
        command.args(["-c", &format!("sh -c '{script}'; exit $?")]);
        assert!(command.output().unwrap().status.success());
        let mut seen = [0; 4];
        memory.read(5, &mut seen).unwrap();
        assert_eq!(&seen, b"seen");

        let mut file = memory.file.try_clone().unwrap();
        assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 3 << 20);
        assert!(file.write(b"more").is_err() && file.set_len(1).is_err());
        assert_eq!(file.read(&mut seen).unwrap(), 0);
        let beyond = memory.read((3 << 20) - 3, &mut seen).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn other_processes_do_not_inherit_it() {
        let memory = GuestMemory::make(1).unwrap();
        let path = format!("/proc/self/fd/{}", memory.file.as_raw_fd());
        let mut command = Command::new("test");
        assert!(!command.args(["-e", &path]).status().unwrap().success());
    }
}
