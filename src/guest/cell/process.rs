//! The cell's own process: from its memory to the transfer.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::agent::cell::evidence::{Evidence, Moment};
use crate::agent::cell::phases::Phase;
use crate::agent::cell::{Cell, FrameSize, Hazard, PAGE};
use crate::card::Direction;

use super::buffer::CellBuffer;
use super::evidence_writer::EvidenceWriter;
use super::layouts::Lengths;
use super::memory::layout::Want;
use super::span::MemoryAccess;
use super::transfer::Transfer;
use super::{
    Stop, any_driver, contention, fail_nth, hazards, layouts, memory, pagemap, patience, setup,
};

/// Argument that makes this program a cell's process.
pub const ARGUMENT: &str = "cell";

/// Runs the cell on standard input and writes its evidence.
pub fn main() -> ExitCode {
    let cell: Cell = match serde_json::from_reader(io::stdin().lock()) {
        Ok(cell) => cell,
        Err(error) => {
            eprintln!("no cell: {error}");
            return ExitCode::from(2);
        }
    };
    let writer = EvidenceWriter::new();
    patience::set(cell.patience);
    setup::limit_to(cell.scope);
    match run(&cell, &writer) {
        Ok(()) => {}
        Err(Stop::Impossible(why)) => writer.write(&Evidence::Impossible(why)),
        Err(Stop::Failed(why)) => writer.write(&Evidence::Failed(why)),
    }
    writer.write_phases();
    ExitCode::SUCCESS
}

fn run(cell: &Cell, writer: &EvidenceWriter) -> Result<(), Stop> {
    let (size, lengths) = frame(cell)?;
    if cell.offset as usize >= PAGE {
        return Err(Stop::Failed(format!(
            "the offset {} is no place in a page",
            cell.offset
        )));
    }
    if !cell.flow.has(cell.hazard) {
        let what = format!("a mem-to-mem card has no cells of {}", cell.hazard);
        return Err(Stop::Failed(what));
    }
    if let Some(schedule) = cell.schedule
        && let Some(why) = cell.flow.without_schedules(cell.kind, cell.hazard)
    {
        let what = format!("{} has no schedule {schedule}: {why}", cell.hazard);
        return Err(Stop::Failed(what));
    }
    let want = Want {
        offset: cell.offset as usize,
        length: lengths.read,
        roomy: matches!(cell.hazard, Hazard::MadviseCollapse | Hazard::Khugepaged),
        direction: cell.flow.subject(),
    };
    if cell.subject.is_none() && !Path::new(pagemap::PAGEMAP).exists() {
        return Err(Stop::Impossible(
            "the kernel tells of no process's pages, it has no CONFIG_PROC_PAGE_MONITOR".into(),
        ));
    }
    writer.spend(Phase::Hazard, || hazards::prepare(cell.hazard))?;
    let begun = || pagemap::counters(Moment::Begun);
    let begun = writer.spend(Phase::Pages, begun)?;
    writer.write(&Evidence::Counters(begun));
    let access = MemoryAccess::new()?;
    let layouts = writer.spend(Phase::Memory, || {
        layouts::lay_out(cell, want, lengths, &access)
    })?;
    let mut buffers = Vec::new();
    for (number, (end, layout)) in cell.ends().iter().zip(layouts).enumerate() {
        let buffer = CellBuffer::new(number, *end, layout, writer, &access)?;
        let (width, height) = match &cell.subject {
            Some(subject) => {
                let of_end = subject.of(end.direction);
                (of_end.width, of_end.height)
            }
            None => (size.width, size.height),
        };
        buffer.tell_memory(width, height);
        buffers.push(buffer);
    }
    if let Some(subject) = &cell.subject {
        let transfer = any_driver::Transfer::new((cell, subject), writer, &access, buffers);
        return transfer?.run();
    }
    let mut transfer = Transfer::new(cell, writer, &access, buffers);
    if cell.hazard == Hazard::MmapContention {
        for _ in 1..contention::BUFFERS {
            let other = memory::lay_out(cell.kind, want, &access)?;
            transfer.others.push(other);
        }
    }
    transfer.look(Moment::LaidOut)?;
    if cell.hazard == Hazard::FailNth {
        fail_nth::run(&fail_nth::CellContext {
            cell,
            writer,
            access: &access,
            want,
            size,
            layout: &transfer.buffers[0].layout,
        })?;
    }
    transfer.run(size)
}

/// Returns the size of the cell's frame in pixels, and the lengths of its buffers in
/// bytes.
fn frame(cell: &Cell) -> Result<(FrameSize, Lengths), Stop> {
    let Some(subject) = &cell.subject else {
        let size = FrameSize::new(cell.kind, cell.tail);
        let size = size.map_err(|error| Stop::Failed(error.to_string()))?;
        let (read, written) = (size.bytes(), size.bytes());
        return Ok((size, Lengths { read, written }));
    };
    any_driver::check(cell)?;
    let size = FrameSize {
        width: subject.width,
        height: subject.height,
    };
    let length = |direction| subject.of(direction).sizeimage as usize;
    Ok((
        size,
        Lengths {
            read: length(Direction::Output),
            written: length(Direction::Capture),
        },
    ))
}
