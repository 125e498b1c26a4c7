//! Text of a guest or a file, made safe for printing.

/// Returns text of a guest or a file on one line, without the control
/// characters that a terminal would obey.
pub fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}
