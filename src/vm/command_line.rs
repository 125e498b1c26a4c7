//! QEMU's arguments.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::accelerator::Accelerator;
use crate::agent::protocol::PORT_NAME;

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB; shared, as vhost-user needs it.
    pub memory_mib: u32,
    /// Devices that live in other processes.
    pub vhost_user: Vec<VhostUser>,
    /// Disks, in order.
    pub disks: Vec<Disk>,
    /// More arguments, at the end.
    pub extra: Vec<OsString>,
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            accelerator: Accelerator::detect(),
            cpus: 2,
            memory_mib: 1024,
            vhost_user: Vec::new(),
            disks: Vec::new(),
            extra: Vec::new(),
        }
    }
}

/// A device that a vhost-user backend is.
#[derive(Debug, Clone)]
pub struct VhostUser {
    /// The backend's socket; it must listen before the machine starts.
    pub socket: PathBuf,
    /// QEMU's name for the device.
    pub device: String,
    /// Its properties besides `chardev`, as `name=value`.
    pub properties: Vec<String>,
}

/// A virtio-blk disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// A raw image.
    pub path: PathBuf,
    /// What the guest sees in /sys/block/*/serial: at most 20 characters.
    pub serial: String,
    /// The guest cannot write to it, and several machines may share it.
    pub read_only: bool,
}

/// What is loaded into it.
#[derive(Debug, Clone, Copy)]
pub struct Software<'a> {
    /// The kernel.
    pub kernel: &'a Path,
    /// Its initramfs.
    pub initramfs: &'a Path,
    /// What is added to its command line.
    pub append: &'a str,
}

/// Where it connects to.
#[derive(Debug, Clone, Copy)]
pub struct Sockets<'a> {
    /// The first serial port.
    pub console: &'a Path,
    /// QMP.
    pub qmp: &'a Path,
    /// The agent's port.
    pub agent: &'a Path,
}

/// The guest kernel's command line before anything that is added: the console
/// that we keep, and an end instead of a hang when it panics (QEMU runs with
/// `-no-reboot`).
const APPEND: &str = "console=ttyS0 panic=-1 quiet";

/// What TCG adds to it. The processors' time-stamp counters are the host's, so
/// there is nothing to watch. About one boot in fifty of a 7.3 kernel hung
/// while the host's processors were busy, and the one that was looked at stood,
/// as far as its registers tell, in that watch, in which two processors wait
/// for one another (`watchdog_check_skew()` in kernel/time/clocksource.c). None
/// of some thirty boots without the watch hung.
///
/// Nor is there a timer to be checked: on a host under load a 5.10 kernel saw
/// too few of its interrupts in the time it gives them, and panicked
/// (`check_timer()` in arch/x86/kernel/apic/io_apic.c).
const TCG_APPEND: &str = "tsc=nowatchdog no_timer_check";

/// The processor under TCG: all that QEMU can emulate, but without the flags
/// for which the kernel copies with `rep movsb`, which is emulated byte by
/// byte. Under QEMU 11.1, on a 6.12 kernel, to read 900 MB from a tmpfs took
/// 2.9 s of the host's processor with both flags, 3.0 s without fsrm, 3.3 s
/// without erms and 0.9 s without either; to write 300 MB over took 2.9, 3.1,
/// 3.3 and 1.0 s. Clearing memory, booting and streaming cost the same.
const TCG_CPU: &str = "max,-erms,-fsrm,-la57";

/// The processor under KVM: the host's.
///
/// Neither processor has page tables of five levels. `identify_cpu()` of the
/// kernel clears what is known of the processor and asks it again; an
/// interrupt in between, before alternatives are patched, has KASAN take the
/// address space for one of four levels, and every address for wild. Of ten
/// boots of a 6.12 kernel under TCG one began with such a report, of which no
/// driver is guilty.
const KVM_CPU: &str = "host,-la57";

