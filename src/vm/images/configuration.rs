//! How a kernel was configured, as the tree tells in which it was built.

use std::fs;
use std::path::Path;

/// Where a build leaves the options that are set, in the tree.
pub const FILE: &str = "include/config/auto.conf";

/// Whether the kernel in a tree was built by clang.
pub fn is_clangs(dir: &Path) -> bool {
    let configuration = fs::read_to_string(dir.join(FILE));
    configuration.is_ok_and(|text| has(&text, "CONFIG_CC_IS_CLANG"))
}

/// Whether an option is built in.
pub fn has(configuration: &str, option: &str) -> bool {
    let mut lines = configuration.lines();
    lines.any(|line| line.strip_prefix(option) == Some("=y"))
}
