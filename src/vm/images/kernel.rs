//! Builds a guest's kernel from its suite's own source, inside its tree and
//! with the tree's compiler.
//!
//! The result is installed in the tree at the places that a package would use:
//! the kernel in /boot, its modules in /lib/modules, and the files against
//! which modules are built behind their link `build`. So later steps do not
//! distinguish such a kernel from a packaged one.

use std::fs;
use std::num::NonZero;
use std::thread;

use super::catalog::Config;
use super::inside::{self, Complaint};
use crate::vm::progress::Step;
use crate::vm::provision::cache::Workspace;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Result, process};

/// Directory in which the package linux-source puts its archive.
const SOURCES: &str = "/usr/src";

/// File name in [`SOURCES`] of the configuration fragment for the build.
const FRAGMENT: &str = "fragment.config";

/// Separator between the version and the name of the configuration in the
/// release that `uname -r` prints.
const LOCAL_VERSION: &str = "-";

/// Shell script that builds a kernel in the directory $1 with the fragment $2,
/// the local version $3 and $4 jobs, installs it, and keeps of the source only
/// the files against which modules are built.
///
/// The kernel's scripts/package/install-extmod-build lists the files that an
/// external module's build reads. The sources of the kernel's build programs
/// are removed, because those are already built.
const BUILD: &str = r#"
cd "$1"
tar -xf linux-source-*.tar.xz --no-same-owner
rm linux-source-*.tar.xz
cd linux-source-*
make tinyconfig >/dev/null
KCONFIG_CONFIG=.config scripts/kconfig/merge_config.sh -m .config "../$2" >/dev/null
make olddefconfig >/dev/null
make LOCALVERSION="$3" -j"$4" bzImage modules
make modules_install >/dev/null
release=$(cat include/config/kernel.release)
cp arch/x86/boot/bzImage "/boot/vmlinuz-$release"
cp .config "/boot/config-$release"
find . -depth \( -type f -o -type l \) \
	! -path './include/*' ! -path './scripts/*' ! -path './arch/x86/include/*' \
	! -path './tools/objtool/objtool' \
	! -name Makefile ! -name 'Makefile*' ! -name Kbuild ! -name 'Kbuild*' \
	! -name 'Kconfig*' ! -path ./Module.symvers ! -path ./.config -delete
find scripts -name '*.o' -delete
find . -depth -type d -empty -delete
"#;

/// Prefixes of kbuild's output lines for compiled objects.
const OBJECT: [&str; 3] = ["CC", "AS", "CC [M]"];

/// Returns a text with everything but the sources on which a kernel of that
/// configuration depends, for the key of its cache entry.
pub fn made_of(config: &Config) -> String {
    format!("{BUILD}{LOCAL_VERSION}{}{}", config.name, config.fragment)
}

/// Builds the kernel of `config` in `tree`, which holds its source.
///
/// # Errors
///
/// [`Error::Namespaces`](crate::vm::provision::Error::Namespaces) if the tree
/// cannot be entered, [`Error::Failed`](crate::vm::provision::Error::Failed) if
/// the build fails.
pub fn build(
    config: &Config,
    tree: &Tree,
    workspace: &Workspace<'_>,
    what: &str,
    step: &Step,
) -> Result<()> {
    let fragment = tree.resolve(SOURCES)?.join(FRAGMENT);
    fs::write(&fragment, config.fragment).context("write", &fragment)?;
    let boot = tree.root().join("boot");
    fs::create_dir_all(&boot).context("create", &boot)?;
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let mut command = inside::command(tree, &[])?;
    command
        .args(["sh", "-ec", BUILD, "sh", SOURCES, FRAGMENT])
        .arg(format!("{LOCAL_VERSION}{}", config.name))
        .arg(processors.to_string());
    step.update("unpacking its source");
    let mut complaint = Complaint::default();
    let mut objects = 0;
    let status = process::run(command, workspace, |line| {
        complaint.read(line);
        if let Some(object) = object(line) {
            objects += 1;
            step.update(&format!("{objects} objects compiled, {object}"));
        }
    })?;
    match status.success() {
        true => Ok(()),
        false => Err(complaint.into_error("the kernel", what, workspace)),
    }
}

/// Returns the object whose compilation a line of kbuild announces, if it does.
fn object(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (verb, object) = line.rsplit_once(' ')?;
    OBJECT.contains(&verb.trim_end()).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::images::Catalog;

    #[test]
    fn objects_are_told_from_other_lines() {
        assert_eq!(object("  CC      mm/gup.o"), Some("mm/gup.o"));
        assert_eq!(object("  CC [M]  drivers/x.o"), Some("drivers/x.o"));
        assert_eq!(object("  AS      arch/x86/y.o"), Some("arch/x86/y.o"));
        for other in ["  LD      vmlinux.o", "  HOSTCC  scripts/z.o", "", "CC"] {
            assert_eq!(object(other), None, "{other}");
        }
    }

    #[test]
    fn a_line_of_the_configuration_is_part_of_what_it_is_made_of() {
        let mut config = Catalog::builtin()
            .get("trixie-checked")
            .unwrap()
            .config
            .unwrap();
        let before = made_of(&config);
        config.fragment = "CONFIG_KASAN=n\n";
        assert_ne!(made_of(&config), before);
    }
}
