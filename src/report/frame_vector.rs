//! The contract of the frame vector as a table for a terminal, and as the page
//! docs/frame-vector.md.

use comfy_table::{ContentArrangement, Table, presets};

use crate::rig::frame_vector::{Contract, Finding};
use crate::rig::kernel::Version;

/// The text before the table in docs/frame-vector.md.
const INTRODUCTION: &str = include_str!("frame_vector.md");

/// An answer, with the kernels that gave it.
struct Row<'a> {
    kernels: Vec<String>,
    finding: &'a Finding,
}

/// Returns the table of answers, with equal answers of several kernels in one
/// row, and below it the unexpected ones.
pub fn table(contracts: &[Contract]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["point", "", "kernel", "answer"]);
    for rows in by_point(contracts) {
        for (index, row) in rows.iter().enumerate() {
            let Finding { name, question, .. } = row.finding;
            let (name, question) = if index == 0 {
                (*name, *question)
            } else {
                ("", "")
            };
            let mark = if row.finding.as_expected {
                ""
            } else {
                "  <-- FINDING"
            };
            let answer = format!("{}{mark}", row.finding.answer);
            table.add_row([name, question, &row.kernels.join(", "), &answer]);
        }
    }
    let mut text = table.trim_fmt();
    let findings = findings(contracts);
    match findings.is_empty() {
        true => text.push_str("\n\nAS EXPECTED: every answer is what is known of its kernel."),
        false => text.push_str("\n\nFINDINGS:"),
    }
    for (contract, finding) in findings {
        text += &format!(
            "\n  - {}, {}: {}\n    expected: {} ({})",
            contract.release, finding.name, finding.answer, finding.expected, finding.reason
        );
    }
    text
}

/// Returns the page docs/frame-vector.md.
pub fn markdown(contracts: &[Contract]) -> String {
    let mut text = INTRODUCTION.to_owned();
    text += "\n## The answers\n\nSeen on ";
    let releases: Vec<_> = contracts
        .iter()
        .map(|one| format!("`{}`", one.release))
        .collect();
    text += &releases.join(", ");
    text += ".\n\n| Question | Kernel | Answer | Why |\n|---|---|---|---|\n";
    for rows in by_point(contracts) {
        for (index, row) in rows.iter().enumerate() {
            let question = if index == 0 { row.finding.question } else { "" };
            let kernels = match row.kernels.len() == contracts.len() && contracts.len() > 1 {
                true => "all".to_owned(),
                false => row.kernels.join(", "),
            };
            let why = match row.finding.as_expected {
                true => row.finding.reason.to_owned(),
                false => format!("**a finding**: {} was expected", row.finding.expected),
            };
            let cells = [question, &kernels, &row.finding.answer, &why].map(cell);
            text += &format!("| {} |\n", cells.join(" | "));
        }
    }
    text
}

/// Escapes text for a cell of a table, which a bar would end.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn by_point(contracts: &[Contract]) -> Vec<Vec<Row<'_>>> {
    let count = contracts.iter().map(|contract| contract.points.len()).max();
    (0..count.unwrap_or(0))
        .map(|index| {
            let mut rows: Vec<Row<'_>> = Vec::new();
            for contract in contracts {
                let Some(finding) = contract.points.get(index) else {
                    continue;
                };
                let kernel = label(contract, contracts);
                let same = |row: &&mut Row<'_>| {
                    let other = row.finding;
                    (&other.answer, other.reason, other.as_expected)
                        == (&finding.answer, finding.reason, finding.as_expected)
                };
                match rows.iter_mut().find(same) {
                    Some(row) => row.kernels.push(kernel),
                    None => rows.push(Row {
                        kernels: vec![kernel],
                        finding,
                    }),
                }
            }
            rows
        })
        .collect()
}

/// Returns the name of a kernel: its version, and also its guest if several
/// kernels have that version.
fn label(contract: &Contract, contracts: &[Contract]) -> String {
    let Some(version) = Version::of(&contract.release) else {
        return contract.release.clone();
    };
    let same = |one: &&Contract| Version::of(&one.release) == Some(version);
    let Version(major, minor) = version;
    match contracts.iter().filter(same).count() {
        1 => format!("{major}.{minor}"),
        _ => format!("{major}.{minor} ({})", contract.kernel),
    }
}

fn findings(contracts: &[Contract]) -> Vec<(&Contract, &Finding)> {
    contracts
        .iter()
        .flat_map(|contract| contract.points.iter().map(move |point| (contract, point)))
        .filter(|(_, point)| !point.as_expected)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(release: &str, answer: &str) -> Contract {
        let finding = Finding {
            name: "read-only",
            question: "Write | access?",
            answer: answer.to_owned(),
            expected: "EFAULT".to_owned(),
            reason: "no",
            as_expected: answer == "EFAULT",
            evidence: None,
            warnings: Vec::new(),
        };
        Contract {
            kernel: "some".into(),
            release: release.into(),
            points: vec![finding],
        }
    }

    #[test]
    fn equal_answers_are_one_row() {
        let all = [contract("5.10.0-1", "EFAULT"), contract("6.12.1", "EFAULT")];
        let text = table(&all);
        assert!(text.contains("5.10, 6.12"), "{text}");
        assert!(text.contains("AS EXPECTED"), "{text}");
        assert!(markdown(&all).contains("| Write \\| access? | all | EFAULT | no |"));
    }

    #[test]
    fn a_finding_is_told_with_what_was_expected() {
        let all = [contract("5.10.0-1", "EFAULT"), contract("6.1.1", "pinned")];
        let text = table(&all);
        assert!(
            text.contains("FINDINGS:\n  - 6.1.1, read-only: pinned\n    expected: EFAULT (no)"),
            "{text}"
        );
        assert!(!text.contains("AS EXPECTED"), "{text}");
        assert!(
            markdown(&all).contains("|  | 6.1 | pinned | **a finding**: EFAULT was expected |")
        );
    }
}
