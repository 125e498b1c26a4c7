//! Results for tests of reports, and a test that no results break a report.

use std::collections::{BTreeMap, BTreeSet};

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use serde_json::Value;

use super::*;
use crate::agent::cell::CellAnswer;
use crate::agent::cell::evidence::{
    CanarySeen, CanaryState, CountersSeen, Ended, FrameSeen, Memory, Moment, PagesSeen, Place,
};
use crate::agent::cell::instruments::{IdleMoment, IdleSeen, LeakSeen, Mapping, MappingsSeen};
use crate::agent::protocol::LogRecord;
use crate::card::witness::PlaneRecord;
use crate::dma::Digest;
use crate::rig::matrix::Mutant;
use crate::rig::matrix::objection::Severity;
use crate::rig::matrix::observation::{Observation, Reads};
use crate::rig::matrix::oracle::{Finding, Oracle};
use crate::rig::matrix::outcome::{CellOutcome, Device, MutantOutcome, MutantVerdict, Verdict};
use crate::rig::matrix::witness::CardFrames;

/// Returns a cell of that name with the expected result.
pub fn cell(name: &str) -> CellOutcome {
    CellOutcome {
        cell: name.parse().unwrap(),
        verdict: Verdict::Expected,
        observation: Some(Observation::Captured(Reads::Written)),
        reason: None,
        findings: Vec::new(),
        runs: Vec::new(),
        elapsed_ms: 62,
        answer: None,
        card_frames: CardFrames::default(),
    }
}

pub fn finding(severity: Severity, oracle: Oracle, what: &str) -> Finding {
    Finding {
        oracle,
        severity,
        what: what.into(),
    }
}

/// Returns the evidence of three pages from byte 1234 of the first: the second
/// was replaced by another after it was queued, and its block differs.
pub fn evidence() -> (CellAnswer, CardFrames) {
    let mut card_frames = CardFrames::default();
    card_frames.add(
        0,
        PlaneRecord {
            bytes: 8192,
            segments: vec![(0x34d2, 2862 + 4096), (0x9000, 1234)],
            digests: vec![Digest(1), Digest(2)],
        },
    );
    let counters = |moment, acquired, released| CountersSeen {
        moment,
        values: BTreeMap::from([
            ("nr_foll_pin_acquired".to_owned(), acquired),
            ("nr_foll_pin_released".to_owned(), released),
            ("pgmigrate_success".to_owned(), acquired),
        ]),
    };
    let pages = |moment, second| PagesSeen {
        moment,
        buffer: 0,
        pagemap: vec![1 << 63 | 3, second, 1 << 63 | 9],
        flags: vec![0x28; 3],
        count: vec![1; 3],
    };
    let answer = CellAnswer {
        ended: Ended::Finished,
        memory: Some(Memory {
            address: 0x7000_04d2,
            length: 8192,
            width: 128,
            height: 64,
            is_dmabuf: false,
            is_hidden: false,
        }),
        pages: vec![
            pages(Moment::LaidOut, 1 << 63 | 4),
            pages(Moment::Queued, 1 << 63 | 4),
            pages(Moment::AfterHazard, 1 << 62),
        ],
        counters: vec![
            counters(Moment::LaidOut, 100, 100),
            counters(Moment::Queued, 103, 100),
            counters(Moment::Stopped, 103, 103),
        ],
        frames: vec![FrameSeen {
            index: 0,
            sequence: 0,
            flags: 0,
            bytesused: 8192,
            digests: vec![Some(Digest(1)), Some(Digest(7))],
            sent: Vec::new(),
            touched: None,
        }],
        canaries: vec![
            CanarySeen {
                place: Place::Before,
                address: 0x6fff_f000,
                length: 4096 + 1234,
                state: CanaryState::Intact,
            },
            CanarySeen {
                place: Place::After,
                address: 0x7000_24d2,
                length: 6958,
                state: CanaryState::Changed {
                    first: 0x7000_24d3,
                    bytes: 5,
                },
            },
        ],
        mappings: vec![MappingsSeen {
            moment: Moment::Queued,
            translated: Some(true),
            mappings: vec![Mapping {
                kind: "scatter-gather".into(),
                physical: 0x34d2,
                length: 6958,
                direction: "DMA_FROM_DEVICE".into(),
            }],
            gone: 0,
        }],
        idle: vec![IdleSeen {
            moment: IdleMoment::Written,
            pagemap: vec![1 << 63 | 3, 1 << 63 | 4, 1 << 63 | 9],
            idle: vec![Some(true), None, Some(true)],
        }],
        leaks: Some(vec![LeakSeen {
            size: 192,
            comm: "<agent>".into(),
            pid: 88,
            jiffies: 7,
            trace: vec!["pinhole_cmd_alloc+0x40/0x1a0 [pinhole]".into()],
            again: Some(true),
        }]),
        notes: vec!["munmap <b>done</b>".into()],
        log: vec![LogRecord {
            sequence: 7,
            level: 4,
            facility: 0,
            time_us: 1_500_000,
            text: "pinhole: <script>alert(2)</script>".into(),
        }],
        ..CellAnswer::default()
    };
    (answer, card_frames)
}

