//! The kernel log oracle: the log has no message that kernel developers call a
//! splat.

use crate::agent::protocol::LogRecord;

/// Texts in a line of the kernel log that mean that something went wrong.
const ALARMS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "general protection fault",
    "Unable to handle kernel",
    "unable to handle page fault",
    "Bad page state",
    "Bad page map",
    "bad: scheduling",
    "Object already free",
    "Freeing a pointer",
    "list_add corruption",
    "list_del corruption",
    "refcount_t:",
    "UBSAN:",
    "KASAN:",
    "ODEBUG:",
    "Kernel memory leak detector disabled",
    "INFO: task",
    "INFO: trying to register non-static key",
    "turning off the locking correctness validator",
    "kthread starved for",
    "self-detected stall",
    "detected stalls on CPUs",
    "soft lockup",
    "hard LOCKUP",
    "possible circular locking dependency",
    "suspicious RCU usage",
    "scheduling while atomic",
    "sleeping function called from invalid context",
    "page allocation failure",
    "Out of memory:",
    "Kernel panic",
];

/// Alarms of the checks that find what was written to memory that was free, or
/// beside what was allocated.
const OVERWRITTEN: &[&str] = &[
    "pagealloc: memory corruption",
    "pagealloc: single bit error",
    "Poison overwritten",
    "Redzone overwritten",
];

/// Checks of the kernel whose lines count only at the level of a warning: they
/// also report when they start, and when they have found something that they
/// were asked to look for.
const CHECKS: &[&str] = &["DMA-API:", "kmemleak:"];

/// Log level up to which a driver's own line is a complaint (`KERN_WARNING`).
const WARNING: u8 = 4;

/// The first line of the kernel's report of an injected allocation failure
/// (lib/fault-inject.c); the stack follows it.
const INJECTED: &str = "FAULT_INJECTION: forcing a failure";
const TRACE: &str = "Call Trace:";

/// Returns a record in the format of dmesg(1).
pub fn line(record: &LogRecord) -> String {
    format!("[{:12.6}] {}", record.time_us as f64 / 1e6, record.text)
}

/// Who complains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complainer {
    /// The kernel, of memory that was written to and should not have been.
    Memory,
    /// The kernel, of anything else.
    Kernel,
    /// The driver under test.
    Driver,
}

/// A line of the kernel's log that counts against the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Who complains.
    pub of: Complainer,
    /// The line, in the format of dmesg(1).
    pub line: String,
}

/// Returns the lines of a kernel's log that count against the run: those that
/// report an error in the kernel, and what the driver complains of. `names` are
/// the driver's ([`Testbed::names`](super::testbed::Testbed)).
///
/// A stack is no complaint, but belongs to one. If no complaint precedes it, its
/// heading is taken for one: the line before those of dump_stack().
pub fn complaints(log: &[LogRecord], names: &[String]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut heading: Option<&LogRecord> = None;
    for record in unprovoked(log) {
        let of = match complainer(record) {
            None if is_complaint(record, names) => Some(Complainer::Driver),
            known => known,
        };
        let told = match of {
            Some(of) => Some((of, record)),
            None if is_stack(record) && complaints.is_empty() => {
                Some((Complainer::Kernel, heading.unwrap_or(record)))
            }
            None => None,
        };
        complaints.extend(told.map(|(of, record)| Complaint {
            of,
            line: line(record),
        }));
        let dumped = ["CPU: ", "Tainted: ", "Hardware name: "];
        if record.facility == 0 && !dumped.iter().any(|begin| record.text.starts_with(begin)) {
            heading = Some(record);
        }
    }
    complaints
}

/// Returns the [`complaints`] as lines.
pub fn warnings(log: &[LogRecord], names: &[String]) -> Vec<String> {
    let complaints = complaints(log, names).into_iter();
    complaints.map(|complaint| complaint.line).collect()
}

/// Returns the lines of a kernel's log that report an error in the kernel.
pub fn splats(log: &[LogRecord]) -> Vec<String> {
    warnings(log, &[])
}

/// Returns the name of the first process that the kernel killed because the guest
/// had no free memory (mm/oom_kill.c, `__oom_kill_process()`). A process that was
/// killed at the limit of a control group does not count.
pub fn killed_for_memory(log: &[LogRecord]) -> Option<&str> {
    let mut kernels = log.iter().filter(|record| record.facility == 0);
    kernels.find_map(|record| {
        let killed = record.text.strip_prefix("Out of memory: Killed process ")?;
        // Its number, then its name, which may have any character.
        let (_, named) = killed.split_once(" (")?;
        Some(named.rsplit_once(") total-vm:")?.0)
    })
}

/// Words by which a report is of video devices, or of a process of this program.
const OURS: &[&str] = &["v4l2", "videobuf2", "vb2_", "videodev", "Comm: pinhole"];

