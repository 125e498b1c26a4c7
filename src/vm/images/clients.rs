//! The clients' image: real V4L2 applications that the guests run.
//!
//! FFmpeg and GStreamer with all their libraries are a hundred times the size
//! of a guest's initramfs, so they are on a separate disk: one read-only
//! squashfs for all guests, whatever their kernel. It holds the programs of the
//! recipe and the libraries that they load, and nothing else. As in an
//! initramfs, all libraries are in a directory that the loader searches by
//! itself, so that it needs no cache.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::base::{PACKAGES, write_json};
use super::catalog::{Catalog, ClientsRecipe};
use crate::vm::progress::{Progress, Step};
use crate::vm::provision::bootstrap::{self, Packages, Version};
use crate::vm::provision::cache::{Cache, Entry, Workspace, disk_usage, key};
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result, process};

/// Name on the command line, among those of the guests.
pub const ID: &str = "clients";

/// Format number, incremented when the image is made differently.
const FORMAT: u32 = 1;

/// Kind of its cache entry.
const CLIENTS: &str = "clients";
/// File name of the disk, in the entry.
const IMAGE: &str = "image";
/// Directory with the disk's content as a tree, in the entry.
const ROOT: &str = "root";

/// Directory of shared libraries in the image.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Path of the loader, as programs name it.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// Options of mksquashfs. lz4 is chosen because emulated guests unpack it
/// cheaply.
const OPTIONS: [&str; 10] = [
    "-comp",
    "lz4",
    "-all-root",
    "-no-xattrs",
    "-noappend",
    "-no-progress",
    "-quiet",
    "-mkfs-time",
    "0",
    "-no-exports",
];

/// The image, ready to be a guest's disk.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Path of the disk: a squashfs.
    pub image: PathBuf,
    /// The same content as a tree, whose programs run on the host, too.
    pub tree: Tree,
}

/// Returns the clients' image; builds it if the cache does not have it.
pub fn ensure(progress: &Progress) -> Result<Clients> {
    ensure_in(&Cache::open()?, Catalog::builtin().clients(), progress)
}

/// Does the same as [`ensure`], for a given recipe and cache.
pub fn ensure_in(cache: &Cache, recipe: &ClientsRecipe, progress: &Progress) -> Result<Clients> {
    let dir = cache.ensure(&entry(recipe), progress, |workspace| {
        let step = progress.step("making the clients' image");
        build(recipe, workspace, &step)?;
        step.update("flushing to disk");
        step.done();
        Ok(())
    })?;
    let dir = dir.canonicalize().context("find", &dir)?;
    Ok(Clients {
        image: dir.join(IMAGE),
        tree: Tree::new(dir.join(ROOT)),
    })
}

/// Returns the version of a package of the image, if the image is built; in a
/// list of guests, the image has the name [`ID`].
pub fn version(cache: &Cache, package: &str) -> Result<Option<String>> {
    let Some(dir) = cache.get(&entry(Catalog::builtin().clients())) else {
        return Ok(None);
    };
    let path = dir.join(PACKAGES);
    let text = fs::read(&path).context("read", &path)?;
    let packages: Vec<Version> = serde_json::from_slice(&text).context("read", &path)?;
    let version = packages.into_iter().find(|(name, _)| name == package);
    Ok(version.map(|(_, version)| version))
}

/// Returns the disk space of all builds of the image, in bytes.
pub fn bytes(cache: &Cache) -> u64 {
    disk_usage(&cache.shelf(CLIENTS, ID))
}

/// Removes all builds of the image, or only `old` ones; returns the disk space
/// that this freed, in bytes.
pub fn remove(cache: &Cache, old: bool, progress: &Progress) -> Result<u64> {
    let current = entry(Catalog::builtin().clients()).key;
    cache.remove(CLIENTS, ID, old.then_some(current.as_str()), progress)
}

fn entry(recipe: &ClientsRecipe) -> Entry {
    Entry {
        kind: CLIENTS,
        name: ID.to_owned(),
        key: key(&format!("{FORMAT} {recipe:?} {OPTIONS:?}")),
    }
}

fn build(recipe: &ClientsRecipe, workspace: &Workspace<'_>, step: &Step) -> Result<()> {
    let unpacked = workspace.dir.join("unpacked");
    let names = [recipe.packages.as_slice(), &recipe.tools].concat();
    let packages = Packages {
        what: "the clients",
        suite: &recipe.suite,
        release: None,
        names: &names,
        lapsed: false,
    };
    let versions = bootstrap::unpack(packages, &unpacked, workspace, step)?;
    write_json(&workspace.dir.join(PACKAGES), &versions)?;

    step.update("libraries");
    let tree = Tree::new(unpacked.canonicalize().context("find", &unpacked)?);
    for folder in &recipe.library_folders {
        tree.link_libraries(folder)?;
    }
    let root = workspace.dir.join(ROOT);
    make_skeleton(&root)?;
    for program in &recipe.programs {
        add_program(&tree, program, &root)?;
    }

    step.update("compressing");
    // mksquashfs is the tree's own, so that every system makes the same image.
    let mut command = tree.command("/usr/bin/mksquashfs")?;
    command
        .arg(&root)
        .arg(workspace.dir.join(IMAGE))
        .args(OPTIONS);
    let mut last = String::new();
    let status = process::run(command, workspace, |line| {
        if !line.trim().is_empty() {
            line.clone_into(&mut last);
        }
    })?;
    if !status.success() {
        return Err(Error::Failed {
            what: "making the clients' image".to_owned(),
            line: last,
            log: workspace.log.to_owned(),
        });
    }
    fs::remove_dir_all(&unpacked).context("remove", &unpacked)
}

/// Creates the directories and links that programs expect in a root.
fn make_skeleton(root: &Path) -> Result<()> {
    let make = |dir: &str| {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).context("create", &dir)
    };
    for dir in ["dev", "etc", "proc", "root", "run", "sys", "tmp"] {
        make(dir)?;
    }
    for dir in ["bin", "lib", "lib64", "sbin"] {
        make(&format!("usr/{dir}"))?;
        let link = root.join(dir);
        symlink(format!("usr/{dir}"), &link).context("create", &link)?;
    }
    make(LIBRARIES)?;
    for (name, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
    ] {
        let path = root.join(name);
        fs::write(&path, text).context("write", &path)?;
    }
    Ok(())
}

/// Copies a program, its loader and the libraries that it loads from a tree.
fn add_program(tree: &Tree, program: &str, root: &Path) -> Result<()> {
    take(&tree.loader_file()?, &root.join(LOADER))?;
    for (name, path) in tree.libraries(program)? {
        take(&path, &root.join(LIBRARIES).join(name))?;
    }
    let target = root.join(program.trim_start_matches('/'));
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir).context("create", dir)?;
    }
    take(&tree.resolve(program)?, &target)
}

/// Links a file of a tree at `target`, unless that exists.
fn take(file: &Path, target: &Path) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let file = file.canonicalize().context("find", file)?;
    fs::hard_link(&file, target).context("link", &file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_the_recipe() {
        let recipe = Catalog::builtin().clients().clone();
        let key = entry(&recipe).key;
        assert_eq!(entry(&recipe.clone()).key, key);
        let mut more = recipe.clone();
        more.programs.push("/usr/bin/ffprobe".to_owned());
        assert_ne!(entry(&more).key, key);
        let mut other = recipe;
        other.suite = "bookworm".to_owned();
        assert_ne!(entry(&other).key, key);
    }

    #[test]
    fn no_guest_has_its_name() {
        assert!(Catalog::builtin().get(ID).is_err());
    }
}
