//! Builds of guests that end early, or meet: what is left of them, and what a
//! later build makes of that. mmdebstrap and QEMU are shell scripts here.

mod program;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use program::{BRIEF, Program};

/// Says what it is, then waits, or makes a tree that is as good as a real one,
/// as the file `mode` says. Its last argument that is a directory is the tree.
const MMDEBSTRAP: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo run >> "$here/runs"
for argument; do [ -d "$argument" ] && root=$argument; done
echo half > "$root/half"
mode=$(cat "$here/mode")
if [ "$mode" = hang ]; then
    sleep 1000 &
    echo "$$ $!" > "$here/ready"
    wait
fi
if [ "$mode" = held ]; then
    echo "$$ $$" > "$here/ready"
    read go < "$here/go"
fi
rm "$root/half"
modules=$root/lib/modules/9.9-fake
mkdir -p "$root/bin" "$root/usr/bin" "$root/boot" "$root/lib64" "$modules/kernel"
for program in lib64/ld-linux-x86-64.so.2 bin/busybox usr/bin/v4l2-ctl usr/bin/v4l2-compliance; do
    printf '#!/bin/sh\n' > "$root/$program"
    chmod 755 "$root/$program"
done
for module in virtio_pci virtio_console virtio_blk videodev videobuf2_v4l2 videobuf2_memops \
    videobuf2_dma_sg vivid squashfs; do
    echo "kernel/$module.ko" >> "$modules/modules.builtin"
done
echo fake > "$root/boot/vmlinuz-9.9-fake"
echo fake_1.0_amd64.deb > "$root/packages"
"#;

const QEMU: &str = r#"#!/bin/sh
case "$*" in
--version) echo 'QEMU emulator version 99.1 (Fake)' ;;
*help*) echo 'name "vhost-user-test-device-pci", bus PCI' ;;
esac
"#;

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("mmdebstrap", MMDEBSTRAP), ("qemu-system-x86_64", QEMU)] {
            let path = dir.path().join(name);
            program::executable::write(&path, text);
        }
        for fifo in ["ready", "go"] {
            let made = Command::new("mkfifo").arg(dir.path().join(fifo)).status();
            assert!(made.unwrap().success());
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn set_mode(&self, mode: &str) {
        fs::write(self.path("mode"), mode).unwrap();
    }

    /// Starts a build of the default guest.
    fn build(&self) -> Program {
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.dir.path().display()
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
        command
            .args(["guest", "build"])
            .env("PATH", path)
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("PINHOLE_MIRROR", "http://mirror.invalid/debian")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Program::start(&mut command, BRIEF)
    }

    /// Waits until mmdebstrap is at work; returns the processes of its own.
    fn ready(&self) -> Vec<Pid> {
        let open = || {
            File::options()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(self.path("ready"))
        };
        let mut ready = open().unwrap();
        let limit = Timespec::try_from(BRIEF).unwrap();
        let count = poll(&mut [PollFd::new(&ready, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(count, 1, "mmdebstrap was not started");
        // Less than a pipe's atomic write: it comes in one piece.
        let mut line = [0; 64];
        let length = ready.read(&mut line).unwrap();
        String::from_utf8_lossy(&line[..length])
            .split_whitespace()
            .map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap())
            .collect()
    }

    /// Lets a held mmdebstrap go on; returns what it reads from.
    fn release(&self) -> File {
        // Opened for both ways, so that nobody need be there yet.
        let mut go = File::options()
            .read(true)
            .write(true)
            .open(self.path("go"))
            .unwrap();
        go.write_all(b"go\n").unwrap();
        go
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs"))
            .unwrap()
            .lines()
            .count()
    }

    /// The names of what the cache holds of the default guest's tree, locks
    /// aside.
    fn trees(&self) -> Vec<String> {
        let shelf = self.path("cache/pinhole/tree/trixie");
        fs::read_dir(shelf)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect()
    }

    /// Holds that there is one tree, whole.
    fn assert_whole(&self) {
        let trees = self.trees();
        assert_eq!(trees.len(), 1, "{trees:?}");
        let tree = self.path("cache/pinhole/tree/trixie").join(&trees[0]);
        assert!(!trees[0].contains('.'), "{trees:?}");
        assert!(tree.join("packages.json").is_file());
        assert!(tree.join("root/boot/vmlinuz-9.9-fake").is_file());
        assert!(!tree.join("root/half").exists());
    }
}

/// How a build ends, and what it says from here on.
fn end(build: Program) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = build.output();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// True if a process is gone, or waits for nothing but a parent's notice.
fn is_dead(pid: &Pid) -> bool {
    let stat = Path::new("/proc").join(pid.to_string()).join("stat");
    let Ok(stat) = fs::read_to_string(stat) else {
        return true;
    };
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| state.starts_with('Z'))
}

#[test]
fn an_interrupted_build_leaves_nothing_and_nobody() {
    for signal in [Signal::INT, Signal::TERM] {
        let scene = Scene::new();
        scene.set_mode("hang");
        let build = scene.build();
        let processes = scene.ready();
        assert_eq!(processes.len(), 2);
        build.signal(signal);
        let (code, stderr) = end(build);
        assert_eq!(code, Some(130), "{stderr}");
        assert!(stderr.contains("interrupted"), "{stderr}");
        assert_eq!(scene.trees(), [""; 0]);
        assert!(processes.iter().all(is_dead));
    }
}

#[test]
fn a_killed_build_is_not_taken_for_whole() {
    let scene = Scene::new();
    scene.set_mode("hang");
    let killed = scene.build();
    let orphans = scene.ready();
    killed.signal(Signal::KILL);
    assert_eq!(end(killed).0, None);
    assert!(scene.trees().iter().all(|name| name.ends_with(".partial")));

    // mmdebstrap lives on, and so the next build must wait.
    scene.set_mode("whole");
    let mut next = scene.build();
    let mut said = next.stderr();
    said.until("waiting for another pinhole");
    for orphan in &orphans {
        kill_process(*orphan, Signal::KILL).unwrap();
    }
    next.wait();
    assert_eq!(scene.runs(), 2);
    scene.assert_whole();
}

#[test]
fn of_two_builds_at_once_one_builds() {
    let scene = Scene::new();
    scene.set_mode("held");
    let mut first = scene.build();
    scene.ready();
    let mut second = scene.build();
    let mut said = second.stderr();
    said.until("waiting for another pinhole");
    let _go = scene.release();
    first.wait();
    second.wait();
    assert_eq!(scene.runs(), 1);
    scene.assert_whole();
}
