//! The kernel log oracle.

use super::Case;
use crate::rig::kernel_log;

/// Objects to splats and to complaints of the driver.
pub fn judge(case: &Case<'_>, objections: &mut Vec<String>) {
    objections.extend(kernel_log::warnings(&case.answer.log));
    if case.answer.log_lost {
        objections.push("part of the kernel log was overwritten before it was read".into());
    }
}
