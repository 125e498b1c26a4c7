//! The parts of the kernel log: the reports of injected failures, and the rest.

use crate::agent::protocol::LogRecord;

/// A failure, as reported by `fail_dump()` of lib/fault-inject.c.
#[derive(Debug, PartialEq, Eq)]
pub struct Dump {
    /// The operation that failed.
    pub fault: String,
    /// The functions on the stack, the innermost first, from the one that asked
    /// whether to fail to the system call.
    pub stack: Vec<String>,
}

/// Beginning of the first line; the second line, in the same record, has the
/// name.
const BEGIN: &str = "FAULT_INJECTION: forcing a failure.\nname ";
/// The line after the last one of the stack.
const END: &str = " </TASK>";

/// Beginnings of lines of dump_stack() that are not part of the stack.
const AROUND: [&str; 17] = [
    "CPU: ",
    "CR2: ",
    "Call Trace:",
    "Code: ",
    "FS: ",
    "Hardware name: ",
    "ORIG_RAX: ",
    "R10: ",
    "R13: ",
    "RAX: ",
    "RBP: ",
    "RDX: ",
    "RIP: ",
    "RSP: ",
    "Tainted: ",
    "Workqueue: ",
    "Sched_ext: ",
];

/// Functions between the one that decides to fail and dump_stack().
const DECIDES: [&str; 3] = ["should_fail_ex", "should_fail", "fail_dump"];

/// Functions through which every system call passes.
const ENTRIES: [&str; 3] = [
    "do_syscall_64",
    "x64_sys_call",
    "entry_SYSCALL_64_after_hwframe",
];

/// Splits the records into the failures and the rest. Only lines of a dump
/// itself are taken out; messages of other processors in between are kept.
pub fn part(records: Vec<LogRecord>) -> (Vec<Dump>, Vec<LogRecord>) {
    let mut dumps: Vec<Dump> = Vec::new();
    let mut rest = Vec::new();
    let mut within = false;
    for record in records {
        let text = record.text.as_str();
        if let Some(name) = text.strip_prefix(BEGIN) {
            let end = name.find(',').unwrap_or(name.len());
            dumps.push(Dump {
                fault: name[..end].to_owned(),
                stack: Vec::new(),
            });
            within = true;
        } else if within && text == END {
            within = false;
        } else if within && AROUND.iter().any(|begin| text.starts_with(begin)) {
        } else if within && text.starts_with(' ') {
            if let (Some(dump), Some(function)) = (dumps.last_mut(), function(text)) {
                dump.add(function);
            }
        } else {
            rest.push(record);
        }
    }
    (dumps, rest)
}

impl Dump {
    fn add(&mut self, function: String) {
        if DECIDES.contains(&function.as_str()) {
            self.stack.clear();
        } else if !ENTRIES.contains(&function.as_str()) {
            self.stack.push(function);
        }
    }
}

/// Returns the function in a line of a stack, such as ` f+0x12/0x34 [module]`;
/// `None` for one of which the kernel is not sure.
fn function(line: &str) -> Option<String> {
    let (name, place) = line.trim_start().split_once('+')?;
    let module = place.split_once(' ').map(|(_, module)| module.trim());
    (!name.starts_with('?')).then(|| match module {
        Some(module) if !module.is_empty() => format!("{name} {module}"),
        _ => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(texts: &[&str]) -> Vec<LogRecord> {
        let records = texts.iter().zip(1..).map(|(text, sequence)| LogRecord {
            sequence,
            level: 4,
            facility: 0,
            time_us: sequence,
            text: (*text).to_owned(),
        });
        records.collect()
    }

    #[test]
    fn a_failure_is_taken_out_of_the_log_and_nothing_else() {
        let log = records(&[
            "pinhole virtio2: before",
            "FAULT_INJECTION: forcing a failure.\nname failslab, interval 1, probability 0, space 0, times -1",
            "CPU: 0 UID: 0 PID: 97 Comm: pinhole-agent Tainted: G           OE",
            "Tainted: [O]=OOT_MODULE, [E]=UNSIGNED_MODULE",
            "Hardware name: QEMU Standard PC (Q35 + ICH9, 2009)",
            "Call Trace:",
            " <TASK>",
            " dump_stack_lvl+0x6e/0x90",
            " should_fail_ex+0x1b2/0x1f0",
            " should_failslab+0x5/0x20",
            "BUG: KASAN: use-after-free in somebody_else+0x1/0x2",
            " ? __pfx_whatever+0x10/0x10",
            " __kmalloc_cache_noprof+0x5b/0x3a0",
            " pinhole_cmd_alloc+0x3c/0x1b0 [pinhole]",
            " __x64_sys_ioctl+0x12d/0x190",
            " do_syscall_64+0x82/0x190",
            " entry_SYSCALL_64_after_hwframe+0x76/0x7e",
            "RIP: 0033:0x7f1e2a3b4c5d",
            "Code: 00 01",
            "RSP: 002b:00007ffd",
            " </TASK>",
            " a line of somebody else",
            "FAULT_INJECTION: forcing a failure.\nname fail_usercopy, interval 1",
        ]);
        let (dumps, rest) = part(log);
        let rest: Vec<_> = rest.iter().map(|record| record.text.as_str()).collect();
        assert_eq!(
            rest,
            [
                "pinhole virtio2: before",
                "BUG: KASAN: use-after-free in somebody_else+0x1/0x2",
                " a line of somebody else"
            ]
        );
        let stack = [
            "should_failslab",
            "__kmalloc_cache_noprof",
            "pinhole_cmd_alloc [pinhole]",
            "__x64_sys_ioctl",
        ];
        assert_eq!(
            dumps,
            [
                Dump {
                    fault: "failslab".into(),
                    stack: stack.map(str::to_owned).into(),
                },
                Dump {
                    fault: "fail_usercopy".into(),
                    stack: Vec::new(),
                }
            ]
        );
    }
}
