//! Builds kernel modules, above all the guest driver, inside a guest's tree, or
//! on this system for a kernel that was built here.
//!
//! In a guest's tree the build uses the tree's own compiler, kernel headers and
//! build programs ([`inside`](super::inside)); it writes nothing to the tree.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use twox_hash::XxHash3_128;

use super::configuration::is_clangs;
use super::inside::{self, Complaint};
use crate::vm::progress::Step;
use crate::vm::provision::cache::Workspace;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result, process};

/// A module that is built outside the kernel's tree.
#[derive(Debug)]
pub struct Module {
    /// Description of the module, for messages.
    pub what: &'static str,
    /// File name of the built module.
    pub file: &'static str,
    /// Directory of its Kbuild among the sources; empty for the top directory.
    pub folder: &'static str,
    /// Source files: names and contents.
    pub sources: &'static [(&'static str, &'static [u8])],
    /// Variables that are set for its Kbuild.
    pub variables: &'static [&'static str],
}

impl Module {
    /// Logs the warnings of a build.
    pub fn warn(&self, warnings: &[String]) {
        for line in warnings {
            log::warn!("building {}: {line}", self.what);
        }
    }
}

/// The guest driver.
pub const DRIVER: Module = Module {
    what: "the driver",
    file: "pinhole.ko",
    folder: "",
    sources: include!(concat!(env!("OUT_DIR"), "/driver_sources.rs")),
    variables: &[],
};

/// The driver with deliberate bugs, one of which a parameter selects.
pub const MUTANTS: Module = Module {
    what: "the driver's mutants",
    variables: &["PINHOLE_MUTANTS=y"],
    ..DRIVER
};

/// The module that makes calls on frame vectors for the tests.
pub const PROBE: Module = Module {
    what: "the frame vector probe",
    file: "frame_vector_probe.ko",
    folder: "probe",
    sources: include!(concat!(env!("OUT_DIR"), "/probe_sources.rs")),
    variables: &[],
};

/// Directory of the sources in a workspace.
const SOURCES: &str = "build";

/// Directory at which the sources are mounted in the tree for the build.
const MOUNT: &str = "/build";

/// Returns a digest of source files.
pub fn digest(sources: &[(&str, &[u8])]) -> String {
    let mut hash = XxHash3_128::new();
    for (name, contents) in sources {
        for part in [name.as_bytes(), contents] {
            hash.write(&(part.len() as u64).to_le_bytes());
            hash.write(part);
        }
    }
    format!("{:032x}", hash.finish_128())
}

/// Builds `module` for the kernel `release` into the workspace, and leaves
/// nothing else there. Returns the warnings of the compiler, modpost and
/// checkers.
pub fn build(
    module: &Module,
    tree: &Tree,
    release: &str,
    workspace: &Workspace<'_>,
    step: &Step,
) -> Result<Vec<String>> {
    let sources = lay_out(module, workspace)?;
    let mut command = inside::command(tree, &[(&sources, MOUNT)])?;
    command
        .args(["make", "-j2", "-C"])
        .arg(format!("/lib/modules/{release}/build"))
        .arg(target(module, Path::new(MOUNT)))
        .args(module.variables)
        .arg("modules");
    make(command, module, release, workspace, step)
}

/// Does the same as [`build`] with this system's own make and compiler, against
/// the tree `dir` in which the kernel was built, or which has its headers.
pub fn build_here(
    module: &Module,
    dir: &Path,
    release: &str,
    workspace: &Workspace<'_>,
    step: &Step,
) -> Result<Vec<String>> {
    // The compilers' environment (PATH, LLVM) is the user's, as when the kernel
    // was built.
    let clang = is_clangs(dir);
    let compiler = match clang {
        true => "clang",
        false => "gcc",
    };
    for tool in ["make", compiler] {
        if !is_installed(tool) {
            return Err(Error::MissingTool {
                tool,
                package: tool,
            });
        }
    }
    let sources = lay_out(module, workspace)?;
    let mut command = Command::new("make");
    command
        .env("LC_ALL", "C")
        .args(["-j2", "-C"])
        .arg(dir)
        .arg(target(module, &sources))
        .args(module.variables)
        .arg("modules");
    if clang && std::env::var_os("LLVM").is_none() {
        command.arg("LLVM=1");
    }
    make(command, module, release, workspace, step)
}

