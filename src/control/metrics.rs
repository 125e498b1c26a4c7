//! Statistics in the text format of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write;

use crate::card::statistics::Snapshot;

/// Returns the statistics in that format, each metric with its help and type.
/// Durations are in seconds, since Prometheus uses base units.
pub fn prometheus(statistics: &Snapshot) -> String {
    let mut text = String::new();
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
    for (name, kind, help, value) in [
        (
            "frames_total",
            "counter",
            "Frames written into guest memory.",
            *frames as f64,
        ),
        (
            "frames_dropped_total",
            "counter",
            "Frames that were due and not made: no buffer was queued, or the card was too slow.",
            *dropped as f64,
        ),
        (
            "buffer_errors_total",
            "counter",
            "Buffers given back with V4L2_BUF_FLAG_ERROR.",
            *errors as f64,
        ),
        (
            "dma_bytes_total",
            "counter",
            "Bytes written into guest memory.",
            *bytes as f64,
        ),
        (
            "dma_segments_total",
            "counter",
            "Scatter list segments written into.",
            *segments as f64,
        ),
        (
            "dma_segments_max",
            "gauge",
            "Most segments of one frame.",
            *most_segments as f64,
        ),
        (
            "buffers_queued",
            "gauge",
            "Buffers queued for a frame.",
            *queued as f64,
        ),
        (
            "events_pending",
            "gauge",
            "Events that the guest has not taken yet.",
            *events_pending as f64,
        ),
        ("sessions", "gauge", "Open sessions.", *sessions as f64),
        (
            "streaming",
            "gauge",
            "Whether a stream is on.",
            f64::from(u8::from(*streaming)),
        ),
        (
            "frame_rate",
            "gauge",
            "Frames a second, measured over the last two seconds.",
            *fps,
        ),
    ] {
        header(&mut text, name, kind, help);
        let _ = writeln!(text, "pinhole_{name} {value}");
    }
    header(&mut text, "format_info", "gauge", "The format that is set.");
    let _ = writeln!(
        text,
        "pinhole_format_info{{format=\"{}\",width=\"{width}\",height=\"{height}\"}} 1",
        escaped(format)
    );

    const DMA: &str = "dma_duration_seconds";
    header(
        &mut text,
        DMA,
        "histogram",
        "Time to draw a frame and write it into guest memory.",
    );
    let mut below = 0;
    for bucket in &dma.buckets {
        below += bucket.count;
        let bound = bucket.up_to_us as f64 / 1e6;
        let _ = writeln!(text, "pinhole_{DMA}_bucket{{le=\"{bound}\"}} {below}");
    }
    let count = dma.count();
    let _ = writeln!(text, "pinhole_{DMA}_bucket{{le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "pinhole_{DMA}_sum {}", dma.sum_us as f64 / 1e6);
    let _ = writeln!(text, "pinhole_{DMA}_count {count}");
    text
}

fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        text,
        "# HELP pinhole_{name} {help}\n# TYPE pinhole_{name} {kind}"
    );
}

/// Returns a label's value, escaped as the format requires.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::statistics::{Bucket, DmaTimes};

    fn bucket(up_to_us: u64, count: u64) -> Bucket {
        Bucket { up_to_us, count }
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let text = prometheus(&Snapshot {
            dma: DmaTimes {
                buckets: vec![bucket(16, 3), bucket(32, 0), bucket(1 << 20, 2)],
                longer: 4,
                sum_us: 1_500_000,
            },
            ..Snapshot::default()
        });
        let histogram: Vec<_> = text
            .lines()
            .skip_while(|line| !line.contains("TYPE pinhole_dma_duration_seconds"))
            .collect();
        assert_eq!(
            histogram,
            [
                "# TYPE pinhole_dma_duration_seconds histogram",
                "pinhole_dma_duration_seconds_bucket{le=\"0.000016\"} 3",
                "pinhole_dma_duration_seconds_bucket{le=\"0.000032\"} 3",
                "pinhole_dma_duration_seconds_bucket{le=\"1.048576\"} 5",
                "pinhole_dma_duration_seconds_bucket{le=\"+Inf\"} 9",
                "pinhole_dma_duration_seconds_sum 1.5",
                "pinhole_dma_duration_seconds_count 9",
            ]
        );
    }

    #[test]
    fn every_sample_has_its_help_and_type_before_it() {
        let text = prometheus(&Snapshot {
            frames: 7,
            format: "a\"b\\".into(),
            ..Snapshot::default()
        });
        let mut named = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                named = rest.split_once(' ').map(|(name, _)| (name, false));
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split_once(' ').map(|(name, _)| (name, true));
                assert_eq!(named.map(|(name, _)| (name, true)), name);
                named = name;
            } else {
                let (name, typed) = named.expect("a header");
                assert!(typed && line.starts_with(name), "{line}");
                let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
                assert!(matches!(value, Some(Ok(_))), "{line}");
            }
        }
        assert!(text.contains("\npinhole_frames_total 7\n"), "{text}");
        assert!(text.contains(r#"{format="a\"b\\","#), "{text}");
    }
}
