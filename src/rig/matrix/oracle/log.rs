//! The kernel log oracle.

use super::Case;
use crate::rig::kernel_log;

/// Objects to splats and to complaints of the driver, but for what is said of a
/// call that was made to fail.
pub fn judge(case: &Case<'_>, objections: &mut Vec<String>) {
    let answer = case.answer;
    let failing = &case.expectation.failing;
    let log = failing.unexpected(&answer.injected, &answer.log);
    objections.extend(kernel_log::warnings(&log));
    if case.answer.log_lost {
        objections.push("part of the kernel log was overwritten before it was read".into());
    }
}
