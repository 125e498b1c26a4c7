//! Refused system calls. Each is reported once, since the card itself makes
//! none.
//!
//! For a refused call the filter sends SIGSYS (SECCOMP_RET_TRAP of seccomp(2)),
//! and the handler makes the call fail with EPERM.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, c_void, siginfo_t, ucontext_t};

/// Number of system calls that are told apart; Linux's highest number is below.
const CALLS: usize = 1024;

/// One bit for each system call that has been reported.
static SAID: [AtomicU64; CALLS / 64] = [const { AtomicU64::new(0) }; CALLS / 64];

/// The `siginfo_t` of a SIGSYS (sigaction(2)), which libc does not define.
#[repr(C)]
struct SysInfo {
    signal: c_int,
    errno: c_int,
    code: c_int,
    _padding: c_int,
    address: *mut c_void,
    call: c_int,
    arch: u32,
}

/// `si_code` of a SIGSYS from seccomp(2).
const SYS_SECCOMP: c_int = 1;

/// Installs the handler that makes refused calls fail.
///
/// # Errors
/// The system refuses the handler.
pub fn install() -> io::Result<()> {
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = refuse;
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: the handler makes only calls that a signal handler may make.
    match unsafe { libc::sigaction(libc::SIGSYS, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The SIGSYS handler: makes the call fail, and reports it. It calls only
/// write(2), takes no lock, and preserves errno.
extern "C" fn refuse(_signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the valid `siginfo_t` of a SIGSYS.
    let info = unsafe { &*info.cast::<SysInfo>() };
    if info.code != SYS_SECCOMP {
        return;
    }
    // SAFETY: the kernel passes a valid context to a handler with SA_SIGINFO.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    set_result(context, -i64::from(libc::EPERM));
    if is_new(info.call) {
        say(info.call);
    }
}

/// Returns whether the call is refused for the first time.
fn is_new(call: c_int) -> bool {
    let Some(word) = usize::try_from(call)
        .ok()
        .and_then(|call| SAID.get(call / 64))
    else {
        return true;
    };
    let bit = 1 << (call % 64);
    word.fetch_or(bit, Ordering::Relaxed) & bit == 0
}

fn say(call: c_int) {
    let mut line = Line {
        bytes: [0; 96],
        len: 0,
    };
    line.push(b"pinhole: the sandbox has refused system call ");
    let mut digits = [0; 10];
    let mut at = digits.len();
    let mut rest = call.unsigned_abs();
    while at > 0 && (rest > 0 || at == digits.len()) {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    line.push(&digits[at..]);
    line.push(b", which the card never makes\n");
    // SAFETY: errno is this thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    // SAFETY: the first `line.len` bytes are initialized.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len) };
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// A line of text that is built without an allocation.
struct Line {
    bytes: [u8; 96],
    len: usize,
}

impl Line {
    /// Appends as much of `text` as there is room for.
    fn push(&mut self, text: &[u8]) {
        for (to, from) in self.bytes[self.len..].iter_mut().zip(text) {
            *to = *from;
            self.len += 1;
        }
    }
}

/// Sets the result of the system call (x86-64, like the list of allowed calls).
fn set_result(context: &mut ucontext_t, result: i64) {
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = result;
}
