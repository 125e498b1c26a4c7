//! Programs that a test writes and runs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a program. Another process does: what this one has open for writing, a process
/// that another thread forks meanwhile has too, and nobody can execute it (ETXTBSY).
pub fn write(path: &Path, program: impl AsRef<[u8]>) {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path);
    let mut install = install.stdin(Stdio::piped()).spawn().expect("install");
    let mut into = install.stdin.take().expect("a pipe");
    into.write_all(program.as_ref()).expect("the program");
    drop(into);
    assert!(install.wait().expect("install").success());
}
