//! A tree of unpacked packages, read from outside.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{Context, Error, Result};

/// Path of the loader of x86-64 programs, as their headers name it.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// Directories that Debian's loader searches without a cache, in order.
const LIBRARIES: [&str; 2] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"];

/// A root file system in which no process runs.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Returns the tree in a directory.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns the directory of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path on the host of a path inside the tree. Symbolic links
    /// are followed as if the tree were the root directory. The result is never
    /// outside the tree, because callers may remove it.
    pub fn resolve(&self, path: &str) -> Result<PathBuf> {
        let open = || {
            let root = File::open(&self.root)?;
            let file = openat2(
                &root,
                path,
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            )?;
            let place =
                |file: BorrowedFd<'_>| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let found = place(file.as_fd())?;
            if !found.starts_with(place(root.as_fd())?) {
                return Err(std::io::Error::other("it is outside the tree"));
            }
            Ok(found)
        };
        open().context("find", &self.root.join(path.trim_start_matches('/')))
    }

    /// Returns the bytes of a file inside the tree.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.resolve(path)?;
        fs::read(&path).context("read", &path)
    }

    /// Returns the command that runs a program of the tree without entering it,
    /// through the tree's own loader and libraries. The caller appends the
    /// program's arguments.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = self.loader()?;
        command.arg(self.resolve(program)?);
        Ok(command)
    }

    /// Returns the names and paths of the shared libraries that a program
    /// loads, without the loader. The loader itself lists them with its option
    /// --list (ld.so(8)).
    pub fn libraries(&self, program: &str) -> Result<Vec<(String, PathBuf)>> {
        let mut command = self.loader()?;
        command.arg("--list").arg(self.resolve(program)?);
        let output = command.output().context("start", &self.root)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let broken = |why: &str| Error::Contents {
            what: program.to_owned(),
            why: why.to_owned(),
        };
        if !output.status.success() {
            return Err(broken(String::from_utf8_lossy(&output.stderr).trim()));
        }
        parse_list(&text)
            .map_err(|name| broken(&format!("it needs {name}, which is not among them")))
    }

    /// Returns the path of the loader of x86-64 programs. A tree without
    /// base-files may lack the link from /lib64 to /usr/lib64.
    pub fn loader_file(&self) -> Result<PathBuf> {
        self.resolve(LOADER)
            .or_else(|error| self.resolve(&format!("/usr{LOADER}")).map_err(|_| error))
    }

    fn loader(&self) -> Result<Command> {
        let mut libraries = Vec::new();
        for dir in LIBRARIES {
            if let Ok(dir) = self.resolve(dir)
                && !libraries.contains(&dir)
            {
                libraries.push(dir);
            }
        }
        let path = std::env::join_paths(libraries)
            .map_err(std::io::Error::other)
            .context("pass to a loader the path", &self.root)?;
        let mut command = Command::new(self.loader_file()?);
        command.arg("--library-path").arg(path);
        Ok(command)
    }

    /// Creates the links `sh` and `awk`, which shell scripts need and which
    /// packages' scripts create at configuration time on some releases.
    pub fn link_shell_and_awk(&self) -> Result<()> {
        for (dir, name, target) in [("/bin", "sh", "dash"), ("/usr/bin", "awk", "mawk")] {
            let link = self.resolve(dir)?.join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(target, &link).context("create", &link)?;
            }
        }
        Ok(())
    }

    /// Links the libraries in `folder` into its parent directory, which the
    /// loader searches, unless a file of that name is there.
    pub fn link_libraries(&self, folder: &str) -> Result<()> {
        let folder = self.resolve(folder)?;
        let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else {
            return Ok(());
        };
        for entry in fs::read_dir(&folder).context("read", &folder)? {
            let library = entry.context("read", &folder)?.file_name();
            let link = above.join(&library);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new(name).join(&library), &link).context("create", &link)?;
            }
        }
        Ok(())
    }

    /// Removes files and directories that are not needed here; a missing one is
    /// no error.
    pub fn prune(&self, paths: impl IntoIterator<Item = String>) -> Result<()> {
        for path in paths {
            let Ok(path) = self.resolve(&path) else {
                continue;
            };
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.context("remove", &path)?;
        }
        Ok(())
    }
}

/// Returns the libraries in the output of `ld.so --list`, or the name of one
/// that was not found. A line is `NAME => PATH (ADDRESS)`; the kernel's own
/// library has no path.
fn parse_list(text: &str) -> Result<Vec<(String, PathBuf)>, String> {
    let mut libraries = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.trim().split_once(" => ") else {
            continue;
        };
        if rest.starts_with("not found") {
            return Err(name.to_owned());
        }
        if name.starts_with('/') {
            continue;
        }
        let path = rest.rsplit_once(" (").map_or(rest, |(path, _)| path);
        libraries.push((name.to_owned(), PathBuf::from(path)));
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::write(root.join("usr/lib/real"), "inside").unwrap();
        symlink("/usr/lib", root.join("lib")).unwrap();
        symlink("/lib/real", root.join("usr/lib/link")).unwrap();
        symlink("../../../../../../etc/passwd", root.join("usr/lib/escape")).unwrap();
        let tree = Tree::new(root.clone());
        assert_eq!(
            tree.resolve("/lib/link").unwrap(),
            root.join("usr/lib/real")
        );
        assert_eq!(tree.read("/lib/link").unwrap(), b"inside");
        assert!(tree.resolve("/lib/escape").is_err());
        let error = tree.resolve("/lib/none").unwrap_err().to_string();
        assert!(error.contains("lib/none"), "{error}");
    }

    #[test]
    fn libraries_of_a_folder_are_found_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path().canonicalize().unwrap());
        fs::create_dir_all(tree.root().join("usr/lib/blas")).unwrap();
        fs::write(tree.root().join("usr/lib/blas/libblas.so.3"), "blas").unwrap();
        fs::write(tree.root().join("usr/lib/blas/libown.so"), "blas").unwrap();
        fs::write(tree.root().join("usr/lib/libown.so"), "own").unwrap();
        tree.link_libraries("/usr/lib/blas").unwrap();
        assert_eq!(tree.read("/usr/lib/libblas.so.3").unwrap(), b"blas");
        assert_eq!(tree.read("/usr/lib/libown.so").unwrap(), b"own");
        assert!(tree.link_libraries("/usr/lib/lapack").is_err());
    }

    #[test]
    fn the_loaders_list_is_read() {
        let text = "\tlinux-vdso.so.1 (0x00007f0000000000)\n\
                    \tlibv4l2.so.0 => /tree/usr/lib/libv4l2.so.0 (0x00007f0000001000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 => /tree/lib64/ld (0x00007f0000002000)\n";
        let library = (
            "libv4l2.so.0".to_owned(),
            "/tree/usr/lib/libv4l2.so.0".into(),
        );
        assert_eq!(parse_list(text), Ok(vec![library]));
        assert_eq!(
            parse_list("\tlibx.so => not found\n"),
            Err("libx.so".to_owned())
        );
    }
}
