//! The directory in which modules are built for the user's own kernel, and
//! kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use super::source::{Place, Source};
use crate::vm::images::driver;
use crate::vm::images::modules::Modules;
use crate::vm::progress::{Progress, Step};
use crate::vm::provision::cache::{Cache, Workspace};
use crate::vm::provision::{Context, Result};

/// Name of such a guest, in place of a name in the catalogue.
pub const ID: &str = "bzimage";

/// A directory for builds, and the modules built in it.
#[derive(Debug)]
pub struct Workshop {
    modules: PathBuf,
    place: Place,
    pub(super) dir: TempDir,
    built: Mutex<BTreeMap<&'static str, PathBuf>>,
}

impl Workshop {
    pub fn new(modules: PathBuf, place: Place) -> Result<Self> {
        Ok(Self {
            modules,
            place,
            dir: tempfile::tempdir().context("create", &std::env::temp_dir())?,
            built: Mutex::default(),
        })
    }

    /// Returns the modules of the kernel `release`.
    pub fn modules(&self, release: &str) -> Result<Modules> {
        Ok(Source::open(&self.modules, release)?.modules)
    }

    /// Returns a module for the kernel `release`; builds it at the first call
    /// for its `kind`.
    pub fn module(
        &self,
        kind: &'static str,
        module: &driver::Module,
        release: &str,
        progress: &Progress,
    ) -> Result<PathBuf> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = built.get(kind) {
            return Ok(path.clone());
        }
        let step = progress.step(format!("building {} for {release}", module.what));
        let path = self.build(kind, module, release, &step)?;
        step.done();
        built.insert(kind, path.clone());
        Ok(path)
    }

    fn build(
        &self,
        kind: &'static str,
        module: &driver::Module,
        release: &str,
        step: &Step,
    ) -> Result<PathBuf> {
        let dir = self.dir.path().join(kind);
        fs::create_dir(&dir).context("create", &dir)?;
        // The log outlives this process, for a user who reads about a failure
        // in it.
        let log = Cache::open()?.fresh_log(&format!("{kind}-{ID}"))?;
        let lock = self.dir.path().join("lock");
        let lock = File::create(&lock).context("create", &lock)?;
        let workspace = Workspace {
            dir: &dir,
            log: &log,
            lock: &lock,
        };
        let warnings = match &self.place {
            Place::Here(tree) => driver::build_here(module, tree, release, &workspace, step),
            Place::Inside(tree) => driver::build(module, tree, release, &workspace, step),
        }?;
        module.warn(&warnings);
        Ok(dir.join(module.file))
    }
}
