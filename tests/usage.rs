//! What the program makes of arguments that are wrong, and of readers that have
//! gone; nothing is booted.

mod program;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pinhole::vm::accelerator::Accelerator;
use program::{BRIEF, Program};
use serde_json::Value;

fn pinhole(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.args(line.split(' ')).stdin(Stdio::null());
    command
}

fn output(line: &str) -> Output {
    program::output(&mut pinhole(line), BRIEF)
}

/// The one sentence that it ends with, and code 2.
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/matrix");
    let markdown = format!("report markdown {}", fixtures.display());
    for line in [
        "matrix --list",
        "judge --list",
        "conformance --list",
        "guest list",
        "guest list --json",
        "completions bash",
        "device --print-capabilities",
        "device --print-capabilities --nonsense",
        &markdown,
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut gone = pinhole(line);
        gone.stdout(writer).stderr(Stdio::piped());
        let gone = Program::start(&mut gone, BRIEF).output();
        assert_eq!(gone.status.code(), Some(0), "{line}: {gone:?}");
        assert!(gone.stderr.is_empty(), "{line}: {gone:?}");

        let mut no_room = pinhole(line);
        no_room.stdout(full()).stderr(Stdio::piped());
        let no_room = Program::start(&mut no_room, BRIEF).output();
        let said = refused(&no_room);
        assert!(
            said.starts_with("pinhole: cannot print the result: "),
            "{line}: {said}"
        );
    }
    let mut silent = pinhole("report markdown /nowhere");
    let mut silent = Program::start(silent.stderr(full()), BRIEF);
    assert_eq!(silent.wait().code(), Some(2));
}

#[test]
fn a_slip_of_the_pen_costs_no_earlier_results() {
    let folder = tempfile::tempdir().unwrap();
    let (report, out) = (folder.path().join("report.json"), folder.path().display());
    fs::write(&report, "what was seen").unwrap();
    let mut lines = Vec::new();
    for (wrong, said) in [
        ("--kernel nosuch", "there is no guest named nosuch"),
        ("--kernel all", "there is no guest named all"),
        ("--qemu /nowhere", "cannot use /nowhere"),
        ("--driver /nowhere", "cannot use /nowhere"),
        ("--bzimage /nowhere --modules /", "cannot use /nowhere"),
        (
            "--bzimage /dev/null --modules /nowhere",
            "cannot use /nowhere",
        ),
        ("--source pattern:nosuch", "there is no pattern \"nosuch\""),
        ("--source y4m:/nowhere", "cannot open /nowhere"),
        (
            "--format NM12 --planes single",
            "a card of --planes single has no NM12",
        ),
    ] {
        lines.push((format!("capture {wrong}"), said));
        lines.push((format!("play {wrong}"), said));
    }
    for (wrong, said) in [
        ("--sink x:f", "there is no kind of sink \"x\""),
        ("--sink raw:-", "standard output has the result"),
        ("--sink y4m:/f --format Y16", "the sink y4m:/f takes no Y16"),
        (
            "--memory write --format NM12",
            "write() knows one plane, and NM12 has several",
        ),
    ] {
        lines.push((format!("play {wrong}"), said));
    }
    for (wrong, said) in lines {
        let answer = refused(&output(&format!("{wrong} --out {out}")));
        assert!(
            answer.starts_with(&format!("pinhole: {said}")),
            "{wrong}: {answer}"
        );
        assert_eq!(answer.lines().count(), 1, "{answer}");
        assert_eq!(
            fs::read_to_string(&report).unwrap(),
            "what was seen",
            "{wrong}"
        );
    }
}

/// Told before anything is unpacked: the cache is empty, and there is nobody to
/// ask for packages.
#[test]
fn what_cannot_work_is_said_before_anything_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let (here, cache) = (folder.path().display(), folder.path().join("cache"));
    let text = folder.path().join("text");
    fs::write(&text, "no kernel, and no module").unwrap();
    let text = text.display();
    let said = |line: &str| {
        let mut command = pinhole(line);
        command
            .env("XDG_CACHE_HOME", &cache)
            .env("PINHOLE_MIRROR", "http://127.0.0.1:1/");
        program::output(&mut command, BRIEF)
    };
    let own = said(&format!(
        "capture --out {here}/o --bzimage {text} --modules /"
    ));
    let answer = String::from_utf8_lossy(&own.stderr);
    assert_eq!(own.status.code(), Some(125), "{answer}");
    assert!(
        answer.ends_with("it is no bzImage of an x86 kernel\n"),
        "{answer}"
    );
    for (line, why) in [
        (
            format!("capture --out {here}/o --driver {text}"),
            "it is no module of an x86-64 kernel",
        ),
        (
            format!("capture --out {here}/o --ram 4000000G"),
            "too little for a guest with --ram",
        ),
        (
            format!("matrix --out {here}/o --kernel all --bzimage {text} --modules /"),
            "all are several: name one",
        ),
        (
            "shell --source y4m:-".to_owned(),
            "standard input is the guest's console or script",
        ),
    ] {
        let answer = refused(&said(&line));
        assert!(answer.contains(why), "{line}: {answer}");
        assert!(!answer.contains("unpacking"), "{line}: {answer}");
    }
    if Accelerator::obstacle_to_kvm().is_some() {
        let answer = refused(&said("capture --accel kvm"));
        assert!(answer.contains("KVM boots no guest here: "), "{answer}");
    }
}