/// Returns a device that was judged without a witness.
pub fn judged() -> Device {
    Device {
        driver: "cam".into(),
        card: "A <b>camera".into(),
        bus: "usb-1".into(),
        version: "6.12.1".into(),
        node: "/dev/video2".into(),
        module: Some(("cam".into(), "a=1 b=2".into())),
        usb_camera: false,
        missing: vec![
            (Oracle::Address, "nobody tells".into()),
            (Oracle::Mappings, "no debugfs".into()),
        ],
        notes: vec!["it moves".into()],
    }
}

/// Returns a small matrix with everything that can occur.
pub fn kernel(name: &str) -> KernelOutcome {
    let (answer, card_frames) = evidence();
    let broken = CellOutcome {
        verdict: Verdict::Finding,
        observation: Some(Observation::Captured(Reads::Partly)),
        findings: vec![
            finding(
                Severity::DataLost,
                Oracle::Data,
                "frame 0 differs <script>alert(1)</script> & \"more\"",
            ),
            finding(
                Severity::MemoryWritten,
                Oracle::Fences,
                "5 bytes after the buffer have changed",
            ),
        ],
        answer: Some(answer),
        card_frames,
        ..cell("thp/munmap")
    };
    let leak = CellOutcome {
        verdict: Verdict::Finding,
        findings: vec![finding(
            Severity::Leaked,
            Oracle::Pins,
            "0 pages were pinned before, 16 after",
        )],
        ..cell("anon-touched")
    };
    let mutant = |mutant, verdict, reason: Option<&str>, cells| MutantOutcome {
        mutant,
        verdict,
        reason: reason.map(str::to_owned),
        cells,
    };
    KernelOutcome {
        kernel: name.into(),
        release: "6.12.107+deb13-amd64".into(),
        driver: None,
        device: None,
        checks: BTreeSet::new(),
        blind: None,
        cells: vec![
            cell("anon-touched@1234"),
            CellOutcome {
                observation: Some(Observation::Refused(libc::EFAULT)),
                reason: Some("a page of the range is not mapped".into()),
                ..cell("hole")
            },
            CellOutcome {
                verdict: Verdict::Impossible,
                observation: None,
                reason: Some("no MADV_GUARD_INSTALL here".into()),
                ..cell("guard-region")
            },
            broken,
            CellOutcome {
                verdict: Verdict::Finding,
                observation: None,
                findings: vec![finding(
                    Severity::KernelBroken,
                    Oracle::Outcome,
                    "the guest broke: no answer",
                )],
                ..cell("heap/sg")
            },
        ],
        mutants: vec![
            mutant(Mutant::LeakPin, MutantVerdict::Caught, None, vec![leak]),
            mutant(
                Mutant::RoundUp,
                MutantVerdict::Missed,
                Some("anon-touched+1000 was as expected with the bug"),
                vec![cell("anon-touched+1000")],
            ),
            mutant(
                Mutant::PinReadonly,
                MutantVerdict::Unseen,
                Some("write access is always asked for"),
                vec![],
            ),
        ],
        injected: 7,
        boots: 2,
        elapsed_ms: 46_118,
        stopped: None,
    }
}

