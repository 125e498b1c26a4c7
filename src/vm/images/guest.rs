//! A guest that is ready to boot.

use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::Recipe;
use super::modules::Modules;
use super::own::workshop::Workshop;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Result, bootstrap};

/// A kernel, an initramfs, and what else is known of a guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its name in the catalogue; [`own::ID`](super::own::ID) if its kernel is the user's own.
    pub id: String,
    /// What `uname -r` says in it.
    pub release: String,
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// The base initramfs: compressed, and of a length at which another
    /// archive may follow.
    pub initramfs: PathBuf,
    /// Paths in the guest of the modules to load at boot, in order; the same
    /// list is in the initramfs as /etc/pinhole/modules.
    pub boot_modules: Vec<String>,
    /// The packages that it was made of, and their versions; none if its kernel
    /// is the user's own.
    pub packages: Vec<bootstrap::Version>,
    /// The tree that it was made from, in which modules are built for it if
    /// its kernel is not the user's own.
    pub tree: PathBuf,
    /// What it was made by.
    pub(super) recipe: Recipe,
    /// Where modules are built for it, if its kernel is not of the tree.
    pub(super) workshop: Option<Arc<Workshop>>,
}

impl Guest {
    /// The modules of its kernel.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](super::provision::Error::Io) where they cannot be read.
    pub fn modules(&self) -> Result<Modules> {
        match &self.workshop {
            Some(workshop) => workshop.modules(&self.release),
            None => {
                let tree = Tree::new(self.tree.clone());
                Modules::open(&tree.resolve(&format!("/lib/modules/{}", self.release))?)
            }
        }
    }
}
