//! The first and the last actions of process 1.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;

use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;

use crate::guest::{kmsg, modules};

const HOSTNAME: &str = "pinhole";

const ENVIRONMENT: [(&str, &str); 3] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("TERM", "linux"),
];

/// File systems by type, mount point and options, in the order in which they
/// must be mounted.
const MOUNTS: [(&str, &str, &str); 9] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("devpts", "/dev/pts", "mode=0620,ptmxmode=0666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
];

/// Links that programs expect in /dev and that devtmpfs does not create.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Sets up a bare kernel so that it can run programs; returns the problems.
pub fn set_up() -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in ENVIRONMENT {
        // SAFETY: no other thread has been started yet.
        unsafe { std::env::set_var(name, value) };
    }
    for (kind, target, options) in MOUNTS {
        // If the directory cannot be created, the mount reports it.
        let _ = fs::create_dir_all(target);
        let options = CString::new(options).unwrap_or_default();
        if let Err(error) = mount(kind, target, kind, MountFlags::empty(), &*options) {
            problems.push(format!("mount {kind} on {target}: {error}"));
        }
    }
    for (target, link) in LINKS {
        if let Err(error) = symlink(target, link) {
            problems.push(format!("link {link}: {error}"));
        }
    }
    if let Err(error) = rustix::system::sethostname(HOSTNAME.as_bytes()) {
        problems.push(format!("set the host name: {error}"));
    }
    problems.extend(modules::load_at_boot());
    for problem in &problems {
        kmsg::say(problem);
    }
    problems
}

/// Turns the machine off.
pub fn power_off() -> ! {
    loop {
        rustix::fs::sync();
        let error = rustix::system::reboot(RebootCommand::PowerOff);
        kmsg::say(&format!("power off: {error:?}"));
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
