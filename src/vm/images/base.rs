//! The bootable part of a tree: the kernel, and the base initramfs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::catalog::Recipe;
use super::initramfs::{Archive, pad};
use super::modules::{Module, Modules, modules_dep};
use super::pvh;
use super::signature;
use crate::vm::progress::Step;
use crate::vm::provision::bootstrap::Version;
use crate::vm::provision::tree::Tree;
use crate::vm::provision::{Context, Error, Result};

/// Format number, incremented when the files below are made differently.
pub const FORMAT: u32 = 3;

/// File names of the kernel: as a bzImage, and uncompressed.
const BZIMAGE: &str = "vmlinuz";
const UNCOMPRESSED: &str = "vmlinux";
/// File name of the base initramfs.
pub const INITRAMFS: &str = "initramfs.zst";
/// File name of the list of a tree's packages, beside its root.
pub const PACKAGES: &str = "packages.json";
/// File name of the manifest in a guest's directory.
const MANIFEST: &str = "guest.json";

/// Paths of busybox in a tree; the first is its path in the initramfs, too.
const BUSYBOX: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];
/// Path of the programs' loader in the initramfs, whose /lib64 is a link.
const LOADER: &str = "/usr/lib64/ld-linux-x86-64.so.2";
/// Directory of shared libraries in the initramfs; the loader searches it by
/// itself.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// Compression level: 15 takes seven times as long for one percent.
const COMPRESSION: i32 = 9;

/// The description of a built guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the guest.
    pub id: String,
    /// Release of its kernel, as `uname -r` prints it.
    pub release: String,
    /// File name of its kernel.
    pub kernel: String,
    /// Paths in the guest of the modules to load at boot, in order.
    pub boot_modules: Vec<String>,
    /// Packages of its tree.
    pub packages: Vec<Version>,
}

impl Manifest {
    /// Reads the manifest of a guest's directory.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST);
        let bytes = fs::read(&path).context("read", &path)?;
        serde_json::from_slice(&bytes).context("read", &path)
    }
}

/// Builds a guest from a tree: writes its kernel, initramfs and manifest to
/// `dir`.
pub fn build(recipe: &Recipe, tree: &Tree, dir: &Path, step: &Step) -> Result<()> {
    let release = release(tree, &recipe.id)?;
    let kernel = tree
        .resolve(&format!("/boot/vmlinuz-{release}"))
        .or_else(|_| tree.resolve(&format!("/lib/modules/{release}/vmlinuz")))?;
    step.update("kernel");
    let image = fs::read(&kernel).context("read", &kernel)?;
    let (kernel, contents) = match pvh::kernel(&image) {
        Some(uncompressed) => (UNCOMPRESSED, uncompressed),
        None => (BZIMAGE, image),
    };
    let target = dir.join(kernel);
    fs::write(&target, contents).context("write", &target)?;

    let mut archive = Archive::new();
    step.update("tools");
    add_user_land(&mut archive, tree, recipe)?;
    step.update("modules");
    let modules = Modules::open(&tree.resolve(&format!("/lib/modules/{release}"))?)?;
    let wanted = &recipe.initramfs;
    let names = [wanted.boot_modules.as_slice(), &wanted.modules].concat();
    let mut all = modules.load_order(&names)?;
    for module in &mut all {
        module
            .contents
            .truncate(signature::unsigned_length(&module.contents));
    }
    let selection = Selection {
        all,
        boot: modules.load_order(&wanted.boot_modules)?,
        builtin: modules.builtin().to_owned(),
    };
    let boot_modules = add_modules(&mut archive, &release, &selection);
    step.update("compressing");
    write_initramfs(&dir.join(INITRAMFS), archive)?;

    let packages = tree.root().with_file_name(PACKAGES);
    let bytes = fs::read(&packages).context("read", &packages)?;
    let manifest = Manifest {
        id: recipe.id.clone(),
        release,
        kernel: kernel.to_owned(),
        boot_modules,
        packages: serde_json::from_slice(&bytes).context("read", &packages)?,
    };
    write_json(&dir.join(MANIFEST), &manifest)
}

/// Writes a value as JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value).context("write", path)?;
    fs::write(path, bytes).context("write", path)
}

/// Returns the release of the only kernel in a tree.
pub fn release(tree: &Tree, what: &str) -> Result<String> {
    let dir = tree.resolve("/lib/modules")?;
    let kernels: Vec<_> = crate::vm::provision::cache::list(&dir)?
        .into_iter()
        .filter(|path| path.join("kernel").is_dir())
        .collect();
    let name = match kernels.as_slice() {
        [one] => one.file_name().and_then(|name| name.to_str()),
        _ => None,
    };
    name.map(str::to_owned).ok_or_else(|| Error::Contents {
        what: what.to_owned(),
        why: format!("they hold {} kernels, not one", kernels.len()),
    })
}

