//! The guests: a Debian suite's kernel, a small initramfs with the tools, and
//! the driver built for it.
//!
//! A guest is made in three layers. Each is kept in the
//! [cache](super::provision) under a key of its ingredients, so that a change
//! rebuilds no more than it must:
//!
//! 1. the *tree* ([`catalog`], [`unpacked`],
//!    [`bootstrap`](super::provision::bootstrap)): unpacked Debian packages
//!    and, if the kernel is not one of them, the kernel that was built from
//!    their source in the tree ([`kernel`]);
//! 2. the *guest* ([`base`], [`initramfs`], [`modules`], [`signature`], [`pvh`]): kernel
//!    and initramfs taken from the tree;
//! 3. the *driver* ([`driver`]): pinhole.ko built inside the tree; likewise a
//!    *probe* for the tests of the frame vectors, and a driver with *mutants*,
//!    deliberate bugs that the matrix must find.
//!
//! The kernel may also be the user's own ([`own`]); the cache then keeps only
//! the tree of its user land.
//!
//! The driver is built for more kernels than those it is run on ([`headers`]),
//! and the kernel's own checkers read its sources ([`lint`]).
//!
//! All guests share one image: a disk with programs too large for an initramfs
//! ([`clients`]).

pub mod base;
pub mod catalog;
pub mod clients;
mod configuration;
pub mod driver;
mod guest;
pub mod headers;
pub mod initramfs;
mod inside;
mod kernel;
pub mod lint;
pub mod modules;
pub mod own;
pub mod pvh;
mod signature;
mod state;
mod unpacked;

use std::path::PathBuf;

pub use catalog::{Catalog, Recipe};
pub use guest::Guest;
pub use own::OwnKernel;
pub use state::{State, remove, state};
use unpacked::UNUSED;

use super::progress::{Progress, Step};
use super::provision::Result;
use super::provision::cache::{Cache, Entry, Workspace, key};
use super::provision::tree::Tree;

/// Format number, incremented when a tree is made differently from its
/// packages.
const TREE_FORMAT: u32 = 1;

/// The kinds of cache entries that belong to a guest.
const TREE: &str = "tree";
const GUEST: &str = "guest";
const DRIVER: &str = "driver";
const PROBE: &str = "frame-vector-probe";
const MUTANTS: &str = "driver-mutants";

/// Directories of kernel modules for hardware that no guest has: half of all
/// modules.
const UNUSED_MODULES: [&str; 6] = [
    "drivers/gpu",
    "drivers/infiniband",
    "drivers/net",
    "drivers/scsi",
    "drivers/staging",
    "sound",
];

/// The same of kernels that are built here, none of which has USB. The list is part of
/// the key of trees that take long to build.
const UNUSED_MODULES_BUILT: [&str; 7] = [
    "drivers/gpu",
    "drivers/infiniband",
    "drivers/media/usb",
    "drivers/net",
    "drivers/scsi",
    "drivers/staging",
    "sound",
];

/// Returns the directories of modules that a recipe's tree is without.
const fn unused_modules(recipe: &Recipe) -> &'static [&'static str] {
    match recipe.config {
        None => &UNUSED_MODULES,
        Some(_) => &UNUSED_MODULES_BUILT,
    }
}

/// Returns the guest of a recipe; builds it if the cache does not have it.
pub fn ensure_guest(recipe: &Recipe, progress: &Progress) -> Result<Guest> {
    ensure_guest_in(&Cache::open()?, recipe, progress)
}

/// Returns the guest of a recipe, in a given cache.
pub fn ensure_guest_in(cache: &Cache, recipe: &Recipe, progress: &Progress) -> Result<Guest> {
    let entry = guest_entry(recipe);
    let build = |root: &Tree| {
        cache.ensure(&entry, progress, |workspace| {
            let step = progress.step(format!("making the initramfs of {}", recipe.id));
            base::build(recipe, root, workspace.dir, &step)?;
            step.done();
            Ok(())
        })
    };
    let tree = ensure_tree(cache, recipe, progress)?;
    let dir = build(&tree)?;
    let manifest = base::Manifest::read(&dir)?;
    Ok(Guest {
        id: recipe.id.clone(),
        release: manifest.release,
        kernel: dir.join(manifest.kernel),
        initramfs: dir.join(base::INITRAMFS),
        boot_modules: manifest.boot_modules,
        packages: manifest.packages,
        tree: tree.root().to_owned(),
        recipe: recipe.clone(),
        workshop: None,
    })
}

/// Returns the tree that provides a guest's user land; unpacks it if the cache
/// does not have it.
pub fn ensure_user_land(recipe: &Recipe, progress: &Progress) -> Result<Tree> {
    ensure_tree(&Cache::open()?, recipe, progress)
}

/// Returns pinhole.ko for a guest; builds it if the cache does not have it.
pub fn ensure_driver(guest: &Guest, progress: &Progress) -> Result<PathBuf> {
    ensure_driver_in(&Cache::open()?, guest, progress)
}

/// Returns pinhole.ko for a guest, in a given cache.
pub fn ensure_driver_in(cache: &Cache, guest: &Guest, progress: &Progress) -> Result<PathBuf> {
    ensure_module(
        cache,
        &driver_entry(&guest.recipe),
        &driver::DRIVER,
        guest,
        progress,
    )
}

