//! The state of a guest in the cache, and its removal.

use serde::Serialize;

use super::{Recipe, base, driver_entry, guest_entry, mutants_entry, probe_entry, tree_entry};
use crate::vm::progress::Progress;
use crate::vm::provision::Result;
use crate::vm::provision::cache::{Cache, disk_usage};

/// The state of a guest in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Name in the catalogue.
    pub id: String,
    /// Release of its kernel, as `uname -r` prints it, if the guest is built.
    pub release: Option<String>,
    /// Whether the guest is built from its current recipe.
    pub built: bool,
    /// Disk space of all its builds, older ones included, in bytes.
    pub bytes: u64,
}

/// Returns the state of a guest in the cache.
pub fn state(cache: &Cache, recipe: &Recipe) -> Result<State> {
    let dir = cache.get(&guest_entry(recipe));
    let release = match &dir {
        Some(dir) => Some(base::Manifest::read(dir)?.release),
        None => None,
    };
    let shelves = [
        driver_entry(recipe),
        mutants_entry(recipe),
        probe_entry(recipe),
        guest_entry(recipe),
        tree_entry(recipe),
    ]
    .map(|entry| cache.shelf(entry.kind, &entry.name));
    Ok(State {
        id: recipe.id.clone(),
        release,
        built: dir.is_some(),
        bytes: shelves.iter().map(|shelf| disk_usage(shelf)).sum(),
    })
}

/// Removes all builds of a guest, or only `old` ones that do not match its
/// current recipe; returns the disk space that this freed, in bytes.
pub fn remove(cache: &Cache, recipe: &Recipe, old: bool, progress: &Progress) -> Result<u64> {
    let mut freed = 0;
    for entry in [
        driver_entry(recipe),
        mutants_entry(recipe),
        probe_entry(recipe),
        guest_entry(recipe),
        tree_entry(recipe),
    ] {
        let keep = old.then_some(entry.key.as_str());
        freed += cache.remove(entry.kind, &entry.name, keep, progress)?;
    }
    Ok(freed)
}
