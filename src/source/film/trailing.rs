//! The bytes that follow a picture in its file.

/// Returns whether another picture follows, after padding of zeros and white
/// space.
pub fn another_begins(rest: &[u8], magic: &[u8]) -> bool {
    let filled = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let begin = rest.iter().position(|byte| !filled(byte));
    begin.is_some_and(|begin| rest[begin..].starts_with(magic))
}
