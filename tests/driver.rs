//! The guest driver's pure functions, compiled for this machine and tried by the
//! programs in tests/driver.

use std::path::Path;
use std::process::Command;

/// Runs a program to its end, and says what it said if it failed.
fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn pure_functions_do_as_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("units");
    let (tests, driver) = (root.join("tests/driver"), root.join("guest-driver"));

    let mut gcc = Command::new("gcc");
    gcc.args([
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-sign-compare",
    ])
    // Undefined behaviour is the end of the program.
    .args(["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"])
    .arg("-DCONFIG_64BIT");
    for include in [tests.join("kernel"), driver.clone(), tests.clone()] {
        gcc.arg("-I").arg(include);
    }
    for file in ["main.c", "segments.c", "clock.c", "range.c"] {
        gcc.arg(tests.join(file));
    }
    for file in ["segments.c", "clock.c", "range.c"] {
        gcc.arg(driver.join(file));
    }
    must(gcc.arg("-o").arg(&program));
    must(&mut Command::new(&program));
}