/// The line of a report that names all modules, and the last one of most reports.
const MODULES: &str = "Modules linked in:";
const END: &str = "---[ end trace";

/// Largest number of lines of a report.
const REPORT_MAX: usize = 100;

/// Takes the reports out of the log of a machine in use that are of something else: a
/// report in which nothing names the driver, video devices or this program. Returns the
/// first line of each. What says that memory was overwritten stays, since nobody knows
/// who did it.
pub fn take_others(log: &mut Vec<LogRecord>, names: &[String]) -> Vec<String> {
    let plain = |text: &str| text.replace('-', "_");
    let names: Vec<_> = names.iter().map(|name| plain(name)).collect();
    let is_ours = |record: &LogRecord| {
        let text = plain(&record.text);
        let is_named = names.iter().any(|name| text.contains(name));
        !record.text.contains(MODULES)
            && (is_named || OURS.iter().any(|word| record.text.contains(word)))
    };
    let mut others = Vec::new();
    let mut at = 0;
    while at < log.len() {
        let of = complainer(&log[at]);
        let mut end = at + 1;
        while of.is_some()
            && end < log.len().min(at + REPORT_MAX)
            && complainer(&log[end]).is_none()
            && !log[end - 1].text.contains(END)
        {
            end += 1;
        }
        let is_others = of == Some(Complainer::Kernel) && !log[at..end].iter().any(is_ours);
        match is_others {
            true => {
                others.push(line(&log[at]));
                log.drain(at..end);
            }
            false => at = end,
        }
    }
    others
}

/// Returns a message that says so, if the kernel of a guest with `memory_mib` MiB
/// killed a process because it had no free memory.
pub fn out_of_memory(log: &[LogRecord], memory_mib: u32) -> Option<String> {
    let killed = killed_for_memory(log)?;
    Some(format!(
        "the guest ran out of memory, and its kernel killed {killed}: {memory_mib} MiB are too \
         little (--ram gives it more)"
    ))
}

/// Returns the records without those that only report where a failure was
/// injected.
fn unprovoked(log: &[LogRecord]) -> impl Iterator<Item = &LogRecord> {
    let mut injected = false;
    log.iter().filter(move |record| {
        if record.text.contains(INJECTED) {
            injected = true;
            return false;
        }
        let excused = injected && record.text.contains(TRACE);
        injected &= !excused;
        !excused
    })
}

/// Returns who complains in a record, if the kernel does; messages of user space
/// are not the kernel's.
fn complainer(record: &LogRecord) -> Option<Complainer> {
    let says = |alarm: &&str| record.text.contains(*alarm);
    if record.facility != 0 {
        None
    } else if OVERWRITTEN.iter().any(says) {
        Some(Complainer::Memory)
    } else if ALARMS.iter().any(says) || record.level <= WARNING && CHECKS.iter().any(says) {
        Some(Complainer::Kernel)
    } else {
        None
    }
}

fn is_stack(record: &LogRecord) -> bool {
    record.facility == 0 && record.text.contains(TRACE)
}

/// Returns whether a record is a complaint of the driver. The line that reports
/// that a module from outside the kernel's tree taints it is not one.
fn is_complaint(record: &LogRecord, names: &[String]) -> bool {
    let taint = ["taints kernel", "tainting kernel"]
        .iter()
        .any(|words| record.text.contains(words));
    let speaks = || names.iter().any(|name| speaks_of(name, &record.text));
    record.facility == 0 && record.level <= WARNING && !taint && speaks()
}

