//! A tree of Debian packages in the cache: unpacked, never configured, and
//! without unused files.

use super::base;
use crate::vm::progress::{Progress, Step};
use crate::vm::provision::bootstrap::{self, Packages};
use crate::vm::provision::cache::{Cache, Entry, Workspace};
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Result};

/// Paths in a tree that no build and no guest reads.
pub const UNUSED: [&str; 12] = [
    "/lib/systemd",
    "/lib/udev",
    "/usr/share/bash-completion",
    "/usr/share/bug",
    "/usr/share/doc",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/share/zsh",
    "/var/cache",
    "/var/lib/apt",
];

/// Returns the tree that is kept as `entry`. If the cache does not have it,
/// unpacks `packages`, with `what` as the progress text, and then calls `make`
/// for the remaining work; `make` returns the step that is in progress.
///
/// # Errors
///
/// [`Error`](crate::vm::provision::Error) if the packages cannot be provided,
/// or `make` fails.
pub fn ensure(
    cache: &Cache,
    entry: &Entry,
    packages: Packages<'_>,
    what: String,
    progress: &Progress,
    make: impl FnOnce(&Tree, &Workspace<'_>, Step) -> Result<Step>,
) -> Result<Tree> {
    let dir = cache.ensure(entry, progress, |workspace| {
        let step = progress.step(what);
        let root = workspace.dir.join("root");
        let versions = bootstrap::unpack(packages, &root, workspace, &step)?;
        let tree = Tree::new(root.canonicalize().context("find", &root)?);
        tree.link_shell_and_awk()?;
        let step = make(&tree, workspace, step)?;
        step.update("removing what nothing reads");
        tree.prune(UNUSED.iter().map(|path| (*path).to_owned()))?;
        base::write_json(&workspace.dir.join(base::PACKAGES), &versions)?;
        step.done();
        Ok(())
    })?;
    let root = dir.join("root");
    Ok(Tree::new(root.canonicalize().context("find", &root)?))
}
