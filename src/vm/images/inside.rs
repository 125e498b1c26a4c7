//! Runs a program inside a tree, with the tree's own loader and programs.
//!
//! A tree is entered with chroot(8) in a new mount namespace, as root or in a
//! user namespace, so that the mounts disappear when the program ends, however
//! it ends. [`Complaint`] distinguishes a refusal to enter the tree from the
//! program's own errors.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::vm::provision::cache::Workspace;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result};

/// Shell script that enters the tree $1. Kernel builds need /proc and /dev.
const ENTER: &str = r#"
root=$1
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
shift
while [ "$1" != -- ]; do
	mount --bind "$1" "$root$2"
	shift 2
done
shift
exec chroot "$root" "$@"
"#;

/// Returns the command that runs a program inside `tree`, with directories of
/// this system mounted in it at the given places, which are created. The caller
/// appends the program and its arguments.
///
/// # Errors
///
/// [`Error::Io`] if a mount point in the tree cannot be created.
pub fn command(tree: &Tree, mounts: &[(&Path, &str)]) -> Result<Command> {
    let places = mounts.iter().map(|(_, place)| *place);
    for dir in places.chain(["/proc", "/dev"]) {
        let dir = tree.root().join(dir.trim_start_matches('/'));
        fs::create_dir_all(&dir).context("create", &dir)?;
    }
    let mut command = Command::new("unshare");
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    // When the process id namespace ends, so does every process that the
    // program left running.
    command
        .args([
            "--mount",
            "--propagation=private",
            "--pid",
            "--fork",
            "--kill-child",
            "--",
        ])
        .args(["sh", "-ec", ENTER, "sh"])
        .arg(tree.root());
    for (dir, place) in mounts {
        command.arg(dir).arg(place);
    }
    command.arg("--");
    Ok(command)
}

/// The most informative line of a failed build: the refusal of unshare(1) or
/// mount(8), else the compiler's first error, else the last line.
#[derive(Default)]
pub struct Complaint {
    refusal: Option<String>,
    error: Option<String>,
    last: String,
}

impl Complaint {
    /// Reads a line of the build's output.
    pub fn read(&mut self, line: &str) {
        let refused = line.starts_with("unshare: ")
            || line.starts_with("mount: ") && line.contains("permission denied");
        if refused && self.refusal.is_none() {
            self.refusal = Some(line.to_owned());
        }
        if line.contains("error:") && self.error.is_none() {
            self.error = Some(line.to_owned());
        }
        if !line.trim().is_empty() {
            self.last = line.to_owned();
        }
    }

    /// Returns the error of a failed build of `what` for the kernel `release`.
    pub fn into_error(self, what: &str, release: &str, workspace: &Workspace<'_>) -> Error {
        self.into_failure(format!("building {what} for {release}"), workspace)
    }

    /// Returns the error of a failed action `what`.
    pub fn into_failure(self, what: String, workspace: &Workspace<'_>) -> Error {
        match self.refusal {
            Some(line) => Error::Namespaces { line },
            None => Error::Failed {
                what,
                line: self.error.unwrap_or(self.last),
                log: workspace.log.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_told() {
        let mut complaint = Complaint::default();
        for line in [
            "CC x.o",
            "x.c:1: error: one",
            "x.c:2: error: two",
            "make: *** 2",
            "",
        ] {
            complaint.read(line);
        }
        assert_eq!(complaint.error.as_deref(), Some("x.c:1: error: one"));
        assert_eq!(complaint.last, "make: *** 2");
    }
}
