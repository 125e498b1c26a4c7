//! A QEMU that can put a vhost-user card on its PCI bus.
//!
//! That is QEMU's media device, `vhost-user-media-pci`, which QEMU has after 11.1, or
//! else the generic device `vhost-user-test-device-pci`. Both show the guest the
//! card's shared memory region as a BAR. The system's own QEMU is used if it has one
//! of the two; else one is unpacked from Debian and run through its own loader.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::{Deserialize, Serialize};

use super::accelerator;
use super::images::catalog::{Catalog, QemuRecipe};
use super::progress::Progress;
use super::provision::bootstrap::{self, Packages, find_in_path};
use super::provision::cache::{Cache, Entry, key};
use super::provision::tree::Tree;
use super::provision::{Context, Error, Result};

pub use accelerator::Accelerator;

/// Name of the program, in PATH and in a tree.
const PROGRAM: &str = "qemu-system-x86_64";

/// The media device.
const MEDIA_DEVICE: &str = "vhost-user-media-pci";
/// The device that takes any virtio device id.
const GENERIC_DEVICE: &str = "vhost-user-test-device-pci";

/// The virtio device id of a media device (VIRTIO 1.4, section 5).
pub const MEDIA_ID: u32 = 48;
/// The id that replaces it on a QEMU that has no name for 48 and aborts: video
/// encoder, which no driver of mainline Linux claims.
pub const STAND_IN_ID: u32 = 30;

/// Format number, incremented when a QEMU's tree is made differently.
const TREE_FORMAT: u32 = 1;
/// Format number, incremented when the result of a probe changes.
const PROBE_FORMAT: u32 = 3;
/// Kinds of the cache entries.
const QEMU: &str = "qemu";
const PROBE: &str = "probe";

/// Paths in a QEMU's tree that QEMU does not read.
const UNUSED: [&str; 7] = [
    "/usr/bin/qemu-system-i386",
    "/usr/share/doc",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/var/cache",
    "/var/lib/apt",
];

/// A usable QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    program: PathBuf,
    leading: Vec<OsString>,
    /// Version, such as `11.1.3`.
    pub version: String,
    /// The device that carries the card, for the option `-device`.
    pub device: &'static str,
    /// The virtio device id that the guest finds.
    pub virtio_id: u32,
    /// The virtio device id that its generic device supports; `None` if it has
    /// no such device.
    generic: Option<u32>,
}

/// The result of probing a QEMU, as the cache keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Probed {
    version: String,
    /// Whether it has the media device.
    media: bool,
    /// See [`Qemu::generic`].
    generic: Option<u32>,
}

impl Qemu {
    /// Returns the command that starts it; the caller appends QEMU's arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.leading);
        command
    }

    /// Returns whether the device is the generic one, which needs the properties
    /// `virtio-id`, `num_vqs` and `config_size`. The media device has none of
    /// them.
    pub fn device_is_generic(&self) -> bool {
        self.device == GENERIC_DEVICE
    }

    /// Returns the same QEMU with the generic device, which passes on every feature
    /// of a card and has as large a configuration space as is asked for.
    fn with_generic_device(self) -> Result<Self> {
        match self.generic {
            Some(virtio_id) => Ok(Self {
                device: GENERIC_DEVICE,
                virtio_id,
                ..self
            }),
            None => Err(Error::Qemu {
                path: self.program,
                why: format!("QEMU {} has no {GENERIC_DEVICE}", self.version),
            }),
        }
    }

    /// Returns the path of the program that is run.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// Returns the QEMU at `path`; without a path, the system's own if it is
/// usable, else one that is unpacked into the cache.
pub fn ensure(path: Option<&Path>, progress: &Progress) -> Result<Qemu> {
    ensure_in(&Cache::open()?, path, Ok, progress)
}

/// Does the same as [`ensure`], with the [generic device](Qemu::with_generic_device).
pub fn ensure_generic(path: Option<&Path>, progress: &Progress) -> Result<Qemu> {
    ensure_in(&Cache::open()?, path, Qemu::with_generic_device, progress)
}

/// Does the same as [`ensure`], in a given cache, with what `choose` makes of the
/// QEMU. A QEMU of which it makes an error is not usable.
pub(super) fn ensure_in(
    cache: &Cache,
    path: Option<&Path>,
    choose: impl Fn(Qemu) -> Result<Qemu>,
    progress: &Progress,
) -> Result<Qemu> {
    let usable = |path: &Path, leading| {
        at(cache, path, leading)?
            .map_err(|why| Error::Qemu {
                path: path.to_owned(),
                why,
            })
            .and_then(&choose)
    };
    if let Some(path) = path {
        return usable(path, Vec::new());
    }
    if let Some(path) = find_in_path(PROGRAM) {
        match usable(&path, Vec::new()) {
            Ok(qemu) => return Ok(qemu),
            Err(error) => log::debug!("{error}"),
        }
    }
    let tree = ensure_tree(cache, Catalog::builtin().qemu(), progress)?;
    let mut command = tree.command(&format!("/usr/bin/{PROGRAM}"))?;
    for firmware in ["/usr/share/qemu", "/usr/share/seabios"] {
        command.arg("-L").arg(tree.resolve(firmware)?);
    }
    let leading = command.get_args().map(OsString::from).collect();
    usable(Path::new(command.get_program()), leading)
}