/// Returns whether a message is of the driver with that name: it begins with the
/// name, as pr_fmt() and dev_err() have it, or it is one about its device. A
/// module's name has `_` where that of its driver may have `-`.
fn speaks_of(name: &str, text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (name, text) = (name.replace('-', "_"), text.replace('-', "_"));
    let mut places = text.match_indices(&*name);
    places.any(|(at, _)| {
        let is_word =
            !text[at + name.len()..].starts_with(is_part) && !text[..at].ends_with(is_part);
        is_word && (at == 0 || text.starts_with("virtio"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: u8, text: &str) -> LogRecord {
        LogRecord {
            sequence: 1,
            level,
            facility: 0,
            time_us: 1_500_000,
            text: text.into(),
        }
    }

    fn ours() -> Vec<String> {
        vec!["pinhole".to_owned()]
    }

    fn is_warning(level: u8, text: &str) -> bool {
        !warnings(&[record(level, text)], &ours()).is_empty()
    }

    #[test]
    fn what_user_space_writes_does_not_count() {
        let said = LogRecord {
            facility: 1,
            ..record(4, "BUG: of somebody else")
        };
        assert!(warnings(&[said], &ours()).is_empty());
    }

    #[test]
    fn lines_are_as_dmesg_has_them() {
        assert_eq!(splats(&[record(4, "BUG: x")]), ["[    1.500000] BUG: x"]);
        assert!(splats(&[record(3, "pinhole virtio2: no")]).is_empty());
    }

    #[test]
    fn splats_are_seen_whatever_their_level() {
        for splat in [
            "WARNING: CPU: 1 PID: 88 at mm/gup.c:1234 foo+0x1/0x2",
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "BUG: Bad page state in process v4l2-ctl  pfn:1234",
            "Oops: 0002 [#1] PREEMPT SMP NOPTI",
            "INFO: task v4l2-ctl:91 blocked for more than 120 seconds.",
            "=== BUG kmalloc-512 (Tainted: G): Poison overwritten",
            // The first lines of reports of lockdep, KASAN and similar checks.
            "WARNING: possible circular locking dependency detected",
            "WARNING: possible recursive locking detected",
            "WARNING: inconsistent lock state",
            "WARNING: suspicious RCU usage",
            "WARNING: held lock freed!",
            "WARNING: pinhole-agent/88 still has locks held!",
            "[ BUG: Invalid wait context ]",
            "BUG: sleeping function called from invalid context at include/linux/sched/mm.h:337",
            "INFO: trying to register non-static key.",
            "turning off the locking correctness validator.",
            "BUG: KASAN: slab-use-after-free in pinhole_cmd_free+0x1/0x2 [pinhole]",
            "UBSAN: array-index-out-of-bounds in drivers/x.c:7:9",
            "kernel BUG at mm/page_table_check.c:104!",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "rcu: rcu_preempt kthread starved for 5250 jiffies!",
            "kmemleak: Kernel memory leak detector disabled",
        ] {
            assert!(is_warning(6, splat), "{splat}");
        }
    }

    #[test]
    fn what_a_check_warns_of_counts_and_its_talk_does_not() {
        let complaint = "DMA-API: virtio-pci 0000:00:02.0: mapping sg segment longer than device claims to support [len=524288] [max=65536]";
        assert!(is_warning(4, complaint));
        for talk in [
            "DMA-API: preallocated 65536 debug entries",
            "DMA-API: dma_debug_entry pool grown to 131072 (200%)",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
        ] {
            assert!(!is_warning(6, talk), "{talk}");
        }
    }

    #[test]
    fn a_failure_that_was_wanted_is_none_and_what_comes_of_it_is() {
        let injected = [
            record(
                5,
                "FAULT_INJECTION: forcing a failure.\nname failslab, interval 1",
            ),
            record(4, "CPU: 0 UID: 0 PID: 88 Comm: pinhole-agent"),
            record(4, "Call Trace:"),
            record(4, " should_fail_ex+0x1/0x2"),
        ];
        let again = [&injected[..], &injected].concat();
        assert!(warnings(&again, &ours()).is_empty());
        let warned = [
            record(4, "WARNING: CPU: 1 PID: 88"),
            record(4, "Call Trace:"),
        ];
        let told = ["[    1.500000] WARNING: CPU: 1 PID: 88"];
        let both = [&injected[..], &warned].concat();
        assert_eq!(warnings(&both, &ours()), told);
        assert_eq!(warnings(&warned, &ours()), told);
    }

    #[test]
    fn a_stack_is_told_by_its_heading() {
        let stack = [
            record(6, "registered as video0"),
            record(3, "the driver thinks that this cannot be"),
            record(4, "CPU: 0 UID: 0 PID: 88 Comm: x"),
            record(4, "Tainted: [O]=OOT_MODULE"),
            record(4, "Hardware name: QEMU"),
            record(4, "Call Trace:"),
            record(4, " <TASK>"),
            record(4, "Call Trace:"),
        ];
        assert_eq!(
            warnings(&stack, &ours()),
            ["[    1.500000] the driver thinks that this cannot be"]
        );
        assert_eq!(
            warnings(&stack[5..6], &ours()),
            ["[    1.500000] Call Trace:"]
        );
        let alarmed = [&[record(4, "BUG: x")][..], &stack].concat();
        assert_eq!(warnings(&alarmed, &ours()), ["[    1.500000] BUG: x"]);
    }

    #[test]
    fn what_others_on_a_machine_in_use_are_blamed_for_is_taken_out() {
        let report = |at: &str| {
            [
                record(4, &format!("WARNING: CPU: 1 PID: 88 at {at}")),
                record(4, "Modules linked in: uvcvideo videobuf2_v4l2 i915"),
                record(4, "CPU: 1 UID: 0 PID: 88 Comm: Xorg"),
                record(4, "Call Trace:"),
                record(4, "---[ end trace 0000000000000000 ]---"),
            ]
        };
        let names = ["uvcvideo".to_owned(), "1-1".to_owned()];
        let taken = |log: &[LogRecord]| {
            let mut left = log.to_vec();
            let others = take_others(&mut left, &names);
            (left.len(), others)
        };
        let other = report("drivers/gpu/drm/i915/x.c:7 y+0x1/0x2 [i915]");
        let told = "[    1.500000] WARNING: CPU: 1 PID: 88 at drivers/gpu/drm/i915/x.c:7 y+0x1/0x2 \
                    [i915]";
        assert_eq!(taken(&other), (0, vec![told.to_owned()]));
        for at in ["x.c:7 y+0x1/0x2 [uvcvideo]", "x.c:7 vb2_core_qbuf+0x1/0x2"] {
            assert_eq!(taken(&report(at)), (5, vec![]));
        }
        let mut own = other.clone();
        own[2].text = "CPU: 1 UID: 0 PID: 88 Comm: pinhole".into();
        assert_eq!(taken(&own).0, 5);
        // A report ends with its last line, and with the next one.
        let driver = [record(3, "uvcvideo 1-1:1.0: no")];
        let both = [&other[..], &driver, &[record(4, "BUG: x")], &own].concat();
        assert_eq!(
            taken(&both),
            (6, vec![told.to_owned(), "[    1.500000] BUG: x".to_owned()])
        );
        let memory = [record(3, "BUG kmalloc-8: Poison overwritten")];
        assert_eq!(taken(&memory), (1, vec![]));
        assert_eq!(taken(&[]), (0, vec![]));
    }

    #[test]
    fn who_complains_is_told() {
        let log = [
            record(3, "pagealloc: memory corruption"),
            record(4, "WARNING: CPU: 1 PID: 88"),
            record(4, "pinhole virtio2: no"),
        ];
        let complaints = complaints(&log, &ours());
        let of: Vec<_> = complaints.iter().map(|complaint| complaint.of).collect();
        let all = [Complainer::Memory, Complainer::Kernel, Complainer::Driver];
        assert_eq!(of, all);
    }

    #[test]
    fn a_guest_that_was_short_of_memory_is_told_from_one_with_a_limit() {
        let killed = |text: &str| killed_for_memory(&[record(3, text)]).map(str::to_owned);
        let of = |name: &str| {
            format!(
                "Out of memory: Killed process 151 ({name}) total-vm:65640kB, anon-rss:35840kB, \
                 file-rss:0kB, shmem-rss:4028kB, UID:0 pgtables:176kB oom_score_adj:0"
            )
        };
        for name in ["v4l2-ctl", "a (b) total-vm", "a) total-vm:1"] {
            assert_eq!(killed(&of(name)).as_deref(), Some(name));
        }
        assert_eq!(killed(&format!("Memory cgroup o{}", &of("x")[1..])), None);
        assert_eq!(
            killed("v4l2-ctl invoked oom-killer: gfp_mask=0x140dc2"),
            None
        );
        let said = LogRecord {
            facility: 1,
            ..record(3, &of("nobody"))
        };
        let log = [said, record(6, "x"), record(3, &of("v4l2-ctl"))];
        assert_eq!(
            out_of_memory(&log, 128).unwrap(),
            "the guest ran out of memory, and its kernel killed v4l2-ctl: 128 MiB are too little \
             (--ram gives it more)"
        );
        assert_eq!(out_of_memory(&log[..2], 128), None);
    }

    #[test]
    fn complaints_of_the_driver_count_and_its_talk_does_not() {
        assert!(is_warning(
            3,
            "pinhole virtio2: the card sent an event for buffer 77"
        ));
        assert!(!is_warning(6, "pinhole virtio2: registered as video0"));
        assert!(!is_warning(4, "ACPI: whatever it complains about"));
    }

    #[test]
    fn a_driver_of_another_name_complains_by_that() {
        let names = ["virtio_media".to_owned()];
        let said = |text: &str| !warnings(&[record(3, text)], &names).is_empty();
        for own in [
            "virtio-media virtio2: timed out waiting for response to command",
            "virtio_media: no",
            "virtio virtio2: driver virtio-media failed",
        ] {
            assert!(said(own), "{own}");
        }
        for other in [
            "virtio_media_pci: no",
            "virtio_blk virtio1: no",
            "pinhole virtio2: no",
            "systemd: virtio-media",
        ] {
            assert!(!said(other), "{other}");
        }
    }

    #[test]
    fn loading_a_module_from_outside_is_no_fault() {
        assert!(!is_warning(
            4,
            "pinhole: loading out-of-tree module taints kernel."
        ));
        assert!(!is_warning(
            5,
            "pinhole: module verification failed: signature and/or required key missing - tainting kernel"
        ));
    }
}
