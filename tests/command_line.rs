//! What is made from the definitions of the command line, and what is
//! installed.

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::CommandFactory;
use pinhole::cli::Cli;
use program::BRIEF;

const PINHOLE: &str = env!("CARGO_BIN_EXE_pinhole");

fn run(command: &mut Command) -> Output {
    let output = program::output(command, BRIEF);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    output
}

/// Each command with the names of those above it, as in `pinhole-ctl-stats`.
fn commands(above: &str, command: &clap::Command) -> Vec<(String, clap::Command)> {
    let name = match above {
        "" => command.get_name().to_owned(),
        above => format!("{above}-{}", command.get_name()),
    };
    let below = command.get_subcommands();
    let mut all: Vec<_> = below.flat_map(|command| commands(&name, command)).collect();
    all.push((name, command.clone()));
    all
}

#[test]
fn every_subcommand_has_a_page_with_its_options() {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new(PINHOLE).arg("man").arg(dir.path()));
    let commands = commands("", &Cli::command());
    assert!(commands.len() > 10);
    for (name, command) in &commands {
        let path = dir.path().join(format!("{name}.1"));
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let page = page.replace("\\-", "-");
        assert!(page.contains(".TH "), "{name}");
        let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
        assert!(title.contains("\"pinhole 0"), "{name}: {title}");
        for section in ["SYNOPSIS", "\"EXIT STATUS\"", "ENVIRONMENT"] {
            assert!(
                page.contains(&format!(".SH {section}\n")),
                "{name}: {section}"
            );
        }
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("--{option}")), "{name}: --{option}");
        }
        // Where there is a formatter, it has nothing to complain of.
        if Path::new("/usr/bin/man").exists() {
            let output = run(Command::new("man").args(["--warnings", "-l"]).arg(&path));
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(complaint.is_empty(), "{name}: {complaint}");
            assert!(String::from_utf8_lossy(&output.stdout).contains("NAME"));
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), commands.len());
    let page = fs::read_to_string(dir.path().join("pinhole-matrix.1")).unwrap();
    for part in [
        "125",
        "130",
        "PINHOLE_MIRROR",
        ".SH FILES",
        ".SH EXAMPLES",
        "git bisect run",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn every_shell_has_completions_of_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(Command::new(PINHOLE).args(["completions", shell]));
        let script = String::from_utf8(output.stdout).unwrap();
        for (name, _) in commands("", &Cli::command()) {
            let last = name.rsplit('-').next().unwrap();
            assert!(script.contains(last), "{shell}: {name}");
        }
        assert!(script.contains("print-capabilities"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("pinhole");
    let output = run(Command::new(PINHOLE).args(["completions", "bash"]));
    fs::write(&script, output.stdout).unwrap();
    run(Command::new("bash").arg("-n").arg(&script));
    // It really completes.
    let complete = "source \"$1\"; COMP_WORDS=(pinhole device --pr); COMP_CWORD=2; \
                    _pinhole pinhole --pr device; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = run(Command::new("bash")
        .args(["-c", complete, "bash"])
        .arg(&script));
    assert_eq!(output.stdout, b"--print-capabilities\n");
}

/// `make install` of the programs that the tests run, into `dir`.
fn install(dir: &Path) {
    let target = Path::new(PINHOLE).parent().unwrap();
    run(Command::new("make")
        .arg("-C")
        .arg(env!("CARGO_MANIFEST_DIR"))
        .args(["--no-print-directory", "install", "PREFIX=/opt/pinhole"])
        .arg(format!("TARGET={}", target.display()))
        .arg(format!("DESTDIR={}", dir.display()))
        .env_remove("MAKEFLAGS"));
}

#[test]
fn what_is_installed_is_whole_and_knows_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let at = |path: &str| dir.path().join("opt/pinhole").join(path);
    for path in [
        "bin/pinhole",
        "bin/pinhole-agent",
        "share/man/man1/pinhole-device.1",
        "share/bash-completion/completions/pinhole",
        "share/zsh/site-functions/_pinhole",
        "share/fish/vendor_completions.d/pinhole.fish",
        "lib/systemd/system/pinhole.service",
        "lib/systemd/system/pinhole.socket",
        "share/pinhole/50-pinhole.json",
        "share/pinhole/libvirt.xml",
    ] {
        assert!(fs::metadata(at(path)).unwrap().len() > 0, "{path}");
    }
    // Without symbols, which only a debugger reads.
    for program in ["pinhole", "pinhole-agent"] {
        let built = Path::new(PINHOLE).with_file_name(program);
        let size = |path: &Path| fs::metadata(path).unwrap().len();
        let (installed, built) = (size(&at(&format!("bin/{program}"))), size(&built));
        assert!(installed < built, "{program}: {installed} bytes of {built}");
    }
    let unit = fs::read_to_string(at("lib/systemd/system/pinhole.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/pinhole/bin/pinhole device "));
    assert!(!unit.contains("@BINDIR@"));

    // The description names a program that says the same of itself.
    let text = fs::read_to_string(at("share/pinhole/50-pinhole.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&text).unwrap();
    let binary = Path::new(description["binary"].as_str().unwrap());
    assert!(binary.is_absolute());
    let link = dir.path().join(binary.strip_prefix("/").unwrap());
    let program = fs::read_link(&link).unwrap();
    assert_eq!(program, Path::new("/opt/pinhole/bin/pinhole"));
    let name = binary.file_name().unwrap();
    let installed: PathBuf = dir.path().join(name);
    std::os::unix::fs::symlink(at("bin/pinhole"), &installed).unwrap();
    let output = run(Command::new(installed).arg("--print-capabilities"));
    let capabilities: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(capabilities["type"], description["type"]);
}
