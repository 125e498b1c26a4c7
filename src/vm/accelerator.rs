//! The accelerator with which QEMU runs a guest.

use std::fmt;
use std::io;
use std::str::FromStr;

/// An accelerator of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor's hardware virtualisation.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Accelerator {
    /// Returns KVM if this machine has it, else TCG.
    pub fn detect() -> Self {
        match Self::obstacle_to_kvm() {
            None => Self::Kvm,
            Some(_) => Self::Tcg,
        }
    }

    /// Returns why KVM cannot run a stock kernel on this machine; none if it can.
    pub fn obstacle_to_kvm() -> Option<String> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mut device = std::fs::File::options();
        let opened = device.read(true).write(true).open("/dev/kvm").map(drop);
        obstacle(&cpuinfo, opened)
    }

    /// Returns the value of QEMU's option `-accel`.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }
}

/// Returns why KVM cannot be used. A /dev/kvm that opens is not enough: a
/// paravirtual KVM inside a virtual machine provides one too, on a processor
/// that shows neither vmx nor svm, and stock kernels do not boot on it.
fn obstacle(cpuinfo: &str, opened: io::Result<()>) -> Option<String> {
    let flags = cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("flags"));
    let mut flags = flags.flat_map(str::split_whitespace);
    match opened {
        Err(error) => Some(format!("/dev/kvm cannot be opened: {error}")),
        Ok(()) if flags.any(|flag| ["vmx", "svm"].contains(&flag)) => None,
        Ok(()) => Some("/proc/cpuinfo shows neither vmx nor svm".to_owned()),
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

impl FromStr for Accelerator {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(format!(
                "no accelerator is named {name}: there are kvm and tcg"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_takes_both_a_device_and_a_processor() {
        let intel = "processor\t: 0\nflags\t\t: fpu vmx ept\n";
        let amd = "processor\t: 0\nflags\t\t: fpu svm npt\n";
        let paravirtual = "processor\t: 0\nflags\t\t: fpu hypervisor svm_lock\nvmx flags\t: vnmi\n";
        for works in [intel, amd] {
            assert_eq!(obstacle(works, Ok(())), None);
            let closed = Err(io::ErrorKind::PermissionDenied.into());
            let why = obstacle(works, closed).unwrap();
            assert_eq!(why, "/dev/kvm cannot be opened: permission denied");
        }
        for cpuinfo in [paravirtual, ""] {
            let why = obstacle(cpuinfo, Ok(())).unwrap();
            assert_eq!(why, "/proc/cpuinfo shows neither vmx nor svm");
        }
    }
}
