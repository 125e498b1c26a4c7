//! RGB565: red, green and blue in sixteen bits, the low byte first.

/// Returns red, green and blue of a word; the five or six bits are spread over
/// eight.
pub fn from_565(word: [u8; 2]) -> [u8; 3] {
    let word = u16::from_le_bytes(word);
    let (r, g, b) = (word >> 11, word >> 5 & 63, word & 31);
    [r << 3 | r >> 2, g << 2 | g >> 4, b << 3 | b >> 2].map(|level| level as u8)
}

/// Returns the word of the five or six highest bits of red, green and blue.
pub fn to_565([r, g, b]: [u8; 3]) -> [u8; 2] {
    let [r, g, b] = [r, g, b].map(u16::from);
    (r >> 3 << 11 | g >> 2 << 5 | b >> 3).to_le_bytes()
}
