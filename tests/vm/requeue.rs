//! Buffers that videobuf2 takes the memory away from, in ways in which it does
//! not tell the driver (buf_cleanup) but only its memory (put).

use std::fs::File;

use pinhole::rig::testbed::TestbedSpec;

use crate::test_guest::{PARANOID, TestGuest, compile};

/// Room for the program, which a static one fits in.
const ROOM: u64 = 4 << 20;

/// How often memory is to be leaked, if it is: some KiB at a time.
const ROUNDS: u32 = 3000;

/// What the kernel may need more afterwards, in KiB.
const SLACK: u64 = 4 << 10;

/// Builds the application, and puts it on a disk as it is.
fn disk(folder: &std::path::Path) -> std::path::PathBuf {
    let path = compile("requeue", folder);
    let file = File::options().write(true).open(&path).unwrap();
    assert!(file.metadata().unwrap().len() <= ROOM);
    file.set_len(ROOM).unwrap();
    path
}

/// Memory of the kernel that no process has, in KiB.
fn kernel_memory(guest: &TestGuest) -> u64 {
    let fields = guest.must(
        "sed -n 's/^\\(SUnreclaim\\|VmallocUsed\\|Percpu\\): *\\([0-9]*\\) kB/\\2/p' /proc/meminfo",
    );
    fields.lines().map(|it| it.parse::<u64>().unwrap()).sum()
}

#[test]
#[ignore = "boots guests"]
fn a_buffer_that_is_refused_loses_its_command_and_gets_another() {
    for kernel in ["bullseye", "trixie"] {
        let folder = tempfile::tempdir().unwrap();
        let guest = TestGuest::start(TestbedSpec {
            kernel: Some(kernel.into()),
            append: PARANOID.into(),
            disks: vec![disk(folder.path())],
            ..TestbedSpec::default()
        });
        guest.must("echo 4 > /proc/sys/vm/nr_hugepages");
        guest.must("cat /dev/vda > /tmp/requeue; chmod +x /tmp/requeue");
        guest.must("/tmp/requeue /dev/video0 stale");
        guest.must("/tmp/requeue /dev/video0 claim");

        // The first rounds fill caches.
        guest.must("/tmp/requeue /dev/video0 leak 100");
        let before = kernel_memory(&guest);
        guest.must(&format!("/tmp/requeue /dev/video0 leak {ROUNDS}"));
        let after = kernel_memory(&guest);
        assert!(
            after < before + SLACK,
            "{kernel}: {before} KiB, then {after}"
        );

        guest.still_works();
        guest.no_splats();
        guest.testbed.finish().unwrap();
    }
}
