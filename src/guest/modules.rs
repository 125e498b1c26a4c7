//! Kernel modules: loading, removing and listing them.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::agent::protocol::{Load, Module};

use crate::guest::failure::Failure;

/// File with the modules to load at boot, one per line: its path, then its
/// parameters. Empty lines and those that begin with `#` are skipped.
const AT_BOOT: &str = "/etc/pinhole/modules";

/// Loads the modules in [`AT_BOOT`]; returns the problems.
pub fn load_at_boot() -> Vec<String> {
    let Ok(list) = fs::read_to_string(AT_BOOT) else {
        return Vec::new();
    };
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| {
            let (file, params) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            match insert(Path::new(file), params.trim()) {
                Err(failure) if failure.errno != Some(libc::EEXIST) => Some(failure.message),
                _ => None,
            }
        })
        .collect()
}

/// Loads a module, given by its file or by its name; for a name, loads its
/// dependencies first. A built-in module counts as loaded, without the
/// parameters.
pub fn load(request: &Load) -> Result<(), Failure> {
    if request.module.contains('/') {
        return insert(Path::new(&request.module), &request.params);
    }
    let root = Path::new("/lib/modules").join(release());
    let path = root.join("modules.dep");
    let index = fs::read_to_string(&path)
        .map_err(|error| Failure::io(format_args!("read {}", path.display()), error))?;
    let Some((file, needs)) = look_up(&index, &request.module) else {
        let builtin = fs::read_to_string(root.join("modules.builtin")).unwrap_or_default();
        if is_listed(&builtin, &request.module) {
            return Ok(());
        }
        return Err(Failure::new(format!(
            "{} lists no module {}",
            path.display(),
            request.module
        )));
    };
    for need in needs {
        match insert(&root.join(need), "") {
            Err(failure) if failure.errno != Some(libc::EEXIST) => return Err(failure),
            _ => {}
        }
    }
    insert(&root.join(file), &request.params)
}

fn insert(file: &Path, params: &str) -> Result<(), Failure> {
    let what = || format!("load {}", file.display());
    let params = CString::new(params).map_err(|error| Failure::io(what(), error))?;
    let module = File::open(file).map_err(|error| Failure::io(what(), error))?;
    rustix::system::finit_module(&module, &params, 0).map_err(|error| Failure::io(what(), error))
}

/// Finds a module in the text of modules.dep: returns its file, and the files
/// of its dependencies in load order.
fn look_up(index: &str, name: &str) -> Option<(PathBuf, Vec<PathBuf>)> {
    index.lines().find_map(|line| {
        let (file, needs) = line.split_once(':')?;
        if !is_of(file, name) {
            return None;
        }
        let needs = needs.split_whitespace().rev().map(PathBuf::from).collect();
        Some((PathBuf::from(file), needs))
    })
}

/// Returns whether modules.builtin, which has one path per line, lists a
/// module.
fn is_listed(builtin: &str, name: &str) -> bool {
    builtin.lines().any(|file| is_of(file, name))
}

/// Returns whether a module's file has that name, in either spelling.
fn is_of(file: &str, name: &str) -> bool {
    let file = Path::new(file).file_name().and_then(|file| file.to_str());
    let stem = file.and_then(|file| file.split('.').next());
    stem.is_some_and(|stem| stem.replace('-', "_") == name.replace('-', "_"))
}

/// Removes a module; fails if it is in use.
pub fn unload(name: &str) -> Result<(), Failure> {
    let what = || format!("unload {name}");
    let module = CString::new(name).map_err(|error| Failure::io(what(), error))?;
    rustix::system::delete_module(&module, libc::O_NONBLOCK)
        .map_err(|error| Failure::io(what(), error))
}

/// Lists the loaded modules.
pub fn list() -> Result<Vec<Module>, Failure> {
    let text = fs::read_to_string("/proc/modules")
        .map_err(|error| Failure::io("read /proc/modules", error))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// Parses a line of /proc/modules: `name size references users state address`.
fn parse(line: &str) -> Option<Module> {
    let mut fields = line.split_whitespace();
    Some(Module {
        name: fields.next()?.to_owned(),
        size: fields.next()?.parse().ok()?,
        references: fields.next()?.parse().ok()?,
    })
}

/// Returns the release of the running kernel.
pub fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_either_spelling_with_what_it_needs() {
        let index = "kernel/a/videobuf2-common.ko: kernel/mc.ko\n\
                     kernel/a/videobuf2-v4l2.ko: kernel/videobuf2-common.ko kernel/videodev.ko kernel/mc.ko\n";
        let (file, needs) = look_up(index, "videobuf2_v4l2").unwrap();
        assert_eq!(file, Path::new("kernel/a/videobuf2-v4l2.ko"));
        let needs: Vec<_> = needs.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            needs,
            [
                "kernel/mc.ko",
                "kernel/videodev.ko",
                "kernel/videobuf2-common.ko"
            ]
        );
        assert!(look_up(index, "videobuf2-common").is_some());
        assert!(look_up(index, "videobuf2").is_none());
        let builtin = "kernel/drivers/virtio/virtio-pci.ko\n";
        assert!(is_listed(builtin, "virtio_pci") && !is_listed(builtin, "virtio"));
    }

    #[test]
    fn a_loaded_module_is_a_line() {
        let module = parse("loop 40960 -1 - Live 0x0000000000000000 (OE)").unwrap();
        assert_eq!((module.size, module.references), (40960, -1));
        assert_eq!(parse("loop"), None);
    }
}
