//! Drivers that are made of Pinhole's: between its files, calls are led elsewhere.

use std::fs::File;
use std::path::{Path, PathBuf};

use pinhole::vm::images::driver::{DRIVER, Module, build};
use pinhole::vm::images::{self, Catalog};
use pinhole::vm::progress::Progress;
use pinhole::vm::provision::cache::Workspace;
use pinhole::vm::provision::tree::Tree;
use pinhole::vm::qemu::{self, MEDIA_ID};

/// What is put between the driver's files.
pub struct Seams {
    /// Name of the driver that comes of it.
    pub name: &'static str,
    /// Name of the source file, without its `.c`.
    pub file: &'static str,
    /// Its text.
    pub text: &'static [u8],
    /// The functions whose calls go to it.
    pub wrapped: &'static str,
    /// What is edited in a file of the driver: its name, and its text.
    pub edit: fn(&str, String) -> String,
}

impl Seams {
    /// Builds the driver in `dir` for a guest's kernel.
    pub fn build(&self, kernel: &str, dir: &Path) -> PathBuf {
        let Self { name, file, .. } = self;
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
        let mut sources: Vec<(&str, &[u8])> = DRIVER
            .sources
            .iter()
            .map(|&(source, contents)| {
                let edited = match source {
                    "Kbuild" => {
                        text(contents).replace("pinhole", name)
                            + &format!("{name}-y += {file}.o\n")
                            + &format!(
                                "LDFLAGS_{name}.o := $(addprefix --wrap=,{})\n",
                                self.wrapped
                            )
                    }
                    _ => (self.edit)(source, text(contents)),
                };
                (source, &*edited.into_bytes().leak())
            })
            .collect();
        sources.push((format!("{file}.c").leak(), self.text));
        let module = Module {
            what: "a driver with seams",
            file: format!("{name}.ko").leak(),
            folder: "",
            sources: sources.leak(),
            variables: &[],
        };
        let recipe = Catalog::builtin().get(kernel).unwrap();
        let guest = images::ensure_guest(&recipe, &Progress::silent()).unwrap();
        let lock = File::create(dir.join("lock")).unwrap();
        let workspace = Workspace {
            dir,
            log: &dir.join("log"),
            lock: &lock,
        };
        let step = Progress::silent().step("");
        let tree = Tree::new(guest.tree);
        build(&module, &tree, &guest.release, &workspace, &step).unwrap();
        dir.join(module.file)
    }
}

/// The virtio id that the card has in place of a media device's, if it has.
pub fn stand_in() -> Option<u32> {
    let id = qemu::ensure(None, &Progress::silent()).unwrap().virtio_id;
    Some(id).filter(|id| *id != MEDIA_ID)
}
