//! The sandbox of the running daemon. That a forbidden call is refused is for
//! `src/sandbox` to test; these tests are about the daemon being in it, and
//! being whole in it, which every other test here is, too.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::card::{LIMIT, run_to_end};
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Stream};

/// Of each thread of the card, by its name, the fields of its status that tell
/// of a sandbox: NoNewPrivs, Seccomp and CapPrm.
fn threads(card: &Card) -> BTreeMap<String, (u32, u32, String)> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{}/task", card.id())).expect("threads") {
        // One that ends meanwhile has no status any more.
        let Ok(status) = fs::read_to_string(entry.expect("a thread").path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            value.unwrap_or_else(|| panic!("no {name}")).to_owned()
        };
        let number = |name| field(name).parse::<u32>().expect("a number");
        let state = (number("NoNewPrivs"), number("Seccomp"), field("CapPrm"));
        threads.insert(field("Name"), state);
    }
    threads
}

/// A card with all the threads that it may have.
fn busy(args: &[&str]) -> (Card, Driver) {
    let dir = tempfile::tempdir().expect("a directory for the card");
    let mut command = Card::command();
    command
        .arg("--socket-path")
        .arg(dir.path().join("card.sock"))
        .arg("--control")
        .arg(dir.path().join("control.sock"))
        .args(["--rate", "max"])
        .args(args);
    let mut card = Card::spawn(command, dir);
    let mut driver = Driver::new(&mut card);
    let stream = Stream::new(&mut driver, (NV12, 160, 120), 4);
    stream.start(&mut driver);
    stream.turn(&mut driver, &mut card);
    (card, driver)
}

#[test]
fn every_thread_is_in_it_unless_it_is_turned_off() {
    let (card, _driver) = busy(&[]);
    let names = [
        "pinhole",
        "control",
        "vring_worker",
        "vhost-user",
        "witness",
    ];
    // A thread gives itself its name.
    let deadline = Instant::now() + LIMIT;
    let inside = loop {
        let inside = threads(&card);
        if names.iter().all(|name| inside.contains_key(*name)) {
            break inside;
        }
        assert!(Instant::now() < deadline, "{inside:?}");
        std::thread::yield_now();
    };
    // SECCOMP_MODE_FILTER is 2. Whoever runs this, no capability is left.
    let restricted = (1, 2, "0".repeat(16));
    assert!(
        inside.values().all(|state| *state == restricted),
        "{inside:?}"
    );
    let log = card.log();
    let said: Vec<_> = log
        .lines()
        .filter(|line| line.contains("sandbox"))
        .collect();
    assert_eq!(said.len(), 1, "{log}");
    let line = said[0];
    assert!(line.contains("sandbox: seccomp ("), "{line}");
    assert!(line.contains("landlock"), "{line}");
    assert!(
        line.ends_with("no capabilities, no new privileges"),
        "{line}"
    );
    assert!(!log.contains("has refused system call"), "{log}");

    let (card, _driver) = busy(&["--sandbox", "none"]);
    let outside = threads(&card);
    assert!(
        outside.values().all(|state| (state.0, state.1) == (0, 0)),
        "{outside:?}"
    );
    assert!(card.log().contains("sandbox: none"), "{}", card.log());
}

#[test]
fn the_sockets_go_with_the_card_from_a_folder_named_in_any_way() {
    for name in ["card.sock", "./card.sock"] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Card::command();
        command
            .current_dir(dir.path())
            .args(["--socket-path", name]);
        let card = &mut Card::spawn(command, dir);
        drop(card.connect());
        card.signal(Signal::TERM);
        assert_eq!(card.wait_exit().code(), Some(0), "{}", card.log());
        assert!(!card.socket().exists(), "{name}");
    }
}

#[test]
fn a_path_that_cannot_be_allowed_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("card.sock");
    let mut command = Card::command();
    command.arg("--socket-path").arg(&socket);
    let output = run_to_end(command.args(["--allow-path", "/nowhere/at/all"]));
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("pinhole: cannot allow /nowhere/at/all: "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!socket.exists());
}
