//! Archives that the kernel unpacks as its first root file system.
//!
//! The format is "newc" of cpio(5), as described in the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst. The kernel
//! unpacks several archives one after another, each compressed or not, if each
//! begins at a multiple of four bytes. A machine adds its own init and driver
//! to a guest's base archive in this way.

use std::collections::BTreeSet;

/// File type bits of a mode (inode(7)).
mod kind {
    pub const CHARACTER_DEVICE: u32 = 0o020_000;
    pub const DIRECTORY: u32 = 0o040_000;
    pub const REGULAR: u32 = 0o100_000;
    pub const SYMLINK: u32 = 0o120_000;
}

/// Alignment of archives in an initramfs, and of headers and contents within an
/// archive.
const ALIGNMENT: usize = 4;

/// An archive under construction. All its files belong to root and have no time
/// stamp, so that equal contents make equal archives.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
    names: BTreeSet<String>,
}

impl Archive {
    /// Returns an empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory and its parents; directories that were added before
    /// stay unchanged.
    pub fn add_dir(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.contains(path) {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.add_dir(parent);
        }
        self.entry(path, kind::DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a file and its parent directories.
    pub fn add_file(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.add_parent(path);
        self.entry(path, kind::REGULAR | (mode & 0o7777), (0, 0), contents);
    }

    /// Adds a symbolic link and its parent directories.
    pub fn add_symlink(&mut self, path: &str, target: &str) {
        self.add_parent(path);
        self.entry(path, kind::SYMLINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device and its parent directories.
    pub fn add_node(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.add_parent(path);
        self.entry(
            path,
            kind::CHARACTER_DEVICE | (mode & 0o7777),
            (major, minor),
            &[],
        );
    }

    /// Returns whether an entry with this path was added.
    pub fn contains(&self, path: &str) -> bool {
        self.names.contains(path.trim_matches('/'))
    }

    /// Returns the finished archive; its length is a multiple of four.
    pub fn finish(mut self) -> Vec<u8> {
        self.inodes = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn add_parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.trim_matches('/').rsplit_once('/') {
            self.add_dir(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        let name = path.trim_matches('/');
        self.names.insert(name.to_owned());
        let links = 1;
        let fields = [
            self.inodes,
            mode,
            0,
            0,
            links,
            0,
            contents.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.inodes += 1;
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        pad(&mut self.bytes);
        self.bytes.extend_from_slice(contents);
        pad(&mut self.bytes);
    }
}

/// Pads with zeroes, which the kernel skips, to the next position at which an
/// archive may begin.
pub fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new();
        archive.add_node("/dev/console", 0o600, 5, 1);
        archive.add_file("/usr/bin/tool", 0o755, b"odd");
        archive.add_file("/usr/bin/other", 0o644, b"");
        archive.add_symlink("/bin", "usr/bin");
        archive.finish()
    }

    /// Parses an archive according to the format's text, not with the writer's
    /// code.
    fn parse(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        loop {
            assert_eq!(at % 4, 0);
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |index: usize| {
                let start = at + 6 + 8 * index;
                let text = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name =
                String::from_utf8(bytes[at + 110..at + 110 + name_size - 1].to_vec()).unwrap();
            let data = (at + 110 + name_size).next_multiple_of(4);
            at = (data + size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert_eq!(at, bytes.len());
                return entries;
            }
            entries.push((name, mode, bytes[data..data + size].to_vec()));
        }
    }

    #[test]
    fn parents_come_first_and_once() {
        let entries = parse(&sample());
        let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "dev",
                "dev/console",
                "usr",
                "usr/bin",
                "usr/bin/tool",
                "usr/bin/other",
                "bin"
            ]
        );
        assert_eq!(entries[4].1, 0o100_755);
        assert_eq!(entries[4].2, b"odd");
        assert_eq!(entries[6].1, 0o120_777);
        assert_eq!(entries[6].2, b"usr/bin");
    }

    #[test]
    fn cpio_itself_reads_it() {
        let Ok(mut cpio) = Command::new("cpio")
            .args(["-itv", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return;
        };
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let line = |end: &str| {
            text.lines()
                .find(|line| line.ends_with(end))
                .unwrap()
                .to_owned()
        };
        assert!(line("dev/console").starts_with("crw-------"));
        assert!(line("dev/console").contains("5,   1"));
        assert!(line("usr/bin/tool").starts_with("-rwxr-xr-x   1 root     root            3"));
        assert!(line("bin -> usr/bin").starts_with("lrwxrwxrwx"));
    }
}
