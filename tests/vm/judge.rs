//! Devices judged without a witness: on a machine that has nothing of Pinhole's but
//! the one program, by root and by a user who may do no more than use the device.

use std::path::Path;
use std::process::Command;

use pinhole::agent::protocol::{Read, RunAnswer};
use pinhole::card::CardKind;
use pinhole::rig::matrix::observation::{Observation, Reads, Sent};
use pinhole::rig::matrix::oracle::Oracle;
use pinhole::rig::matrix::outcome::{HERE, KernelOutcome, Verdict};
use pinhole::rig::testbed::driver::{DriverModule, OtherDriver};
use pinhole::rig::testbed::{CardProcess, Testbed, TestbedSpec};
use pinhole::vm::progress::Progress;

use crate::program::{self, BRIEF};
use crate::test_guest::{LIMIT, shell};

/// Longest result that is read, in bytes.
const RESULT_MAX: usize = 16 << 20;

/// Makes a disk with a file system that holds this program alone.
fn disk(path: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("pinhole");
    std::fs::copy(env!("CARGO_BIN_EXE_pinhole"), &program).unwrap();
    let mut make = Command::new("/sbin/mke2fs");
    make.args(["-q", "-t", "ext4", "-d"])
        .arg(folder.path())
        .arg(path)
        .arg("400M");
    let made = program::output(&mut make, BRIEF);
    assert!(made.status.success(), "{made:?}");
}

/// A machine with vivid, and the program on a disk.
struct Machine {
    testbed: Testbed,
    _folder: tempfile::TempDir,
}

impl Machine {
    /// Boots a machine with a capture device of vivid's.
    fn boot() -> Self {
        let machine = Self::with(TestbedSpec {
            card: CardProcess::Absent,
            driver: Some(OtherDriver::new(
                DriverModule::OfKernel("vivid".into()),
                "n_devs=1 node_types=0x1 num_inputs=1 input_types=3",
            )),
            ..TestbedSpec::default()
        });
        // vivid counts jiffies, and gives two frames one number where a frame takes no whole
        // number of them: 25 frames a second take ten each, the default 60 do not.
        machine.must("v4l2-ctl --set-dv-bt-timings=index=4");
        machine
    }

    /// Boots a machine as `spec` says.
    fn with(spec: TestbedSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        disk(&path);
        let spec = TestbedSpec {
            kernel: Some("trixie".into()),
            disks: vec![path],
            ..spec
        };
        let machine = Self {
            testbed: Testbed::start(&spec, &Progress::silent()).unwrap(),
            _folder: folder,
        };
        machine.must("modprobe ext4 && modprobe crc32c_generic && mkdir /run/own && mount -t ext4 -o ro /dev/vda /run/own");
        machine
    }

    fn must(&self, line: &str) -> RunAnswer {
        let answer = shell(&self.testbed.machine, line);
        assert!(answer.status.success(), "{line}: {answer:?}");
        answer
    }

    /// Returns what was written into the folder of results.
    fn result(&self, out: &str) -> KernelOutcome {
        let read = Read {
            path: format!("{out}/{HERE}.json"),
            limit: RESULT_MAX,
        };
        let read = self.testbed.machine.agent().call(read, LIMIT).unwrap();
        serde_json::from_str(&read.text).unwrap()
    }