#[test]
fn advice_fits_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let answer = refused(&output(&format!(
        "device --socket-path {here}/s --allow-path /nowhere"
    )));
    assert!(
        answer.contains("cannot allow /nowhere: No such file"),
        "{answer}"
    );
    assert!(!answer.contains("sandbox"), "{answer}");
    let answer = refused(&output(&format!("ctl --control {here}/none stats")));
    assert!(answer.contains("running?"), "{answer}");
    let answer = refused(&output("guest remove --all trixie"));
    assert!(
        answer.contains("Usage: pinhole guest remove <IDS>..."),
        "{answer}"
    );
    assert!(answer.contains("pinhole guest remove --all\n"), "{answer}");
}

#[test]
fn shards_of_the_matrix_are_all_of_it_and_each_cell_once() {
    let lines = |line: &str| -> Vec<String> {
        let output = output(line);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let whole = lines("matrix --list --mutants");
    let parts: Vec<_> = (1..=3)
        .flat_map(|k| lines(&format!("matrix --list --mutants --shard {k}/3")))
        .collect();
    assert_eq!(parts.len(), whole.len());
    assert_eq!(BTreeSet::from_iter(parts), BTreeSet::from_iter(whole));

    let none = refused(&output("matrix --list --shard 9999/10000"));
    assert!(none.contains("--shard"), "{none}");
    let source = refused(&output("matrix --list --source pattern:bars"));
    assert!(
        source.contains("unexpected argument '--source'"),
        "{source}"
    );
}

#[test]
fn what_cannot_be_judged_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display();
    for (line, said) in [
        (
            "/dev/nosuch",
            "/dev/nosuch cannot be judged: there is no such device",
        ),
        (
            "/dev/null",
            "/dev/null cannot be judged: it is no video device",
        ),
        (
            "--cell heap/memory-offline",
            "the cell heap/memory-offline is not for this device: it would harm",
        ),
        (
            "--cell heap+16 --kernel trixie",
            "the cell heap+16 is not for this device: the length",
        ),
        (
            "--kind card-mmap --kernel trixie",
            "there is no such cell: --direction, --kind and --hazard leave none",
        ),
        ("--module /nowhere/x.ko", "cannot use /nowhere/x.ko"),
        (
            "--usb-camera --module /nowhere/x.ko",
            "cannot use /nowhere/x.ko",
        ),
        ("--kernel nosuch", "there is no guest named nosuch"),
    ] {
        let answer = refused(&output(&format!("judge {line} --out {out}")));
        assert!(
            answer.starts_with(&format!("pinhole: {said}")),
            "{line}: {answer}"
        );
        assert_eq!(answer.lines().count(), 1, "{answer}");
    }
    for guest in ["--module vivid", "--usb-camera"] {
        let mutants = refused(&output(&format!("judge {guest} --mutants")));
        assert!(mutants.contains("cannot be used with"), "{mutants}");
    }
}

#[test]
fn a_guest_has_all_cells_of_a_judge_and_this_machine_those_that_harm_nobody() {
    const HARM: &str = "anon-touched/memory-offline";
    let cells = |line: &str| -> BTreeSet<String> {
        let output = output(line);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let (here, guest) = (cells("judge --list"), cells("judge --list --module vivid"));
    assert_eq!(cells("judge --list --usb-camera"), guest);
    assert!(here.is_subset(&guest) && here.len() > 300, "{}", here.len());
    assert!(guest.contains(HARM) && !here.contains(HARM));
    assert!(here.contains("output/thp") && here.contains("thp@64"));
}

#[test]
fn an_empty_cache_is_listed_and_emptied() {
    let cache = tempfile::tempdir().unwrap();
    let guest = |line: &str| {
        let mut command = pinhole(&format!("guest {line}"));
        program::output(command.env("XDG_CACHE_HOME", cache.path()), BRIEF)
    };
    let listed = guest("list --json");
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let guests = listed["guests"].as_array().unwrap();
    assert!(guests.len() >= 4);
    assert!(guests.iter().all(|guest| guest["bytes"] == 0), "{listed:#}");
    assert!(guests.iter().any(|guest| guest["id"] == listed["default"]));
    for line in ["remove --all", "remove --old", "remove trixie clients"] {
        let removed = guest(line);
        assert_eq!(removed.status.code(), Some(0), "{removed:?}");
        let said = String::from_utf8(removed.stdout).unwrap();
        assert!(said.starts_with("0 MiB removed from "), "{said}");
    }
    assert!(refused(&guest("remove all")).contains("say --all"));
    assert!(refused(&guest("remove nosuch")).contains("no guest named nosuch"));
}

#[test]
fn by_its_other_name_it_tells_of_a_usage_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("vhost-user-media");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pinhole"), &other).unwrap();
    let help = program::output(Command::new(&other).arg("--help"), BRIEF);
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Usage: pinhole device [OPTIONS]"), "{help}");
}

#[test]
fn paths_that_would_take_each_others_place_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.y4m");
    fs::write(&film, "a film").unwrap();
    let (here, film_path) = (folder.path().display(), film.display());
    for (line, said) in [
        (
            format!("--socket-path {here}/a --control {here}/./a"),
            "--socket-path and --control are both ",
        ),
        (
            format!("--socket-path {here}/a --witness {here}/a"),
            "--socket-path and --witness are both ",
        ),
        (
            format!("--socket-path {here}/a --witness {film_path} --source y4m:{film_path}"),
            "--witness would take the place of the source ",
        ),
    ] {
        let answer = refused(&output(&format!("device {line}")));
        assert!(answer.starts_with(&format!("pinhole: {said}")), "{answer}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    assert_eq!(fs::read_to_string(&film).unwrap(), "a film");
}
