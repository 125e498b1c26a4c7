//! A guest is built on Debian 13, as root and as an ordinary user.
//!
//! The Debian 13 is a bare tree of its packages, and the root directory of a
//! mount and a process namespace of its own. chroot(8) would not do: there
//! mmdebstrap sees that it cannot damage anything and refuses nothing, and the
//! kernel gives nobody a user namespace.

mod program;

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use pinhole::vm::progress::Progress;
use pinhole::vm::provision::bootstrap::{self, MIRROR, Packages};
use pinhole::vm::provision::cache::Workspace;
use program::BRIEF;

/// Longer than a build takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// An ordinary user's numbers, as adduser(8) gives them.
const USER: u32 = 1000;

/// What a Debian that was just installed has, and mmdebstrap.
const PACKAGES: [&str; 3] = ["mmdebstrap", "mount", "?essential"];

/// What the packages' scripts, which are not run, would write.
const ETC: [(&str, &str); 2] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\n\
         _apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n\
         user:x:1000:1000::/home/user:/bin/bash\n",
    ),
    ("etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"),
];

/// A QEMU that serves, as far as building a guest goes.
const QEMU: &str = r#"#!/bin/sh
case "$*" in
--version) echo 'QEMU emulator version 99.1 (Fake)' ;;
*help*) echo 'name "vhost-user-test-device-pci", bus PCI' ;;
esac
"#;

/// Makes the tree $1 the root directory, and runs the rest there.
const ENTER: &str = r#"
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
cd "$1"
shift
pivot_root . .
umount --lazy .
cd /
exec "$@"
"#;

#[derive(Debug, Clone, Copy)]
enum Who {
    Root,
    Ordinary,
}

impl Who {
    fn home(self) -> &'static str {
        match self {
            Self::Root => "/root",
            Self::Ordinary => "/home/user",
        }
    }
}

/// A tree of Debian 13's packages; gone with its folder.
struct Debian {
    folder: tempfile::TempDir,
}

impl Debian {
    fn new() -> Self {
        // Beside what cargo builds: hundreds of MiB are too much for some /tmp.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let log = folder.path().join("log");
        let workspace = Workspace {
            dir: folder.path(),
            log: &log,
            lock: &File::create(folder.path().join("lock")).unwrap(),
        };
        let packages = Packages {
            what: "a bare Debian 13",
            suite: "trixie",
            release: None,
            names: &PACKAGES.map(str::to_owned),
            lapsed: false,
        };
        let root = folder.path().join("root");
        let step = Progress::silent().step("unpacking");
        bootstrap::unpack(packages, &root, &workspace, &step).unwrap();

        let debian = Self { folder };
        for (name, text) in ETC {
            fs::write(debian.path(name), text).unwrap();
        }
        let qemu = debian.path("usr/bin/qemu-system-x86_64");
        fs::write(&qemu, QEMU).unwrap();
        make_executable(&qemu);
        // Static, so that it runs there.
        let pinhole = debian.path("usr/bin/pinhole");
        fs::copy(env!("CARGO_BIN_EXE_pinhole"), pinhole).unwrap();
        debian.take_over_proxies();
        fs::create_dir_all(debian.path("root")).unwrap();
        let home = debian.path("home/user");
        fs::create_dir_all(&home).unwrap();
        if is_root() {
            chown(home, Some(USER), Some(USER)).unwrap();
        }
        debian
    }

    fn path(&self, name: &str) -> PathBuf {
        let root = self.folder.path().join("root");
        root.join(name.trim_start_matches('/'))
    }

    /// Lets its apt go through the proxies that this system's goes through.
    fn take_over_proxies(&self) {
        let mut dump = Command::new("apt-config");
        let dump = program::output(dump.args(["dump", "Acquire"]), BRIEF);
        let text = String::from_utf8(dump.stdout).unwrap();
        let proxies: Vec<_> = text.lines().filter(|it| it.contains("::Proxy")).collect();
        fs::write(self.path("etc/apt/apt.conf.d/proxies"), proxies.join("\n")).unwrap();
    }

    /// The mirror that it was unpacked from, as mmdebstrap noted it.
    fn mirror(&self) -> String {
        let sources = fs::read_to_string(self.path("etc/apt/sources.list")).unwrap();
        let mirror = sources.split_whitespace().find(|word| word.contains("://"));
        mirror.expect("sources.list has no mirror").to_owned()
    }

    /// Runs a program there, to its end.
    fn run(&self, who: Who, line: &[&str]) -> Output {
        let mut command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        // With the first process of its namespace all others end.
        command
            .args(["--mount", "--propagation=private"])
            .args(["--pid", "--fork", "--kill-child"])
            .args(["sh", "-ec", ENTER, "sh"])
            .arg(self.path(""));
        let (user, group) = (USER.to_string(), USER.to_string());
        match who {
            Who::Root => {}
            Who::Ordinary if is_root() => {
                command.args(["setpriv", "--clear-groups", "--reuid", &user]);
                command.args(["--regid", &group]);
            }
            Who::Ordinary => {
                command.args(["unshare", "--user"]);
                command.arg(format!("--map-user={user}"));
                command.arg(format!("--map-group={group}"));
            }
        }
        for variable in ["FAKEROOTKEY", "TMPDIR", "XDG_CACHE_HOME"] {
            command.env_remove(variable);
        }
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", who.home())
            .env(MIRROR, self.mirror())
            .args(line);
        program::output(&mut command, LIMIT)
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "downloads packages and builds guests of them"]
fn a_guest_is_built_as_root_and_as_an_ordinary_user() {
    let debian = Debian::new();
    // What this is about: without being told, root is refused there.
    let refused = [
        "mmdebstrap",
        "--mode=chrootless",
        "--variant=extract",
        "trixie",
        "/tree",
    ];
    let refused = debian.run(Who::Root, &refused);
    assert!(
        stderr(&refused).contains("running chrootless mode as root"),
        "{}",
        stderr(&refused)
    );

    let mut failures = String::new();
    for who in [Who::Root, Who::Ordinary] {
        let built = debian.run(who, &["pinhole", "guest", "build", "trixie"]);
        let stdout = String::from_utf8_lossy(&built.stdout).into_owned();
        let driver = stdout
            .lines()
            .find_map(|line| line.trim().strip_prefix("driver"))
            .map(|path| debian.path(path.trim()));
        let whole = built.status.success()
            && driver.is_some_and(|driver| {
                driver.starts_with(debian.path(who.home())) && driver.is_file()
            });
        if !whole {
            failures += &format!("{who:?}: {}\n{stdout}{}\n", built.status, stderr(&built));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
