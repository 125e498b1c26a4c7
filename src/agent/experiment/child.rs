//! The experiment's own process: from the layout to the last look.

use std::process::ExitCode;
use std::time::Duration;

use pinhole::agent::cell::evidence::{Evidence, FrameSeen, Memory, Moment};
use pinhole::agent::cell::{Cell, FrameSize, PAGE};
use pinhole::dma::{DIGEST_BLOCK, Digest};
use pinhole::wire::buffer::{Buffer, MEMORY_USERPTR};

use super::device::Device;
use super::memory::{self, Layout, Want};
use super::scribe::Scribe;
use super::span::{Hands, Span};
use super::{Stop, pages};

/// How long a frame may take to come; a frame takes some milliseconds.
const FRAME_LIMIT: Duration = Duration::from_secs(4);

/// Runs the cell on standard input and tells what is seen.
pub fn main() -> ExitCode {
    let cell = match serde_json::from_reader(std::io::stdin().lock()) {
        Ok(cell) => cell,
        Err(error) => {
            eprintln!("no cell: {error}");
            return ExitCode::from(2);
        }
    };
    let scribe = Scribe::new();
    match run(&cell, &scribe) {
        Ok(()) => {}
        Err(Stop::Impossible(why)) => scribe.tell(&Evidence::Impossible(why)),
        Err(Stop::Failed(why)) => scribe.tell(&Evidence::Failed(why)),
    }
    ExitCode::SUCCESS
}

fn run(cell: &Cell, scribe: &Scribe) -> Result<(), Stop> {
    let size =
        FrameSize::new(cell.kind, cell.tail).map_err(|error| Stop::Failed(error.to_string()))?;
    if cell.offset as usize >= PAGE {
        return Err(Stop::Failed(format!(
            "the offset {} is no place in a page",
            cell.offset
        )));
    }
    let want = Want {
        offset: cell.offset as usize,
        length: size.bytes(),
    };
    let hands = Hands::new()?;
    let layout = memory::lay_out(cell.kind, want, &hands)?;
    scribe.tell(&Evidence::Memory(Memory {
        address: layout.buffer.start as u64,
        length: layout.buffer.len as u64,
        width: size.width,
        height: size.height,
    }));
    let experiment = Experiment {
        scribe,
        hands,
        layout,
    };
    experiment.look(Moment::LaidOut)?;
    let device = scribe
        .call("open", || Device::open(&cell.device))
        .map_err(|error| Stop::Failed(format!("open {}: {error}", cell.device)))?;
    experiment.capture(&device, size)
}

/// An experiment whose memory is laid out.
struct Experiment<'a> {
    scribe: &'a Scribe,
    hands: Hands,
    layout: Layout,
}

impl Experiment<'_> {
    fn capture(&self, device: &Device, size: FrameSize) -> Result<(), Stop> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| Stop::Failed(format!("{what}: {error}"))
        };
        let scribe = self.scribe;
        let sizeimage = scribe
            .call("VIDIOC_S_FMT", || device.set_format(size))
            .map_err(failed("VIDIOC_S_FMT"))?;
        if sizeimage != self.layout.buffer.len {
            return Err(Stop::Failed(format!(
                "the device makes frames of {sizeimage} bytes, not of {}",
                self.layout.buffer.len
            )));
        }
        scribe
            .call("VIDIOC_REQBUFS", || {
                device.request_buffers(1, MEMORY_USERPTR)
            })
            .map_err(failed("VIDIOC_REQBUFS"))?;
        // That it is refused may be just what is right.
        if scribe
            .call("VIDIOC_QBUF", || device.queue(0, self.layout.buffer))
            .is_ok()
        {
            self.stream(device)?;
        }
        self.tell_canaries();
        // Not every device lets go of a failed stream.
        let _ = scribe.call("VIDIOC_STREAMOFF", || device.stream_off());
        let _ = scribe.call("VIDIOC_REQBUFS", || {
            device.request_buffers(0, MEMORY_USERPTR)
        });
        self.scribe
            .tell(&Evidence::Counters(pages::counters(Moment::Stopped)?));
        Ok(())
    }

    /// From STREAMON to the frame.
    fn stream(&self, device: &Device) -> Result<(), Stop> {
        let scribe = self.scribe;
        if scribe
            .call("VIDIOC_STREAMON", || device.stream_on())
            .is_err()
        {
            return Ok(());
        }
        self.look(Moment::Queued)?;
        if scribe.call("poll", || device.wait(FRAME_LIMIT)).is_ok()
            && let Ok(buffer) = scribe.call("VIDIOC_DQBUF", || device.dequeue())
        {
            scribe.tell(&Evidence::Frame(self.frame(&buffer)));
        }
        self.look(Moment::Dequeued)
    }

    fn look(&self, moment: Moment) -> Result<(), Stop> {
        let pages = pages::look(moment, self.layout.buffer)?;
        self.scribe.tell(&Evidence::Pages(pages));
        self.scribe
            .tell(&Evidence::Counters(pages::counters(moment)?));
        Ok(())
    }

    fn frame(&self, buffer: &Buffer) -> FrameSeen {
        FrameSeen {
            index: buffer.index.get(),
            sequence: buffer.sequence.get(),
            flags: buffer.flags.get(),
            bytesused: buffer.bytesused.get(),
            digests: digests(&self.hands, self.layout.buffer),
        }
    }

    fn tell_canaries(&self) {
        for canary in self.layout.canaries(&self.hands) {
            self.scribe.tell(&Evidence::Canary(canary));
        }
    }
}

/// Digests of what a range holds, block by block.
fn digests(hands: &Hands, span: Span) -> Vec<Option<Digest>> {
    (0..span.len)
        .step_by(DIGEST_BLOCK)
        .map(|at| {
            let block = span.part(at, DIGEST_BLOCK.min(span.len - at));
            hands.read(block).ok().map(|bytes| Digest::of(&bytes))
        })
        .collect()
}
