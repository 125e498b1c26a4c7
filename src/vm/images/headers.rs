//! Kernels for which the modules are built but into which they are never
//! loaded: kernels between those of the guests, and their other flavours.
//!
//! The headers of all flavours of a suite are in one tree, with the suite's
//! compiler. The tree does not hold the kernels themselves, and none is booted.

use super::catalog::HeadersRecipe;
use super::driver::{self, Module};
use super::unpacked::{self, UNUSED};
use crate::vm::progress::Progress;
use crate::vm::provision::cache::{Cache, Entry, key, list};
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result};

/// Format number, incremented when a tree is made differently from its
/// packages.
const FORMAT: u32 = 1;

/// Kinds of the cache entries.
const HEADERS: &str = "headers";
const BUILD: &str = "driver-build";

/// The modules to build.
const MODULES: [&Module; 3] = [&driver::DRIVER, &driver::MUTANTS, &driver::PROBE];

/// The warnings of building one module for one kernel.
#[derive(Debug)]
pub struct Built {
    /// Release of the kernel, as `uname -r` prints it.
    pub release: String,
    /// The module.
    pub module: &'static Module,
    /// The warnings.
    pub warnings: Vec<String>,
}

/// Builds all modules for every kernel of a suite. A build without a warning is
/// not repeated.
///
/// # Errors
///
/// [`Error`] if the headers cannot be provided, or a module does not build at
/// all.
pub fn build_all(recipe: &HeadersRecipe, progress: &Progress) -> Result<Vec<Built>> {
    let cache = Cache::open()?;
    let tree = ensure_tree(&cache, recipe, progress)?;
    let mut all = Vec::new();
    for release in releases(&tree, &recipe.id)? {
        for module in MODULES {
            let warnings = build(&cache, recipe, &tree, &release, module, progress)?;
            all.push(Built {
                release: release.clone(),
                module,
                warnings,
            });
        }
    }
    Ok(all)
}

/// Removes a suite's entries, all or only those that are `old`; returns the
/// disk space that this freed, in bytes.
pub fn remove(
    cache: &Cache,
    recipe: &HeadersRecipe,
    old: bool,
    progress: &Progress,
) -> Result<u64> {
    let tree = entry(recipe);
    let keep = old.then_some(tree.key.as_str());
    // The build entries are empty; only their existence matters.
    Ok(cache.remove(HEADERS, &recipe.id, keep, progress)?
        + cache.remove(BUILD, &recipe.id, None, progress)?)
}

/// Builds one module for one kernel; returns the warnings.
fn build(
    cache: &Cache,
    recipe: &HeadersRecipe,
    tree: &Tree,
    release: &str,
    module: &Module,
    progress: &Progress,
) -> Result<Vec<String>> {
    let made_of = format!(
        "{} {release} {} {:?} {}",
        entry(recipe).key,
        driver::digest(module.sources),
        module.variables,
        module.file
    );
    let entry = Entry {
        kind: BUILD,
        name: recipe.id.clone(),
        key: key(&made_of),
    };
    let mut warnings = Vec::new();
    let built = cache.ensure(&entry, progress, |workspace| {
        let step = progress.step(format!("building {} for {release}", module.what));
        warnings = driver::build(module, tree, release, workspace, &step)?;
        step.done();
        match warnings.first() {
            None => {
                let built = workspace.dir.join(module.file);
                std::fs::remove_file(&built).context("remove", &built)
            }
            // An error keeps the build with warnings out of the cache, so that
            // it is repeated.
            Some(first) => Err(Error::Failed {
                what: format!("building {} for {release} without a warning", module.what),
                line: first.clone(),
                log: workspace.log.to_owned(),
            }),
        }
    });
    match built {
        Err(_) if !warnings.is_empty() => Ok(warnings),
        built => built.map(|_| warnings),
    }
}

fn ensure_tree(cache: &Cache, recipe: &HeadersRecipe, progress: &Progress) -> Result<Tree> {
    unpacked::ensure(
        cache,
        &entry(recipe),
        recipe.packages(),
        format!("unpacking the kernel headers of {}", recipe.id),
        progress,
        |_, _, step| Ok(step),
    )
}

/// Returns the releases of the kernels whose headers are in a tree, sorted by
/// name.
pub fn releases(tree: &Tree, what: &str) -> Result<Vec<String>> {
    let mut releases: Vec<_> = list(&tree.resolve("/lib/modules")?)?
        .into_iter()
        .filter(|path| path.join("build").symlink_metadata().is_ok())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    releases.sort();
    match releases.is_empty() {
        false => Ok(releases),
        true => Err(Error::Contents {
            what: what.to_owned(),
            why: "they hold no kernel's headers".to_owned(),
        }),
    }
}

fn entry(recipe: &HeadersRecipe) -> Entry {
    Entry {
        kind: HEADERS,
        name: recipe.id.clone(),
        key: key(&format!(
            "{FORMAT} {:?} {:?} {:?} {UNUSED:?}",
            recipe.suite, recipe.release, recipe.packages
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_kernel_with_headers_is_built_for() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path().canonicalize().unwrap());
        let modules = tree.root().join("lib/modules");
        fs::create_dir_all(&modules).unwrap();
        assert!(releases(&tree, "none").is_err());
        for release in ["6.1.0-50-rt-amd64", "6.1.0-50-amd64"] {
            fs::create_dir(modules.join(release)).unwrap();
            // The link leads to a path inside the tree, not outside.
            symlink("/usr/src/x", modules.join(release).join("build")).unwrap();
        }
        fs::create_dir(modules.join("without")).unwrap();
        assert_eq!(
            releases(&tree, "two").unwrap(),
            ["6.1.0-50-amd64", "6.1.0-50-rt-amd64"]
        );
    }
}
