//! Ioctls on a device file, made by a process of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::ptr::NonNull;
use std::time::Instant;

use crate::agent::ioctls::{CallAnswer, IoctlCall, Ioctls, IoctlsAnswer, Pointer};

use crate::guest::failure::Failure;

/// Argument that makes this program the process that makes the ioctls.
pub const ARGUMENT: &str = "ioctls";

/// Size of a page, in whose units memory is mapped.
const PAGE: usize = 4096;

/// Makes the ioctls that standard input says, and writes what became of them.
pub fn main() -> ExitCode {
    match make() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.message);
            ExitCode::from(2)
        }
    }
}

fn make() -> Result<(), Failure> {
    let request: Ioctls = serde_json::from_reader(io::stdin().lock())
        .map_err(|error| Failure::new(format!("no request: {error}")))?;
    let answer = answer(&request)?;
    let answer =
        serde_json::to_string(&answer).map_err(|error| Failure::new(format!("answer: {error}")))?;
    writeln!(io::stdout().lock(), "{answer}").map_err(|error| Failure::io("answer", error))
}

fn answer(request: &Ioctls) -> Result<IoctlsAnswer, Failure> {
    let mut memory = Memory::map(&request.memory.0)?;
    for pointer in &request.pointers {
        memory.point(pointer)?;
    }
    let mut answer = IoctlsAnswer {
        open_errno: None,
        base: memory.base(),
        calls: Vec::new(),
        memory: Vec::new().into(),
    };
    match OpenOptions::new()
        .read(true)
        .write(true)
        .open(&request.device)
    {
        Ok(file) => {
            for call in &request.calls {
                answer.calls.push(memory.ioctl(&file, call)?);
            }
        }
        Err(error) => answer.open_errno = error.raw_os_error(),
    }
    answer.memory = memory.bytes().to_vec().into();
    Ok(answer)
}

/// Memory below 4 GiB, which is never unmapped.
struct Memory {
    start: NonNull<u8>,
    length: usize,
}

impl Memory {
    fn map(contents: &[u8]) -> Result<Self, Failure> {
        let length = contents.len().next_multiple_of(PAGE).max(PAGE);
        // SAFETY: It is a new mapping, at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | libc::MAP_32BIT,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Failure::io("map memory", io::Error::last_os_error()));
        }
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| Failure::new("map memory: at address 0"))?;
        let mut memory = Self { start, length };
        memory.bytes_mut()[..contents.len()].copy_from_slice(contents);
        Ok(memory)
    }

    fn base(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: The mapping is this value's alone. A buffer of it that a device
        // still has may change meanwhile, as any other could.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `bytes`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    fn point(&mut self, pointer: &Pointer) -> Result<(), Failure> {
        let to = self.base() + u64::from(pointer.to);
        let width = if pointer.narrow { 4 } else { 8 };
        let at = pointer.at as usize;
        let place = self.bytes_mut().get_mut(at..at + width);
        let place = place.ok_or_else(|| Failure::new(format!("a pointer at {at}")))?;
        place.copy_from_slice(&to.to_le_bytes()[..width]);
        Ok(())
    }

    fn ioctl(&mut self, file: &File, call: &IoctlCall) -> Result<CallAnswer, Failure> {
        let at = call.at as usize;
        // _IOC_SIZE().
        let size = (call.request >> 16 & 0x3fff) as usize;
        if at + size > self.length {
            return Err(Failure::new(format!("a payload of {size} bytes at {at}")));
        }
        let begun = Instant::now();
        let payload = self.base() + u64::from(call.at);
        let result = match call.narrow {
            false => wide(file, call.request, payload),
            true => narrow(file, call.request, payload),
        };
        Ok(CallAnswer {
            errno: result.err(),
            elapsed_ms: begun.elapsed().as_millis() as u64,
            payload: self.bytes()[at..at + size].to_vec().into(),
        })
    }
}

/// Makes an ioctl; returns its error number if it fails.
fn wide(file: &File, request: u32, payload: u64) -> Result<(), i32> {
    // SAFETY: The payload is in memory that nothing else refers to; what it points
    // to is the request's affair, whose process this is.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, payload) };
    match result {
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        _ => Ok(()),
    }
}

/// Does the same as a program of 32 bits does it.
#[cfg(target_arch = "x86_64")]
fn narrow(file: &File, request: u32, payload: u64) -> Result<(), i32> {
    /// `__NR_ioctl` of such a program.
    const IOCTL: u64 = 54;
    let mut result = IOCTL;
    // SAFETY: As in `wide`. The instruction enters the kernel and returns behind
    // itself; rbx, which the compiler keeps for itself, is restored.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {fd}",
            "int 0x80",
            "xchg rbx, {fd}",
            fd = inout(reg) file.as_raw_fd() as u64 => _,
            inout("rax") result,
            in("rcx") u64::from(request),
            in("rdx") payload,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match result as u32 as i32 {
        0.. => Ok(()),
        error => Err(-error),
    }
}

/// There is no such program here: `ENOSYS`.
#[cfg(not(target_arch = "x86_64"))]
fn narrow(_: &File, _: u32, _: u64) -> Result<(), i32> {
    Err(libc::ENOSYS)
}
