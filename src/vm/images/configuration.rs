//! The configuration of a kernel, as its build tree records it.

use std::fs;
use std::path::Path;

/// Path in a build tree of the file with the options that are set.
pub const FILE: &str = "include/config/auto.conf";

/// Returns whether clang built the kernel in a tree.
pub fn is_clangs(dir: &Path) -> bool {
    let configuration = fs::read_to_string(dir.join(FILE));
    configuration.is_ok_and(|text| has(&text, "CONFIG_CC_IS_CLANG"))
}

/// Returns whether an option is set to `y`.
pub fn has(configuration: &str, option: &str) -> bool {
    let mut lines = configuration.lines();
    lines.any(|line| line.strip_prefix(option) == Some("=y"))
}
