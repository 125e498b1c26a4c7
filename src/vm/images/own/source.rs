//! The source of a kernel's modules, and of the files against which modules are
//! built.
//!
//! Both are in one directory: the tree in which the kernel was built, or one
//! that `make modules_install` or a package has installed.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::vm::images::configuration::{FILE as CONFIGURATION, has};
use crate::vm::images::modules::Modules;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result};

/// Files of a build tree that describe its kernel.
const RELEASE: &str = "include/config/kernel.release";
const SYMBOLS: &str = "Module.symvers";

/// The programs that a root needs to build modules by itself.
const BUILDERS: [&str; 2] = ["/usr/bin/make", "/usr/bin/gcc"];

/// The modules of a kernel, and the place where others are built for it.
#[derive(Debug)]
pub struct Source {
    /// The kernel's modules.
    pub modules: Modules,
    /// The place where other modules are built.
    pub place: Place,
}

/// The place where a module is built.
#[derive(Debug, Clone)]
pub enum Place {
    /// On this system, against the kernel's tree in that directory.
    Here(PathBuf),
    /// Inside that root, with the root's compiler.
    Inside(Tree),
}

impl Source {
    /// Opens the directory `dir` as the source for the kernel `release`.
    ///
    /// # Errors
    ///
    /// [`Error::Own`] if it belongs to another kernel, or is incomplete;
    /// [`Error::Io`] if it cannot be read.
    pub fn open(dir: &Path, release: &str) -> Result<Self> {
        let dir = dir.canonicalize().context("find", dir)?;
        if dir.join(RELEASE).is_file() {
            return Self::of_build_tree(dir, release);
        }
        let below = dir.join("lib/modules").join(release);
        if below.is_dir() {
            return Self::of_installed(below, release);
        }
        if dir.join("kernel").is_dir() || dir.join("modules.builtin").is_file() {
            return Self::of_installed(dir, release);
        }
        Err(refused(
            &dir,
            format!(
                "it is neither a tree in which a kernel was built, with {RELEASE}, nor a folder \
                 of installed modules, lib/modules/{release}"
            ),
        ))
    }

    fn of_build_tree(dir: PathBuf, release: &str) -> Result<Self> {
        check_build_tree(&dir, release)?;
        Ok(Self {
            modules: Modules::built(&dir)?,
            place: Place::Here(dir),
        })
    }

    fn of_installed(dir: PathBuf, release: &str) -> Result<Self> {
        let dir = dir.canonicalize().context("find", &dir)?;
        let name = dir.file_name().and_then(|name| name.to_str());
        if name != Some(release) {
            return Err(refused(&dir, other(name.unwrap_or_default(), release)));
        }
        Ok(Self {
            modules: Modules::open(&dir)?,
            place: place(&dir, release)?,
        })
    }
}

/// Returns the place where modules are built for a kernel whose own modules are
/// in `dir`.
fn place(dir: &Path, release: &str) -> Result<Place> {
    // In an unpacked root, absolute paths in links and makefiles are relative
    // to the root, so modules are built inside the root if it has the programs.
    if let Some(root) = root(dir) {
        let tree = Tree::new(root.to_owned());
        let whole = BUILDERS.iter().all(|path| tree.resolve(path).is_ok());
        if whole && tree.resolve(&build_link(release)).is_ok() {
            return Ok(Place::Inside(tree));
        }
    }
    let link = dir.join("build");
    let Ok(tree) = link.canonicalize() else {
        let why = match fs::read_link(&link) {
            Ok(target) => format!("it leads to {}, which is not there", target.display()),
            Err(_) => "there is no such link".to_owned(),
        };
        return Err(refused(
            &link,
            format!("{why}: install the kernel's headers, or name the tree it was built in"),
        ));
    };
    check_build_tree(&tree, release)?;
    Ok(Place::Here(tree))
}

/// Returns the path in a root that leads to the headers.
fn build_link(release: &str) -> String {
    format!("/lib/modules/{release}/build")
}

/// Returns the root of a directory of modules, if it is not the system's own.
fn root(dir: &Path) -> Option<&Path> {
    let above = dir.parent()?;
    let root = above
        .ancestors()
        .nth(2)
        .filter(|_| above.ends_with("lib/modules"))?;
    // In most roots /lib is a link to /usr/lib.
    let root = match root.ends_with("usr") {
        true => root.parent()?,
        false => root,
    };
    (root.components().next_back() != Some(Component::RootDir)).then_some(root)
}

/// Checks that modules can be built against a tree.
fn check_build_tree(dir: &Path, release: &str) -> Result<()> {
    let path = dir.join(RELEASE);
    let found = fs::read_to_string(&path).context("read", &path)?;
    if found.trim() != release {
        return Err(refused(dir, other(found.trim(), release)));
    }
    let path = dir.join(CONFIGURATION);
    let configuration = fs::read_to_string(&path).context("read", &path)?;
    if !has(&configuration, "CONFIG_MODULES") {
        return Err(refused(
            dir,
            "its kernel has no CONFIG_MODULES, and the driver is a module".into(),
        ));
    }
    match dir.join(SYMBOLS).is_file() {
        true => Ok(()),
        false => Err(refused(
            dir,
            format!("it has no {SYMBOLS}: its modules were not built"),
        )),
    }
}

