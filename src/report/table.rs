//! A stream, captured or played, as a short table for a terminal.

use comfy_table::{Table, presets};

use crate::rig::capture::outcome::{Done, Judgement, Outcome};

/// Returns `outcome` as rows of a name and a value, with the verdict below
/// them, and every reason if it is a failure.
pub fn capture(outcome: &Outcome) -> String {
    let Outcome {
        kernel,
        qemu,
        stream,
        frames,
        dma,
        pins,
        trace,
        timing,
        ..
    } = outcome;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("kernel", format!("{} ({})", kernel.release, kernel.id));
    row(
        "machine",
        format!(
            "QEMU {}, {}, {} with virtio id {}",
            qemu.version, qemu.accelerator, qemu.device, qemu.virtio_id
        ),
    );
    let rate = stream
        .fps_measured
        .map_or("rate not known".to_owned(), |fps| format!("{fps:.2} fps"));
    let asked = stream
        .fps_requested
        .map_or("max".to_owned(), |fps| fps.to_string());
    row(
        "stream",
        format!(
            "{}x{} {} by {}, {rate} ({asked} asked)",
            stream.width,
            stream.height,
            stream.format,
            stream.memory.name()
        ),
    );
    row(
        "frames",
        format!(
            "{} of {} {}, {} verified, {} mismatched, {} dropped",
            frames.done.count(),
            frames.requested,
            frames.done.verb(),
            frames.verified,
            frames.mismatched,
            frames.dropped
        ),
    );
    row(
        "dma",
        format!(
            "{:.1} MB, up to {} segments a buffer, up to {} pages pinned",
            dma.bytes as f64 / 1e6,
            dma.segments_max,
            dma.pinned_pages_max
        ),
    );
    row(
        "pins",
        format!("{} before, {} after", pins.before, pins.after),
    );
    let probe = &trace.get_vaddr_frames;
    row(
        "get_vaddr_frames",
        format!("{} calls, {} pages", probe.calls, probe.pages),
    );
    row(
        "kernel log",
        match outcome.kernel_log.warnings.len() {
            0 => "clean".to_owned(),
            count => format!(
                "{count} warnings, the first: {}",
                outcome.kernel_log.warnings[0]
            ),
        },
    );
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1e3);
    let first = timing.first_frame_ms.map_or("never".to_owned(), seconds);
    row(
        "time",
        format!(
            "boot {}, first frame {first}, all {}",
            seconds(timing.boot_ms),
            seconds(timing.total_ms)
        ),
    );

    let mut text = table.trim_fmt();
    text.push_str(match (outcome.verdict, frames.done) {
        (Judgement::Verified, Done::Captured(_)) => {
            "\n\nVERIFIED: every byte that the application read is what the card wrote."
        }
        (Judgement::Verified, Done::Played(_)) => {
            "\n\nVERIFIED: every byte that the application played is what the card read."
        }
        (Judgement::Failed, _) => "\n\nFAILED:",
    });
    for reason in &outcome.reasons {
        text.push_str("\n  - ");
        text.push_str(reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::capture::outcome::tests::clean;

    #[test]
    fn a_person_sees_the_verdict_and_its_reasons() {
        let mut outcome = clean(60);
        outcome.judge();
        let good = capture(&outcome);
        assert!(
            good.contains("60 of 60 captured, 60 verified") && good.contains("VERIFIED"),
            "{good}"
        );

        outcome.frames.mismatched = 1;
        outcome.judge();
        let bad = capture(&outcome);
        assert!(
            bad.contains("FAILED:\n  - 1 of 60 frames are not what the card wrote"),
            "{bad}"
        );
        assert!(!bad.contains("VERIFIED"), "{bad}");

        let mut outcome = clean(60);
        outcome.frames.done = Done::Played(60);
        outcome.judge();
        let played = capture(&outcome);
        assert!(
            played.contains("60 of 60 played") && played.contains("played is what the card read."),
            "{played}"
        );
    }
}