/// Returns the tree that [`ensure`] would use, if it is built.
pub fn unpacked(cache: &Cache) -> Option<PathBuf> {
    cache.get(&entry(Catalog::builtin().qemu()))
}

/// Removes all QEMUs in the cache, or only `old` ones; returns the disk space
/// that this freed, in bytes.
pub fn remove(cache: &Cache, old: bool, progress: &Progress) -> Result<u64> {
    let current = entry(Catalog::builtin().qemu()).key;
    let keep = old.then_some(current.as_str());
    let probes = cache.remove(PROBE, PROGRAM, None, progress)?;
    Ok(probes + cache.remove(QEMU, PROGRAM, keep, progress)?)
}

fn entry(recipe: &QemuRecipe) -> Entry {
    Entry {
        kind: QEMU,
        name: PROGRAM.to_owned(),
        key: key(&format!("{TREE_FORMAT} {recipe:?} {UNUSED:?}")),
    }
}

fn ensure_tree(cache: &Cache, recipe: &QemuRecipe, progress: &Progress) -> Result<Tree> {
    let dir = cache.ensure(&entry(recipe), progress, |workspace| {
        let step = progress.step("unpacking a QEMU, as the system has none that serves");
        let packages = Packages {
            what: "QEMU",
            suite: &recipe.suite,
            release: recipe.release.as_deref(),
            names: &recipe.packages,
            lapsed: false,
        };
        let root = workspace.dir.join("root");
        bootstrap::unpack(packages, &root, workspace, &step)?;
        Tree::new(root).prune(UNUSED.map(str::to_owned))?;
        step.done();
        Ok(())
    })?;
    let root = dir.join("root");
    Ok(Tree::new(root.canonicalize().context("find", &root)?))
}