fn other(found: &str, release: &str) -> String {
    format!("it is of the kernel {found}, and the one to boot is {release}")
}

fn refused(path: &Path, why: String) -> Error {
    Error::Own {
        path: path.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::vm::images::configuration::is_clangs;

    const OURS: &str = "6.12.0-own";

    /// Writes files, and creates their directories.
    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn build_tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let release = format!("{OURS}\n");
        let files = [
            (RELEASE, release.as_str()),
            (CONFIGURATION, "CONFIG_MODULES=y\nCONFIG_CC_IS_GCC=y\n"),
            (SYMBOLS, ""),
            ("modules.order", "drivers/mc.o\n"),
            ("modules.builtin", "kernel/virtio_pci.ko\n"),
            ("drivers/mc.ko", "\0depends=\0"),
        ];
        write(dir.path(), &files);
        dir
    }

    fn complaint(dir: &Path) -> String {
        Source::open(dir, OURS).unwrap_err().to_string()
    }

    #[test]
    fn a_build_tree_is_its_own_place() {
        let dir = build_tree();
        let source = Source::open(dir.path(), OURS).unwrap();
        let names = ["mc", "virtio_pci", "vivid"].map(str::to_owned);
        let (present, absent) = source.modules.present(&names).unwrap();
        assert_eq!((present.len(), absent), (2, vec!["vivid".to_owned()]));
        let Place::Here(place) = source.place else {
            panic!("it is built on this system");
        };
        assert_eq!(place, dir.path().canonicalize().unwrap());
        assert!(!is_clangs(&place));
        write(&place, &[(CONFIGURATION, "CONFIG_CC_IS_CLANG=y\n")]);
        assert!(is_clangs(&place));
    }

    #[test]
    fn a_build_tree_that_is_not_whole_is_refused() {
        let dir = build_tree();
        let error = Source::open(dir.path(), "6.13.0").unwrap_err().to_string();
        let both = error.contains(OURS) && error.contains("6.13.0");
        assert!(both, "{error}");
        fs::remove_file(dir.path().join("modules.order")).unwrap();
        assert!(complaint(dir.path()).contains("modules.order"));
        fs::remove_file(dir.path().join(SYMBOLS)).unwrap();
        let said = complaint(dir.path());
        assert!(said.contains("its modules were not built"), "{said}");
        write(
            dir.path(),
            &[(CONFIGURATION, "# CONFIG_MODULES is not set\n")],
        );
        assert!(complaint(dir.path()).contains("CONFIG_MODULES"));
    }

    #[test]
    fn installed_modules_lead_to_their_tree() {
        let tree = build_tree();
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("lib/modules").join(OURS);
        write(
            &modules,
            &[("kernel/mc.ko", "\0depends=\0"), ("modules.builtin", "")],
        );
        let said = complaint(dir.path());
        assert!(said.contains("there is no such link"), "{said}");
        let link = modules.join("build");
        symlink("/no/such/tree", &link).unwrap();
        let said = complaint(dir.path());
        assert!(said.contains("/no/such/tree, which is not there"), "{said}");
        fs::remove_file(&link).unwrap();
        symlink(tree.path(), &link).unwrap();
        // The source can be the root above the modules, or their own directory.
        for dir in [dir.path(), &modules] {
            let source = Source::open(dir, OURS).unwrap();
            assert!(matches!(source.place, Place::Here(place) if place.join(SYMBOLS).is_file()));
        }
        let said = Source::open(&modules, "6.13.0").unwrap_err().to_string();
        assert!(said.contains("it is of the kernel 6.12.0-own"), "{said}");
        write(tree.path(), &[(RELEASE, "6.13.0")]);
        assert!(complaint(dir.path()).contains("it is of the kernel 6.13.0"));
        fs::remove_file(modules.join("modules.builtin")).unwrap();
        assert!(complaint(dir.path()).contains("modules.builtin"));
    }

    #[test]
    fn a_root_with_a_compiler_builds_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let modules = format!("usr/lib/modules/{OURS}");
        write(
            dir.path(),
            &[
                (&format!("{modules}/modules.builtin"), ""),
                ("usr/src/headers/Makefile", "include /usr/src/common"),
                ("usr/bin/make", ""),
                ("usr/bin/gcc", ""),
            ],
        );
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        symlink("/usr/src/headers", dir.path().join(&modules).join("build")).unwrap();
        let root = dir.path().canonicalize().unwrap();
        for dir in [dir.path().join(&modules), dir.path().to_owned()] {
            let source = Source::open(&dir, OURS).unwrap();
            assert!(matches!(source.place, Place::Inside(tree) if tree.root() == root));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let said = complaint(dir.path());
        assert!(said.contains("neither") && said.contains(OURS), "{said}");
        let said = complaint(&dir.path().join("none"));
        assert!(said.contains("none"), "{said}");
    }

    #[test]
    fn the_systems_own_modules_have_no_other_root() {
        for (dir, expected) in [
            ("/lib/modules/6.12", None),
            ("/usr/lib/modules/6.12", None),
            ("/tmp/root/lib/modules/6.12", Some("/tmp/root")),
            ("/tmp/root/usr/lib/modules/6.12", Some("/tmp/root")),
            ("/tmp/modules/6.12", None),
        ] {
            assert_eq!(root(Path::new(dir)), expected.map(Path::new), "{dir}");
        }
    }
}
