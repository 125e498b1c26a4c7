//! QEMU's command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::accelerator::Accelerator;
use crate::agent::protocol::PORT_NAME;

/// The hardware of a machine.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// Number of processors.
    pub cpus: u32,
    /// Memory in MiB; shared, as vhost-user requires.
    pub memory_mib: u32,
    /// Devices that other processes implement.
    pub vhost_user: Vec<VhostUser>,
    /// Disks, in the order in which the guest finds them.
    pub disks: Vec<Disk>,
    /// Further arguments, appended at the end.
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

/// A device that a vhost-user backend implements.
#[derive(Debug, Clone)]
pub struct VhostUser {
    /// Socket of the backend; it must listen before the machine starts.
    pub socket: PathBuf,
    /// QEMU's name for the device.
    pub device: String,
    /// Properties of the device besides `chardev`, as `name=value`.
    pub properties: Vec<String>,
}

/// A virtio-blk disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Path of a raw image.
    pub path: PathBuf,
    /// Serial number that the guest finds in /sys/block/*/serial: at most 20
    /// characters.
    pub serial: String,
    /// Whether the guest cannot write to it, so that several machines may share
    /// it.
    pub read_only: bool,
}

/// The software that QEMU loads into a machine.
#[derive(Debug, Clone, Copy)]
pub struct Software<'a> {
    /// Path of the kernel.
    pub kernel: &'a Path,
    /// Path of its initramfs.
    pub initramfs: &'a Path,
    /// Text to append to the kernel's command line.
    pub append: &'a str,
}

/// The sockets to which the machine connects.
#[derive(Debug, Clone, Copy)]
pub struct Sockets<'a> {
    /// Socket of the first serial port.
    pub console: &'a Path,
    /// Socket of QMP.
    pub qmp: &'a Path,
    /// Socket of the agent's port.
    pub agent: &'a Path,
}

/// The first part of the guest kernel's command line. It sets the console that
/// the host records, and makes a panic end the machine instead of hanging it
/// (QEMU runs with `-no-reboot`). The rest spares the guest what no test is about and
/// what takes an emulated processor a second or so: the self-tests of ciphers and digests,
/// and the noise of the random number generator that times itself.
const APPEND: &str = "console=ttyS0 panic=-1 quiet cryptomgr.notests \
    initcall_blacklist=crypto_kdf108_init,jent_mod_init";

/// Kernel parameters that are added under TCG.
///
/// `tsc=nowatchdog`: the processors' time-stamp counters are the host's, so the
/// watchdog has nothing to check. About one boot in fifty of a 7.3 kernel hung
/// while the host's processors were busy. The one hang that was examined was,
/// according to the registers, in that watchdog, where two processors wait for
/// one another (`watchdog_check_skew()` in kernel/time/clocksource.c). None of
/// some thirty boots without the watchdog hung.
///
/// `no_timer_check`: on a host under load a 5.10 kernel saw too few timer
/// interrupts within its limit, and panicked (`check_timer()` in
/// arch/x86/kernel/apic/io_apic.c).
const TCG_APPEND: &str = "tsc=nowatchdog no_timer_check";

/// The processor model under TCG: all features that QEMU can emulate, except
/// the flags for which the kernel copies with `rep movsb`, which QEMU emulates
/// byte by byte. Measured with QEMU 11.1 and a 6.12 kernel, in seconds of the
/// host's processor: reading 900 MB from a tmpfs took 2.9 s with both flags,
/// 3.0 s without fsrm, 3.3 s without erms and 0.9 s without either; overwriting
/// 300 MB took 2.9, 3.1, 3.3 and 1.0 s. Clearing memory, booting and streaming
/// cost the same.
const TCG_CPU: &str = "max,-erms,-fsrm,-la57";

/// The processor model under KVM: the host's.
///
/// Both models exclude page tables of five levels. `identify_cpu()` of the
/// kernel clears the known features of the processor and reads them again. If
/// an interrupt arrives in between, before alternatives are patched, KASAN
/// assumes an address space of four levels and reports every address as wild.
/// One of ten boots of a 6.12 kernel under TCG began with such a report, which
/// no driver had caused.
const KVM_CPU: &str = "host,-la57";

/// Returns QEMU's arguments for such a machine, whose memory is the file at the
/// path `memory`.
pub fn arguments(
    hardware: &Hardware,
    memory: &Path,
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
    let mut object = OsString::from(format!(
        "memory-backend-file,id=mem,size={}M,share=on,mem-path=",
        hardware.memory_mib
    ));
    object.push(escaped(memory.as_os_str()));
    line.option("-object", object);
    line.option("-kernel", software.kernel);
    line.option("-initrd", software.initramfs);
    let append = [APPEND, append, software.append].join(" ");
    line.option("-append", append.trim_end());

    line.socket("console", sockets.console);
    line.option("-serial", "chardev:console");
    line.socket("qmp", sockets.qmp);
    // What `-mon` does, which is deprecated since QEMU 11.1, and objects of the
    // type `monitor-qmp` are not known before.
    line.option("-qmp", "chardev:qmp");
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
        // The device gets its own port, from which it can be unplugged: devices
        // on the root bus of q35 cannot be unplugged.
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

/// Returns the bus of the vhost-user device with that index.
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

    /// Adds a character device that connects to a socket when QEMU starts.
    fn socket(&mut self, id: &str, path: &Path) {
        let mut value = OsString::from(format!("socket,id={id},path="));
        value.push(escaped(path.as_os_str()));
        self.option("-chardev", value);
    }
}

/// Doubles commas: QEMU takes a single comma for the end of a value.
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
        arguments(hardware, Path::new("/m,n"), &software, &sockets)
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
            ["memory-backend-file,id=mem,size=512M,share=on,mem-path=/m,,n"]
        );
        assert_eq!(values(&line, "-machine"), ["q35,memory-backend=mem"]);
        assert_eq!(values(&line, "-qmp"), ["chardev:qmp"]);
        assert!(values(&line, "-mon").is_empty(), "deprecated");
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
