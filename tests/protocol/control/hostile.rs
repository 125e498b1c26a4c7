//! No client of the control socket can harm the card, another client or a
//! stream.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;

use super::{Client, SMALL, card};
use crate::harness::{Driver, Stream};

/// What clients may make the card's memory grow by, in KiB.
const GROWTH_KIB: u64 = 4 << 10;

/// Lines that are no request.
fn malformed() -> Vec<Vec<u8>> {
    let good = br#"{"request":"statistics"}"#.to_vec();
    let mut lines: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "}",
        "[]",
        "[[",
        "null",
        "0",
        "-1e999",
        "\"",
        "true",
        "{}",
        "{\"\":\"\"}",
        r#"{"request":null}"#,
        r#"{"request":[]}"#,
        r#"{"request":{}}"#,
        r#"{"request":"STATISTICS"}"#,
        r#"{"request":"statistics","request":"statistics"}"#,
        r#"{"request":"statistics","x":{}}"#,
        r#"{"request":"statistics"}{"request":"statistics"}"#,
        r#"{"request":"\ud800"}"#,
        r#"{"error":"no"}"#,
        r#"{"statistics":{}}"#,
        "GET / HTTP/1.1",
        "\r",
        "\0",
    ]
    .iter()
    .map(|line| line.as_bytes().to_vec())
    .collect();
    for end in 1..good.len() {
        lines.push(good[..end].to_vec());
        lines.push(good[end..].to_vec());
    }
    // Every other request, cut off anywhere.
    for whole in [
        r#"{"request":"set","controls":[{"name":"gain","value":1}]}"#,
        r#"{"request":"get","names":["gain"]}"#,
        r#"{"request":"inject","name":"stall","count":1}"#,
        r#"{"request":"select","input":0}"#,
        r#"{"request":"source","spec":"pattern"}"#,
    ] {
        lines.extend((1..whole.len()).map(|end| whole.as_bytes()[..end].to_vec()));
    }
    // And with parts that are of another kind, or make no sense.
    let others = [
        "null",
        "[]",
        "{}",
        "1.5",
        "-1",
        "1e300",
        "99999999999999999999",
        "\"\"",
        "\"x\"",
    ];
    for other in others {
        for request in [
            format!(r#"{{"request":"set","controls":{other}}}"#),
            format!(r#"{{"request":"set","controls":[{other}]}}"#),
            format!(r#"{{"request":"set","controls":[{{"name":{other},"value":1}}]}}"#),
            format!(r#"{{"request":"set","controls":[{{"name":"hue","value":{other},"x":1}}]}}"#),
            format!(r#"{{"request":"get","names":[{other}]}}"#),
            format!(r#"{{"request":"inject","name":{other},"count":1}}"#),
            format!(r#"{{"request":"inject","name":"brightness","count":{other}}}"#),
            format!(r#"{{"request":"select","input":{other}}}"#),
            format!(r#"{{"request":"source","spec":{other}}}"#),
            format!(
                r#"{{"request":"source","spec":"{}:{}"}}"#,
                "y4m",
                "/".repeat(60_000)
            ),
        ] {
            // Setting nothing is no mistake.
            if !request.ends_with(r#""controls":[]}"#) {
                lines.push(request.into_bytes());
            }
        }
    }
    // Every byte of it replaced by some that change its meaning.
    for at in 0..good.len() {
        for byte in [0, b'"', b'{', 0x7f, 0xc3, 0xff] {
            let mut line = good.clone();
            if line[at] != byte {
                line[at] = byte;
                lines.push(line);
            }
        }
    }
    // Nested deeper than any stack should be asked to follow.
    for open in ["[", "{\"request\":"] {
        lines.push(open.repeat(60_000 / open.len()).into_bytes());
    }
    // Too long by one, and by a lot.
    for length in [64 * 1024 + 1, 1 << 20] {
        lines.push(vec![b'x'; length]);
        lines.push([good.clone(), vec![b' '; length]].concat());
    }
    lines
}

#[test]
fn hundreds_of_malformed_requests_are_each_one_error() {
    let card = &mut card(&["--rate", "max"]);
    let client = &mut Client::connect(card);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    client.statistics();
    let before = card.allocated_kib();
    let lines = malformed();
    assert!(lines.len() > 500, "{} lines", lines.len());
    for line in &lines {
        client.assert_refused(line);
        stream.turn(driver, card);
    }
    // All at once, and the answers in their order.
    let (many, few) = (500, 3);
    for _ in 0..many {
        client.send(b"nonsense\n");
    }
    for _ in 0..few {
        client.send(b"{\"request\":\"statistics\"}\r\n");
    }
    for _ in 0..many {
        assert!(client.answer()["error"].is_string());
    }
    for _ in 0..few {
        assert!(client.answer()["statistics"].is_object());
    }
    let grown = card.allocated_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB more");
    assert!(
        card.log().len() < 4096,
        "a log of {} bytes",
        card.log().len()
    );
    eprintln!("{} malformed lines", lines.len() + many);
}

#[test]
fn a_client_that_goes_at_any_moment_is_forgotten() {
    let card = &mut card(&[]);
    let request = b"{\"request\":\"statistics\"}\n";
    for end in 0..=request.len() {
        for how in [None, Some(Shutdown::Read), Some(Shutdown::Both)] {
            let mut client = Client::connect(card);
            client.send(&request[..end]);
            if let Some(how) = how {
                client.0.get_ref().shutdown(how).unwrap();
            }
        }
    }
    Client::connect(card).statistics();
    let fds = format!("/proc/{}/fd", card.id());
    card.until("closed connections", |_| {
        (fs::read_dir(&fds).unwrap().count() < 30).then_some(())
    });
}

#[test]
fn a_request_that_ends_with_the_connection_is_answered() {
    let card = &mut card(&[]);
    let mut client = Client::connect(card);
    client.send(b"{\"request\":\"statistics\"}");
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert!(client.answer()["statistics"].is_object());
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0, "the end");
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let card = &mut card(&["--rate", "max"]);
    let flood = Client::connect(card);
    let before = card.allocated_kib();
    flood.0.get_ref().set_nonblocking(true).unwrap();
    // Until neither side's socket takes any more.
    let request = b"{\"request\":\"statistics\"}\n".repeat(100);
    let mut full = 0;
    card.until("full socket", |_| {
        let mut stream = flood.0.get_ref();
        match stream.write(&request) {
            Ok(_) => full = 0,
            Err(_) => full += 1,
        }
        (full > 50).then_some(())
    });
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    let client = &mut Client::connect(card);
    for _ in 0..20 {
        client.statistics();
        stream.turn(driver, card);
    }
    let grown = card.allocated_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB more");
    // When it reads after all, it is answered after all.
    flood.0.get_ref().set_nonblocking(false).unwrap();
    let mut flood = flood;
    assert!(flood.answer()["statistics"].is_object());
}

#[test]
fn of_too_many_clients_the_most_silent_one_goes() {
    let card = &mut card(&[]);
    let mut clients: Vec<_> = (0..32).map(|_| Client::connect(card)).collect();
    for client in &mut clients {
        client.statistics();
    }
    // All but the fourth ask again.
    for (_, client) in clients.iter_mut().enumerate().filter(|(at, _)| *at != 3) {
        client.statistics();
    }
    Client::connect(card).statistics();
    let mut fourth = clients.remove(3);
    assert_eq!(fourth.0.read(&mut [0]).unwrap(), 0, "it was dropped");
    for client in &mut clients {
        client.statistics();
    }
}
