//! Reading and writing small files, which may be in /proc, /sys and tracefs.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};

use crate::agent::protocol::{LINE_MAX, Read, ReadAnswer, Write};

use crate::guest::failure::Failure;

/// Largest number of bytes in one answer: JSON may encode one byte as six.
const READ_MAX: usize = LINE_MAX / 8;

/// Reads a file up to the limit.
pub fn read(request: &Read) -> Result<ReadAnswer, Failure> {
    let limit = request.limit.min(READ_MAX);
    let failed = |error| Failure::io(format_args!("read {}", request.path), error);
    let mut bytes = Vec::new();
    File::open(&request.path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    let truncated = bytes.len() > limit;
    bytes.truncate(limit);
    Ok(ReadAnswer {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        truncated,
    })
}

/// Writes a file.
pub fn write(request: &Write) -> Result<(), Failure> {
    let failed = |error| Failure::io(format_args!("write {}", request.path), error);
    OpenOptions::new()
        .create(true)
        .append(request.append)
        .truncate(!request.append)
        .write(true)
        .open(&request.path)
        .and_then(|mut file| file.write_all(request.text.as_bytes()))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_appended_cut_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file").to_str().unwrap().to_owned();
        let put = |text: &str, append| {
            write(&Write {
                path: path.clone(),
                text: text.into(),
                append,
            })
        };
        let get = |limit| {
            let path = path.clone();
            read(&Read { path, limit }).unwrap()
        };
        put("0123456789", false).unwrap();
        put("abc", false).unwrap();
        put("de", true).unwrap();
        assert_eq!(get(5).text, "abcde");
        assert!(!get(5).truncated);
        assert_eq!(get(2).text, "ab");
        assert!(get(2).truncated);
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = read(&Read {
            path: "/no/such/file".into(),
            limit: 1,
        })
        .unwrap_err();
        assert_eq!(failure.errno, Some(libc::ENOENT));
        assert!(failure.message.contains("/no/such/file"));
    }
}
