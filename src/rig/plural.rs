//! Numbers of things, as they are said.

/// Returns a number with the noun in the form that goes with it: `1 cell`,
/// `2 cells`.
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn one_is_singular() {
        let said = [0, 1, 2].map(|number| count(number, "boot"));
        assert_eq!(said, ["0 boots", "1 boot", "2 boots"]);
    }
}
