//! System calls that were refused: each is said once, since nothing that the
//! card does makes one.
//!
//! The filter sends SIGSYS for such a call (SECCOMP_RET_TRAP of seccomp(2)), and
//! the handler lets it fail with EPERM.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, c_void, siginfo_t, ucontext_t};

/// Numbers of system calls that are told apart; the highest of Linux is below.
const CALLS: usize = 1024;

/// A bit for each system call that was said.
static SAID: [AtomicU64; CALLS / 64] = [const { AtomicU64::new(0) }; CALLS / 64];

/// `siginfo_t` of a SIGSYS (sigaction(2)), which libc has no name for.
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

/// Lets refused calls fail from now on.
///
/// # Errors
/// Where the system refuses the handler.
pub fn install() -> io::Result<()> {
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = refuse;
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: the handler does only what a signal handler may.
    match unsafe { libc::sigaction(libc::SIGSYS, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the call fail, and says so. It calls write(2) only, takes no lock, and
/// leaves errno alone.
extern "C" fn refuse(_signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid one of a SIGSYS.
    let info = unsafe { &*info.cast::<SysInfo>() };
    if info.code != SYS_SECCOMP {
        return;
    }
    // SAFETY: the kernel passes a valid one to a handler with SA_SIGINFO.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    set_result(context, -i64::from(libc::EPERM));
    if is_new(info.call) {
        say(info.call);
    }
}

/// Whether the call is refused for the first time.
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
    // SAFETY: the bytes are there.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len) };
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// A line that is made without an allocation.
struct Line {
    bytes: [u8; 96],
    len: usize,
}

impl Line {
    /// Adds what there is room for.
    fn push(&mut self, text: &[u8]) {
        for (to, from) in self.bytes[self.len..].iter_mut().zip(text) {
            *to = *from;
            self.len += 1;
        }
    }
}

/// What the call is to return (x86-64, as the list of allowed calls is).
fn set_result(context: &mut ucontext_t, result: i64) {
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = result;
}
