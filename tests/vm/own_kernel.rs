//! A kernel of the user's own, as `--bzimage` and `--modules` give it: here a
//! guest's, out of its unpacked packages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pinhole::vm::images::{self, Catalog};
use pinhole::vm::progress::Progress;

use crate::program::{self, WITH_A_GUEST};

/// Where a guest's kernel and its modules are in its tree.
fn trixie() -> (PathBuf, PathBuf) {
    let recipe = Catalog::builtin().get("trixie").unwrap();
    let guest = images::ensure_guest(&recipe, &Progress::silent()).unwrap();
    let kernel = guest.tree.join(format!("boot/vmlinuz-{}", guest.release));
    let modules = guest.tree.join("lib/modules").join(guest.release);
    (kernel, modules)
}

/// Runs a cell with that kernel; the results are in `out`.
fn matrix(cell: &str, kernel: &Path, modules: &Path, out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command
        .args(["matrix", "--json", "--cell", cell, "--bzimage"])
        .arg(kernel)
        .arg("--modules")
        .arg(modules)
        .arg("--out")
        .arg(out)
        .args(more);
    program::output(&mut command, WITH_A_GUEST)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "boots a guest"]
fn a_kernel_with_its_modules_is_judged_like_a_guest() {
    let dir = tempfile::tempdir().unwrap();
    let (kernel, modules) = trixie();
    let output = matrix("anon-touched@64", &kernel, &modules, dir.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let outcomes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let outcome = &outcomes[0];
    assert_eq!(outcome["kernel"], "bzimage");
    let release = modules.file_name().unwrap().to_str().unwrap();
    assert_eq!(outcome["release"], release);
    assert_eq!(outcome["cells"][0]["verdict"], "expected", "{outcome:#}");
    assert!(dir.path().join("bzimage.json").is_file());
}

#[test]
#[ignore = "boots a guest"]
fn a_kernel_that_cannot_be_tested_is_for_a_bisection_to_skip() {
    let dir = tempfile::tempdir().unwrap();
    let (kernel, modules) = trixie();
    // It finds no init, and panics.
    let dead = ["--append", "rdinit=/none"];
    let output = matrix("anon-touched", &kernel, &modules, dir.path(), &dead);
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    // A dead kernel is told from a slow one.
    assert!(said(&output).contains("the guest ended while it booted"));

    let no_kernel = Path::new(env!("CARGO_BIN_EXE_pinhole"));
    let output = matrix("anon-touched", no_kernel, &modules, dir.path(), &[]);
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    assert!(said(&output).contains("it is no bzImage"));
}
