//! The header of a bzImage, which boot loaders read
//! (Documentation/arch/x86/boot.rst in Linux).

use std::fs;
use std::path::Path;

use crate::vm::provision::{Context, Error, Result};

/// Size of a sector in bytes; the header counts in sectors.
const SECTOR: usize = 512;

/// Offsets of the header's fields in the file.
mod field {
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const SYSSIZE: usize = 0x1f4;
    pub const BOOT_FLAG: usize = 0x1fe;
    pub const HEADER: usize = 0x202;
    pub const KERNEL_VERSION: usize = 0x20e;
}

/// Returns the release of the kernel in a bzImage, as `uname -r` prints it.
///
/// # Errors
///
/// [`Error::Own`] if the file is not a bzImage, or is incomplete.
pub fn release(path: &Path) -> Result<String> {
    let bytes = fs::read(path).context("read", path)?;
    parse(&bytes).map_err(|why| Error::Own {
        path: path.to_owned(),
        why: why.to_owned(),
    })
}

fn parse(bytes: &[u8]) -> Result<String, &'static str> {
    const NO_KERNEL: &str = "it is no bzImage of an x86 kernel";
    let number = |at: usize, size: usize| -> Result<usize, &'static str> {
        let mut number = [0; 4];
        number[..size].copy_from_slice(bytes.get(at..at + size).ok_or(NO_KERNEL)?);
        Ok(u32::from_le_bytes(number) as usize)
    };
    let magic = bytes.get(field::HEADER..).ok_or(NO_KERNEL)?;
    if number(field::BOOT_FLAG, 2)? != 0xaa55 || !magic.starts_with(b"HdrS") {
        return Err(NO_KERNEL);
    }
    // Zero stands for four sectors.
    let sectors = match number(field::SETUP_SECTS, 1)? {
        0 => 4,
        sectors => sectors,
    };
    let length = (sectors + 1) * SECTOR + number(field::SYSSIZE, 4)? * 16;
    if bytes.len() < length {
        return Err("it ends before the kernel in it does");
    }
    let version = number(field::KERNEL_VERSION, 2)?;
    let text = bytes.get(version + SECTOR..).unwrap_or_default();
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).unwrap_or_default();
    // The release must be usable as the name of a directory.
    let release = text.split_whitespace().next().unwrap_or_default();
    match version == 0 || release.is_empty() || release.contains('/') || release.starts_with('.') {
        true => Err("it does not say of which release it is"),
        false => Ok(release.to_owned()),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns a bzImage that holds only its header and its version.
    pub fn sample(version: &str) -> Vec<u8> {
        let mut bytes = vec![0; 5 * SECTOR + 16];
        bytes[field::SETUP_SECTS] = 4;
        bytes[field::SYSSIZE] = 1;
        bytes[field::BOOT_FLAG..][..2].copy_from_slice(&[0x55, 0xaa]);
        bytes[field::HEADER..][..4].copy_from_slice(b"HdrS");
        bytes[field::KERNEL_VERSION..][..2].copy_from_slice(&0x300u16.to_le_bytes());
        bytes[0x500..][..version.len()].copy_from_slice(version.as_bytes());
        bytes
    }

    #[test]
    fn the_release_is_the_first_word_of_the_version() {
        let bytes = sample("6.12.0-rc3+ (me@here) #7 SMP");
        assert_eq!(parse(&bytes), Ok("6.12.0-rc3+".to_owned()));
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let whole = sample("6.12.0 #1");
        for (length, why) in [
            (0, "no bzImage"),
            (0x203, "no bzImage"),
            (0x300, "it ends before"),
            (whole.len() - 1, "it ends before"),
        ] {
            let said = parse(&whole[..length]).unwrap_err();
            assert!(said.contains(why), "{length}: {said}");
        }
        let mut elf = whole.clone();
        elf[field::HEADER] = b'X';
        assert!(parse(&elf).unwrap_err().contains("no bzImage"));
        for version in ["", "../x #1", "a/b #1"] {
            let said = parse(&sample(version)).unwrap_err();
            assert!(said.contains("of which release"), "{version}: {said}");
        }
        let mut wild = whole;
        wild[field::KERNEL_VERSION..][..2].fill(0xff);
        assert!(parse(&wild).unwrap_err().contains("of which release"));
    }
}
