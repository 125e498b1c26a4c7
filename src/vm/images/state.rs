//! What of a guest is there, and its removal.

use serde::Serialize;

use super::{DRIVER, GUEST, Recipe, TREE, base, guest_entry};
use crate::vm::progress::Progress;
use crate::vm::provision::Result;
use crate::vm::provision::cache::{Cache, disk_usage, list};

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
    let kinds = [TREE, GUEST, DRIVER];
    Ok(State {
        id: recipe.id.clone(),
        release,
        built: dir.is_some(),
        bytes: kinds
            .iter()
            .map(|kind| disk_usage(&cache.shelf(kind, &recipe.id)))
            .sum(),
    })
}

/// Removes all builds of a guest; returns how many bytes of disk that gave back.
pub fn remove(cache: &Cache, id: &str, progress: &Progress) -> Result<u64> {
    let mut freed = 0;
    for kind in [DRIVER, GUEST, TREE] {
        if !list(&cache.shelf(kind, id))?.is_empty() {
            freed += cache.remove(kind, id, progress)?;
        }
    }
    Ok(freed)
}
