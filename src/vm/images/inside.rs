//! Running a program inside a tree, by the tree's own loader and programs.
//!
//! A tree is entered with chroot(8) in a mount namespace of its own, as root or
//! in a user namespace, so that the mounts are gone when the program is, however
//! it ends. What refuses that is told apart from what the program itself says
//! ([`Complaint`]).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::vm::provision::cache::Workspace;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result};

/// Enters the tree $1. Builds of kernels want /proc and /dev.
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

/// The command that runs a program inside `tree`, with directories of this
/// system mounted at places in it; the places are made. It takes the program and
/// its arguments.
///
/// # Errors
///
/// [`Error::Io`] where a place in the tree cannot be made.
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
    // The namespace of process ids ends whatever the program leaves running.
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

/// The line that tells most about a failed build: the refusal of unshare(1) or mount(8),
/// else the compiler's first error, else the last line there was.
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

    /// Why building `what` for the kernel `release` failed.
    pub fn into_error(self, what: &str, release: &str, workspace: &Workspace<'_>) -> Error {
        self.into_failure(format!("building {what} for {release}"), workspace)
    }

    /// Why doing `what` failed.
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
