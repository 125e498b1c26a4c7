use std::io::{BufRead, BufReader, Write};

use serde_json::Value;

use super::*;
use crate::agent::protocol::{Command, Message, Request};
use crate::vm::executable;
use crate::vm::progress::Progress;
use crate::vm::provision::cache::Cache;
use crate::vm::qemu;

/// Environment variables that tell [`pretend`] its role, and where to record
/// QEMU's arguments.
const ROLE: &str = "PINHOLE_TEST_ROLE";
const ARGUMENTS: &str = "PINHOLE_TEST_ARGUMENTS";

/// Not a test: the process that the tests use as QEMU.
#[test]
fn pretend() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let connect = |id: &str| {
        let key = format!("socket,id={id},path=");
        let rest = arguments.split_once(&key).unwrap().1;
        UnixStream::connect(rest.split(' ').next().unwrap()).unwrap()
    };
    if role == "refuse" {
        eprintln!("no such device");
        std::process::exit(1);
    }
    let (mut console, mut qmp, mut agent) = (connect("console"), connect("qmp"), connect("agent"));
    qmp.write_all(b"{\"QMP\": {}}\n").unwrap();
    let mut commands = BufReader::new(qmp.try_clone().unwrap()).lines();
    assert!(
        commands
            .next()
            .unwrap()
            .unwrap()
            .contains("qmp_capabilities")
    );
    qmp.write_all(b"{\"return\": {}}\n").unwrap();
    let says = match role.as_str() {
        "starve" => "booting\nInitramfs unpacking failed: write error\n",
        "leave" => "booting\n[    9.1] reboot: Power down\n",
        _ => "booting\nKernel panic - not syncing\n",
    };
    console.write_all(says.as_bytes()).unwrap();
    match role.as_str() {
        "panic" | "starve" => std::process::exit(0),
        "silent" => {
            let command = commands.next().unwrap().unwrap();
            assert!(command.contains("info registers -a"));
            let registers = "CPU#0\\nRAX=1 RBX=2\\nRIP=ffffffff81000000 RFL=2 HLT=1\\n";
            writeln!(qmp, "{{\"return\": \"{registers}\"}}").unwrap();
            loop {
                std::thread::park();
            }
        }
        _ => {}
    }
    let hello = Hello {
        agent: "test".into(),
        release: "6.0".into(),
        uptime_ms: 1,
        problems: Vec::new(),
    };
    let line = serde_json::to_string(&Message::Hello(hello)).unwrap() + "\n";
    agent.write_all(line.as_bytes()).unwrap();
    let request = BufReader::new(agent).lines().next().unwrap().unwrap();
    if role == "leave" || role == "fall" {
        std::process::exit(0);
    }
    let request: Request = serde_json::from_str(&request).unwrap();
    assert!(matches!(request.command, Command::PowerOff(_)));
    if role == "obey" {
        std::process::exit(0);
    }
    let quit: Value = serde_json::from_str(&commands.next().unwrap().unwrap()).unwrap();
    assert_eq!(quit["execute"], "quit");
    if role == "quit" {
        std::process::exit(0);
    }
    loop {
        std::thread::park();
    }
}

/// Boots a machine whose QEMU is [`pretend`] in that role.
fn boot(role: &str) -> (Result<Machine, MachineError>, String) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("qemu");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n\
         --version) echo 'QEMU emulator version 99.1';;\n\
         *help*) echo 'name \"vhost-user-test-device-pci\", bus PCI';;\n\
         *) {ROLE}={role} {ARGUMENTS}=\"$*\" exec {test} --exact vm::machine::tests::pretend --nocapture;;\n\
         esac\n",
        test = std::env::current_exe().unwrap().display(),
    );
    executable::write(&program, script);
    let cache = Cache::at(dir.path().join("cache"));
    let initramfs = dir.path().join("initramfs");
    fs::write(&initramfs, b"").unwrap();
    let console = dir.path().join("console.log");
    let result = Machine::boot(&Spec {
        qemu: qemu::ensure_in(&cache, Some(&program), Ok, &Progress::silent()).unwrap(),
        kernel: "/kernel".into(),
        initramfs,
        overlay: Overlay {
            init: Some("/proc/self/exe".into()),
            ..Overlay::default()
        },
        append: String::new(),
        hardware: Hardware::default(),
        console_log: Some(console.clone()),
        boot_limit: match role {
            "silent" => Duration::from_millis(300),
            _ => Duration::from_secs(20),
        },
    });
    (result, fs::read_to_string(console).unwrap())
}

#[test]
fn a_qemu_that_does_not_start_is_quoted() {
    let error = boot("refuse").0.unwrap_err();
    assert!(matches!(error, MachineError::Start { .. }));
    assert!(error.to_string().contains("no such device"), "{error}");
}

#[test]
fn a_guest_that_panics_shows_its_console() {
    let (machine, console) = boot("panic");
    let error = machine.unwrap_err();
    assert!(matches!(error, MachineError::Ended { .. }));
    assert!(error.to_string().contains("not syncing"), "{error}");
    assert_eq!(console, "booting\nKernel panic - not syncing\n");
}

#[test]
fn a_guest_with_too_little_memory_is_told_to_have_more() {
    let error = boot("starve").0.unwrap_err();
    assert!(matches!(error, MachineError::Memory { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("1024 MiB are too little"), "{said}");
    assert!(
        said.contains("--ram") && said.ends_with("write error"),
        "{said}"
    );
}

#[test]
fn a_guest_that_has_gone_is_told_of() {
    for (role, said) in [
        ("leave", "the guest turned itself off (QEMU: exit status: 0"),
        (
            "fall",
            "the guest panicked: Kernel panic - not syncing (QEMU: exit status: 0",
        ),
    ] {
        let mut machine = boot(role).0.unwrap();
        let error = machine.agent().call(PowerOff {}, Duration::from_secs(20));
        assert!(matches!(error, Err(AgentError::Closed)), "{error:?}");
        let why = machine.why_ended().to_string();
        assert!(why.starts_with(said), "{why}");
    }
}

#[test]
fn a_guest_that_says_nothing_times_out_with_its_console() {
    let error = boot("silent").0.unwrap_err();
    assert!(matches!(error, MachineError::TimedOut { .. }));
    assert!(
        error.to_string().contains("at RIP=ffffffff81000000 HLT=1"),
        "{error}"
    );
    assert!(error.to_string().contains("not syncing"), "{error}");
}

#[test]
fn turning_off_goes_as_far_as_it_must() {
    let short = Duration::from_millis(200);
    for (role, limit, expected) in [
        ("obey", Duration::from_secs(20), Off::ByGuest),
        ("quit", short, Off::ByQuit),
        ("ignore", short, Off::ByKill),
    ] {
        let mut machine = boot(role).0.unwrap();
        assert_eq!(machine.hello().release, "6.0");
        assert_eq!(machine.power_off(limit), expected, "{role}");
    }
}

#[test]
fn dropped_it_leaves_no_process_and_no_directory() {
    let machine = boot("obey").0.unwrap();
    let dir = machine.dir().to_owned();
    assert!(dir.join("qemu.log").exists());
    drop(machine);
    assert!(!dir.exists());
}
