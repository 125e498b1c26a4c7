//! A guest that is ready to boot.

use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::Recipe;
use super::modules::Modules;
use super::own::workshop::Workshop;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Result, bootstrap};

/// A bootable guest: a kernel, an initramfs, and their description.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Name in the catalogue; [`own::ID`](super::own::ID) if the kernel is the
    /// user's own.
    pub id: String,
    /// Release of the kernel, as `uname -r` prints it.
    pub release: String,
    /// Path of the kernel, as QEMU starts it: an ELF file with a PVH entry, or a
    /// bzImage if the kernel has no such entry or is the user's own.
    pub kernel: PathBuf,
    /// Path of the base initramfs. It is compressed and padded so that another
    /// archive may follow it.
    pub initramfs: PathBuf,
    /// Paths in the guest of the modules to load at boot, in order; the same
    /// list is in the initramfs as /etc/pinhole/modules.
    pub boot_modules: Vec<String>,
    /// The packages that it was made from, and their versions; empty if its
    /// kernel is the user's own.
    pub packages: Vec<bootstrap::Version>,
    /// The tree that it was made from. Modules for it are built in that tree
    /// unless its kernel is the user's own.
    pub tree: PathBuf,
    /// The recipe that it was made by.
    pub(super) recipe: Recipe,
    /// The place where modules for it are built, if its kernel is the user's
    /// own.
    pub(super) workshop: Option<Arc<Workshop>>,
}

impl Guest {
    /// Returns the modules of its kernel.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](super::provision::Error::Io) if they cannot be read.
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
