use std::io::{BufRead, BufReader};

use super::*;
use crate::agent::protocol::{Done, Read as ReadFile, ReadAnswer, Stream, Sync};

const LIMIT: Duration = Duration::from_secs(20);

/// Returns a client, and the stream that a fake agent holds.
fn pair() -> (Agent, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Agent::new(ours).unwrap(), theirs)
}

fn request(lines: &mut impl BufRead) -> Request {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn say(mut stream: &UnixStream, message: Message) {
    let line = serde_json::to_string(&message).unwrap() + "\n";
    stream.write_all(line.as_bytes()).unwrap();
}

fn read(path: &str) -> ReadFile {
    ReadFile {
        path: path.into(),
        limit: 1,
    }
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let (agent, guest) = pair();
    let a = agent.start(read("a")).unwrap();
    let b = agent.start(read("b")).unwrap();
    let mut lines = BufReader::new(&guest);
    let mut requests = [request(&mut lines), request(&mut lines)];
    requests.reverse();
    for Request { id, command } in requests {
        let Command::Read(ReadFile { path, .. }) = command else {
            panic!("{command:?}")
        };
        let line = Line {
            id,
            stream: Stream::Stdout,
            at_ms: 1,
            text: path.as_str().into(),
        };
        say(&guest, Message::Line(line));
        let answer = ReadAnswer {
            text: path,
            truncated: false,
        };
        let answer = serde_json::to_value(answer).unwrap();
        say(&guest, Message::Done(Done { id, answer }));
    }
    assert_eq!(a.wait(LIMIT).unwrap().text, "a");
    match b.next(LIMIT).unwrap() {
        Update::Line(line) => assert_eq!(line.text, "b".into()),
        other => panic!("{other:?}"),
    }
    assert_eq!(b.wait(LIMIT).unwrap().text, "b");
}

#[test]
fn a_slow_agent_times_out_and_its_late_answer_harms_nobody() {
    let (agent, guest) = pair();
    let mut lines = BufReader::new(&guest);
    let error = agent.call(Sync {}, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, AgentError::TimedOut(_)), "{error}");
    let late = request(&mut lines).id;
    let pending = agent.start(Sync {}).unwrap();
    let id = request(&mut lines).id;
    for id in [late, 77, id] {
        let answer = Value::Null;
        say(&guest, Message::Done(Done { id, answer }));
    }
    pending.wait(LIMIT).unwrap();
}

#[test]
fn a_hang_up_ends_what_waits_and_what_comes_after() {
    let (agent, guest) = pair();
    let pending = agent.start(Sync {}).unwrap();
    drop(guest);
    assert!(matches!(pending.wait(LIMIT), Err(AgentError::Closed)));
    assert!(matches!(agent.hello(LIMIT), Err(AgentError::Closed)));
    assert!(agent.call(Sync {}, LIMIT).is_err());
}

#[test]
fn nonsense_ends_the_channel_and_is_quoted() {
    for nonsense in ["garbage\n", "{\"done\":{}}\n", "\n", "\u{0}\n"] {
        let (agent, mut guest) = pair();
        guest.write_all(nonsense.as_bytes()).unwrap();
        let error = agent.hello(LIMIT).unwrap_err();
        assert!(matches!(error, AgentError::Nonsense(_)), "{error}");
    }
    let (agent, guest) = pair();
    let pending = agent.start(read("x")).unwrap();
    let id = request(&mut BufReader::new(&guest)).id;
    let answer = Value::from(5);
    say(&guest, Message::Done(Done { id, answer }));
    assert!(matches!(pending.wait(LIMIT), Err(AgentError::Nonsense(_))));
}

#[test]
fn a_line_without_end_is_not_collected_for_ever() {
    let (agent, mut guest) = pair();
    let flood = vec![b'x'; 1 << 20];
    while guest.write_all(&flood).is_ok() {}
    let error = agent.hello(LIMIT).unwrap_err();
    assert!(matches!(error, AgentError::Nonsense(_)), "{error}");
}

#[test]
fn a_failure_comes_with_its_error_number() {
    let (agent, guest) = pair();
    let pending = agent.start(read("/no")).unwrap();
    let failed = Failed {
        id: Some(request(&mut BufReader::new(&guest)).id),
        message: "read /no".into(),
        errno: Some(2),
    };
    say(&guest, Message::Failed(failed));
    match pending.wait(LIMIT) {
        Err(AgentError::Failed { errno, message }) => {
            assert_eq!((errno, message.as_str()), (Some(2), "read /no"));
        }
        other => panic!("{other:?}"),
    }
}