/// The arguments for such a machine.
pub fn arguments(
    hardware: &Hardware,
    software: &Software<'_>,
    sockets: &Sockets<'_>,
) -> Vec<OsString> {
    let mut line = Line::default();
    line.text("-nodefaults -no-user-config -display none -no-reboot");
    line.option("-machine", "q35,memory-backend=mem");
    let (cpu, append) = match hardware.accelerator {
        Accelerator::Kvm => (KVM_CPU, ""),
        Accelerator::Tcg => (TCG_CPU, TCG_APPEND),
    };
    line.option("-accel", hardware.accelerator.argument());
    line.option("-cpu", cpu);
    line.option("-smp", hardware.cpus.to_string());
    line.option(
        "-object",
        format!(
            "memory-backend-memfd,id=mem,size={}M,share=on",
            hardware.memory_mib
        ),
    );
    line.option("-kernel", software.kernel);
    line.option("-initrd", software.initramfs);
    let append = [APPEND, append, software.append].join(" ");
    line.option("-append", append.trim_end());

    line.socket("console", sockets.console);
    line.option("-serial", "chardev:console");
    line.socket("qmp", sockets.qmp);
    line.option("-mon", "chardev=qmp,mode=control");
    line.socket("agent", sockets.agent);
    line.option("-device", "virtio-serial-pci");
    line.option(
        "-device",
        format!("virtserialport,chardev=agent,name={PORT_NAME}"),
    );

    for (index, disk) in hardware.disks.iter().enumerate() {
        let read_only = if disk.read_only { "on" } else { "off" };
        let mut drive = OsString::from(format!(
            "id=disk{index},if=none,format=raw,cache=unsafe,read-only={read_only},file="
        ));
        drive.push(escaped(disk.path.as_os_str()));
        line.option("-drive", drive);
        line.option(
            "-device",
            format!("virtio-blk-pci,drive=disk{index},serial={}", disk.serial),
        );
    }
    for (index, device) in hardware.vhost_user.iter().enumerate() {
        let id = format!("vhost-user{index}");
        line.socket(&id, &device.socket);
        // On a port of its own, from which it can be unplugged: the root bus of
        // q35 lets nothing go.
        let port = port(index);
        line.option(
            "-device",
            format!("pcie-root-port,id={port},chassis={}", index + 1),
        );
        let properties = device
            .properties
            .iter()
            .map(|property| format!(",{property}"));
        line.option(
            "-device",
            format!(
                "{},id={id},bus={port},chardev={id}{}",
                device.device,
                properties.collect::<String>()
            ),
        );
    }
    line.0.extend_from_slice(&hardware.extra);
    line.0
}

/// The bus of the vhost-user device of that index.
pub fn port(index: usize) -> String {
    format!("port{index}")
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn text(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(OsString::from));
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }

    /// A character device that connects to a socket when QEMU starts.
    fn socket(&mut self, id: &str, path: &Path) {
        let mut value = OsString::from(format!("socket,id={id},path="));
        value.push(escaped(path.as_os_str()));
        self.option("-chardev", value);
    }
}

/// QEMU takes a comma in a value for its end unless it is doubled.
fn escaped(value: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hardware: &Hardware) -> Vec<String> {
        let software = Software {
            kernel: Path::new("/k"),
            initramfs: Path::new("/i"),
            append: "page_poison=1",
        };
        let sockets = Sockets {
            console: Path::new("/s/console"),
            qmp: Path::new("/s/qmp"),
            agent: Path::new("/s/agent"),
        };
        arguments(hardware, &software, &sockets)
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    fn values<'a>(line: &'a [String], option: &str) -> Vec<&'a str> {
        line.windows(2)
            .filter(|pair| pair[0] == option)
            .map(|pair| pair[1].as_str())
            .collect()
    }

    #[test]
    fn memory_is_shared_and_is_the_machines() {
        let hardware = Hardware {
            memory_mib: 512,
            ..Hardware::default()
        };
        let line = line(&hardware);
        assert_eq!(
            values(&line, "-object"),
            ["memory-backend-memfd,id=mem,size=512M,share=on"]
        );
        assert_eq!(values(&line, "-machine"), ["q35,memory-backend=mem"]);
        let append = values(&line, "-append")[0];
        assert!(
            append.contains("panic=-1") && append.ends_with(" page_poison=1"),
            "{append}"
        );
    }

    #[test]
    fn disks_and_backends_are_attached_and_commas_survive() {
        let hardware = Hardware {
            disks: vec![
                Disk {
                    path: "/a,b".into(),
                    serial: "frames".into(),
                    read_only: false,
                },
                Disk {
                    path: "/image".into(),
                    serial: "image".into(),
                    read_only: true,
                },
            ],
            vhost_user: vec![VhostUser {
                socket: "/c,d".into(),
                device: "vhost-user-test-device-pci".into(),
                properties: vec!["virtio-id=30".into(), "num_vqs=2".into()],
            }],
            extra: vec!["-S".into()],
            ..Hardware::default()
        };
        let line = line(&hardware);
        let drives = values(&line, "-drive");
        assert!(drives[0].ends_with("read-only=off,file=/a,,b"));
        assert!(drives[1].ends_with("read-only=on,file=/image"));
        assert!(values(&line, "-chardev").contains(&"socket,id=vhost-user0,path=/c,,d"));
        let devices = values(&line, "-device");
        assert!(devices.contains(&"virtio-blk-pci,drive=disk0,serial=frames"));
        assert!(devices.contains(
            &"vhost-user-test-device-pci,id=vhost-user0,bus=port0,chardev=vhost-user0,virtio-id=30,num_vqs=2"
        ));
        assert!(devices.contains(&"pcie-root-port,id=port0,chassis=1"));
        assert_eq!(line.last().unwrap(), "-S");
    }
}
