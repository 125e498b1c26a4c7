//! The modules of a kernel: their files, their dependencies, and their load
//! order.
//!
//! A module's dependencies are in the module itself, in its section `.modinfo`
//! as `depends=`, where the kernel's modpost wrote them; depmod(8) makes
//! modules.dep from the same data.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::vm::provision::cache::list;
use crate::vm::provision::{Context, Error, Result};

/// A module that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Name, with underscores.
    pub name: String,
    /// Path below /lib/modules/RELEASE, without the suffix of a compression.
    pub path: String,
    /// Names of the modules that it depends on and that are not built in.
    pub depends: Vec<String>,
    /// Contents, uncompressed.
    pub contents: Vec<u8>,
}

impl Module {
    /// Returns whether it has that name, with underscores or hyphens.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name.replace('-', "_")
    }
}

/// The modules of one kernel.
#[derive(Debug)]
pub struct Modules {
    dir: PathBuf,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    builtin_text: String,
}

/// Directories of modules below one like /lib/modules/RELEASE. Of two modules
/// of the same name the later counts, as for depmod(8).
const FOLDERS: [&str; 3] = ["kernel", "extra", "updates"];

/// File with the list of built-in modules.
const BUILTIN: &str = "modules.builtin";

/// File with the list of modules that a build made.
const ORDER: &str = "modules.order";

impl Modules {
    /// Returns the modules in a directory like /lib/modules/RELEASE.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for folder in FOLDERS {
            collect(&dir.join(folder), &mut files)?;
        }
        Self::with(dir, files)
    }

    /// Returns the modules in a tree in which a kernel was built. Files that
    /// another build left there are ignored.
    pub fn built(dir: &Path) -> Result<Self> {
        let order = dir.join(ORDER);
        let text = fs::read_to_string(&order).context("read", &order)?;
        let files = text.lines().filter_map(|line| {
            // Before Linux 5.3 a line begins with "kernel/"; since 6.3 it names
            // the object instead of the module.
            let line = line.strip_prefix("kernel/").unwrap_or(line);
            let path = dir.join(line).with_extension("ko");
            Some((name(&path)?, path)).filter(|(_, path)| path.is_file())
        });
        let files = files.collect();
        Self::with(dir, files)
    }

    fn with(dir: &Path, files: BTreeMap<String, PathBuf>) -> Result<Self> {
        let builtin = dir.join(BUILTIN);
        let text = fs::read_to_string(&builtin).context("read", &builtin)?;
        Ok(Self {
            dir: dir.to_owned(),
            files,
            builtin: text
                .lines()
                .filter_map(|line| name(Path::new(line)))
                .collect(),
            builtin_text: text,
        })
    }

    /// Returns the text of modules.builtin: for each built-in module the path
    /// that its file would have.
    pub fn builtin(&self) -> &str {
        &self.builtin_text
    }

    /// Splits the named modules into those that are available and those that
    /// are not: neither built in, nor a module with all its dependencies.
    pub fn present(&self, names: &[String]) -> Result<(Vec<String>, Vec<String>)> {
        let mut present = Vec::new();
        let mut absent = Vec::new();
        for name in names {
            match self.load_order(std::slice::from_ref(name)) {
                Ok(_) => present.push(name.clone()),
                Err(Error::Contents { .. }) => absent.push(name.clone()),
                Err(error) => return Err(error),
            }
        }
        Ok((present, absent))
    }

    /// Returns the named modules and all their dependencies, each after its own
    /// dependencies, without built-in modules.
    pub fn load_order(&self, names: &[String]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        for name in names {
            self.visit(name, &mut Vec::new(), &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, above: &mut Vec<String>, order: &mut Vec<Module>) -> Result<()> {
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) || order.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let broken = |why: String| Error::Contents {
            what: self.dir.display().to_string(),
            why,
        };
        if above.contains(&name) {
            return Err(broken(format!("module {name} depends on itself")));
        }
        let file = self
            .files
            .get(&name)
            .ok_or_else(|| broken(format!("there is no module {name}")))?;
        let contents = read(file)?;
        let depends: Vec<_> = depends(&contents)
            .map(|name| name.replace('-', "_"))
            .filter(|name| !self.builtin.contains(name))
            .collect();
        above.push(name.clone());
        for needed in &depends {
            self.visit(needed, above, order)?;
        }
        above.pop();
        let path = file
            .strip_prefix(&self.dir)
            .unwrap_or(file)
            .to_string_lossy();
        let end = path.find(".ko").map_or(path.len(), |at| at + ".ko".len());
        order.push(Module {
            name,
            path: path[..end].to_owned(),
            depends,
            contents,
        });
        Ok(())
    }
}

