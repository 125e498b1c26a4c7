//! The kernel's own checkers, checkpatch.pl and sparse, run on the modules'
//! sources.
//!
//! Both run inside a tree of packages, so that their versions are the suite's
//! and not the user's.

use std::fs;
use std::path::Path;

use super::catalog::{Catalog, LintRecipe};
use super::driver::{self, Module};
use super::headers;
use super::inside::{self, Complaint};
use super::unpacked::{self, UNUSED};
use crate::vm::progress::{Progress, Step};
use crate::vm::provision::bootstrap::Packages;
use crate::vm::provision::cache::{Cache, Entry, Workspace, key};
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result, process};

/// Format number, incremented when the tree is made differently from its
/// packages.
const FORMAT: u32 = 1;

/// Kind and name of its cache entries.
const LINT: &str = "lint";

/// The types of messages that checkpatch.pl is told to ignore, and the reasons.
///
/// | type | why |
/// |---|---|
/// | `CONSTANT_COMPARISON`, `LINUX_VERSION_CODE` | the driver supports several kernels; compat.h distinguishes them |
/// | `MACRO_ARG_REUSE` | context.h walks lists and arrays by macros that are loops, as the kernel does |
/// | `MACRO_ARG_UNUSED` | compat.h's macros take the arguments of the newest kernel's functions |
/// | `OPEN_ENDED_LINE`, `PARENTHESIS_ALIGNMENT` | trace.h has the usual layout of <linux/tracepoint.h> macros |
/// | `AVOID_EXTERNS` | the linker's `--wrap` defines the functions that mutant_seams.c declares |
const IGNORED: [&str; 7] = [
    "AVOID_EXTERNS",
    "CONSTANT_COMPARISON",
    "LINUX_VERSION_CODE",
    "MACRO_ARG_REUSE",
    "MACRO_ARG_UNUSED",
    "OPEN_ENDED_LINE",
    "PARENTHESIS_ALIGNMENT",
];

/// The modules that sparse reads: all of the driver, and the probe
/// (Documentation/dev-tools/sparse.rst).
const BY_SPARSE: [Module; 2] = [
    Module {
        variables: &["PINHOLE_MUTANTS=y", "C=2", "CHECK=sparse"],
        ..driver::MUTANTS
    },
    Module {
        variables: &["C=2", "CHECK=sparse"],
        ..driver::PROBE
    },
];

/// Directory at which the sources are mounted in the tree.
const MOUNT: &str = "/build";

/// Directory of the kernel source's scripts that are kept.
const SCRIPTS: &str = "/scripts";

/// Shell script that moves the needed scripts out of the kernel's source in the
/// directory $1 to the directory $2, and deletes the source archive.
const TAKE: &str = r#"
cd "$1"
mkdir "$2"
tar -xf linux-source-*.tar.xz --no-same-owner --strip-components=2 -C "$2" --wildcards \
	'*/scripts/checkpatch.pl' '*/scripts/const_structs.checkpatch' '*/scripts/spelling.txt'
rm linux-source-*.tar.xz
"#;

/// Shell script that runs checkpatch.pl on the files from $3 on. $1 is its
/// directory, and $2 the list of ignored types. checkpatch.pl prints one line
/// per finding, and exits with 1 if there is one; the script then succeeds.
const READ: &str = r#"
script=$1 ignore=$2
shift 2
"$script/checkpatch.pl" --no-tree --strict --terse --show-types --no-summary \
	--ignore "$ignore" --file "$@" || [ $? -eq 1 ]
"#;

/// A finding in the checker's format: `FILE:LINE: WHAT`.
pub type Finding = String;

