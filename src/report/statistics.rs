//! The statistics of a running card, for a terminal.

use comfy_table::{Table, presets};

use crate::card::statistics::Snapshot;

/// Returns the statistics as rows of a name and a value. Of the histogram, only
/// buckets with a count are shown.
pub fn stats(statistics: &Snapshot) -> String {
    let Snapshot {
        frames,
        dropped,
        errors,
        bytes,
        segments,
        most_segments,
        dma,
        queued,
        events_pending,
        sessions,
        streaming,
        format,
        width,
        height,
        fps,
    } = statistics;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    let state = if *streaming { "on" } else { "off" };
    row(
        "stream",
        format!("{state}, {width}x{height} {format}, {fps:.2} fps"),
    );
    row("sessions", sessions.to_string());
    row(
        "queue",
        format!("{queued} buffers, {events_pending} events not taken"),
    );
    row(
        "frames",
        format!("{frames}, {dropped} dropped, {errors} in error"),
    );
    row(
        "dma",
        format!(
            "{:.1} MB in {segments} segments, up to {most_segments} a frame",
            *bytes as f64 / 1e6
        ),
    );
    let count = dma.count();
    if count > 0 {
        let mean = dma.sum_us as f64 / count as f64;
        row("time a frame", format!("{mean:.0} us on average"));
        let bounded = dma.buckets.iter().map(|bucket| {
            let bound = format!("up to {} us", bucket.up_to_us);
            (bound, bucket.count)
        });
        for (bound, count) in bounded.chain([("longer".to_owned(), dma.longer)]) {
            if count > 0 {
                row("", format!("{bound}: {count}"));
            }
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::statistics::{Bucket, DmaTimes};

    #[test]
    fn a_person_sees_only_the_buckets_that_hold_something() {
        let text = stats(&Snapshot {
            frames: 3,
            dropped: 1,
            streaming: true,
            format: "NV12".into(),
            dma: DmaTimes {
                buckets: [(16, 0), (32, 2)]
                    .map(|(up_to_us, count)| Bucket { up_to_us, count })
                    .to_vec(),
                longer: 1,
                sum_us: 300,
            },
            ..Snapshot::default()
        });
        for part in [
            "3, 1 dropped",
            "on, 0x0 NV12",
            "100 us",
            "up to 32 us: 2",
            "longer: 1",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("16 us"), "{text}");
    }
}
