//! A guest with the user's own kernel, built from source by hand or at a step
//! of a bisection.
//!
//! Its user land is that of a guest of the catalogue. Its modules are taken,
//! and the driver is built, from the tree in which the kernel was built or the
//! directory in which it was installed ([`source`]). None of it goes into the
//! cache: a bisection changes all of it in place, headers included, and a stale
//! entry would be tested in place of the current kernel. The guest is made once
//! in each process that uses it.

mod bzimage;
mod source;
pub(super) mod workshop;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use self::source::Source;
pub use self::workshop::ID;
use self::workshop::Workshop;
use super::base::{self, Selection};
use super::catalog::{InitramfsRecipe, Recipe};
use super::guest::Guest;
use super::initramfs::{Archive, pad};
use super::modules::Modules;
use crate::vm::progress::Progress;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result};

/// The modules that every guest needs, and the kernel configuration options
/// that provide them.
const NEEDED: [(&str, &str); 7] = [
    ("virtio_pci", "CONFIG_VIRTIO_PCI"),
    ("virtio_console", "CONFIG_VIRTIO_CONSOLE"),
    ("videodev", "CONFIG_VIDEO_DEV"),
    ("videobuf2_v4l2", "CONFIG_VIDEOBUF2_V4L2"),
    ("videobuf2_memops", "CONFIG_VIDEOBUF2_MEMOPS"),
    ("videobuf2_dma_sg", "CONFIG_VIDEOBUF2_DMA_SG"),
    ("videobuf2_vmalloc", "CONFIG_VIDEOBUF2_VMALLOC"),
];

/// A kernel that is not in the catalogue. Clones share the guest that was made
/// from it.
#[derive(Debug, Clone)]
pub struct OwnKernel {
    bzimage: PathBuf,
    modules: PathBuf,
    guest: Arc<Mutex<Option<Guest>>>,
}

impl OwnKernel {
    /// Returns the kernel in the file `bzimage`, whose modules are in
    /// `modules`: the tree in which both were built, or the directory in which
    /// the modules were installed.
    pub fn new(bzimage: PathBuf, modules: PathBuf) -> Self {
        Self {
            bzimage,
            modules,
            guest: Arc::default(),
        }
    }

    /// Returns the path of the kernel.
    pub fn path(&self) -> &Path {
        &self.bzimage
    }

    /// Checks the kernel and its modules, as far as that takes no guest.
    ///
    /// # Errors
    ///
    /// [`Error::Own`] where the file is no kernel or the modules are not its.
    pub fn check(&self) -> Result<()> {
        let made = self.guest.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            let release = bzimage::release(&self.bzimage)?;
            Source::open(&self.modules, &release)?;
        }
        Ok(())
    }

    /// Returns the guest with this kernel, and the user land of `recipe` from
    /// its tree; makes it at the first call.
    ///
    /// # Errors
    ///
    /// [`Error::Own`] if the kernel or its modules are not usable, and others
    /// if a file cannot be read or written.
    pub fn guest(&self, recipe: &Recipe, tree: &Tree, progress: &Progress) -> Result<Guest> {
        let mut made = self.guest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = made.as_ref().filter(|guest| guest.recipe == *recipe) {
            return Ok(guest.clone());
        }
        let guest = self.make(recipe, tree, progress)?;
        Ok(made.insert(guest).clone())
    }

    fn make(&self, recipe: &Recipe, tree: &Tree, progress: &Progress) -> Result<Guest> {
        let step = progress.step(format!(
            "making an initramfs for {}",
            self.bzimage.display()
        ));
        let release = bzimage::release(&self.bzimage)?;
        let source = Source::open(&self.modules, &release)?;
        step.update("modules");
        let selection = select(&source.modules, &recipe.initramfs, &self.modules)?;

        let mut archive = Archive::new();
        step.update("tools");
        base::add_user_land(&mut archive, tree, recipe)?;
        let boot_modules = base::add_modules(&mut archive, &release, &selection);
        let workshop = Workshop::new(self.modules.clone(), source.place)?;
        // The archive is not compressed, because this kernel's decompressors
        // are not known.
        let initramfs = workshop.dir.path().join("initramfs");
        let mut bytes = archive.finish();
        pad(&mut bytes);
        fs::write(&initramfs, bytes).context("write", &initramfs)?;
        step.done();
        Ok(Guest {
            id: ID.to_owned(),
            release,
            kernel: self.bzimage.clone(),
            initramfs,
            boot_modules,
            packages: Vec::new(),
            tree: tree.root().to_owned(),
            recipe: recipe.clone(),
            workshop: Some(Arc::new(workshop)),
        })
    }
}

