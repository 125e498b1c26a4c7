//! The kernel inside a bzImage, which QEMU can start directly.
//!
//! A bzImage uncompresses itself, which an emulated processor takes a second
//! for; the host does it once. QEMU starts an uncompressed kernel by its PVH
//! entry (xen/include/public/arch-x86/hvm/start_info.h), without which it has
//! to stay a bzImage.

use std::io::Read;

/// Offsets of the header in a bzImage (Documentation/arch/x86/boot.rst).
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// Size of a sector of the part that runs in real mode.
const SECTOR: usize = 512;

/// Longest kernel that is taken, in bytes.
const LONGEST: u64 = 256 << 20;

/// Returns the kernel in a bzImage, an ELF file with a PVH entry; `None` if
/// there is none, or if it is compressed in another way than by gzip, xz or
/// zstd.
pub fn kernel(image: &[u8]) -> Option<Vec<u8>> {
    if image.get(MAGIC..MAGIC + 4)? != b"HdrS" {
        return None;
    }
    let word = |at: usize| Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?) as usize);
    let setup = match *image.get(SETUP_SECTORS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let from = ((setup + 1) * SECTOR).checked_add(word(PAYLOAD_OFFSET)?)?;
    let payload = image.get(from..from.checked_add(word(PAYLOAD_LENGTH)?)?)?;
    // The payload ends with its uncompressed size, which gzip has anyway and the
    // kernel's build appends to the others (scripts/Makefile.lib, size_append).
    let (packed, size) = payload.split_last_chunk::<4>()?;
    let kernel = match payload {
        [0x1f, 0x8b, ..] => unpacked(flate2::read::GzDecoder::new(payload)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unpacked(lzma_rust2::XzReader::new(packed, false)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => unpacked(zstd::Decoder::new(packed).ok()?.single_frame()),
        _ => None,
    }?;
    let whole = kernel.len() as u64 == u64::from(u32::from_le_bytes(*size));
    (whole && has_pvh_entry(&kernel)).then_some(kernel)
}

fn unpacked(reader: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Returns whether an ELF64 file (elf(5)) has the note that QEMU looks for.
fn has_pvh_entry(file: &[u8]) -> bool {
    const PT_NOTE: u64 = 4;
    const HEADER: usize = 56;
    let field = |at: usize, size: usize| -> Option<usize> {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(file.get(at..at.checked_add(size)?)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let (Some(table), Some(count)) = (field(32, 8), field(56, 2)) else {
        return false;
    };
    (0..count).any(|index| {
        let at = |offset| table.checked_add(index * HEADER + offset);
        let value = |offset, size| field(at(offset)?, size);
        let notes = || {
            let (from, length) = (value(8, 8)?, value(32, 8)?);
            file.get(from..from.checked_add(length)?)
        };
        value(0, 4) == Some(PT_NOTE as usize) && notes().is_some_and(has_pvh_note)
    })
}

/// Searches notes for `XEN_ELFNOTE_PHYS32_ENTRY`.
fn has_pvh_note(mut notes: &[u8]) -> bool {
    const PHYS32_ENTRY: u32 = 18;
    let word = |notes: &[u8], at: usize| {
        let bytes = notes.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map(|bytes| u32::from_le_bytes(*bytes))
    };
    while let (Some(name), Some(length), Some(kind)) =
        (word(notes, 0), word(notes, 4), word(notes, 8))
    {
        let padded = |size: u32| (size as usize).next_multiple_of(4);
        let text = notes.get(12..12 + name as usize);
        if kind == PHYS32_ENTRY && text == Some(b"Xen\0") {
            return true;
        }
        notes = notes
            .get(12 + padded(name) + padded(length)..)
            .unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    fn note(name: &[u8], kind: u32) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [name.len() as u32, 5, kind] {
            note.extend(word.to_le_bytes());
        }
        note.extend(name);
        note.resize(note.len().next_multiple_of(4) + 8, 0);
        note
    }

    /// Returns an ELF file that consists of its header and notes.
    fn elf(notes: &[Vec<u8>]) -> Vec<u8> {
        let notes = notes.concat();
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[56] = 1;
        file[64] = 4;
        file[64 + 8] = 120;
        file[64 + 32] = notes.len() as u8;
        file.extend(notes);
        file
    }

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR];
        image[SETUP_SECTORS] = 1;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET] = 3;
        let length = payload.len() as u32;
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend([9; 3]);
        image.extend(payload);
        image.extend([9; 100]);
        image
    }

    fn with_size(packed: Vec<u8>, kernel: &[u8]) -> Vec<u8> {
        [&packed, &(kernel.len() as u32).to_le_bytes()[..]].concat()
    }

    /// Compresses as the kernel's build does (scripts/xz_wrap.sh).
    fn by_xz(kernel: &[u8]) -> Vec<u8> {
        let mut xz = Command::new("xz")
            .args(["--check=crc32", "--x86", "--lzma2=dict=32MiB"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        xz.stdin.take().unwrap().write_all(kernel).unwrap();
        xz.wait_with_output().unwrap().stdout
    }

    fn by_zstd(kernel: &[u8]) -> Vec<u8> {
        with_size(zstd::encode_all(kernel, 1).unwrap(), kernel)
    }

    #[test]
    fn it_comes_out_of_each_compression() {
        let file = elf(&[note(b"Xen\0", 6), note(b"GNU\0", 18), note(b"Xen\0", 18)]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&file).unwrap();
        for payload in [
            gzip.finish().unwrap(),
            with_size(by_xz(&file), &file),
            by_zstd(&file),
        ] {
            assert_eq!(kernel(&image(&payload)).as_ref(), Some(&file));
        }
    }

    #[test]
    fn without_a_pvh_entry_or_whole_there_is_none() {
        let file = elf(&[note(b"Xen\0", 18)]);
        let good = image(&by_zstd(&file));
        assert!(kernel(&good).is_some());
        for wrong in [
            image(&by_zstd(&elf(&[note(b"Xen\0", 6), note(b"GNU\0", 18)]))),
            image(&by_zstd(b"not ELF")),
            image(&with_size(
                zstd::encode_all(&file[..], 1).unwrap(),
                b"other",
            )),
            image(b"\x02!L\x18 another compression"),
        ] {
            assert_eq!(kernel(&wrong), None);
        }
        for length in [0, 0x200, 0x210, 1024, good.len() - 110] {
            assert_eq!(kernel(&good[..length]), None, "{length}");
        }
    }

    #[test]
    fn wild_headers_harm_nothing() {
        let file = elf(&[note(b"Xen\0", 18)]);
        for at in (0..file.len()).filter(|at| *at >= 6) {
            let mut wild = file.clone();
            wild[at] = 0xff;
            let _ = has_pvh_entry(&wild);
        }
        assert!(!has_pvh_note(&[0xff; 40]));
    }
}
