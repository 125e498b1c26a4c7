//! What of a guest is there, and its removal.

use serde::Serialize;

use super::{Recipe, base, driver_entry, guest_entry, mutants_entry, probe_entry, tree_entry};
use crate::vm::progress::Progress;
use crate::vm::provision::Result;
use crate::vm::provision::cache::{Cache, disk_usage};

/// What of a guest is in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Its name in the catalogue.
    pub id: String,
    /// What `uname -r` says in it, if it is built.
    pub release: Option<String>,
    /// True if it is built as its recipe is now.
    pub built: bool,
    /// Bytes of disk that all of it takes, older builds included.
    pub bytes: u64,
}

/// What of a guest is in the cache.
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

/// Removes the builds of a guest, all or only `old` ones that its recipe no
/// longer leads to; returns how many bytes of disk that gave back.
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
