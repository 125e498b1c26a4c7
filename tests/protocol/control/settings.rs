//! What a client can change, and what a guest sees of it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Client, SMALL, card, ctl, output};
use crate::harness::card::run_to_end;
use crate::harness::v4l2::*;
use crate::harness::{Driver, Stream};

/// The values of those controls.
fn values(answer: &Value) -> Vec<(String, Value)> {
    let controls = answer["controls"].as_array().expect("controls").iter();
    controls
        .map(|control| {
            let name = control["name"].as_str().expect("a name");
            (name.to_owned(), control["value"].clone())
        })
        .collect()
}

fn set(client: &mut Client, name: &str, value: Value) -> Value {
    client.ask(&json!({"request": "set", "controls": [{"name": name, "value": value}]}))
}

fn get(client: &mut Client, name: &str) -> Value {
    let answer = client.ask(&json!({"request": "get", "names": [name]}));
    values(&answer).remove(0).1
}

/// The request is refused, and the answer has that word.
fn assert_refused(answer: &Value, word: &str) {
    let error = answer["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    assert!(error.contains(word), "no \"{word}\" in {error}");
}

#[test]
fn controls_are_listed_read_and_set() {
    let card = &mut card(&[]);
    let client = &mut Client::connect(card);
    let all = values(&client.ask(&json!({"request": "get"})));
    for name in [
        "brightness",
        "test_pattern",
        "text",
        "noise_seed",
        "drop_frames",
    ] {
        assert!(
            all.iter().any(|(listed, _)| listed == name),
            "{name} in {all:?}"
        );
    }
    // As a number, as text that is one, by the name of an item, as text.
    for (name, value, read) in [
        ("brightness", json!(7), json!(7)),
        ("brightness", json!("0x11"), json!(17)),
        ("horizontal_flip", json!("on"), json!(1)),
        ("noise_seed", json!(i64::MAX), json!(i64::MAX)),
        ("text", json!("a=b c"), json!("a=b c")),
    ] {
        let answer = set(client, name, value.clone());
        assert_eq!(
            values(&answer),
            [(name.to_owned(), read.clone())],
            "{value}"
        );
        assert_eq!(get(client, name), read);
    }
    let listed = client.ask(&json!({"request": "get", "names": ["test_pattern"]}));
    let item = &listed["controls"][0]["menu"][1];
    set(client, "test_pattern", item["name"].clone());
    assert_eq!(get(client, "test_pattern"), item["index"]);
}

#[test]
fn what_cannot_be_set_is_not_and_the_answer_says_why() {
    let card = &mut card(&[]);
    let client = &mut Client::connect(card);
    let before = client.ask(&json!({"request": "get"}));
    for (name, value, word) in [
        ("nonsense", json!(1), "nonsense"),
        ("", json!(1), "no control"),
        ("brightness", json!(i64::MAX), "takes"),
        ("brightness", json!("much"), "much"),
        ("test_pattern", json!(-1), "takes"),
        ("test_pattern", json!("no such pattern"), "takes"),
        ("text", json!("x".repeat(4096)), "takes"),
        ("overlay", json!(-1), "takes"),
        ("drop_frames", json!(-1), "takes"),
    ] {
        assert_refused(&set(client, name, value), word);
    }
    // One name that there is not, and nothing is set.
    let both = json!([{"name": "brightness", "value": 1}, {"name": "nonsense", "value": 1}]);
    assert_refused(
        &client.ask(&json!({"request": "set", "controls": both})),
        "nonsense",
    );
    for (name, word) in [("brightness", "drop_frames"), ("nonsense", "drop_frames")] {
        let answer = client.ask(&json!({"request": "inject", "name": name}));
        assert_refused(&answer, word);
    }
    assert_refused(
        &client.ask(&json!({"request": "select", "input": 99})),
        "99",
    );
    assert_eq!(client.ask(&json!({"request": "get"})), before);
}

