//! The expectation of calls in which an allocation or a copy is made to fail.
//!
//! V4L2's documentation is in Documentation/userspace-api/media. Every ioctl
//! may return the codes of gen-errors.rst; two of them are for lack of memory
//! and for a failed copy. Other calls have their own pages. Anything else that
//! a call does is an [`Exception`], with its reason.

use crate::agent::cell::Point;
use crate::agent::cell::evidence::InjectedSeen;
use crate::agent::protocol::LogRecord;
use crate::rig::kernel::{Version, errno_name};
use crate::rig::matrix::objection::{Objections, Severity};

/// The expectation of a call that fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failing {
    /// The error numbers that are documented for the call.
    pub(super) documented: &'static [i32],
    /// The exceptions that apply to the call.
    exceptions: Vec<&'static Exception>,
}

/// An effect of a call that is not documented.
#[derive(Debug, PartialEq, Eq)]
pub struct Exception {
    /// The calls to which it applies; an empty list stands for all.
    points: &'static [Point],
    /// The kernels to which it applies: from the first version, to before the
    /// second.
    kernels: (Version, Version),
    /// The function in which the failure is injected, or one of its callers.
    function: &'static str,
    /// The effect.
    does: Does,
    /// The reason.
    reason: &'static str,
}

/// The effect of an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// The call returns that error number.
    Errno(i32),
    /// Later operations fail, until the driver is bound again.
    Aftermath,
    /// Pages stay pinned.
    KeepsPins,
    /// Memory leaks; the function allocated it, itself or through others.
    Loses(&'static str),
    /// The kernel's log reports it, with or without a stack.
    Says(&'static str),
}

const ALWAYS: (Version, Version) = (Version(0, 0), Version(u32::MAX, 0));

/// Returns the documented error numbers of a call, for lack of memory and for a
/// failed copy.
fn documented(point: Point) -> &'static [i32] {
    match point {
        // close(2) always succeeds, and cannot be retried.
        Point::Close => &[],
        // func-mmap.rst; mmap(2) copies nothing.
        Point::Mmap => &[libc::ENOMEM],
        // func-open.rst, and open(2) itself for the path.
        Point::Open => &[libc::ENOMEM, libc::EFAULT],
        // gen-errors.rst; the documentation of sysfs and of module loading says
        // nothing else.
        _ => &[libc::ENOMEM, libc::EFAULT],
    }
}