    /// Returns what can be changed on a machine by cells.
    fn state(&self) -> String {
        let look = "cat /proc/mounts /proc/swaps /proc/modules /proc/sys/kernel/printk \
                    /proc/sys/vm/nr_hugepages /sys/kernel/mm/ksm/run; ls /run";
        let state = self.must(look).stdout;
        // The number of users of a module.
        let lines = state.lines().map(|line| match line.contains(" Live ") {
            true => line.split(' ').next().unwrap_or_default(),
            false => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn missing(outcome: &KernelOutcome) -> Vec<Oracle> {
    let device = outcome.device.as_ref().unwrap();
    assert_eq!(device.driver, "vivid");
    device.missing.iter().map(|(oracle, _)| *oracle).collect()
}

/// A cell for which the kernel has to wait for this process, which it does for root.
const HALTED: &str = "anon-touched/munmap:during-pin";

const CELLS: [&str; 9] = [
    "anon-touched",
    "heap@1234",
    "memfd-shared@64",
    "hole",
    "anon-touched/munmap",
    "anon-touched/fork-child-writes:after-dma",
    "heap/sigkill",
    HALTED,
    "swapped",
];

#[test]
#[ignore = "boots a guest"]
fn one_program_judges_the_device_of_a_machine_and_leaves_it_as_it_was() {
    let machine = Machine::boot();
    let judge = "/run/own/pinhole judge";
    let (possible, impossible) = CELLS.split_at(8);
    let cells: Vec<_> = possible
        .iter()
        .map(|cell| format!("--cell {cell}"))
        .collect();
    let cells = cells.join(" ");
    let before = machine.state();

    machine.must(&format!("{judge} {cells} --out /tmp/root"));
    let outcome = machine.result("/tmp/root");
    assert_eq!((&*outcome.kernel, outcome.boots), (HERE, 0));
    assert_eq!(outcome.driver.as_deref(), Some("vivid"));
    let named: Vec<_> = outcome
        .cells
        .iter()
        .map(|cell| cell.cell.to_string())
        .collect();
    assert_eq!(named, possible);
    for cell in &outcome.cells {
        assert_eq!(cell.verdict, Verdict::Expected, "{cell:#?}");
    }
    let needs = [
        Oracle::Address,
        Oracle::Mappings,
        Oracle::Idle,
        Oracle::Leaks,
    ];
    assert_eq!(missing(&outcome), needs);

    let no_cell = format!("{judge} --cell {} --out /tmp/none", impossible[0]);
    let no_cell = shell(&machine.testbed.machine, &no_cell);
    assert!(
        no_cell.stderr.contains("is not changed for it"),
        "{no_cell:?}"
    );

    // A user who may use the device, and nothing else.
    machine.must(
        "echo root:x:0:0::/:/bin/sh >/etc/passwd; echo user:x:1000:44::/tmp:/bin/sh >>/etc/passwd; \
         echo video:x:44: >/etc/group; chown 0:0 /dev/video0; chmod 660 /dev/video0; chmod 1777 /tmp",
    );
    let user = |line: &str| {
        let line = format!("busybox su -s /bin/sh user -c '{judge} {line}'");
        shell(&machine.testbed.machine, &line)
    };
    let refused = user("--out /tmp/user");
    assert!(
        refused.stderr.contains("this user may not open it"),
        "{refused:?}"
    );
    machine.must("chown 0:44 /dev/video0");
    let ran = user(&format!("{cells} --out /tmp/user"));
    assert!(ran.status.success(), "{ran:?}");
    let outcome = machine.result("/tmp/user");
    for cell in &outcome.cells {
        let verdict = match cell.cell.to_string() == HALTED {
            true => Verdict::Impossible,
            false => Verdict::Expected,
        };
        assert_eq!(cell.verdict, verdict, "{cell:#?}");
    }
    let missing = missing(&outcome);
    for oracle in [Oracle::Dirty, Oracle::Log] {
        assert!(missing.contains(&oracle), "{missing:?}");
    }
    assert!(!missing.contains(&Oracle::Fences) && !missing.contains(&Oracle::Order));

    let after = machine.state();
    assert_eq!(before, after);
    machine.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn a_mem_to_mem_device_of_a_machine_is_judged_likewise() {
    let machine = Machine::with(TestbedSpec {
        kind: CardKind::M2m,
        ..TestbedSpec::default()
    });
    let names = [
        "m2m/read/memfd-shared",
        "m2m/adjacent/anon-touched@1234",
        "m2m/read/anon-touched/fork-parent-writes",
        "m2m/written/anon-touched/streamoff:after-dma",
    ];
    let cells = names.map(|name| format!("--cell {name}")).join(" ");
    machine.must(&format!("/run/own/pinhole judge {cells} --out /tmp/root"));
    let outcome = machine.result("/tmp/root");
    assert_eq!((&*outcome.kernel, outcome.boots), (HERE, 0));
    let came: Vec<_> = outcome.cells.iter().map(|cell| cell.observation).collect();
    let data = |sent| Some(Observation::Converted(sent, Reads::Written));
    let taken = Some(Observation::TakenBack);
    let expected = [
        data(Sent::Written),
        data(Sent::Written),
        data(Sent::Later),
        taken,
    ];
    assert_eq!(came, expected);
    for cell in &outcome.cells {
        assert_eq!(cell.verdict, Verdict::Expected, "{cell:#?}");
    }
    // It has no capture device, for which the other cells are.
    let capture = shell(
        &machine.testbed.machine,
        "/run/own/pinhole judge --cell anon-touched --out /tmp/none",
    );
    assert!(!capture.status.success(), "{capture:?}");
    assert!(capture.stderr.contains("m2m"), "{capture:?}");
    machine.testbed.finish().unwrap();
}
