//! The kernel log oracle: neither the kernel nor the driver complains.

use super::evidence::CellEvidence;
use crate::rig::kernel_log::{self, Complainer};
use crate::rig::matrix::objection::{self, Objections, Severity};

/// First words of lines that continue an earlier complaint.
const MORE: &str = "Mapped at:";

/// Objects to splats and to complaints of the driver, except those that an
/// injected failure excuses. Lines that differ only in their numbers get one
/// objection.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let answer = evidence.answer;
    let failing = &evidence.expectation.failing;
    let log = failing.unexpected(&answer.injected, &answer.log);
    let complaints = kernel_log::complaints(&log, evidence.names);
    let mut kinds: Vec<(String, Complainer, String, usize)> = Vec::new();
    for complaint in complaints
        .into_iter()
        .filter(|one| !one.line.contains(MORE))
    {
        let kind = objection::kind(&complaint.line);
        match kinds.iter_mut().find(|(other, ..)| *other == kind) {
            Some((.., count)) => *count += 1,
            None => kinds.push((kind, complaint.of, complaint.line, 0)),
        }
    }
    for (_, of, line, more) in kinds {
        let severity = match of {
            Complainer::Memory => Severity::MemoryWritten,
            Complainer::Kernel => Severity::KernelBroken,
            Complainer::Driver => Severity::WrongError,
        };
        objections.push(severity, objection::and_more(line, more));
    }
    if evidence.answer.log_lost {
        objections.push(
            Severity::KernelBroken,
            "part of the kernel log was overwritten before it was read",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;
    use crate::agent::protocol::LogRecord;

    #[test]
    fn a_complaint_is_told_once_however_often_it_is_made() {
        let (mut answer, card_frames) = captured();
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        let mut said = |level, text: &str| {
            answer.log.push(LogRecord {
                sequence: answer.log.len() as u64,
                level,
                facility: 0,
                time_us: 1_500_000,
                text: text.into(),
            });
            objections(judge, &answer, &card_frames)
        };
        assert_eq!(said(6, "EXT4-fs (vda): mounted"), [""; 0]);
        let sync = |address| format!("DMA-API: x: syncs [device address=0x{address}]");
        let first = "[    1.500000] DMA-API: x: syncs [device address=0x35a33000]";
        assert_eq!(said(4, &sync("35a33000")), [first]);
        assert_eq!(said(4, "DMA-API: Mapped at:"), [first]);
        let more = format!("{first} (and 1 more like it)");
        assert_eq!(said(4, &sync("35a34000")), [more.as_str()]);
        assert_eq!(
            said(4, "WARNING: held lock freed!"),
            [more, "[    1.500000] WARNING: held lock freed!".into()]
        );
    }
}
