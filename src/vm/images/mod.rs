//! The guests: a Debian suite's kernel, a small initramfs with the tools, and
//! the driver built for it.
//!
//! A guest is made in three layers, each kept in the [cache](super::provision)
//! under a key of what it is made of, so that a change costs no more than it
//! must:
//!
//! 1. the *tree* ([`catalog`], [`unpacked`], [`bootstrap`](super::provision::bootstrap)):
//!    Debian packages, unpacked, and where the kernel is not one of them, built
//!    of their source in it ([`kernel`]);
//! 2. the *guest* ([`base`], [`initramfs`], [`modules`]): kernel and initramfs
//!    taken from the tree;
//! 3. the *driver* ([`driver`]): pinhole.ko built inside the tree, and for the
//!    tests of the frame vectors a *probe*, likewise, and a driver with
//!    *mutants*, deliberate bugs that the matrix must find.
//!
//! The kernel may also be the user's own ([`own`]), which the cache keeps
//! nothing of but the tree of its user land.
//!
//! The driver is built for more kernels than it is tried on ([`headers`]), and its
//! sources are read by the kernel's own checkers ([`lint`]).
//!
//! Beside them is one image for all guests, a disk with programs too large for
//! an initramfs ([`clients`]).

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

/// Counts changes in how a tree is made of its packages.
const TREE_FORMAT: u32 = 1;

/// The kinds of cache entries that belong to a guest.
const TREE: &str = "tree";
const GUEST: &str = "guest";
const DRIVER: &str = "driver";
const PROBE: &str = "frame-vector-probe";
const MUTANTS: &str = "driver-mutants";

/// Modules of a kernel that are for hardware no guest has, half of them all.
const UNUSED_MODULES: [&str; 7] = [
    "drivers/gpu",
    "drivers/infiniband",
    "drivers/media/usb",
    "drivers/net",
    "drivers/scsi",
    "drivers/staging",
    "sound",
];

/// The guest of a recipe; built where the cache does not have it.
pub fn ensure_guest(recipe: &Recipe, progress: &Progress) -> Result<Guest> {
    ensure_guest_in(&Cache::open()?, recipe, progress)
}

/// The guest of a recipe, in a cache of one's own.
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
        kernel: dir.join(base::KERNEL),
        initramfs: dir.join(base::INITRAMFS),
        boot_modules: manifest.boot_modules,
        packages: manifest.packages,
        tree: tree.root().to_owned(),
        recipe: recipe.clone(),
        workshop: None,
    })
}

/// What a guest's user land is taken from; unpacked where the cache does not
/// have it.
pub fn ensure_user_land(recipe: &Recipe, progress: &Progress) -> Result<Tree> {
    ensure_tree(&Cache::open()?, recipe, progress)
}

/// pinhole.ko for a guest; built where the cache does not have it.
pub fn ensure_driver(guest: &Guest, progress: &Progress) -> Result<PathBuf> {
    ensure_driver_in(&Cache::open()?, guest, progress)
}

/// pinhole.ko for a guest, in a cache of one's own.
pub fn ensure_driver_in(cache: &Cache, guest: &Guest, progress: &Progress) -> Result<PathBuf> {
    ensure_module(
        cache,
        &driver_entry(&guest.recipe),
        &driver::DRIVER,
        guest,
        progress,
    )
}

/// pinhole.ko with mutants for a guest; built where the cache does not have it.
pub fn ensure_mutants(guest: &Guest, progress: &Progress) -> Result<PathBuf> {
    ensure_module(
        &Cache::open()?,
        &mutants_entry(&guest.recipe),
        &driver::MUTANTS,
        guest,
        progress,
    )
}

/// frame_vector_probe.ko for a guest; built where the cache does not have it.
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
        let unused = UNUSED_MODULES.iter();
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

/// Where the tree of a recipe is kept.
fn tree_entry(recipe: &Recipe) -> Entry {
    let mut made_of = format!(
        "{TREE_FORMAT} {:?} {:?} {:?} {UNUSED:?} {UNUSED_MODULES:?}",
        recipe.suite, recipe.release, recipe.packages
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

/// Where the kernel and the initramfs of a recipe are kept.
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

/// Where the driver for a recipe's guest is kept.
fn driver_entry(recipe: &Recipe) -> Entry {
    module_entry(DRIVER, recipe, &driver::DRIVER)
}

/// Where the probe for a recipe's guest is kept.
fn probe_entry(recipe: &Recipe) -> Entry {
    module_entry(PROBE, recipe, &driver::PROBE)
}

/// Where the driver with mutants for a recipe's guest is kept.
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

        let mut suite = recipe;
        suite.release = Some("trixie-backports".to_owned());
        assert_ne!(keys(&suite).0, tree);
    }
}