/// Returns the text of modules.dep for these modules: for each, its path and
/// those of all modules that must be loaded before it, nearest first
/// (depmod(8)).
pub fn modules_dep(modules: &[Module]) -> String {
    let mut text = String::new();
    for module in modules {
        text += &module.path;
        text.push(':');
        // A module that is later in load order is nearer.
        for needed in modules
            .iter()
            .rev()
            .filter(|other| needs(modules, module, &other.name))
        {
            text.push(' ');
            text += &needed.path;
        }
        text.push('\n');
    }
    text
}

fn needs(modules: &[Module], module: &Module, name: &str) -> bool {
    module.depends.iter().any(|depend| {
        depend == name
            || modules
                .iter()
                .find(|other| other.name == *depend)
                .is_some_and(|other| needs(modules, other, name))
    })
}

fn collect(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for path in list(dir)? {
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// Returns the name of the module in a file, with underscores, whatever the
/// file's name has (kmod's modname_normalize).
fn name(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// Returns a module's contents, uncompressed. The kernel's build compresses
/// modules by gzip, xz or zstd (CONFIG_MODULE_COMPRESS). Each of these begins
/// with a magic number that no ELF file has, whatever the name of the file.
fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).context("read", path)?;
    let bytes = bytes.as_slice();
    let mut contents = Vec::new();
    let read = match bytes {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut contents),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            lzma_rust2::XzReader::new(bytes, true).read_to_end(&mut contents)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(bytes).and_then(|mut decoder| decoder.read_to_end(&mut contents))
        }
        _ => return Ok(bytes.to_vec()),
    };
    read.context("uncompress", path)?;
    Ok(contents)
}

/// Returns the module in a file, which may be compressed; its path is the
/// file's.
///
/// # Errors
///
/// [`Error::Own`] if it is not a module of an x86-64 kernel.
pub fn read_module(path: &Path) -> Result<Module> {
    let contents = read(path)?;
    // A module is a relocatable ELF64 file for x86-64 (elf(5)) with a .modinfo.
    let is_module = contents.starts_with(b"\x7fELF\x02\x01")
        && contents.get(16..20) == Some(&[1, 0, 62, 0])
        && information(&contents, b"\0vermagic=").is_some();
    let name = information(&contents, b"\0name=")
        .map(str::to_owned)
        .or_else(|| name(path))
        .filter(|name| {
            let mut letters = name.chars();
            !name.is_empty() && letters.all(|one| one.is_ascii_alphanumeric() || one == '_')
        });
    let Some(name) = name.filter(|_| is_module) else {
        return Err(Error::Own {
            path: path.to_owned(),
            why: "it is no module of an x86-64 kernel".to_owned(),
        });
    };
    Ok(Module {
        name,
        path: path.to_string_lossy().into_owned(),
        depends: depends(&contents).map(str::to_owned).collect(),
        contents,
    })
}

/// Returns the names after `depends=` in a module.
fn depends(module: &[u8]) -> impl Iterator<Item = &str> {
    let names = information(module, b"\0depends=").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty())
}

