//! Measurements as tables for a terminal.

use comfy_table::{CellAlignment, Table, presets};

use crate::rig::bench::Bench;
use crate::rig::bench::boot::Boot;
use crate::rig::bench::cells::CellPhase;
use crate::rig::bench::jitter::Jitter;
use crate::rig::bench::pins::Pinning;
use crate::rig::bench::spread::Spread;
use crate::rig::bench::streams::Streaming;

/// Returns the machine, and a table for each thing that was measured.
pub fn tables(bench: &Bench) -> String {
    let mut text = format!(
        "{} ({}): QEMU {}, {}, {} processors, {} MiB\n\
         on {} of {}, load {:.2}; medians of {}\n",
        bench.kernel,
        bench.release,
        bench.qemu,
        bench.accelerator,
        bench.cpus,
        bench.memory_mib,
        bench.host.cpus,
        bench.host.processor,
        bench.host.load,
        bench.runs
    );
    let mut add = |what: &str, table: Table| {
        text.push_str(&format!("\n{what}\n{}\n", table.trim_fmt()));
    };
    if !bench.streams.is_empty() {
        add(
            "Streams: frames a second, and the guest's processor time a frame",
            streams(&bench.streams),
        );
    }
    if !bench.pins.is_empty() {
        add("Pins: from VIDIOC_QBUF to its end", pins(&bench.pins));
    }
    if !bench.jitter.is_empty() {
        add(
            "Timestamps: how far the time between frames is from the period",
            jitter(&bench.jitter),
        );
    }
    if let Some(one) = &bench.boot {
        add("Boot: from QEMU's start", boot(one));
    }
    if let Some(first) = bench.cells.first() {
        add(
            &format!(
                "Cells: where the time of a cell of the matrix goes, mean of {}",
                first.cells
            ),
            cells(&bench.cells),
        );
    }
    text.truncate(text.trim_end().len());
    text
}

