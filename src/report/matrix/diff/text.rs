//! The changes between two runs, for a terminal.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use super::entry::Entry;
use super::pair::Side;
use super::{Diff, Numbers};
use crate::report::matrix::groups::first;
use crate::report::matrix::oracles;
use crate::report::matrix::table::LEGEND;
use crate::report::plain::plain;

/// How many cells of an entry are named; JSON and the page have all.
const MOST: usize = 4;

/// Returns where each run is, the kernels, the numbers, each change with its cause and cells, and
/// whether something got worse.
pub fn text(diff: &Diff<'_>, paths: [&Path; 2]) -> String {
    let mut text = String::new();
    for (run, path) in ["A", "B"].iter().zip(paths) {
        text += &format!("{run}: {}\n", plain(&path.display().to_string()));
    }
    text.push('\n');
    for pair in &diff.kernels {
        text += &format!("A  {}\nB  {}\n", side(&pair.a), side(&pair.b));
        for note in &pair.notes {
            text += &format!("   {}\n", plain(note));
        }
    }
    for (run, kernels) in [("A", &diff.only_a), ("B", &diff.only_b)] {
        for kernel in kernels {
            text += &format!("   not compared, only {run} has it: {}\n", side(kernel));
        }
    }
    text += &format!("\n{}\n", numbers(diff));
    if !diff.changes.is_empty() {
        text += &format!("\n{LEGEND}\n");
    }
    for one in &diff.changes {
        text += &entry(one, diff.kernels.len());
    }
    text + &format!("\n{}", plain(&diff.verdict()))
}

/// Returns a kernel in one run, in a few words.
pub fn side(side: &Side<'_>) -> String {
    let driver = side.driver.map(|driver| format!(", driver {driver}"));
    let device = oracles::device(side.outcome).map(|device| format!(", {device}"));
    let driver = device.or(driver);
    let text = format!("{} ({})", side.kernel, side.release);
    plain(&(text + &driver.unwrap_or_default()))
}

/// Returns the rows of numbers: those of cells, and those of mutants if there are
/// any.
pub fn rows(diff: &Diff<'_>) -> Vec<(&'static str, [usize; 7])> {
    let values = |of: &Numbers| {
        [
            of.compared,
            of.same,
            of.worse,
            of.better,
            of.different,
            of.new,
            of.gone,
        ]
    };
    let rows = [("cells", &diff.cells), ("mutants", &diff.mutants)];
    let rows = rows.map(|(name, of)| (name, values(of))).into_iter();
    rows.filter(|(_, values)| values.iter().any(|value| *value > 0))
        .collect()
}

/// The heads of the columns of [`rows`].
pub const HEADS: [&str; 7] = [
    "compared",
    "same",
    "worse",
    "better",
    "different",
    "new",
    "gone",
];

fn numbers(diff: &Diff<'_>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([""].iter().chain(&HEADS));
    for (name, values) in rows(diff) {
        let values = values.iter().map(ToString::to_string);
        table.add_row([name.to_owned()].into_iter().chain(values));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn entry(entry: &Entry<'_>, pairs: usize) -> String {
    let group = entry.group.name().to_uppercase();
    let hazards = match entry.hazards(3) {
        // The name of a single cell has it.
        hazards if hazards.is_empty() || entry.cells.len() == 1 => String::new(),
        hazards => format!(" ({hazards})"),
    };
    let mut text = format!(
        "\n{group:<9}  {}\n           in {}{hazards}: {}\n",
        plain(&entry.change()),
        entry.count(),
        plain(&first(&entry.names(pairs), MOST)),
    );
    for (label, cause) in entry.causes() {
        text += &format!("           {label}: {}\n", plain(&cause));
    }
    text
}