#[test]
fn an_error_that_is_injected_is_seen_by_the_guest_and_passes() {
    let card = &mut card(&["--rate", "max"]);
    let client = &mut Client::connect(card);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    let before = stream.turn(driver, card).sequence;
    client.ask(&json!({"request": "inject", "name": "drop_frames", "count": 5}));
    // The buffers that were filled already come first.
    let mut last = before;
    let gap = (0..8).any(|_| {
        let sequence = stream.turn(driver, card).sequence;
        let gap = sequence - last;
        last = sequence;
        gap == 6
    });
    assert!(gap, "no gap of five frames");
    assert_eq!(client.statistics()["dropped"], 5);

    client.ask(&json!({"request": "inject", "name": "error_frames", "count": 2}));
    let mut errors = 0;
    for _ in 0..12 {
        let buffer = driver.dqbuf(stream.session);
        errors += u32::from(buffer.flags & BUF_FLAG_ERROR != 0);
        stream.queue(driver, buffer.index);
    }
    assert_eq!(errors, 2);
    assert_eq!(client.statistics()["errors"], 2);
    assert_eq!(get(client, "error_frames"), 0);
}

#[test]
fn an_input_is_switched_while_nobody_streams() {
    let card = &mut card(&["--source", "pattern:bars", "--source", "pattern:ramp"]);
    let client = &mut Client::connect(card);
    let selected = |answer: Value| {
        let inputs = answer["inputs"].as_array().expect("inputs").clone();
        assert_eq!(inputs.len(), 2);
        inputs.iter().position(|input| input["selected"] == true)
    };
    assert_eq!(selected(client.ask(&json!({"request": "inputs"}))), Some(0));
    let second = json!({"request": "select", "input": 1});
    assert_eq!(selected(client.ask(&second)), Some(1));
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let input = driver.ioctl(session, G_INPUT, &[]).unwrap();
    assert_eq!(input.le32(0), 1, "the guest sees it, too");
    driver.close(session);
    let stream = Stream::new(driver, SMALL, 2);
    stream.start(driver);
    assert_refused(
        &client.ask(&json!({"request": "select", "input": 0})),
        "streams",
    );
    assert_eq!(selected(client.ask(&json!({"request": "inputs"}))), Some(1));
}

#[test]
fn another_source_is_plugged_in_while_a_guest_streams() {
    let card = &mut card(&["--rate", "max"]);
    let client = &mut Client::connect(card);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    stream.turn(driver, card);
    let answer = client.ask(&json!({"request": "source", "spec": "pattern:ramp"}));
    assert_eq!(answer["inputs"][0]["name"], "pattern:ramp");
    for _ in 0..8 {
        stream.turn(driver, card);
    }
    for (spec, word) in [("nonsense", "nonsense"), ("pattern:nonsense", "nonsense")] {
        assert_refused(
            &client.ask(&json!({"request": "source", "spec": spec})),
            word,
        );
    }
    stream.turn(driver, card);
}

/// A film of one grey frame.
fn film(path: &Path) {
    let mut film = b"YUV4MPEG2 W16 H16 F30:1 C420\nFRAME\n".to_vec();
    film.extend_from_slice(&[0x80; 16 * 16 * 3 / 2]);
    fs::write(path, film).expect("a film");
}

