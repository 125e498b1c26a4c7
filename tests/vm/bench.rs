//! `pinhole bench`: what is measured, and that it can be true. How fast anything is
//! is for the benchmarks: a test that fails on a slow machine proves nothing.

use std::process::Command;

use serde_json::Value;

use crate::program::{self, WITH_A_GUEST};

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// The median of a value, which lies between the least and the greatest.
fn median(spread: &Value) -> f64 {
    let [min, median, max] = ["min", "median", "max"].map(|name| number(&spread[name]));
    assert!(0.0 <= min && min <= median && median <= max, "{spread}");
    median
}

fn all<'a>(bench: &'a Value, what: &str) -> &'a [Value] {
    bench[what]
        .as_array()
        .unwrap_or_else(|| panic!("no {what}: {bench}"))
}

#[test]
#[ignore = "boots guests"]
fn everything_is_measured_once_and_can_be_true() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.args(["bench", "--json", "--kernel", "trixie", "--runs", "1"]);
    let output = program::output(&mut command, WITH_A_GUEST);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("stdout is not JSON: {error}\n{stderr}"));
    let bench = &json[0];
    assert_eq!(bench["kernel"], "trixie");
    assert!(
        bench["release"].as_str().unwrap().starts_with("6.12"),
        "{bench}"
    );
    assert!(
        ["kvm", "tcg"]
            .map(Value::from)
            .contains(&bench["accelerator"])
    );
    assert_eq!(
        (&bench["cpus"], &bench["memory_mib"]),
        (&2.into(), &1024.into())
    );
    assert!(number(&bench["host"]["cpus"]) >= 1.0);

    // Three frames, two kinds of memory, two devices.
    let streams = all(bench, "streams");
    assert_eq!(streams.len(), 12);
    for stream in streams {
        let (rate, busy_us) = (median(&stream["rate"]), median(&stream["busy_us"]));
        assert!(rate > 0.0, "{stream}");
        // No more than two processors can be busy.
        assert!(busy_us * rate <= 2.05e6, "{stream}");
        // vivid has a rate, 60, and makes up for frames that it was late with.
        assert!(stream["device"] != "vivid" || rate < 90.0, "{stream}");
    }

    // 1 GiB does not fit in.
    let pins = all(bench, "pins");
    let of = |by: &str, bytes: u64, pages: &str| {
        let found = pins
            .iter()
            .find(|pin| pin["by"] == by && pin["bytes"] == bytes && pin["pages"] == pages);
        found.unwrap_or_else(|| panic!("no {bytes} bytes by {by} in {pages} pages"))
    };
    assert!(
        pins.iter()
            .all(|pin| number(&pin["bytes"]) <= f64::from(256 << 20))
    );
    for pages in ["4 KiB", "huge"] {
        for bytes in [1 << 20, 16 << 20, 3840 * 2160 * 4] {
            for by in ["pinhole", "vb2-dma-sg"] {
                of(by, bytes, pages);
            }
        }
        for bytes in [1 << 20, 16 << 20, 3840 * 2160 * 4, 256 << 20] {
            for by in ["get_vaddr_frames", "vivid"] {
                of(by, bytes, pages);
            }
        }
    }
    for pin in pins {
        assert!(
            median(&pin["pin_us"]) > 0.0 && median(&pin["release_us"]) > 0.0,
            "{pin}"
        );
        let huge = number(&pin["huge_bytes"]);
        match pin["pages"].as_str().unwrap() {
            "4 KiB" => assert_eq!(huge, 0.0, "{pin}"),
            _ => assert!(huge >= number(&pin["bytes"]), "{pin}"),
        }
    }

    let jitter = all(bench, "jitter");
    let rates: Vec<_> = jitter.iter().map(|one| number(&one["rate"])).collect();
    assert_eq!(rates, [60.0, 240.0]);
    for one in jitter {
        let [median, p99, max] = ["median_us", "p99_us", "max_us"].map(|name| number(&one[name]));
        assert!(0.0 <= median && median <= p99 && p99 <= max, "{one}");
        // No frame is early on the whole, whatever the machine does.
        assert!(number(&one["came"]) <= number(&one["rate"]) * 1.01, "{one}");
        assert!(number(&one["came"]) > 0.0, "{one}");
    }

    let boot = &bench["boot"];
    assert!(
        median(&boot["bare_init"]) > median(&boot["bare_init_uptime"]),
        "{boot}"
    );
    assert!(
        median(&boot["first_frame"]) > median(&boot["init"]),
        "{boot}"
    );
    assert!(
        median(&boot["first_frame"]) > median(&boot["first_frame_uptime"]),
        "{boot}"
    );

    let cells = all(bench, "cells");
    let shares: f64 = cells.iter().map(|cell| number(&cell["share"])).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{cells:?}");
    for phase in ["process", "memory", "device", "pages", "contents", "judge"] {
        let one = cells.iter().find(|cell| cell["phase"] == phase).unwrap();
        assert!(number(&one["mean_us"]) > 0.0, "{one}");
    }
}
