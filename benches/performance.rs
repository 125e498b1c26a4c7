//! Turns what the benchmarks measured into docs/performance.md.
//!
//! `make performance-doc` runs them all, and this one last: it measures nothing.
//! It reads the medians that Criterion left below target/criterion, and what the
//! others printed below the folder that is its argument: `daemon.md` and
//! `guest.txt`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pinhole::rig::bench::Host;
use serde::Deserialize;

/// What the page says around the tables.
const HEAD: &str = include_str!("performance/head.md");

/// The medians of a group of measurements, in nanoseconds, by what was measured.
type Group = BTreeMap<String, f64>;

/// The line of Criterion's benchmark.json that names a measurement.
#[derive(Deserialize)]
struct Name {
    group_id: String,
    function_id: Option<String>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// A table: a row for each group whose name begins so, in the order in which
/// they are measured; its columns are compared with the first of them.
struct Table {
    title: &'static str,
    about: &'static str,
    prefix: &'static str,
    baseline: &'static str,
    kind: Kind,
}

/// How a measurement is compared with its baseline.
#[derive(Clone, Copy)]
enum Kind {
    /// The rate, in that of the baseline: more is better.
    Rate,
    /// The time, in that of the baseline: less is better.
    Time,
}

const TABLES: [Table; 5] = [
    Table {
        title: "The copy",
        about: "A frame is copied into the pages of one buffer after the other, of 32. \
                `plain` is `ptr::copy_nonoverlapping` into the same pages; a row names the \
                length of the segments and the offset in the first of them. The rate of \
                the card's copy, in that of the plain one:",
        prefix: "copy/",
        baseline: "plain",
        kind: Kind::Rate,
    },
    Table {
        title: "Drawing",
        about: "The rate at which a pattern is drawn, 16 KiB at a time into private memory as \
                the card does it, in that of `memset` of the frame:",
        prefix: "render/",
        baseline: "memset",
        kind: Kind::Rate,
    },
    Table {
        title: "A frame",
        about: "The time from QBUF to the event, in plain copies of the frame into the same \
                pages. `blank` is a source that costs nothing; `bars` is the test card; `read` is an \
                output card, which copies the frame out of the pages.",
        prefix: "frame/",
        baseline: "plain",
        kind: Kind::Time,
    },
    Table {
        title: "The witness's digests",
        about: "The rate of XXH3-64 by blocks of 4 KiB, in that of XXH3-64 of the frame in one \
                piece:",
        prefix: "digest/",
        baseline: "one piece",
        kind: Kind::Rate,
    },
    Table {
        title: "Films and JPEG",
        about: "The time in that of the crate's own call on contiguous memory. A row without \
                one has its time alone.",
        prefix: "",
        baseline: "baseline",
        kind: Kind::Time,
    },
];

fn main() {
    // `cargo bench` runs every benchmark with --bench.
    let folder = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let Some(folder) = folder.map(PathBuf::from) else {
        eprintln!("performance: nothing to do without the folder of the measurements");
        return;
    };
    let groups = criterion(Path::new("target/criterion"));
    print!("{HEAD}\n{}\n", machine());
    let mut told = Vec::new();
    for table in &TABLES {
        let rows: Vec<_> = groups
            .iter()
            .filter(|(name, _)| name.starts_with(table.prefix) && !told.contains(*name))
            .collect();
        if rows.is_empty() {
            continue;
        }
        told.extend(rows.iter().map(|(name, _)| (*name).clone()));
        println!("## {}\n\n{}\n", table.title, table.about);
        table.print(&rows);
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    println!("## A running card\n\nOver its socket and rings, as QEMU drives it.\n");
    println!("{}", read("daemon.md"));
    println!(
        "## In a guest\n\nWhat `pinhole bench` prints.\n\n```text\n{}```",
        read("guest.txt")
    );
}

impl Table {
    fn print(&self, rows: &[(&String, &Group)]) {
        let mut columns: Vec<&String> = rows.iter().flat_map(|(_, group)| group.keys()).collect();
        columns.sort_unstable();
        columns.dedup();
        columns.retain(|column| *column != self.baseline);
        let head: Vec<_> = columns.iter().map(|c| c.as_str()).collect();
        println!("| | {} | {} |", self.baseline, head.join(" | "));
        println!("|---|{}", "--:|".repeat(columns.len() + 1));
        for (name, group) in rows {
            let base = group.get(self.baseline).copied();
            print!(
                "| {} | {} |",
                name.strip_prefix(self.prefix).unwrap_or(name),
                time(base)
            );
            for column in &columns {
                let cell = match (group.get(*column).copied(), base) {
                    (None, _) => String::new(),
                    (nanos, None) => time(nanos),
                    (Some(nanos), Some(base)) => match self.kind {
                        Kind::Rate => format!("{:.2}", base / nanos),
                        Kind::Time => format!("{:.2}", nanos / base),
                    },
                };
                print!(" {cell} |");
            }
            println!();
        }
        println!();
    }
}

/// Returns a time for people; nothing if there is none.
fn time(nanos: Option<f64>) -> String {
    match nanos {
        None => String::new(),
        Some(nanos) if nanos < 1e6 => format!("{:.0} us", nanos / 1e3),
        Some(nanos) => format!("{:.1} ms", nanos / 1e6),
    }
}

/// Reads the last measurements, by group.
fn criterion(folder: &Path) -> BTreeMap<String, Group> {
    let mut groups = BTreeMap::<String, Group>::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "new" {
                folders.push(path);
            } else if path.is_dir() {
                let (Some(name), Some(estimates)) = (
                    parsed::<Name>(&path.join("benchmark.json")),
                    parsed::<Estimates>(&path.join("estimates.json")),
                ) else {
                    continue;
                };
                let function = name.function_id.unwrap_or_default();
                let group = groups.entry(name.group_id).or_default();
                group.insert(function, estimates.median.point_estimate);
            }
        }
    }
    groups
}

fn parsed<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// Says on what machine this runs.
fn machine() -> String {
    let Host {
        processor, cpus, ..
    } = Host::here();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "Measured on {cpus} processors, {processor}, Linux {}.\n",
        kernel.trim()
    )
}
