//! Unpacks Debian packages into a tree, with mmdebstrap.
//!
//! mmdebstrap fetches the packages, checks their signatures, and unpacks them.
//! It configures none and runs no script of theirs (its variant `extract`).
//! That needs neither root nor a namespace, takes a fifth of the time, and
//! leaves a tree that belongs to the user and holds no mounts, so that it can
//! be removed like any directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::Workspace;
use super::{Context, Error, Result, process};
use crate::vm::progress::Step;

/// The environment variable that overrides the mirror.
pub const MIRROR: &str = "PINHOLE_MIRROR";

/// The packages to unpack.
#[derive(Debug, Clone, Copy)]
pub struct Packages<'a> {
    /// Purpose of the packages, for messages.
    pub what: &'a str,
    /// Suite of Debian.
    pub suite: &'a str,
    /// A second suite, which is preferred if it has a package.
    pub release: Option<&'a str>,
    /// Names of the packages; their dependencies come with them.
    pub names: &'a [String],
    /// Whether the suites' package lists may have expired, as happens soon for
    /// a suite in development on a mirror that lags behind. Their signatures
    /// are checked all the same.
    pub lapsed: bool,
}

/// Name and version of an unpacked package.
pub type Version = (String, String);

/// Unpacks packages into `root`, which must not exist; returns their versions.
pub fn unpack(
    packages: Packages<'_>,
    root: &Path,
    workspace: &Workspace<'_>,
    step: &Step,
) -> Result<Vec<Version>> {
    let mirror = mirror()?;
    if find_in_path("mmdebstrap").is_none() {
        return Err(Error::MissingTool {
            tool: "mmdebstrap",
            package: "mmdebstrap",
        });
    }
    fs::create_dir(root).context("create", root)?;
    let mut command = Command::new("mmdebstrap");
    command
        .env("LC_ALL", "C.UTF-8")
        .args([
            "--mode=chrootless",
            "--variant=extract",
            "--format=directory",
            // mmdebstrap 1.5 refuses this mode to root, because packages'
            // scripts then run outside of the tree. Here none runs.
            "--skip=check/chrootless",
        ])
        .args([
            "--architectures=amd64",
            "--aptopt=APT::Install-Recommends \"false\"",
        ])
        .args(["--aptopt=Acquire::Retries \"3\""])
        .arg(format!("--include={}", packages.names.join(",")))
        // This is the last moment at which the fetched packages exist and can
        // be listed.
        .arg("--extract-hook=ls \"$1/var/cache/apt/archives\" > \"$1/packages\"");
    if let Some(release) = packages.release {
        command.arg(format!("--aptopt=APT::Default-Release \"{release}\""));
    }
    if packages.lapsed {
        command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    }
    command.args(proxies().iter().map(|line| format!("--aptopt={line}")));
    command.arg(packages.suite).arg(root);
    for suite in std::iter::once(packages.suite).chain(packages.release) {
        command.arg(format!("deb {mirror} {suite} main"));
    }

    let mut complaint = Complaint::default();
    let status = process::run(command, workspace, |line| {
        if let Some(doing) = line.strip_prefix("I: ") {
            step.update(doing);
        }
        complaint.read(line);
    })?;
    if !status.success() {
        return Err(complaint.into_error(packages.what, workspace.log));
    }

    let list = root.join("packages");
    let text = fs::read_to_string(&list).context("read", &list)?;
    fs::remove_file(&list).context("remove", &list)?;
    Ok(text.lines().filter_map(version).collect())
}

/// The most informative line of a failed mmdebstrap run: its first error, since
/// later errors follow from it.
#[derive(Default)]
struct Complaint {
    line: Option<String>,
    fetching: bool,
}

impl Complaint {
    fn read(&mut self, line: &str) {
        let Some(error) = line.strip_prefix("E: ") else {
            return;
        };
        if self.line.is_none() {
            let has = |sign: &str| error.contains(sign);
            // A full disk is not a network error.
            self.fetching = !has("No space left on device")
                && [
                    "Failed to fetch",
                    "does not have a Release file",
                    "Unable to fetch",
                ]
                .into_iter()
                .any(has);
            self.line = Some(error.trim().to_owned());
        }
    }