/// Returns the value after a tag in a module's .modinfo. Its strings end with
/// zero bytes; no other part of a module contains a string that begins like the
/// tag.
fn information<'a>(module: &'a [u8], tag: &[u8]) -> Option<&'a str> {
    let at = module.windows(tag.len()).position(|window| window == tag)?;
    let rest = &module[at + tag.len()..];
    let value = rest.split(|&byte| byte == 0).next()?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a tree of modules that consist only of their .modinfo.
    fn tree(modules: &[(&str, &str)], builtin: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("modules.builtin"), builtin).unwrap();
        for (path, depends) in modules {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let contents = format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0");
            match path.extension().unwrap().to_str().unwrap() {
                "zst" => fs::write(&path, zstd::encode_all(contents.as_bytes(), 1).unwrap()),
                "gz" => fs::write(&path, gzip(contents.as_bytes())),
                _ => fs::write(&path, contents),
            }
            .unwrap();
        }
        dir
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn sample() -> tempfile::TempDir {
        tree(
            &[
                ("kernel/media/vb2-v4l2.ko.zst", "vb2-common,videodev"),
                ("kernel/media/vb2-common.ko.gz", "mc"),
                ("kernel/media/videodev.ko", "mc,i2c-core"),
                ("kernel/media/mc.ko", ""),
                ("kernel/media/loop-a.ko", "loop-b"),
                ("kernel/media/loop-b.ko", "loop-a"),
            ],
            "kernel/drivers/i2c/i2c-core.ko\nkernel/drivers/virtio/virtio_pci.ko\n",
        )
    }

    fn names(order: &[Module]) -> Vec<&str> {
        order.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn what_a_module_needs_comes_before_it_once() {
        let dir = sample();
        let modules = Modules::open(dir.path()).unwrap();
        let wanted = ["virtio_pci", "videodev", "vb2_v4l2"].map(str::to_owned);
        let order = modules.load_order(&wanted).unwrap();
        assert_eq!(names(&order), ["mc", "videodev", "vb2_common", "vb2_v4l2"]);
        assert_eq!(order[3].path, "kernel/media/vb2-v4l2.ko");
        for module in order {
            assert!(module.contents.starts_with(b"\x7fELF"), "{}", module.name);
            assert!(module.path.ends_with(".ko"), "{}", module.path);
        }
    }

    #[test]
    fn modules_dep_lists_everything_below() {
        let dir = sample();
        let modules = Modules::open(dir.path()).unwrap();
        let order = modules.load_order(&["vb2_v4l2".to_owned()]).unwrap();
        let text = modules_dep(&order);
        assert!(text.starts_with("kernel/media/mc.ko:\n"), "{text}");
        assert!(
            text.ends_with(
                "kernel/media/vb2-v4l2.ko: kernel/media/videodev.ko kernel/media/vb2-common.ko \
                 kernel/media/mc.ko\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_build_tree_has_what_its_last_build_made() {
        let dir = tree(
            &[
                ("drivers/media/vb2-v4l2.ko", "mc"),
                ("drivers/media/mc.ko", ""),
                ("drivers/media/stale.ko", ""),
            ],
            "kernel/drivers/virtio/virtio_pci.ko\n",
        );
        for order in [
            "kernel/drivers/media/mc.ko\nkernel/drivers/media/vb2-v4l2.ko\n",
            "drivers/media/mc.o\ndrivers/media/vb2-v4l2.o\ndrivers/media/gone.o\n",
        ] {
            fs::write(dir.path().join("modules.order"), order).unwrap();
            let modules = Modules::built(dir.path()).unwrap();
            let names = ["vb2_v4l2", "stale", "gone", "virtio_pci"].map(str::to_owned);
            let (present, absent) = modules.present(&names).unwrap();
            assert_eq!(present, ["vb2_v4l2", "virtio_pci"], "{order}");
            assert_eq!(absent, ["stale", "gone"], "{order}");
            let order = modules.load_order(&present).unwrap();
            assert_eq!(order[1].path, "drivers/media/vb2-v4l2.ko");
        }
    }

    #[test]
    fn a_module_without_what_it_needs_is_absent() {
        let dir = tree(&[("kernel/a.ko", "gone"), ("updates/b.ko", "")], "");
        let modules = Modules::open(dir.path()).unwrap();
        let (present, absent) = modules.present(&["a", "b"].map(str::to_owned)).unwrap();
        assert_eq!((present, absent), (vec!["b".into()], vec!["a".into()]));
    }

    #[test]
    fn a_module_says_its_name_and_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("odd-name.ko");
        let elf = |kind: &str, information: &str| {
            let head = format!("\x7fELF\x02\x01\x01{}{kind}\0", "\0".repeat(9));
            fs::write(&path, format!("{head}{information}")).unwrap();
            read_module(&path)
        };
        const RELOCATABLE: &str = "\x01\0\x3e";
        let module = elf(
            RELOCATABLE,
            "\0vermagic=6.12\0depends=mc,videodev\0name=virtio_media\0",
        )
        .unwrap();
        assert_eq!(module.name, "virtio_media");
        assert_eq!(module.depends, ["mc", "videodev"]);
        // A module may be compressed in any way, and have any name.
        let contents = fs::read(&path).unwrap();
        for (name, compressed) in [
            ("a.ko.gz", gzip(&contents)),
            (
                "a.ko.zst",
                zstd::encode_all(contents.as_slice(), 1).unwrap(),
            ),
            ("a.ko", gzip(&contents)),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, compressed).unwrap();
            let read = read_module(&path).unwrap();
            assert_eq!(read.name, "virtio_media", "{name}");
            assert_eq!(read.contents, contents, "{name}");
        }
        let cut = gzip(&contents)[..40].to_vec();
        fs::write(dir.path().join("cut.ko.gz"), cut).unwrap();
        assert!(read_module(&dir.path().join("cut.ko.gz")).is_err());
        let unnamed = elf(RELOCATABLE, "\0vermagic=6.12\0").unwrap();
        assert_eq!(
            (unnamed.name.as_str(), unnamed.depends.len()),
            ("odd_name", 0)
        );
        for (kind, information) in [
            ("\x02\0\x3e", "\0vermagic=6.12\0"),
            (RELOCATABLE, "\0name=x\0"),
            (RELOCATABLE, "\0vermagic=6.12\0name=../x\0"),
        ] {
            let error = elf(kind, information).unwrap_err().to_string();
            assert!(
                error.ends_with("it is no module of an x86-64 kernel"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_missing_module_and_a_circle_are_errors() {
        let dir = sample();
        let modules = Modules::open(dir.path()).unwrap();
        let error = modules.load_order(&["vivid".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("no module vivid"), "{error}");
        let error = modules.load_order(&["loop-a".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("depends on itself"), "{error}");
    }
}
