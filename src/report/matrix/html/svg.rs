//! The common code of the drawings.

/// Returns a coordinate with one decimal place at most, because more cannot be
/// seen.
pub fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