    fn into_error(self, what: &str, log: &Path) -> Error {
        let (what, log) = (what.to_owned(), log.to_owned());
        match self.line {
            Some(line) if self.fetching => Error::Fetch { what, line, log },
            line => Error::Failed {
                what: format!("unpacking the packages of {what}"),
                line: line.unwrap_or_else(|| "mmdebstrap gave no reason".to_owned()),
                log,
            },
        }
    }
}

/// Returns the name and version in a package's file name,
/// `NAME_VERSION_ARCH.deb`, in which %3a stands for a colon of the version.
fn version(file: &str) -> Option<Version> {
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, version) = (parts.next()?, parts.next()?);
    Some((name.to_owned(), version.replace("%3a", ":")))
}

/// Returns the address of a Debian archive: `$PINHOLE_MIRROR`, else the one
/// from which this system's apt takes its packages.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR)
        && !mirror.trim().is_empty()
    {
        return Ok(mirror.trim().to_owned());
    }
    if find_in_path("apt-get").is_none() {
        return Err(Error::NoApt);
    }
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)",
        ])
        .arg("Created-By: Packages")
        .output()
        .context("start", Path::new("apt-get"))?;
    main_archive(&String::from_utf8_lossy(&output.stdout)).ok_or(Error::NoMirror)
}

/// Returns the address of the main Debian archive among apt's sources, which
/// are one per line; security updates, backports and third parties' packages do
/// not count.
fn main_archive(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut fields = line.splitn(4, '|');
        let known =
            [fields.next()?, fields.next()?, fields.next()?] == ["Debian", "Debian", "main"];
        fields
            .next()
            .filter(|uri| known && uri.contains("://"))
            .map(|uri| uri.trim_end_matches('/').to_owned())
    })
}

/// Returns the proxies of this system's apt, as lines of its configuration,
/// which mmdebstrap's own apt does not read. Returns none if apt-config fails.
fn proxies() -> Vec<String> {
    let dump = Command::new("apt-config")
        .args(["dump", "Acquire"])
        .output();
    let text = dump.map(|dump| dump.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| line.contains("::Proxy") && !line.ends_with("\"\";"))
        .map(str::to_owned)
        .collect()
}

/// Returns the path of a program in PATH.
pub fn find_in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_proper_is_told_from_its_neighbours() {
        let targets = "Debian|Debian-Security|main|http://mirror.example/debian-security/\n\
                       Debian|Debian Backports|main|http://backports.example/debian/\n\
                       Elsewhere|Elsewhere|main|https://elsewhere.example/deb/\n\
                       Debian|Debian|contrib|http://contrib.example/debian/\n\
                       Debian|Debian|main|http://mirror.example/debian/\n";
        assert_eq!(
            main_archive(targets).as_deref(),
            Some("http://mirror.example/debian")
        );
        assert_eq!(
            main_archive("Ubuntu|Ubuntu|main|http://mirror.example/ubuntu/\n"),
            None
        );
        assert_eq!(main_archive(""), None);
    }

    #[test]
    fn package_versions_are_read_from_file_names() {
        assert_eq!(
            version("zlib1g_1%3a1.3.dfsg-1+b1_amd64.deb"),
            Some(("zlib1g".to_owned(), "1:1.3.dfsg-1+b1".to_owned()))
        );
        assert_eq!(version("partial"), None);
    }

    #[test]
    fn the_first_error_is_the_reason() {
        let mut complaint = Complaint::default();
        for line in [
            "I: running apt-get update...",
            "E: Failed to fetch http://mirror.example/InRelease  Could not connect",
            "E: apt-get update failed",
        ] {
            complaint.read(line);
        }
        let error = complaint.into_error("trixie", Path::new("/log"));
        assert!(matches!(&error, Error::Fetch { line, .. } if line.ends_with("Could not connect")));

        let mut complaint = Complaint::default();
        complaint.read(
            "E: Failed to fetch http://mirror.example/linux.deb  Error writing to file - \
             write (28: No space left on device)",
        );
        let error = complaint.into_error("trixie", Path::new("/log"));
        assert!(matches!(&error, Error::Failed { .. }), "{error}");
    }
}