#[test]
fn only_files_that_were_allowed_can_be_switched_to() {
    let files = tempfile::tempdir().unwrap();
    let allowed = files.path().join("allowed");
    fs::create_dir(&allowed).unwrap();
    for folder in [files.path(), &allowed] {
        film(&folder.join("film.y4m"));
    }
    let card = &mut card(&["--allow-path", allowed.to_str().unwrap()]);
    let client = &mut Client::connect(card);
    let mut source = |spec: String| client.ask(&json!({"request": "source", "spec": spec}));
    let named = |path: &Path| format!("y4m:{}", path.display());

    let answer = source(named(&allowed.join("film.y4m")));
    assert_eq!(answer["inputs"][0]["name"], "y4m:film.y4m", "{answer}");
    assert_refused(&source(named(&allowed)), "directory");
    // What the card was not started with.
    assert_refused(&source("y4m:-".into()), "not passed on");
    assert_refused(&source("y4m:/dev/fd/0".into()), "not passed on");
    assert_refused(&source(named(&allowed.join("missing"))), "missing");
    if card.log().contains("landlock ABI") {
        for path in [&*files.path().join("film.y4m"), Path::new("/etc/passwd")] {
            assert_refused(&source(named(path)), "--allow-path");
            assert_refused(&source(format!("image:{}", path.display())), "--allow-path");
        }
    } else {
        eprintln!("this kernel has no landlock: what is forbidden was not tried");
    }
}

/// Who has the card wait for a FIFO's writer waits alone.
#[test]
fn a_fifo_can_be_switched_to_and_holds_up_nobody() {
    let files = tempfile::tempdir().unwrap();
    let pipe = files.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let card = &mut card(&["--allow-path", files.path().to_str().unwrap()]);
    let spec = format!("y4m:{}", pipe.display());
    let request = json!({"request": "source", "spec": spec});
    let (mut waits, mut other) = (Client::connect(card), Client::connect(card));
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| waits.ask(&request));
        for _ in 0..20 {
            let inputs = other.ask(&json!({"request": "inputs"}));
            assert_eq!(inputs["inputs"][0]["name"], "pattern", "{inputs}");
        }
        assert!(!answer.is_finished(), "nobody has written yet");
        film(&pipe);
        let answer = answer.join().unwrap();
        assert_eq!(answer["inputs"][0]["name"], "y4m:pipe", "{answer}");
    });
    // Nobody writes.
    let answer = Client::connect(card).ask(&request);
    assert_refused(&answer, "nobody has written");
}

/// A client has a folder of its own.
#[test]
fn a_relative_path_is_the_callers() {
    let files = tempfile::tempdir().unwrap();
    film(&files.path().join("a,b.y4m"));
    let card = &mut card(&["--allow-path", files.path().to_str().unwrap()]);
    drop(Client::connect(card));
    let run = |source: &str| {
        let mut command = ctl(card, &["source", source]);
        run_to_end(command.current_dir(files.path()))
    };
    let output = run("y4m:a,,b.y4m,once");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("y4m:a,b.y4m"));
    for own in ["y4m:-", "y4m:/dev/stdin", "y4m:/dev/fd/63"] {
        let output = run(own);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("FIFO") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn ctl_does_all_of_it() {
    let card = &mut card(&[]);
    drop(Client::connect(card));
    assert_eq!(
        output(card, &["set", "gain=20", "text=hello"]),
        "gain: 20\ntext: 'hello'\n"
    );
    assert_eq!(output(card, &["get", "gain"]), "gain: 20\n");
    let list = output(card, &["list"]);
    assert!(
        list.contains("Error Injection") && list.contains("drop_frames"),
        "{list}"
    );
    assert_eq!(
        output(card, &["inject", "drop_frames=3"]),
        "drop_frames: 3\n"
    );
    assert!(output(card, &["input", "1"]).contains("selected"));
    assert!(output(card, &["source", "pattern:ramp"]).contains("pattern:ramp"));
    let object: Value = serde_json::from_str(&output(card, &["get", "gain", "--json"])).unwrap();
    assert_eq!(object["controls"][0]["value"], 20);
    for (args, words) in [
        (&["set", "gain=much"][..], "much"),
        (&["get", "nonsense"], "nonsense"),
        (&["input", "9"], "9"),
        (&["source", "pattern:x"], "no pattern"),
        (&["inject", "nonsense"], "nonsense"),
    ] {
        let output = run_to_end(&mut ctl(card, args));
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("pinhole: "), "{text}");
        assert!(text.contains(words) && text.lines().count() == 1, "{text}");
    }
}
