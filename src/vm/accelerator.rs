//! The accelerator with which QEMU runs a guest.

use std::fmt;
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
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let opens = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
        Self::choose(&cpuinfo, opens)
    }

    /// Chooses an accelerator. A /dev/kvm that opens is not enough for KVM: a
    /// paravirtual KVM inside a virtual machine provides one too, on a
    /// processor that shows neither vmx nor svm, and stock kernels do not boot
    /// on it.
    fn choose(cpuinfo: &str, kvm_opens: bool) -> Self {
        let virtualises = cpuinfo
            .lines()
            .filter_map(|line| line.strip_prefix("flags"))
            .any(|flags| {
                flags
                    .split_whitespace()
                    .any(|flag| flag == "vmx" || flag == "svm")
            });
        if virtualises && kvm_opens {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }

    /// Returns the value of QEMU's option `-accel`.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
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
        assert_eq!(Accelerator::choose(intel, true), Accelerator::Kvm);
        assert_eq!(Accelerator::choose(amd, true), Accelerator::Kvm);
        assert_eq!(Accelerator::choose(intel, false), Accelerator::Tcg);
        assert_eq!(Accelerator::choose(paravirtual, true), Accelerator::Tcg);
        assert_eq!(Accelerator::choose("", true), Accelerator::Tcg);
    }
}