/// The exceptions, with their kernels; all of them are the kernel's own
/// behaviour.
const EXCEPTIONS: &[Exception] = &[
    Exception {
        points: &[Point::Bind, Point::Insmod],
        kernels: ALWAYS,
        function: "__video_register_device",
        does: Does::Loses("__video_register_device"),
        reason: "__video_register_device() keeps the name of a device that device_register() \
                 refuses, as a driver frees the device itself: its comment prefers the leak to \
                 a double free",
    },
    Exception {
        points: &[Point::Bind],
        kernels: ALWAYS,
        function: "dev_set_name",
        does: Does::Errno(libc::EINVAL),
        reason: "__video_register_device() does not look whether dev_set_name() had memory, and \
                 device_add() answers EINVAL to a device without a name",
    },
    Exception {
        points: &[Point::Read],
        kernels: ALWAYS,
        function: "vb2_dma_sg_vaddr",
        does: Does::Errno(libc::EINVAL),
        reason: "__vb2_init_fileio() answers EINVAL where a buffer cannot be mapped into the kernel",
    },
    Exception {
        points: &[Point::Expbuf],
        kernels: ALWAYS,
        function: "dma_buf_export",
        does: Does::Errno(libc::EINVAL),
        reason: "vb2_core_expbuf() answers EINVAL to every failure to export",
    },
    Exception {
        points: &[Point::QbufDmabuf],
        kernels: ALWAYS,
        function: "vb2_dma_sg_map_dmabuf",
        does: Does::Errno(libc::EINVAL),
        reason: "vb2_dma_sg_map_dmabuf() answers EINVAL to every failure to map",
    },
    Exception {
        points: &[Point::QbufDmabuf],
        kernels: (Version(6, 12), Version(u32::MAX, 0)),
        function: "pinhole_mem_attach_dmabuf",
        does: Does::KeepsPins,
        reason: "a dma-buf that could not be attached is never put: since 6.12 __prepare_dmabuf() of \
                 videobuf2 notes it only once it is (03a979b74dc1, \"attach once if multiple planes \
                 share the same dbuf\")",
    },
    Exception {
        points: &[Point::Bind],
        kernels: ALWAYS,
        function: "really_probe",
        does: Does::Says("probe with driver"),
        reason: "really_probe() tells of a probe that failed",
    },
    Exception {
        points: &[Point::Bind],
        kernels: ALWAYS,
        function: "driver_sysfs_add",
        does: Does::Says("really_probe: driver_sysfs_add failed"),
        reason: "really_probe() tells of links that it could not make",
    },
    Exception {
        points: &[Point::Insmod],
        kernels: ALWAYS,
        function: "resolve_symbol",
        does: Does::Says("Unknown symbol"),
        reason: "load_module() tells of a symbol that it could not use",
    },
    Exception {
        points: &[Point::Insmod],
        kernels: ALWAYS,
        function: "vmalloc_noprof",
        does: Does::Says("vmalloc error: "),
        reason: "vmalloc() tells of memory that it could not have",
    },
    Exception {
        points: &[Point::Insmod],
        kernels: ALWAYS,
        function: "module_add_driver",
        does: Does::Errno(libc::EINVAL),
        reason: "module_add_driver() answers EINVAL to every failure to make the module's directory of drivers",
    },
    Exception {
        points: &[Point::Insmod],
        kernels: ALWAYS,
        function: "driver_create_file",
        does: Does::Aftermath,
        reason: "bus_add_driver() goes on without the driver's files bind and unbind",
    },
    Exception {
        points: &[Point::Insmod],
        kernels: ALWAYS,
        function: "event_create_dir",
        does: Does::Says("event_define_fields+"),
        reason: "event_define_fields() of ftrace warns when it cannot note a field",
    },
    Exception {
        points: &[Point::Insmod],
        kernels: ALWAYS,
        function: "event_create_dir",
        does: Does::Says("event_file_put+"),
        reason: "an event that ftrace could not make wholly is put once too often when its module goes \
                 (event_file_put())",
    },
];

/// Returns the expectation of a call that fails on a kernel of that version.
pub fn expect(point: Point, kernel: Version) -> Failing {
    let applies = |one: &&Exception| {
        let (from, to) = one.kernels;
        (one.points.is_empty() || one.points.contains(&point)) && (from..to).contains(&kernel)
    };
    Failing {
        documented: documented(point),
        exceptions: EXCEPTIONS.iter().filter(applies).collect(),
    }
}

impl Failing {
    /// Adds objections to what a call returned when something in it failed, and
    /// to later failures.
    pub fn judge(&self, injected: &[InjectedSeen], objections: &mut Objections) {
        for seen in injected {
            if let Some(errno) = seen.errno
                && !self.documented.contains(&errno)
                && self.excuse(seen, Does::Errno(errno)).is_none()
            {
                objections.push(
                    Severity::WrongError,
                    format!(
                        "{} made it {}, which is not documented for the call",
                        told(seen),
                        errno_name(errno)
                    ),
                );
            }
            if !seen.aftermath.is_empty() && self.excuse(seen, Does::Aftermath).is_none() {
                objections.push(
                    Severity::DataLost,
                    format!("after {}: {}", told(seen), seen.aftermath.join("; ")),
                );
            }
        }
    }