/// Returns the checkers' findings in the modules' sources with which this
/// program was built.
///
/// # Errors
///
/// [`Error`] if the checkers cannot be provided, or do not run.
pub fn run(progress: &Progress) -> Result<Vec<Finding>> {
    let cache = Cache::open()?;
    let recipe = Catalog::builtin().lint().clone();
    let tree = ensure_tree(&cache, &recipe, progress)?;
    let release = match headers::releases(&tree, LINT)?.as_slice() {
        [one] => one.clone(),
        several => {
            return Err(Error::Contents {
                what: LINT.to_owned(),
                why: format!("they hold {} kernels' headers, not one's", several.len()),
            });
        }
    };
    let dir = tempfile::tempdir().context("create", Path::new("a temporary folder"))?;
    let log = cache.fresh_log(LINT)?;
    let lock = dir.path().join("lock");
    let lock = fs::File::create(&lock).context("create", &lock)?;
    let workspace = Workspace {
        dir: dir.path(),
        log: &log,
        lock: &lock,
    };
    let mut findings = Vec::new();
    for module in [&driver::DRIVER, &driver::PROBE] {
        let step = progress.step(format!("reading {}", module.what));
        findings.extend(checkpatch(module, &tree, &workspace)?);
        step.done();
    }
    for module in &BY_SPARSE {
        let step = progress.step(format!("sparse on {}", module.what));
        findings.extend(sparse(module, &tree, &release, &workspace, &step)?);
        step.done();
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// Removes the checkers' entries, all or only those that are `old`; returns the
/// disk space that this freed, in bytes.
pub fn remove(cache: &Cache, old: bool, progress: &Progress) -> Result<u64> {
    let current = entry(Catalog::builtin().lint()).key;
    cache.remove(LINT, LINT, old.then_some(current.as_str()), progress)
}

fn checkpatch(module: &Module, tree: &Tree, workspace: &Workspace<'_>) -> Result<Vec<Finding>> {
    let sources = driver::lay_out(module, workspace)?;
    let mut command = inside::command(tree, &[(&sources, MOUNT)])?;
    command
        .args(["sh", "-ec", READ, "sh", SCRIPTS])
        .arg(IGNORED.join(","));
    let names = module.sources.iter().map(|(name, _)| *name);
    command.args(
        names
            .filter(|name| name.ends_with(".c") || name.ends_with(".h"))
            .map(|name| format!("{MOUNT}/{name}")),
    );
    let mut findings = Vec::new();
    let mut complaint = Complaint::default();
    let status = process::run(command, workspace, |line| {
        complaint.read(line);
        findings.extend(finding(line));
    })?;
    fs::remove_dir_all(&sources).context("remove", &sources)?;
    match status.success() {
        true => Ok(findings),
        false => Err(complaint.into_failure("checkpatch.pl".to_owned(), workspace)),
    }
}

fn sparse(
    module: &Module,
    tree: &Tree,
    release: &str,
    workspace: &Workspace<'_>,
    step: &Step,
) -> Result<Vec<Finding>> {
    let warnings = driver::build(module, tree, release, workspace, step)?;
    let built = workspace.dir.join(module.file);
    fs::remove_file(&built).context("remove", &built)?;
    Ok(warnings.iter().map(|line| place(line)).collect())
}

/// Returns the finding in a line of checkpatch.pl's output.
fn finding(line: &str) -> Option<Finding> {
    line.starts_with(MOUNT).then(|| place(line))
}

/// Returns a line with its file named as in the sources.
fn place(line: &str) -> Finding {
    let line = line.strip_prefix(MOUNT).unwrap_or(line);
    line.trim_start_matches('/').to_owned()
}

fn ensure_tree(cache: &Cache, recipe: &LintRecipe, progress: &Progress) -> Result<Tree> {
    let packages = Packages {
        what: LINT,
        suite: &recipe.suite,
        release: None,
        names: &recipe.packages,
        lapsed: false,
    };
    unpacked::ensure(
        cache,
        &entry(recipe),
        packages,
        "unpacking the kernel's checkers".to_owned(),
        progress,
        |tree, workspace, step| {
            take_scripts(tree, workspace, &step)?;
            Ok(step)
        },
    )
}

/// Moves the scripts out of the kernel's source, which is deleted.
fn take_scripts(tree: &Tree, workspace: &Workspace<'_>, step: &Step) -> Result<()> {
    step.update("checkpatch.pl");
    let mut command = inside::command(tree, &[])?;
    command.args(["sh", "-ec", TAKE, "sh", "/usr/src", SCRIPTS]);
    let mut complaint = Complaint::default();
    let status = process::run(command, workspace, |line| complaint.read(line))?;
    match status.success() {
        true => Ok(()),
        false => Err(complaint.into_failure("unpacking checkpatch.pl".to_owned(), workspace)),
    }
}

fn entry(recipe: &LintRecipe) -> Entry {
    let made_of = format!(
        "{FORMAT} {TAKE} {:?} {:?} {UNUSED:?}",
        recipe.suite, recipe.packages
    );
    Entry {
        kind: LINT,
        name: LINT.to_owned(),
        key: key(&made_of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_its_file_as_the_sources_do() {
        let line = "/build/probe/main.c:3: WARNING:LONG_LINE: line length of 101 exceeds 100";
        assert_eq!(
            finding(line).unwrap(),
            "probe/main.c:3: WARNING:LONG_LINE: line length of 101 exceeds 100"
        );
        assert_eq!(
            finding("No structs that should be const will be found"),
            None
        );
    }
}
