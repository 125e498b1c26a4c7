//! `pinhole frame-vector`: the answers of each kernel, and what an unexpected
//! one leads to.

use std::process::Command;

use serde_json::Value;

use crate::program::{self, WITH_A_GUEST};

/// Asks a kernel, and expects every answer to be as expected.
fn all_as_expected_on(kernel: &str, release: &str) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.args(["frame-vector", "--json", "--kernel", kernel]);
    let output = program::output(&mut command, WITH_A_GUEST);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("stdout is not JSON: {error}\n{stderr}"));
    let contract = &json[0];
    assert_eq!(contract["kernel"], kernel);
    assert!(
        contract["release"].as_str().unwrap().starts_with(release),
        "{}",
        contract["release"]
    );
    let points = contract["points"].as_array().unwrap().clone();
    let unexpected: Vec<_> = points
        .iter()
        .filter(|point| point["as_expected"] != true)
        .map(|point| {
            format!(
                "{}: {} (expected: {})\n{}",
                point["name"], point["answer"], point["expected"], point["evidence"]
            )
        })
        .collect();
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    points
}

/// The answer to a point.
fn answer<'a>(points: &'a [Value], name: &str) -> &'a str {
    let point = points.iter().find(|point| point["name"] == name);
    point.unwrap()["answer"].as_str().unwrap()
}

#[test]
#[ignore = "boots a guest"]
fn answers_of_bullseye() {
    let points = all_as_expected_on("bullseye", "5.10");
    // Written down here a second time: the expectations are code, too.
    assert_eq!(answer(&points, "device"), "EFAULT");
    assert!(answer(&points, "untouched-read").ends_with("the zero page"));
    assert_eq!(answer(&points, "longterm"), "EINVAL, 1 warning");
    assert!(answer(&points, "movable").ends_with("8 in it before, 8 after"));
    assert!(answer(&points, "fork-then-read").ends_with("0 of 8 are the process's"));
}

#[test]
#[ignore = "boots a guest"]
fn answers_of_bookworm() {
    let points = all_as_expected_on("bookworm", "6.1");
    assert_eq!(answer(&points, "read-only-write"), "8 of 8 pages, pinned");
    assert!(answer(&points, "userfaultfd").starts_with("EFAULT"));
    assert_eq!(answer(&points, "hugetlb"), "ENOMEM, 1 warning");
}

#[test]
#[ignore = "boots a guest"]
fn answers_of_trixie() {
    let points = all_as_expected_on("trixie", "6.12");
    assert_eq!(answer(&points, "read-only-write"), "EFAULT");
    assert_eq!(answer(&points, "hole"), "3 of 8 pages, pinned");
    assert_eq!(answer(&points, "disk"), "EFAULT");
    assert!(answer(&points, "movable").ends_with("8 in it before, 0 after"));
    assert_eq!(
        answer(&points, "kill-midway"),
        "yes, with 4 pages; pins: +0 after it"
    );
}

/// CONFIG_DEBUG_VM asks a question of its own.
#[test]
#[ignore = "boots a guest"]
fn answers_of_trixie_checked() {
    let points = all_as_expected_on("trixie-checked", "6.12");
    assert!(answer(&points, "destroy-unpins").starts_with("a BUG ends the caller"));
}

#[test]
#[ignore = "boots a guest"]
fn answers_of_trixie_backports() {
    let points = all_as_expected_on("trixie-backports", "");
    assert!(answer(&points, "above-allocation").ends_with("; 1 warning"));
    assert_eq!(answer(&points, "io-pages-read"), "4 of 4 pages, pinned");
}
