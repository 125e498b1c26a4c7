//! The expected answers, and the reasons for them.

mod calls;
mod kernel;
mod memory;
mod vectors;
mod waits;

use self::kernel::Expectation;
pub use self::kernel::Kernel;

/// Returns the expected answer to the point `name` on a kernel, and the reason;
/// `None` if no such point exists.
pub fn of(name: &str, kernel: Kernel) -> Option<Expectation> {
    [calls::of, memory::of, waits::of, vectors::of]
        .into_iter()
        .find_map(|of| of(name, kernel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::kernel::Version;

    #[test]
    fn what_differs_between_kernels_differs() {
        let answer = |version| {
            let kernel = Kernel {
                version,
                debug_vm: false,
            };
            of("read-only-write", kernel).unwrap().0.to_string()
        };
        assert_eq!(answer(Version(5, 10)), "EFAULT");
        assert_eq!(answer(Version(6, 1)), "8 of 8 pages, pinned");
        assert_eq!(answer(Version(6, 12)), "EFAULT");
    }
}
