//! The bytes that follow a picture in its file.

/// Whether another picture begins there, but for what a file is filled up with.
pub fn another_begins(rest: &[u8], magic: &[u8]) -> bool {
    let filled = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let begin = rest.iter().position(|byte| !filled(byte));
    begin.is_some_and(|begin| rest[begin..].starts_with(magic))
}