/// Adds directories, and the devices that init needs before it has mounted a
/// file system. The directories of programs and of libraries are merged (/bin
/// is /usr/bin), as on any current Debian, whatever the suite does.
fn add_skeleton(archive: &mut Archive) {
    for dir in [
        "dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var",
    ] {
        archive.add_dir(dir);
    }
    for dir in ["bin", "lib", "lib64", "sbin"] {
        archive.add_dir(&format!("usr/{dir}"));
        archive.add_symlink(dir, &format!("usr/{dir}"));
    }
    archive.add_node("dev/console", 0o600, 5, 1);
    archive.add_node("dev/null", 0o666, 1, 3);
    archive.add_file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.add_file("etc/group", 0o644, b"root:x:0:\n");
}

/// Adds busybox under its own name and under the names of its applets.
fn add_busybox(archive: &mut Archive, tree: &Tree) -> Result<()> {
    let busybox = tree
        .resolve(BUSYBOX[0])
        .or_else(|_| tree.resolve(BUSYBOX[1]))?;
    let contents = fs::read(&busybox).context("read", &busybox)?;
    archive.add_file(BUSYBOX[0], 0o755, &contents);
    let output = Command::new(&busybox)
        .arg("--list")
        .output()
        .context("start", &busybox)?;
    for applet in String::from_utf8_lossy(&output.stdout).lines() {
        if applet != "busybox" {
            archive.add_symlink(&format!("usr/bin/{applet}"), "busybox");
        }
    }
    Ok(())
}

/// Adds a program with its loader and libraries.
fn add_program(archive: &mut Archive, tree: &Tree, program: &str) -> Result<()> {
    archive.add_file(program, 0o755, &tree.read(program)?);
    if !archive.contains(LOADER) {
        let loader = tree.loader_file()?;
        archive.add_file(LOADER, 0o755, &fs::read(&loader).context("read", &loader)?);
    }
    for (name, path) in tree.libraries(program)? {
        let target = format!("{LIBRARIES}/{name}");
        if !archive.contains(&target) {
            archive.add_file(&target, 0o644, &fs::read(&path).context("read", &path)?);
        }
    }
    Ok(())
}

/// Adds all of a guest that does not depend on its kernel.
pub fn add_user_land(archive: &mut Archive, tree: &Tree, recipe: &Recipe) -> Result<()> {
    add_skeleton(archive);
    add_busybox(archive, tree)?;
    for program in &recipe.initramfs.programs {
        add_program(archive, tree, program)?;
    }
    Ok(())
}

/// The modules of a kernel that go into an initramfs.
pub struct Selection {
    /// The selected modules, each after those that it depends on.
    pub all: Vec<Module>,
    /// The modules that are loaded at boot, in this order.
    pub boot: Vec<Module>,
    /// Text of modules.builtin.
    pub builtin: String,
}

/// Adds the modules, the files that modprobe needs to find them, and the list
/// of modules to load at boot. Returns that list.
pub fn add_modules(archive: &mut Archive, release: &str, selection: &Selection) -> Vec<String> {
    let dir = format!("/lib/modules/{release}");
    let target = format!("/usr{dir}");
    for module in &selection.all {
        let path = format!("{target}/{}", module.path);
        archive.add_file(&path, 0o644, &module.contents);
    }
    for (name, text) in [
        ("modules.dep", modules_dep(&selection.all)),
        ("modules.builtin", selection.builtin.clone()),
    ] {
        archive.add_file(&format!("{target}/{name}"), 0o644, text.as_bytes());
    }
    let boot = selection.boot.iter();
    let boot: Vec<_> = boot
        .map(|module| format!("{dir}/{}", module.path))
        .collect();
    let lines: String = boot.iter().map(|path| format!("{path}\n")).collect();
    archive.add_file("/etc/pinhole/modules", 0o644, lines.as_bytes());
    boot
}

/// Compresses an archive, padded so that the kernel accepts another archive
/// after it.
fn write_initramfs(path: &Path, archive: Archive) -> Result<()> {
    let compress = || {
        let mut encoder = zstd::Encoder::new(Vec::new(), COMPRESSION)?;
        encoder.write_all(&archive.finish())?;
        encoder.finish()
    };
    let mut bytes = compress().context("compress", path)?;
    pad(&mut bytes);
    fs::write(path, bytes).context("write", path)
}