/// Selects those of a guest's modules that this kernel has. A missing module
/// makes the tests impossible that need it, and is an error if every guest
/// needs it.
fn select(modules: &Modules, wanted: &InitramfsRecipe, dir: &Path) -> Result<Selection> {
    let needed = NEEDED.map(|(name, _)| name.to_owned());
    let (_, absent) = modules.present(&needed)?;
    if !absent.is_empty() {
        let options = NEEDED
            .iter()
            .filter(|(name, _)| absent.contains(&(*name).to_owned()));
        let options: Vec<_> = options.map(|(_, option)| *option).collect();
        return Err(Error::Own {
            path: dir.to_owned(),
            why: format!(
                "the kernel has neither built in nor as modules what every guest needs: {}",
                options.join(", ")
            ),
        });
    }
    let names = [wanted.boot_modules.as_slice(), &wanted.modules].concat();
    let (names, absent) = modules.present(&names)?;
    if !absent.is_empty() {
        log::info!("the kernel has no {}", absent.join(", "));
    }
    let (boot, _) = modules.present(&wanted.boot_modules)?;
    let stripped = |names: &[String]| -> Result<Vec<_>> {
        let mut order = modules.load_order(names)?;
        for module in &mut order {
            strip(&mut module.contents)?;
        }
        Ok(order)
    };
    Ok(Selection {
        all: stripped(&names)?,
        boot: modules.load_order(&boot)?,
        builtin: modules.builtin().to_owned(),
    })
}

/// Strips a module's debugging information, which is ten times the rest, if the
/// module has any and strip(1) is available.
fn strip(module: &mut Vec<u8>) -> Result<()> {
    const SECTION: &[u8] = b".debug_info\0";
    if !module
        .windows(SECTION.len())
        .any(|window| window == SECTION)
    {
        return Ok(());
    }
    let file = tempfile::NamedTempFile::new().context("create", "a temporary file".as_ref())?;
    let path = file.path();
    fs::write(path, &*module).context("write", path)?;
    let status = Command::new("strip")
        .arg("--strip-debug")
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if status.is_ok_and(|status| status.success()) {
        *module = fs::read(path).context("read", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn modules(names: &[&str], builtin: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("modules.builtin"), builtin).unwrap();
        fs::create_dir(dir.path().join("kernel")).unwrap();
        for name in names {
            let path = dir.path().join(format!("kernel/{name}.ko"));
            fs::write(path, "\0depends=\0").unwrap();
        }
        dir
    }

    fn recipe() -> InitramfsRecipe {
        let text = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        InitramfsRecipe {
            programs: Vec::new(),
            boot_modules: text(&["virtio_pci", "virtio_blk", "videodev"]),
            modules: text(&["vivid", "zram"]),
        }
    }

    const VIDEO: &str =
        "videodev.ko\nvideobuf2-v4l2.ko\nvideobuf2-memops.ko\nvideobuf2-vmalloc.ko\n";

    #[test]
    fn what_is_there_is_taken_and_the_rest_left_out() {
        let dir = modules(
            &["virtio_pci", "virtio_console", "videobuf2-dma-sg", "zram"],
            VIDEO,
        );
        let open = Modules::open(dir.path()).unwrap();
        let selection = select(&open, &recipe(), dir.path()).unwrap();
        let names = |modules: &[super::super::modules::Module]| -> Vec<_> {
            modules.iter().map(|module| module.name.clone()).collect()
        };
        assert_eq!(names(&selection.boot), ["virtio_pci"]);
        assert_eq!(names(&selection.all), ["virtio_pci", "zram"]);
        assert_eq!(selection.builtin, VIDEO);
    }

    #[test]
    fn a_kernel_no_guest_can_do_with_is_refused() {
        let dir = modules(&["virtio_pci"], VIDEO);
        let open = Modules::open(dir.path()).unwrap();
        let error = select(&open, &recipe(), dir.path()).err().unwrap();
        let said = error.to_string();
        assert!(
            said.ends_with("every guest needs: CONFIG_VIRTIO_CONSOLE, CONFIG_VIDEOBUF2_DMA_SG"),
            "{said}"
        );
    }

    #[test]
    fn debugging_information_is_taken_away_where_there_is_any() {
        let mut plain = b"\x7fELF no sections".to_vec();
        strip(&mut plain).unwrap();
        assert_eq!(plain, b"\x7fELF no sections");
        // A file that strip(1) does not understand stays unchanged.
        let mut odd = b"text\0.debug_info\0".to_vec();
        strip(&mut odd).unwrap();
        assert_eq!(odd, b"text\0.debug_info\0");
    }
}