#[test]
fn every_format_is_written_and_nothing_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep/out");
    write(&[kernel("../../trixie"), kernel("a")], &out).unwrap();
    let mut names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            ".._.._trixie.json",
            "a.json",
            "index.html",
            "junit.xml",
            "matrix.ktap"
        ]
    );
    let blocked = write(&[], &out.join("a.json")).unwrap_err().to_string();
    assert!(blocked.starts_with("cannot write "), "{blocked}");
}

/// Checks that another XML reader understands the document.
pub fn assert_well_formed(xml: &str) {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut depth = 0;
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                depth += 1;
                for attribute in start.attributes() {
                    let version = quick_xml::XmlVersion::Explicit1_0;
                    attribute.unwrap().normalized_value(version).unwrap();
                }
            }
            Event::End(_) => depth -= 1,
            Event::GeneralRef(name) => {
                let name = name.decode().unwrap();
                assert!(resolve_xml_entity(&name).is_some(), "&{name};");
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{xml}");
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r' | '\u{7f}'..);
    assert!(!xml.contains(control), "{xml:?}");
}

/// Collects the JSON pointer of every value within `json` that is neither an
/// object nor null.
fn pointers(json: &Value, here: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match json {
        Value::Object(map) => map.iter().map(|(key, it)| (key.clone(), it)).collect(),
        Value::Array(list) => (0..).map(|n: usize| n.to_string()).zip(list).collect(),
        _ => Vec::new(),
    };
    if !matches!(json, Value::Object(_) | Value::Null) {
        found.push(here.to_owned());
    }
    for (key, child) in children {
        pointers(child, &format!("{here}/{key}"), found);
    }
}

/// Returns values that no honest run would have in place of `value`.
fn wild(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(list) => {
            let many = list.first().map(|first| vec![first.clone(); 1500]);
            let less = list.split_last().map(|(_, less)| less.to_vec());
            let lists = [Some(Vec::new()), less, many].into_iter().flatten();
            lists.map(Value::Array).collect()
        }
        Value::Number(_) => [0, 1, 4095, 1 << 31, u64::from(u32::MAX), u64::MAX]
            .map(Value::from)
            .into(),
        _ => vec!["\u{0}\u{202e}<>&\"'#|\n".into(), Value::Null],
    }
}

#[test]
fn no_file_whatever_is_in_it_breaks_a_report() {
    let honest = serde_json::to_value(kernel("trixie")).unwrap();
    let mut places = Vec::new();
    pointers(&honest, "", &mut places);
    assert!(places.len() > 150, "{}", places.len());
    let whole = [kernel("trixie")];
    let mut shown = 0;
    for place in &places {
        for value in wild(honest.pointer(place).unwrap()) {
            let mut json = honest.clone();
            *json.pointer_mut(place).unwrap() = value;
            let Ok(outcome) = serde_json::from_value::<KernelOutcome>(json) else {
                continue;
            };
            shown += 1;
            let outcomes = [outcome];
            table(&outcomes);
            markdown(&outcomes);
            cases::ktap(&case::suites(&outcomes));
            assert_well_formed(&cases::junit("pinhole matrix", &case::suites(&outcomes)));
            let page = html::page(&outcomes);
            assert!(page.len() < 1 << 20, "{place}: {} bytes", page.len());
            for (a, b) in [(&outcomes[..], &whole[..]), (&whole, &outcomes)] {
                if let Ok(diff) = diff(a, b) {
                    let paths = ["a", "b"].map(Path::new);
                    diff_text(&diff, paths);
                    diff::page(&diff, paths);
                }
            }
            let _ = merge(vec![outcomes[0].clone(), outcomes[0].clone()]);
        }
    }
    assert!(shown > 300, "{shown}");
}