    /// Returns the lines of the kernel's log that are not expected of those
    /// failures. The stack that follows an expected line is expected, too.
    pub fn unexpected(&self, injected: &[InjectedSeen], log: &[LogRecord]) -> Vec<LogRecord> {
        let does: Vec<_> = injected
            .iter()
            .flat_map(|seen| self.done_at(seen))
            .collect();
        let is_expected = |text: &str| {
            let mut does = does.iter();
            does.any(|one| matches!(one.does, Does::Says(says) if text.contains(says)))
        };
        let mut stack_is_expected = false;
        let mut rest = log.to_vec();
        rest.retain(|record| {
            if is_expected(&record.text) {
                stack_is_expected = true;
                return false;
            }
            let is_stack = record.text.starts_with("Call Trace:");
            !(is_stack && std::mem::take(&mut stack_is_expected))
        });
        rest
    }

    /// Returns whether pages may stay pinned after those failures.
    pub fn keeps_pins(&self, injected: &[InjectedSeen]) -> bool {
        injected
            .iter()
            .any(|seen| self.excuse(seen, Does::KeepsPins).is_some())
    }

    /// Returns whether memory with that allocation backtrace may leak after
    /// those failures.
    pub fn loses(&self, injected: &[InjectedSeen], trace: &[String]) -> bool {
        let mut done = injected.iter().flat_map(|seen| self.done_at(seen));
        done.any(|one| match one.does {
            Does::Loses(function) => trace.iter().any(|place| is_function(place, function)),
            _ => false,
        })
    }

    /// Returns the reasons of the exceptions that may have occurred, each once.
    pub fn reasons(&self, injected: &[InjectedSeen]) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        for seen in injected {
            for one in self.done_at(seen) {
                let was = match one.does {
                    Does::Errno(errno) => seen.errno == Some(errno),
                    Does::Aftermath => !seen.aftermath.is_empty(),
                    Does::KeepsPins | Does::Loses(_) | Does::Says(_) => true,
                };
                if was && !reasons.contains(&one.reason) {
                    reasons.push(one.reason);
                }
            }
        }
        reasons
    }

    fn excuse(&self, seen: &InjectedSeen, does: Does) -> Option<&'static Exception> {
        self.done_at(seen).find(|one| one.does == does)
    }

    /// Returns the exceptions that apply to the place of that failure.
    fn done_at(&self, seen: &InjectedSeen) -> impl Iterator<Item = &'static Exception> {
        let exceptions = self.exceptions.iter().copied();
        exceptions.filter(move |one| {
            let mut stack = seen.stack.iter();
            stack.any(|place| is_function(place, one.function))
        })
    }
}

/// Returns whether a place on a stack is in that function. The compiler adds
/// suffixes to the names of functions that it derives from others; the kernel
/// adds the offset and the module.
fn is_function(place: &str, function: &str) -> bool {
    place.split([' ', '.', '+']).next() == Some(function)
}

