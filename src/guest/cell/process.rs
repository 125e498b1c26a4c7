//! The cell's own process: from its memory to the transfer.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::agent::cell::evidence::{Evidence, Memory, Moment};
use crate::agent::cell::phases::Phase;
use crate::agent::cell::{Cell, FrameSize, Hazard, PAGE};

use super::buffer::CellBuffer;
use super::evidence_writer::EvidenceWriter;
use super::memory::layout::Want;
use super::span::MemoryAccess;
use super::transfer::Transfer;
use super::{Stop, contention, fail_nth, hazards, layouts, memory, pagemap, patience};

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
    match run(&cell, &writer) {
        Ok(()) => {}
        Err(Stop::Impossible(why)) => writer.write(&Evidence::Impossible(why)),
        Err(Stop::Failed(why)) => writer.write(&Evidence::Failed(why)),
    }
    writer.write_phases();
    ExitCode::SUCCESS
}

fn run(cell: &Cell, writer: &EvidenceWriter) -> Result<(), Stop> {
    let size =
        FrameSize::new(cell.kind, cell.tail).map_err(|error| Stop::Failed(error.to_string()))?;
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
    let want = Want {
        offset: cell.offset as usize,
        length: size.bytes(),
        roomy: matches!(cell.hazard, Hazard::MadviseCollapse | Hazard::Khugepaged),
        direction: cell.flow.subject(),
    };
    if !Path::new(pagemap::PAGEMAP).exists() {
        return Err(Stop::Impossible(
            "the kernel tells of no process's pages, it has no CONFIG_PROC_PAGE_MONITOR".into(),
        ));
    }
    writer.spend(Phase::Hazard, || hazards::prepare(cell.hazard))?;
    let access = MemoryAccess::new()?;
    let layouts = writer.spend(Phase::Memory, || layouts::lay_out(cell, want, &access))?;
    let mut buffers = Vec::new();
    for (number, (end, layout)) in cell.flow.ends().iter().zip(layouts).enumerate() {
        let span = layout.buffer;
        let buffer = CellBuffer::new(number, *end, layout, writer, &access)?;
        buffer.write(Evidence::Memory(Memory {
            address: span.start as u64,
            length: span.len as u64,
            width: size.width,
            height: size.height,
        }));
        buffers.push(buffer);
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
