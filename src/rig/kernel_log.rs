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
    TRACE,
    "Bad page state",
    "Bad page map",
    "bad: scheduling",
    "pagealloc: memory corruption",
    "pagealloc: single bit error",
    "Poison overwritten",
    "Redzone overwritten",
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
    "Out of memory:",
    "Kernel panic",
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

/// Returns the lines of a kernel's log that count against the run: [`splats`],
/// and the driver's own complaints.
pub fn warnings(log: &[LogRecord]) -> Vec<String> {
    let wrong = |record: &&LogRecord| is_splat(record) || is_complaint(record);
    unprovoked(log).filter(wrong).map(line).collect()
}

/// Returns the lines of a kernel's log that report an error in the kernel.
pub fn splats(log: &[LogRecord]) -> Vec<String> {
    unprovoked(log)
        .filter(|record| is_splat(record))
        .map(line)
        .collect()
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

/// Returns whether a record is a splat; messages of user space are not.
fn is_splat(record: &LogRecord) -> bool {
    let says = |alarm: &&str| record.text.contains(*alarm);
    record.facility == 0
        && (ALARMS.iter().any(says) || record.level <= WARNING && CHECKS.iter().any(says))
}

/// Returns whether a record is a complaint of the driver. The line that reports
/// that a module from outside the kernel's tree taints it is not one.
fn is_complaint(record: &LogRecord) -> bool {
    let taint = ["taints kernel", "tainting kernel"]
        .iter()
        .any(|words| record.text.contains(words));
    record.facility == 0 && record.level <= WARNING && speaks_of_us(&record.text) && !taint
}

fn speaks_of_us(text: &str) -> bool {
    text.starts_with("pinhole") || text.starts_with("virtio") && text.contains("pinhole")
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

    fn is_warning(level: u8, text: &str) -> bool {
        !warnings(&[record(level, text)]).is_empty()
    }

    #[test]
    fn what_user_space_writes_does_not_count() {
        let said = LogRecord {
            facility: 1,
            ..record(4, "BUG: of somebody else")
        };
        assert!(warnings(&[said]).is_empty());
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
        assert!(warnings(&again).is_empty());
        let warned = [
            record(4, "WARNING: CPU: 1 PID: 88"),
            record(4, "Call Trace:"),
        ];
        assert_eq!(warnings(&[&injected[..], &warned].concat()).len(), 2);
        assert_eq!(warnings(&warned).len(), 2);
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
