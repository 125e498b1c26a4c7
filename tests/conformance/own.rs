//! The card itself, by the library and by the program.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pinhole::conformance::device::subject::Subject;
use pinhole::conformance::device::{self, Settings};
use pinhole::report::conformance as report;
use rustix::process::Signal;
use serde_json::Value;

use crate::program::{self, BRIEF, Program};
use crate::{clauses, is_absent, is_failed, is_passed, is_unreached, run, settings};

/// How long a whole suite may take here, beside others.
const SUITE: Duration = Duration::from_secs(180);

fn card(args: &[&str]) -> Subject {
    let fixed = [env!("CARGO_BIN_EXE_pinhole"), "device", "--socket-path"];
    let words = fixed.iter().chain(&["{socket}"]).chain(args);
    let argv = words.map(OsString::from).collect();
    Subject::started("the card".into(), argv)
        .expect("a folder")
        .quiet()
}

const FULL: [&str; 3] = ["--error-injection", "--rate", "max"];

/// Checks that every clause passes but for those that are about what the card,
/// or the front end, does not have.
fn conforms(args: &[&str], settings: &Settings, absent: &[&str]) {
    let outcome = run(&mut card(args), settings);
    let table = report::table(std::slice::from_ref(&outcome));
    assert!(!outcome.is_wrong(), "{table}");
    let expected: BTreeSet<_> = absent.iter().copied().collect();
    assert_eq!(clauses(&outcome, is_absent), expected, "{table}");
    let passed = clauses(&outcome, is_passed).len();
    assert_eq!(passed + absent.len(), device::clauses().count(), "{table}");
}

#[test]
fn with_memory_of_both_kinds() {
    conforms(&FULL, &settings(), &["MD-9"]);
}

#[test]
fn with_memory_of_the_guest_alone() {
    let settings = Settings {
        region: false,
        ..settings()
    };
    conforms(&FULL, &settings, &["MD-6", "MD-7", "MD-9", "MP-13"]);
}

#[test]
fn with_planes() {
    let args = [&FULL[..], &["--planes", "multi"]].concat();
    conforms(&args, &settings(), &["MD-9"]);
}

#[test]
fn without_the_control_that_kills_sessions() {
    let settings = Settings {
        error_control: None,
        ..settings()
    };
    conforms(&["--rate", "max"], &settings, &["MD-9", "MD-10", "MP-19"]);
}

fn pinhole(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    program::output(command.arg("conformance").args(args), SUITE)
}

#[test]
fn by_itself_the_program_tests_its_own_card_and_writes_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ktap, junit) = (path("ktap"), path("junit"));
    let args = [
        "--clause", "MD-5", "--clause", "gd-24", "--clause", "MD-10", "--json", "--ktap", &ktap,
        "--junit", &junit,
    ];
    let output = pinhole(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = json[0]["clauses"].as_array().unwrap();
    let verdicts = found.iter().map(|one| (&one["id"], &one["verdict"]));
    let verdicts: Vec<_> = verdicts.collect();
    let passed = Value::from("passed");
    let ids = ["GD-24", "MD-5", "MD-10"].map(Value::from);
    assert_eq!(verdicts, [0, 1, 2].map(|n| (&ids[n], &passed)));
    // Of each answer the bytes are told.
    let evidence = found[1]["evidence"].to_string();
    assert!(
        evidence.contains("< status 25: 19000000 00000000"),
        "{evidence}"
    );
    assert!(
        fs::read_to_string(ktap)
            .unwrap()
            .contains("\n  ok 2 MD-5\n")
    );
    assert!(
        fs::read_to_string(junit)
            .unwrap()
            .contains("tests=\"3\" failures=\"0\"")
    );
}

