//! The evidence of a device that has no witness: what it left of a buffer as it was,
//! and when its buffers came back.

use maud::{Markup, html};

use crate::agent::cell::CellAnswer;
use crate::agent::cell::evidence::{FrameSeen, ReturnSeen};
use crate::rig::matrix::CellName;
use crate::rig::matrix::outcome::KernelOutcome;
use crate::wire::buffer::BUF_FLAG_ERROR;

/// The node that is judged if none is named.
const USUAL: &str = "/dev/video0";

/// Maximal number of a list's elements that are written out.
const MOST: usize = 12;

/// Returns the command that runs a cell again.
pub fn again(outcome: &KernelOutcome, cell: &CellName) -> String {
    format!("{} --cell {cell}", command(outcome))
}

/// Returns the command that runs cells of that kernel and device.
pub fn command(outcome: &KernelOutcome) -> String {
    let Some(device) = &outcome.device else {
        return format!("pinhole matrix --kernel {}", outcome.kernel);
    };
    let mut command = "pinhole judge".to_owned();
    if !outcome.is_here() {
        command += &format!(" --kernel {}", outcome.kernel);
    }
    if device.usb_camera {
        command += " --usb-camera";
    }
    if let Some((module, arguments)) = &device.module {
        command += &format!(" --module {module}");
        if !arguments.is_empty() {
            command += &format!(" --module-args \"{arguments}\"");
        }
    }
    if device.node != USUAL {
        command += &format!(" {}", device.node);
    }
    command
}

/// Returns what was seen of the buffers of such a device.
pub fn facts(answer: &CellAnswer) -> Markup {
    html! {
        @for frame in answer.frames.iter().take(MOST) { (touched(frame)) }
        @if !answer.returns.is_empty() {
            dt { "came back" }
            dd.n {
                @for (number, seen) in answer.returns.iter().take(MOST).enumerate() {
                    @if number > 0 { ", " }
                    (returned(seen))
                }
                @if answer.returns.len() > MOST { ", and " (answer.returns.len() - MOST) " more" }
            }
        }
    }
}

/// Returns what of a frame's buffer is as it was before, and what behind it is not.
fn touched(frame: &FrameSeen) -> Markup {
    html! {
        @if let Some(touched) = &frame.touched {
            dt { "written" }
            dd {
                @if touched.left_bytes == 0 { "all " (frame.bytesused) " bytes" }
                @else {
                    span.bad { (touched.left_bytes) " of " (frame.bytesused) " bytes are as they were" }
                    (runs(&touched.left))
                }
                @if touched.beyond_bytes > 0 {
                    "; " span.bad { (touched.beyond_bytes) " bytes behind them have changed" }
                    (runs(&touched.beyond))
                }
            }
        }
    }
}

/// Returns runs of bytes, each as its offset and its length.
fn runs(runs: &[(u64, u64)]) -> Markup {
    html! {
        @if !runs.is_empty() { ":" }
        span.n {
            @for (at, length) in runs.iter().take(MOST) { " " (at) "+" (length) }
            @if runs.len() > MOST { " and more" }
        }
    }
}

fn returned(seen: &ReturnSeen) -> Markup {
    html! {
        "buffer " (seen.index) " with frame " (seen.sequence)
        @if seen.flags & BUF_FLAG_ERROR != 0 { " " b { "in error" } }
        " (" (seen.bytesused) " bytes, " (seen.timestamp_us) " us)"
    }
}