/// Returns an empty table, in which the columns from `numbers` on are numbers.
fn table<const N: usize>(header: [&str; N], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A ratio with the word for it; nothing if there is nothing to compare to.
fn ratio(value: f64, to: Option<f64>) -> String {
    match to {
        Some(to) if to > 0.0 => format!("{:.2}", value / to),
        _ => String::new(),
    }
}

fn streams(all: &[Streaming]) -> Table {
    let header = [
        "frame",
        "memory",
        "device",
        "fps",
        "of vivid's",
        "us a frame",
        "of vivid's",
        "dropped",
    ];
    let mut table = table(header, 3);
    for one in all {
        let vivid = all
            .iter()
            .find(|other| other.device == "vivid" && one.is_beside(other))
            .filter(|_| one.device != "vivid");
        table.add_row([
            format!("{}x{} {}", one.width, one.height, one.format),
            one.memory.to_owned(),
            one.device.to_owned(),
            format!("{:.1}", one.rate.median),
            ratio(one.rate.median, vivid.map(|vivid| vivid.rate.median)),
            format!("{:.0}", one.busy_us.median),
            ratio(one.busy_us.median, vivid.map(|vivid| vivid.busy_us.median)),
            one.dropped.to_string(),
        ]);
    }
    table
}

fn pins(all: &[Pinning]) -> Table {
    let header = [
        "memory",
        "pages",
        "by",
        "pin us",
        "of get_vaddr_frames",
        "of vivid's",
        "release us",
        "of vivid's",
        "in huge pages",
    ];
    let mut table = table(header, 3);
    for one in all {
        let beside = |by: &str| {
            all.iter()
                .find(|other| (other.by, other.bytes, other.pages) == (by, one.bytes, one.pages))
                .filter(|_| one.by != by)
        };
        let (alone, vivid) = (beside("get_vaddr_frames"), beside("vivid"));
        table.add_row([
            format!("{:.1} MiB", one.bytes as f64 / 1_048_576.0),
            one.pages.to_owned(),
            one.by.to_owned(),
            format!("{:.0}", one.pin_us.median),
            ratio(one.pin_us.median, alone.map(|other| other.pin_us.median)),
            ratio(one.pin_us.median, vivid.map(|other| other.pin_us.median)),
            format!("{:.0}", one.release_us.median),
            ratio(
                one.release_us.median,
                vivid.map(|other| other.release_us.median),
            ),
            // A huge page may be longer than what was asked for.
            format!(
                "{:.0} %",
                100.0 * one.huge_bytes.min(one.bytes) as f64 / one.bytes as f64
            ),
        ]);
    }
    table
}

fn jitter(all: &[Jitter]) -> Table {
    let header = [
        "asked for",
        "came",
        "median us",
        "99 % us",
        "most us",
        "99 % of the period",
        "dropped",
    ];
    let mut table = table(header, 0);
    for one in all {
        let period_us = 1e6 / f64::from(one.rate);
        table.add_row([
            one.rate.to_string(),
            format!("{:.2}", one.came),
            format!("{:.0}", one.median_us),
            format!("{:.0}", one.p99_us),
            format!("{:.0}", one.max_us),
            format!("{:.3}", one.p99_us / period_us),
            one.dropped.to_string(),
        ]);
    }
    table
}

fn boot(boot: &Boot) -> Table {
    let mut table = table(["", "s", "least", "most", "of the bare init"], 1);
    let rows: [(&str, &Spread, &Spread); 5] = [
        (
            "to the bare kernel's init",
            &boot.bare_init,
            &boot.bare_init,
        ),
        ("to the init, with the card", &boot.init, &boot.bare_init),
        ("to the first frame", &boot.first_frame, &boot.bare_init),
        (
            "to the bare kernel's init, by the guest's clock",
            &boot.bare_init_uptime,
            &boot.bare_init_uptime,
        ),
        (
            "to the first frame, by the guest's clock",
            &boot.first_frame_uptime,
            &boot.bare_init_uptime,
        ),
    ];
    for (what, time, bare) in rows {
        table.add_row([
            what.to_owned(),
            format!("{:.2}", time.median),
            format!("{:.2}", time.min),
            format!("{:.2}", time.max),
            ratio(time.median, Some(bare.median)),
        ]);
    }
    table
}

fn cells(all: &[CellPhase]) -> Table {
    let mut table = table(["phase", "", "ms a cell", "share"], 2);
    for one in all {
        table.add_row([
            one.phase.to_string(),
            one.what.to_owned(),
            format!("{:.1}", one.mean_us / 1e3),
            format!("{:.1} %", 100.0 * one.share),
        ]);
    }
    let sum: f64 = all.iter().map(|one| one.mean_us).sum();
    table.add_row([
        "all".to_owned(),
        String::new(),
        format!("{:.1}", sum / 1e3),
        String::new(),
    ]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::phases::Phase;
    use crate::rig::bench::Host;

    fn bench() -> Bench {
        let stream = |device, rate| Streaming {
            device,
            memory: "userptr",
            format: "YUYV",
            width: 1280,
            height: 720,
            rate: Spread::of([rate]),
            busy_us: Spread::of([1000.0]),
            dropped: 0,
        };
        let pin = |by, us| Pinning {
            by,
            bytes: 1 << 20,
            pages: "huge",
            huge_bytes: 1 << 19,
            pin_us: Spread::of([us]),
            release_us: Spread::of([us / 2.0]),
        };
        Bench {
            kernel: "trixie".into(),
            release: "6.12".into(),
            qemu: "11.1".into(),
            accelerator: "tcg".into(),
            cpus: 2,
            memory_mib: 1024,
            host: Host {
                processor: "Some".into(),
                cpus: 2,
                load: 0.5,
            },
            runs: 1,
            streams: vec![stream("pinhole", 240.0), stream("vivid", 60.0)],
            pins: vec![
                pin("get_vaddr_frames", 50.0),
                pin("pinhole", 60.0),
                pin("vivid", 120.0),
            ],
            jitter: Vec::new(),
            boot: None,
            cells: vec![CellPhase {
                phase: Phase::Pages,
                what: Phase::Pages.what(),
                cells: 7,
                mean_us: 1500.0,
                share: 1.0,
            }],
        }
    }

    #[test]
    fn ratios_stand_beside_the_figures() {
        let text = tables(&bench());
        let row = |words: &[&str]| {
            text.lines()
                .any(|line| line.split_whitespace().collect::<Vec<_>>() == words)
        };
        assert!(
            row(&[
                "1280x720", "YUYV", "userptr", "pinhole", "240.0", "4.00", "1000", "1.00", "0"
            ]),
            "{text}"
        );
        assert!(
            row(&[
                "1.0", "MiB", "huge", "pinhole", "60", "1.20", "0.50", "30", "0.50", "50", "%"
            ]),
            "{text}"
        );
        assert!(
            text.contains("mean of 7") && text.contains("load 0.50"),
            "{text}"
        );
        // What was not measured has no table.
        assert!(
            !text.contains("Boot") && !text.contains("Timestamps"),
            "{text}"
        );
    }
}
