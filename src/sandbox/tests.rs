//! Tests with a process that enters the sandbox and tries to escape.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

use super::*;
use crate::dma::own::Pool;

/// Environment variable with the directory for the process in the sandbox.
const FOLDER: &str = "PINHOLE_SANDBOX_TEST";

#[test]
fn what_is_not_needed_is_refused_and_what_is_needed_is_not() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["readable", "socket"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("file"), "text").unwrap();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::tests::inside",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}");
    assert!(said.contains("1 passed"), "{said}\n{complaint}");
    // Each refused system call is reported once.
    for call in [libc::SYS_socketpair, libc::SYS_socket, libc::SYS_kill] {
        let line = format!("has refused system call {call},");
        assert_eq!(complaint.matches(&line).count(), 1, "{line}\n{complaint}");
    }
    assert!(folder.path().join("readable/file").exists());
    assert!(!folder.path().join("socket/file").exists());
}

/// Returns the error number of an attempt.
fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
#[ignore = "is run in a process of its own by the test above"]
fn inside() {
    let folder = std::env::var_os(FOLDER).expect("a folder");
    let folder = Path::new(&folder);
    let readable = folder.join("readable/file");
    let sandbox = Sandbox {
        readable: vec![folder.join("readable")],
        removable: vec![folder.join("socket")],
    };
    let parent = rustix::process::getppid().unwrap();
    // An open file stays open; the kernel fills it when it is read.
    let mut thread = File::open("/proc/thread-self/status").unwrap();
    let in_force = sandbox.enter().unwrap();

    const EPERM: Option<i32> = Some(libc::EPERM);
    // These operations are needed and must succeed.
    assert_eq!(fs::read_to_string(&readable).unwrap(), "text");
    fs::remove_file(folder.join("socket/file")).unwrap();
    std::thread::spawn(|| ()).join().unwrap();
    drop(vec![0u8; 64 << 20]);
    Pool::new(1 << 20).make(5000).unwrap();
    // These system calls must fail.
    assert_eq!(errno(File::create(&readable)), EPERM);
    assert_eq!(
        errno(OpenOptions::new().append(true).open(&readable)),
        EPERM
    );
    assert_eq!(errno(UnixStream::pair()), EPERM);
    let huge = memfd_create("huge", MemfdFlags::HUGETLB);
    assert_eq!(huge.unwrap_err(), rustix::io::Errno::PERM);
    assert_eq!(errno(TcpListener::bind("127.0.0.1:0")), EPERM);
    assert_eq!(errno(Command::new("/bin/true").spawn()), EPERM);
    assert_eq!(errno(fs::create_dir(folder.join("socket/new"))), EPERM);
    assert_eq!(errno(fs::rename(&readable, folder.join("socket/x"))), EPERM);
    let signal = rustix::process::test_kill_process(parent);
    assert_eq!(signal, Err(rustix::io::Errno::PERM));
    // The privileges of root must be gone, whoever the user is.
    let mut status = String::new();
    thread.read_to_string(&mut status).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff"] {
        let none = format!("\n{set}:\t0000000000000000\n");
        assert!(status.contains(&none), "{status}");
    }
    // A new thread is restricted, too.
    let thread = std::thread::spawn(|| errno(UnixStream::pair()));
    assert_eq!(thread.join().unwrap(), EPERM);
    let status = fs::read_to_string("/proc/self/status");

    // These files must be out of reach.
    if in_force.landlock.is_in_force() {
        const EACCES: Option<i32> = Some(libc::EACCES);
        assert_eq!(errno(status), EACCES);
        assert_eq!(errno(File::open("/etc/passwd")), EACCES);
        assert_eq!(errno(File::open(folder)), EACCES);
        assert_eq!(errno(fs::remove_file(&readable)), EACCES);
        let thread = std::thread::spawn(|| errno(File::open("/etc/passwd")));
        assert_eq!(thread.join().unwrap(), EACCES);
    } else {
        eprintln!("this kernel has no landlock: files were not tried");
    }
}

#[test]
fn what_is_in_force_is_said_in_a_line() {
    let said = |landlock| {
        InForce {
            system_calls: 7,
            landlock,
            capabilities: CapabilitySet::empty(),
        }
        .to_string()
    };
    assert_eq!(
        said(Landlock::InForce {
            abi: 5,
            partly: false
        }),
        "seccomp (7 system calls), landlock ABI 5, no capabilities, no new privileges"
    );
    assert_eq!(
        said(Landlock::Missing { disabled: false }),
        "seccomp (7 system calls), no landlock (not in this kernel), no capabilities, no new privileges"
    );
}
