//! What images/setup.sh says of the Rust it finds, and does about it.

mod program;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use program::BRIEF;

/// What the script may take from this system; of all else it sees only fakes.
const TOOLS: [&str; 9] = [
    "cat", "dirname", "head", "mktemp", "readlink", "rm", "sed", "sort", "tail",
];

/// Debian 13 as it is installed, and with its backports.
const STOCK: &str =
    "rustc | 1.85.0+dfsg3-1 | http://mirror.example/debian trixie/main amd64 Packages";
const BACKPORTS: &str = "\
rustc | 1.97.1+dfsg1-1~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages
rustc | 1.85.0+dfsg3-1 | http://mirror.example/debian trixie/main amd64 Packages";

/// A system on which nothing but Rust may be wrong.
struct System {
    dir: tempfile::TempDir,
}

impl System {
    /// With that suite as its apt's own, and those versions of rustc in reach.
    fn new(suite: &str, madison: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        let system = Self { dir };
        for tool in TOOLS {
            let path = Path::new("/usr/bin").join(tool);
            symlink(path, system.path(&format!("bin/{tool}"))).unwrap();
        }
        system.fake("dpkg-query", "printf installed");
        system.fake("apt-cache", &format!("cat <<'END'\n{madison}\nEND"));
        system.be(1000);
        // What it installs is new enough.
        let here = system.dir.path().display();
        system.fake(
            "apt-get",
            &format!(
                "echo \"$*\" >>{here}/asked\ncase \"$*\" in\n\
                 indextargets*) echo 'Debian|Debian|main|{suite} http://mirror.example/debian/';;\n\
                 *' install '*) for tool in cargo rustc; do\n\
                 printf '#!/bin/sh\\necho %s 1.97.1\\n' $tool >{here}/bin/$tool\n\
                 done;;\nesac"
            ),
        );
        system
    }

    /// With that Rust in PATH.
    fn with_rust(self, version: &str) -> Self {
        for tool in ["cargo", "rustc"] {
            self.fake(
                tool,
                &format!("echo '{tool} {version} (0123abc 2026-01-01)'"),
            );
        }
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fake(&self, name: &str, script: &str) {
        let path = self.path(&format!("bin/{name}"));
        program::executable::write(&path, format!("#!/bin/sh\n{script}\n"));
    }

    fn be(&self, user: u32) {
        self.fake("id", &format!("echo {user}"));
    }

    /// Runs the script: its exit code, what it said, and what apt-get was told.
    fn set_up(&self) -> (Option<i32>, String, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/setup.sh");
        let mut command = Command::new("/bin/sh");
        command
            .arg(script)
            .env_clear()
            .env("PATH", self.path("bin"));
        let output = program::output(&mut command, BRIEF);
        let said = [output.stdout, output.stderr].concat();
        let asked = fs::read_to_string(self.path("asked")).unwrap_or_default();
        (
            output.status.code(),
            String::from_utf8(said).unwrap(),
            asked,
        )
    }
}

/// The oldest Rust that Cargo.toml allows.
const MINIMUM: &str = env!("CARGO_PKG_RUST_VERSION");

#[test]
fn a_rust_that_will_do_is_passed_over() {
    for version in [MINIMUM, "1.100.0", "2.0.0-nightly"] {
        let system = System::new("trixie", STOCK).with_rust(version);
        assert_eq!(system.set_up(), (Some(0), String::new(), String::new()));
    }
}

#[test]
fn debian_13_is_told_of_its_backports() {
    let system = System::new("trixie", STOCK).with_rust("1.85.1");
    let (code, said, asked) = system.set_up();
    assert_eq!(code, Some(2));
    let expected = format!(
        "pinhole setup: Rust 1.85.1 is too old, and Pinhole takes {MINIMUM} or newer, \
         which trixie-backports has; run as root:\n  \
         echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
         http://mirror.example/debian/ trixie-backports main' \
         >/etc/apt/sources.list.d/trixie-backports.list\n  \
         apt-get update && apt-get install -t trixie-backports rustc cargo\n"
    );
    assert_eq!(said, expected);
    assert!(!asked.contains(" install "), "{asked}");
}

#[test]
fn it_is_installed_from_backports_that_apt_knows() {
    for system in [
        System::new("trixie", BACKPORTS),
        System::new("trixie", BACKPORTS).with_rust("1.85.1"),
    ] {
        system.be(0);
        let (code, said, asked) = system.set_up();
        assert_eq!(code, Some(0), "{said}");
        assert!(
            asked.contains(" -t trixie-backports rustc cargo\n"),
            "{asked}"
        );
    }
}

#[test]
fn who_may_not_install_is_told_what_to_run() {
    let system = System::new("trixie", BACKPORTS).with_rust("1.85.1");
    let (code, said, asked) = system.set_up();
    assert_eq!(code, Some(2));
    let advice = "; run: sudo apt-get install -t trixie-backports rustc cargo\n";
    assert!(said.ends_with(advice), "{said}");
    assert_eq!(asked, "");
}

#[test]
fn elsewhere_it_comes_from_rustup() {
    let bookworm =
        "rustc | 1.63.0+dfsg1-2 | http://mirror.example/debian bookworm/main amd64 Packages";
    let missing = System::new("bookworm", bookworm);
    let old = System::new("bookworm", bookworm).with_rust("1.63.0");
    // An old one that is not Debian's hides the one that would be installed.
    let own = System::new("trixie", BACKPORTS).with_rust("1.63.0");
    own.fake("dpkg-query", "[ \"$1\" != -S ] && printf installed");
    for (system, wrong) in [
        (missing, "Rust is missing"),
        (old, "Rust 1.63.0 is too old"),
        (own, "Rust 1.63.0 is too old"),
    ] {
        system.be(0);
        let (code, said, asked) = system.set_up();
        assert_eq!(code, Some(2));
        assert_eq!(
            said,
            format!(
                "pinhole setup: {wrong}, and Pinhole takes {MINIMUM} or newer: \
                 get it from https://rustup.rs, then try again\n"
            )
        );
        assert!(!asked.contains(" install "), "{asked}");
    }
    let rustup = System::new("trixie", BACKPORTS).with_rust("1.70.0");
    rustup.fake("rustup", "exit 1");
    let (code, said, _) = rustup.set_up();
    assert_eq!(code, Some(2));
    assert!(said.ends_with("; run: rustup update stable\n"), "{said}");
}
