//! What of a guest or a file is fit to be printed.

/// Text of a guest or a file on one line, without what a terminal would obey.
pub fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}
