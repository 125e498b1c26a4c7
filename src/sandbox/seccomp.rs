//! Restriction of system calls: Linux's seccomp(2).

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::{SandboxError, refusal};

/// The system calls that the daemon and its libraries make while it serves,
/// allowed with any arguments. Calls that are allowed with some arguments only
/// are in [`checked`].
const ALLOWED: &[c_long] = &[
    // Memory. mmap and mprotect are checked.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads and time. clone may only create threads, and clone3 fails with
    // ENOSYS.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_membarrier,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals of this process alone; tgkill, for abort(), is checked.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // Open files: the log, the witness, sources. open and openat are checked.
    libc::SYS_close,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // The names of the sockets, removed at the end.
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    // Existing sockets, and the file descriptors of vhost-user. No call creates
    // a socket.
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
];

/// Allows the daemon's system calls, for all threads, and returns their number.
pub fn restrict() -> Result<usize, SandboxError> {
    let arch: TargetArch = ARCH.try_into()?;
    let mut rules = rules()?;
    // The list gains clone below.
    let count = rules.len() + 1;
    let fails = |call, rules, errno: i32| {
        SeccompFilter::new(
            BTreeMap::from([(call, rules)]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            arch,
        )
    };
    // The C library tries clone3 first, whose flags a filter cannot see, and
    // falls back to clone only if clone3 fails with ENOSYS. A separate filter
    // does that, and the last filter allows the call.
    let clone3 = fails(libc::SYS_clone3, Vec::new(), libc::ENOSYS)?;
    rules.insert(libc::SYS_clone3, Vec::new());
    // The C library starts processes with all signals blocked, where a SIGSYS
    // would kill the card; so this filter makes the call fail without a signal.
    let thread = libc::CLONE_THREAD as u64;
    let process = fails(libc::SYS_clone, vec![masked(0, thread, 0)?], libc::EPERM)?;
    rules.insert(libc::SYS_clone, Vec::new());
    let allowed = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch)?;
    refusal::install().map_err(SandboxError::Handler)?;
    for filter in [clone3, process, allowed] {
        apply_filter_all_threads(&BpfProgram::try_from(filter)?)?;
    }
    Ok(count)
}

/// Returns the allowed system calls, with the conditions on their arguments.
fn rules() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<_, _> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    for (call, rule) in checked()? {
        rules.entry(call).or_insert_with(Vec::new).push(rule);
    }
    Ok(rules)
}

/// Returns the system calls that are allowed with some arguments only.
fn checked() -> Result<Vec<(c_long, SeccompRule)>, BackendError> {
    let executable = libc::PROT_EXEC as u64;
    // The flags that ask for more than opening an existing file for reading.
    // O_TMPFILE includes O_DIRECTORY, which is left out.
    let opens_more = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64
        | (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;
    let memfd_flags =
        u64::from(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_NOEXEC_SEAL);
    let process = u64::from(std::process::id());
    let mut list = vec![
        (libc::SYS_mmap, masked(2, executable, 0)?),
        (libc::SYS_mprotect, masked(2, executable, 0)?),
        (libc::SYS_openat, masked(2, opens_more, 0)?),
        (libc::SYS_open, masked(1, opens_more, 0)?),
        (libc::SYS_tgkill, equal(0, process)?),
        // The process may read its limits, such as stack sizes, but not set
        // them.
        (libc::SYS_prlimit64, masked(2, u64::MAX, 0)?),
        (libc::SYS_prctl, equal(0, libc::PR_SET_NAME as u64)?),
        // Buffers of the card's own memory; never of huge pages.
        (libc::SYS_memfd_create, masked(1, !memfd_flags, 0)?),
    ];
    for command in [
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_ADD_SEALS,
    ] {
        list.push((libc::SYS_fcntl, equal(1, command as u64)?));
    }
    // The request TIOCGWINSZ tells whether standard input is a terminal.
    for request in [libc::FIONBIO, libc::TCGETS, libc::TIOCGWINSZ] {
        list.push((libc::SYS_ioctl, equal(1, request)?));
    }
    Ok(list)
}

/// Returns a rule that requires an argument, an int, to have the value `value`.
fn equal(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    rule(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// Returns a rule that requires an argument to equal `value` in the bits of
/// `mask`.
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    rule(argument, SeccompCmpArgLen::Qword, operator, value)
}

fn rule(
    argument: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, BackendError> {
    let condition = SeccompCondition::new(argument, length, operator, value)?;
    SeccompRule::new(vec![condition])
}