/// Returns the QEMU that `program` and `leading` start, or the reason for which
/// it is not usable. The probe's result is kept as long as the program's file
/// stays the same.
fn at(cache: &Cache, program: &Path, leading: Vec<OsString>) -> Result<Result<Qemu, String>> {
    let file = leading
        .iter()
        .map(Path::new)
        .find(|path| path.ends_with(PROGRAM))
        .unwrap_or(program);
    let meta = fs::metadata(file).context("use", file)?;
    let made_of = format!(
        "{PROBE_FORMAT} {file:?} {leading:?} {} {} {}",
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    let kept = Entry {
        kind: PROBE,
        name: PROGRAM.to_owned(),
        key: key(&made_of),
    };
    let dir = cache.ensure(&kept, &Progress::silent(), |workspace| {
        let start = || {
            let mut command = Command::new(program);
            command.args(&leading);
            command
        };
        let path = workspace.dir.join("probe.json");
        let text = serde_json::to_vec(&probe(start).context("start", file)?);
        fs::write(&path, text.context("write", &path)?).context("write", &path)
    })?;
    let path = dir.join("probe.json");
    let text = fs::read(&path).context("read", &path)?;
    let probed: Probed = serde_json::from_slice(&text).context("read", &path)?;
    let (device, virtio_id) = match probed.generic {
        _ if probed.media => (MEDIA_DEVICE, MEDIA_ID),
        Some(virtio_id) => (GENERIC_DEVICE, virtio_id),
        None => {
            let version = probed.version;
            return Ok(Err(format!(
                "QEMU {version} has neither {MEDIA_DEVICE} nor {GENERIC_DEVICE}"
            )));
        }
    };
    Ok(Ok(Qemu {
        program: program.to_owned(),
        leading,
        version: probed.version,
        device,
        virtio_id,
        generic: probed.generic,
    }))
}

/// Finds out the version and devices of a QEMU.
fn probe(start: impl Fn() -> Command) -> std::io::Result<Probed> {
    let run = |args: &[&str]| start().args(args).stdin(Stdio::null()).output();
    let version = version(&text(&run(&["--version"])?))
        .ok_or_else(|| std::io::Error::other("it does not say that it is a QEMU"))?;
    let devices = text(&run(&["-machine", "none", "-device", "help"])?);
    let generic = match has_device(&devices, GENERIC_DEVICE) {
        true if takes_media_id(run)? => Some(MEDIA_ID),
        true => Some(STAND_IN_ID),
        false => None,
    };
    Ok(Probed {
        version,
        media: has_device(&devices, MEDIA_DEVICE),
        generic,
    })
}

/// Returns whether QEMU accepts a device with the id of a media card. It aborts
/// if its table of names ends before 48 (virtio_id_to_name). If it does not, it
/// reports an ordinary error right after that, because the character device has
/// no peer.
fn takes_media_id(run: impl Fn(&[&str]) -> std::io::Result<Output>) -> std::io::Result<bool> {
    let device =
        format!("{GENERIC_DEVICE},virtio-id={MEDIA_ID},chardev=card,num_vqs=2,config_size=40");
    let output = run(&[
        "-machine",
        "q35,accel=tcg",
        "-m",
        "16",
        "-S",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-chardev",
        "null,id=card",
        "-device",
        &device,
    ])?;
    // A script in front of QEMU turns the signal into an exit code above 128.
    Ok(output.status.code().is_some_and(|code| code < 128))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Returns the version in `QEMU emulator version 11.1.3 (Debian ...)`.
fn version(text: &str) -> Option<String> {
    let rest = text.split_once("QEMU emulator version ")?.1;
    rest.split_whitespace().next().map(str::to_owned)
}

/// Returns whether the list of `-device help` contains a device.
fn has_device(list: &str, device: &str) -> bool {
    let name = format!("name \"{device}\"");
    list.lines().any(|line| line.starts_with(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::executable;

    /// Creates a program that answers as a QEMU does, and counts its calls.
    fn pretender(dir: &Path, devices: &str, on_media_id: &str) -> PathBuf {
        let path = dir.join(PROGRAM);
        let script = format!(
            "#!/bin/sh\necho >> {dir}/asked\ncase \"$*\" in\n\
             --version) echo 'QEMU emulator version 99.1 (Test)';;\n\
             *help*) echo '{devices}';;\n\
             *virtio-id=48*) {on_media_id};;\nesac\n",
            dir = dir.display()
        );
        executable::write(&path, script);
        path
    }

    fn ensure_pretender(devices: &str, on_media_id: &str) -> Result<Qemu> {
        let dir = tempfile::tempdir().unwrap();
        let path = pretender(dir.path(), devices, on_media_id);
        let cache = Cache::at(dir.path().join("cache"));
        let asked = || {
            fs::read_to_string(dir.path().join("asked"))
                .unwrap()
                .lines()
                .count()
        };
        let first = ensure_in(&cache, Some(&path), Ok, &Progress::silent())?;
        let before = asked();
        let second = ensure_in(&cache, Some(&path), Ok, &Progress::silent())?;
        assert_eq!(first, second);
        assert_eq!(asked(), before, "a warm call asks the program nothing");
        Ok(first)
    }

    /// The devices of a QEMU that has all those that might carry a card. The
    /// second is the generic one of QEMU before 11.0, which users cannot
    /// create.
    const ALL_DEVICES: &str = "name \"vhost-user-media-pci\", bus PCI\n\
                               name \"vhost-user-device-pci\", bus PCI\n\
                               name \"vhost-user-test-device-pci\", bus PCI";

    /// Those of QEMU 11.1.
    const WITHOUT_MEDIA: &str = "name \"vhost-user-device-pci\", bus PCI\n\
                                 name \"vhost-user-test-device-pci\", bus PCI";

    #[test]
    fn the_media_device_is_used_where_there_is_one() {
        // Whatever the generic device makes of the id.
        let qemu = ensure_pretender(ALL_DEVICES, "exit 134").unwrap();
        assert_eq!((qemu.device, qemu.virtio_id), (MEDIA_DEVICE, MEDIA_ID));
        assert!(!qemu.device_is_generic());
        let qemu = qemu.with_generic_device().unwrap();
        assert_eq!((qemu.device, qemu.virtio_id), (GENERIC_DEVICE, STAND_IN_ID));
        assert!(qemu.device_is_generic());

        let alone = "name \"vhost-user-media-pci\", bus PCI";
        let qemu = ensure_pretender(alone, "exit 1").unwrap();
        assert_eq!((qemu.device, qemu.virtio_id), (MEDIA_DEVICE, MEDIA_ID));
        let error = qemu.with_generic_device().unwrap_err().to_string();
        assert!(error.contains("99.1 has no vhost-user-test-"), "{error}");
    }

    #[test]
    fn the_generic_device_carries_the_media_id_where_it_takes_it() {
        let qemu = ensure_pretender(WITHOUT_MEDIA, "exit 1").unwrap();
        assert_eq!((qemu.device, qemu.virtio_id), (GENERIC_DEVICE, MEDIA_ID));
        assert_eq!(qemu.version, "99.1");
    }

    #[test]
    fn an_abort_on_the_media_id_calls_for_the_stand_in() {
        // The second command is the effect of a script in front of QEMU.
        for on_media_id in ["kill -ABRT $$", "exit 134"] {
            let qemu = ensure_pretender(WITHOUT_MEDIA, on_media_id).unwrap();
            assert_eq!((qemu.device, qemu.virtio_id), (GENERIC_DEVICE, STAND_IN_ID));
        }
    }

    #[test]
    fn one_without_either_device_is_refused_by_name() {
        let other = "name \"vhost-user-device-pci\", bus PCI";
        let error = ensure_pretender(other, "exit 1").unwrap_err().to_string();
        let named = "99.1 has neither vhost-user-media-pci nor vhost-user-test-";
        assert!(error.contains(named), "{error}");
    }
}