/// Returns pinhole.ko with mutants for a guest; builds it if the cache does not
/// have it.
pub fn ensure_mutants(guest: &Guest, progress: &Progress) -> Result<PathBuf> {
    ensure_module(
        &Cache::open()?,
        &mutants_entry(&guest.recipe),
        &driver::MUTANTS,
        guest,
        progress,
    )
}

/// Returns frame_vector_probe.ko for a guest; builds it if the cache does not
/// have it.
pub fn ensure_probe(guest: &Guest, progress: &Progress) -> Result<PathBuf> {
    ensure_module(
        &Cache::open()?,
        &probe_entry(&guest.recipe),
        &driver::PROBE,
        guest,
        progress,
    )
}

fn ensure_module(
    cache: &Cache,
    entry: &Entry,
    module: &driver::Module,
    guest: &Guest,
    progress: &Progress,
) -> Result<PathBuf> {
    if let Some(workshop) = &guest.workshop {
        return workshop.module(entry.kind, module, &guest.release, progress);
    }
    let dir = cache.ensure(entry, progress, |workspace| {
        let step = progress.step(format!("building {} for {}", module.what, guest.id));
        let tree = Tree::new(guest.tree.clone());
        module.warn(&driver::build(
            module,
            &tree,
            &guest.release,
            workspace,
            &step,
        )?);
        step.done();
        Ok(())
    })?;
    Ok(dir.join(module.file))
}

fn ensure_tree(cache: &Cache, recipe: &Recipe, progress: &Progress) -> Result<Tree> {
    let what = format!("unpacking the packages of {}", recipe.id);
    let make = |tree: &Tree, workspace: &Workspace<'_>, mut step: Step| {
        if let Some(config) = &recipe.config {
            step.done();
            step = progress.step(format!("building the kernel of {}", recipe.id));
            kernel::build(config, tree, workspace, &recipe.id, &step)?;
        }
        let modules = format!("/lib/modules/{}/kernel", base::release(tree, &recipe.id)?);
        let unused = unused_modules(recipe).iter();
        tree.prune(unused.map(|path| format!("{modules}/{path}")))?;
        Ok(step)
    };
    unpacked::ensure(
        cache,
        &tree_entry(recipe),
        recipe.packages(),
        what,
        progress,
        make,
    )
}

/// Returns the cache entry of a recipe's tree.
fn tree_entry(recipe: &Recipe) -> Entry {
    let mut made_of = format!(
        "{TREE_FORMAT} {:?} {:?} {:?} {UNUSED:?} {:?}",
        recipe.suite,
        recipe.release,
        recipe.packages,
        unused_modules(recipe)
    );
    if let Some(config) = &recipe.config {
        made_of += &kernel::made_of(config);
    }
    Entry {
        kind: TREE,
        name: recipe.id.clone(),
        key: key(&made_of),
    }
}

/// Returns the cache entry of a recipe's kernel and initramfs.
fn guest_entry(recipe: &Recipe) -> Entry {
    Entry {
        kind: GUEST,
        name: recipe.id.clone(),
        key: key(&format!(
            "{} {} {:?}",
            base::FORMAT,
            tree_entry(recipe).key,
            recipe.initramfs
        )),
    }
}

/// Returns the cache entry of the driver for a recipe's guest.
fn driver_entry(recipe: &Recipe) -> Entry {
    module_entry(DRIVER, recipe, &driver::DRIVER)
}

/// Returns the cache entry of the probe for a recipe's guest.
fn probe_entry(recipe: &Recipe) -> Entry {
    module_entry(PROBE, recipe, &driver::PROBE)
}

/// Returns the cache entry of the driver with mutants for a recipe's guest.
fn mutants_entry(recipe: &Recipe) -> Entry {
    module_entry(MUTANTS, recipe, &driver::MUTANTS)
}

fn module_entry(kind: &'static str, recipe: &Recipe, module: &driver::Module) -> Entry {
    Entry {
        kind,
        name: recipe.id.clone(),
        key: key(&format!(
            "{} {} {:?}",
            tree_entry(recipe).key,
            driver::digest(module.sources),
            module.variables
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_what_a_layer_is_made_of() {
        let recipe = Catalog::builtin().get("trixie").unwrap();
        let keys = |recipe: &Recipe| (tree_entry(recipe).key, guest_entry(recipe).key);
        let (tree, guest) = keys(&recipe);
        assert_eq!(keys(&recipe), (tree.clone(), guest.clone()));

        let mut modules = recipe.clone();
        modules.initramfs.modules.push("zram".to_owned());
        assert_eq!(keys(&modules).0, tree);
        assert_ne!(keys(&modules).1, guest);

        let mut packages = recipe.clone();
        packages.packages.push("gstreamer1.0-tools".to_owned());
        assert_ne!(keys(&packages).0, tree);
        assert_ne!(keys(&packages).1, guest);

        let mut built = recipe.clone();
        built.config = Catalog::builtin().get("trixie-checked").unwrap().config;
        assert_ne!(unused_modules(&built), unused_modules(&recipe));
        assert_ne!(keys(&built).0, tree);

        let mut suite = recipe;
        suite.release = Some("trixie-backports".to_owned());
        assert_ne!(keys(&suite).0, tree);
    }
}