/// Describes a failure: its kind, its number, and its place.
pub fn told(seen: &InjectedSeen) -> String {
    let callers: Vec<_> = seen.callers().iter().take(3).map(String::as_str).collect();
    let place = match callers.is_empty() {
        true => String::new(),
        false => format!(" in {}", callers.join(" < ")),
    };
    let fault = seen.fault.as_deref().unwrap_or("failure");
    format!("{fault} {}{place}", seen.nth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(errno: Option<i32>, function: &str) -> InjectedSeen {
        InjectedSeen {
            nth: 3,
            fault: Some("failslab".into()),
            stack: vec!["should_failslab".into(), function.into(), "vb2_qbuf".into()],
            errno,
            ..InjectedSeen::default()
        }
    }

    fn objections(failing: &Failing, seen: InjectedSeen) -> Vec<String> {
        let mut objections = Objections::default();
        failing.judge(&[seen], &mut objections);
        objections.into_iter().map(|(_, what)| what).collect()
    }

    #[test]
    fn an_error_that_is_not_documented_is_told_with_its_place() {
        let qbuf = expect(Point::Qbuf, Version(6, 12));
        for fine in [None, Some(libc::ENOMEM), Some(libc::EFAULT)] {
            assert_eq!(objections(&qbuf, seen(fine, "f [m]")), [""; 0]);
        }
        assert_eq!(
            objections(&qbuf, seen(Some(libc::ENOSPC), "f [m]")),
            ["failslab 3 in f [m] < vb2_qbuf made it ENOSPC, which is not documented for the call"]
        );
        let close = expect(Point::Close, Version(6, 12));
        assert_eq!(objections(&close, seen(Some(libc::ENOMEM), "f")).len(), 1);
    }

    #[test]
    fn what_goes_wrong_afterwards_is_told() {
        let after = InjectedSeen {
            aftermath: vec!["VIDIOC_QBUF: EIO".into(), "nor did the next".into()],
            ..seen(None, "f")
        };
        assert_eq!(
            objections(&expect(Point::Qbuf, Version(6, 12)), after),
            ["after failslab 3 in f < vb2_qbuf: VIDIOC_QBUF: EIO; nor did the next"]
        );
    }

    #[test]
    fn an_exception_is_one_where_its_function_is_let_down_and_nowhere_else() {
        static EXCEPTION: Exception = Exception {
            points: &[],
            kernels: ALWAYS,
            function: "f",
            does: Does::Errno(libc::EINVAL),
            reason: "it knows no other",
        };
        let failing = Failing {
            documented: &[libc::ENOMEM],
            exceptions: vec![&EXCEPTION],
        };
        let excused = seen(Some(libc::EINVAL), "f [m]");
        assert_eq!(objections(&failing, excused.clone()), [""; 0]);
        assert_eq!(
            failing.reasons(&[excused.clone(), excused]),
            ["it knows no other"]
        );
        assert_eq!(objections(&failing, seen(Some(libc::EINVAL), "g")).len(), 1);
        assert_eq!(objections(&failing, seen(Some(libc::EIO), "f")).len(), 1);
        assert!(failing.reasons(&[seen(Some(libc::ENOMEM), "f")]).is_empty());
        assert_eq!(
            failing
                .reasons(&[seen(Some(libc::EINVAL), "f.part.0 [m]")])
                .len(),
            1
        );
    }

    #[test]
    fn what_the_log_says_of_a_failure_is_expected_where_it_was() {
        let insmod = expect(Point::Insmod, Version(6, 12));
        let log: Vec<_> = [
            "exe: vmalloc error: size 248128, vm_struct allocation failed",
            "Call Trace:",
            " <TASK>",
            "BUG: KASAN: slab-use-after-free in f",
            "Call Trace:",
        ]
        .iter()
        .zip(1..)
        .map(|(text, sequence)| LogRecord {
            sequence,
            level: 4,
            facility: 0,
            time_us: 0,
            text: (*text).into(),
        })
        .collect();
        let left = |injected: &[InjectedSeen]| -> Vec<u64> {
            let rest = insmod.unexpected(injected, &log);
            rest.iter().map(|record| record.sequence).collect()
        };
        assert_eq!(
            left(&[seen(None, "f"), seen(None, "vmalloc_noprof")]),
            [3, 4, 5]
        );
        assert_eq!(left(&[seen(None, "f")]), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn memory_that_the_kernel_loses_is_known_by_who_allocated_it() {
        let bind = expect(Point::Bind, Version(7, 3));
        let refused = seen(None, "__video_register_device [videodev]");
        let name = [
            "kvasprintf+0x1/0x2".into(),
            "__video_register_device+0x3/0x4 [videodev]".into(),
        ];
        assert!(bind.loses(std::slice::from_ref(&refused), &name));
        assert!(!bind.loses(&[refused], &["pinhole_cmd_alloc+0x1/0x2 [pinhole]".into()]));
        assert!(!bind.loses(&[seen(None, "f")], &name));
    }

    #[test]
    fn a_leak_of_the_kernels_is_known_from_where_it_is_on() {
        let leak = seen(None, "pinhole_mem_attach_dmabuf [pinhole]");
        for (kernel, leaks) in [(Version(6, 1), false), (Version(6, 12), true)] {
            let qbuf = expect(Point::QbufDmabuf, kernel);
            assert_eq!(qbuf.keeps_pins(std::slice::from_ref(&leak)), leaks);
            assert!(!qbuf.keeps_pins(&[seen(None, "vb2_dma_sg_map_dmabuf")]));
        }
    }
}