/// Writes the sources of a module; returns their directory.
pub fn lay_out(module: &Module, workspace: &Workspace<'_>) -> Result<PathBuf> {
    let build = workspace.dir.join(SOURCES);
    let folder = build.join(module.folder);
    fs::create_dir_all(&folder).context("create", &folder)?;
    for (name, contents) in module.sources {
        let path = build.join(name);
        fs::write(&path, contents).context("write", &path)?;
    }
    Ok(build)
}

/// Returns the argument that tells kbuild which directory to build; kbuild sees
/// the sources at `root`.
fn target(module: &Module, root: &Path) -> OsString {
    let mut argument = OsString::from("M=");
    argument.push(match module.folder {
        "" => root.to_owned(),
        folder => root.join(folder),
    });
    argument
}

/// Runs make, moves the built module out of the sources, and removes the
/// sources. Returns the warnings.
fn make(
    command: Command,
    module: &Module,
    release: &str,
    workspace: &Workspace<'_>,
    step: &Step,
) -> Result<Vec<String>> {
    let mut complaint = Complaint::default();
    let mut warnings = Vec::new();
    let status = process::run(command, workspace, |line| {
        step.update(line.trim());
        complaint.read(line);
        if is_warning(line) {
            warnings.push(line.trim().to_owned());
        }
    })?;
    let sources = workspace.dir.join(SOURCES);
    let built = sources.join(module.folder).join(module.file);
    if !status.success() || !built.is_file() {
        return Err(complaint.into_error(module.what, release, workspace));
    }
    let target = workspace.dir.join(module.file);
    fs::rename(&built, &target).context("move", &built)?;
    fs::remove_dir_all(&sources).context("remove", &sources)?;
    Ok(warnings)
}

/// Returns whether a line of a build is a warning of the compiler or modpost,
/// or an error of a checker, which does not fail the build. The line that says
/// that a suite's compiler was updated since it built the kernel is not a
/// warning.
fn is_warning(line: &str) -> bool {
    let signs = ["warning:", "WARNING:", "error:"];
    let warns = signs.iter().any(|sign| line.contains(sign));
    warns && !line.contains("the compiler differs from the one used")
}

/// Returns whether a program is in this system's PATH.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_from_other_lines() {
        for line in [
            "/build/queue.c:7:9: warning: unused variable 'x' [-Wunused-variable]",
            "/build/queue.c:7:9: error: incompatible types for operation (<)",
            "WARNING: modpost: pinhole: section mismatch in reference",
        ] {
            assert!(is_warning(line), "{line}");
        }
        for line in [
            "  CC [M]  /build/queue.o",
            "Skipping BTF generation for /build/pinhole.ko due to unavailability of vmlinux",
            "warning: the compiler differs from the one used to build the kernel",
        ] {
            assert!(!is_warning(line), "{line}");
        }
    }

    /// Runs the Makefile that users and DKMS call, with a kernel tree that
    /// prints its arguments.
    #[test]
    fn the_makefile_follows_a_kernel_that_clang_built() {
        let told = |configuration: &str, argument: Option<&str>| {
            let dir = tempfile::tempdir().unwrap();
            let tree = dir.path();
            fs::create_dir_all(tree.join("include/config")).unwrap();
            fs::write(tree.join("include/config/auto.conf"), configuration).unwrap();
            fs::write(tree.join("Makefile"), "modules:\n\t@echo 'told $(LLVM)'\n").unwrap();
            let makefile = DRIVER.sources.iter().find(|(name, _)| *name == "Makefile");
            fs::write(tree.join("own.mk"), makefile.unwrap().1).unwrap();
            let output = Command::new("make")
                .env_remove("LLVM")
                .args(["-s", "-f", "own.mk", "modules"])
                .arg(format!("KDIR={}", tree.display()))
                .args(argument)
                .current_dir(tree)
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        assert_eq!(told("CONFIG_CC_IS_GCC=y\n", None), "told");
        assert_eq!(told("CONFIG_CC_IS_CLANG=y\n", None), "told 1");
        assert_eq!(told("CONFIG_CC_IS_CLANG=y\n", Some("LLVM=-19")), "told -19");
    }

    #[test]
    fn the_digest_tells_names_from_contents() {
        assert_ne!(digest(&[("a", b"bc")]), digest(&[("ab", b"c")]));
        assert_ne!(digest(&[("a", b"b")]), digest(&[("a", b"c")]));
        // XXH3-128, on which the caches of users stand.
        assert_eq!(
            digest(&[("main.c", &[b'x'; 5000])]),
            "052469361ee418a0e444fdf6fb5609a9"
        );
    }
}