#[test]
fn what_is_no_device_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (none, mute) = (path("none"), path("mute"));
    // It listens, and answers nothing.
    let listener = UnixListener::bind(&mute).unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--socket", &none], "cannot connect to "),
        (&["--socket", &mute], "no answer to GET_FEATURES within 5 s"),
        (&["--", "/nowhere"], "cannot start /nowhere"),
        (
            &["--", "false"],
            "false ended (exit status: 1) before it listened",
        ),
        (
            &["--", "sleep", "60"],
            "{socket} in its arguments stands for the path",
        ),
        (&["--clause", "MV-1"], "MV-1 is a driver's clause"),
        (&["--clause", "MD-99"], "there is no such clause"),
    ];
    for (args, said) in cases {
        let output = pinhole(args);
        let answer = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {answer}");
        assert!(answer.contains(said), "{args:?}: {answer}");
        assert!(!answer.contains("panicked"), "{answer}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    drop(listener);
}

#[test]
fn the_list_has_every_clause() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    let output = program::output(command.args(["conformance", "--list"]), BRIEF);
    let text = String::from_utf8(output.stdout).unwrap();
    for clause in device::clauses() {
        let id = clause.to_string();
        let row = |line: &&str| line.split_whitespace().next() == Some(&id);
        assert_eq!(text.lines().filter(row).count(), 1, "{id} in {text}");
    }
}

/// A signal ends the suite in order: what it has started does not stay.
#[test]
fn an_interrupted_suite_leaves_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    // The shell becomes the card, and keeps its number.
    let script = format!(
        "echo $$ >{0}.new; mv {0}.new {0}; exec {1} device --socket-path \"$0\"",
        path.display(),
        env!("CARGO_BIN_EXE_pinhole"),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    let args = ["conformance", "--", "sh", "-c", &script, "{socket}"];
    command
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut program = Program::start(&mut command, SUITE);
    let began = Instant::now();
    let card = loop {
        match fs::read_to_string(&path) {
            Ok(pid) => break pid.trim().to_owned(),
            Err(_) => assert!(began.elapsed() < BRIEF, "the command is not started"),
        }
        thread::yield_now();
    };
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(130));
    assert!(!Path::new("/proc").join(card).exists(), "it still runs");
}

/// A back end that dies under the suite costs no more than what it died of.
#[test]
fn a_command_that_ends_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    // The card, for a few connections at a time. The alarm stays with the process,
    // which is killed if it is not over by then; no other process is there to stay.
    let script = format!(
        "echo . >>{}; exec perl -e 'alarm shift; exec @ARGV' 1 {} device --rate max --socket-path \"$0\"",
        count.display(),
        env!("CARGO_BIN_EXE_pinhole"),
    );
    let argv = ["sh", "-c", &script, "{socket}"].map(OsString::from);
    let mut subject = Subject::started("a mayfly".into(), argv.into())
        .expect("a folder")
        .quiet();
    let outcome = run(&mut subject, &settings());
    assert_eq!(outcome.stopped, None);
    assert_eq!(outcome.clauses.len(), device::clauses().count());
    assert!(clauses(&outcome, is_passed).len() > 20);
    assert!(fs::read_to_string(count).unwrap().lines().count() > 1);
    let lost = clauses(&outcome, is_unreached).len() + clauses(&outcome, is_failed).len();
    assert!(lost < 20, "{lost} of the clauses");
}

#[test]
fn as_an_output_card() {
    // It has no controls of a picture, which are those that keep a value.
    let absent = ["MD-3", "MD-9", "MP-18"];
    for (planes, more) in [("single", &["MD-4"][..]), ("multi", &[])] {
        let args = [&FULL[..], &["--kind", "output", "--planes", planes]].concat();
        conforms(&args, &settings(), &[&absent, more].concat());
    }
}

#[test]
fn as_a_mem_to_mem_card() {
    // It has no memory of its own, and gives a buffer back for two.
    let absent = ["MP-16", "MP-17", "MD-6", "MD-7", "MD-9", "MP-13"];
    for planes in ["single", "multi"] {
        let args = [&FULL[..], &["--kind", "m2m", "--planes", planes]].concat();
        conforms(&args, &settings(), &absent);
    }
}
