//! Memory that was swapped out, and waiting for what the kernel does in its own
//! time.

use std::io;
use std::time::{Duration, Instant};

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{Moment, PagesSeen};
use crate::agent::cell::pagemap::is_out;

use super::layout::{Layout, Want};
use super::{anonymous, shared};
use crate::guest::cell::span::{self, MemoryAccess, Span, check};
use crate::guest::cell::{Stop, pagemap, patience, setup};

/// How long the kernel may take to swap out or merge a buffer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Lays out memory that was swapped out.
pub fn swapped(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    setup::swap()?;
    let layout = anonymous::touched(want, access)?;
    let pages = layout.buffer.pages();
    out(layout, pages, access)
}

/// Lays out shared memory that was swapped out. Its pages are the file's: it is the
/// file that knows where they are, and the page table has nothing.
pub fn memfd(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    setup::swap()?;
    let mut layout = shared::memfd(want, access)?;
    layout.note_canaries(access);
    layout.note_content(access);
    file_out(layout.buffer.pages())?;
    Ok(layout)
}

/// Swaps out pages of a file in memory, which the process has mapped. There must be swap.
pub fn file_out(pages: Span) -> Result<(), Stop> {
    let begin = Instant::now();
    while resident(pages)? > 0 {
        span::advise(pages, libc::MADV_PAGEOUT)?;
        if begin.elapsed() > patience::of(PATIENCE) {
            return Err(Stop::Impossible(
                "the kernel did not swap the file out".into(),
            ));
        }
    }
    Ok(())
}

/// Returns how many of those pages are in memory, mapped or not; mincore(2).
fn resident(pages: Span) -> io::Result<usize> {
    let mut here = vec![0u8; pages.len / PAGE];
    // SAFETY: the vector has a byte for each page, and lives as long as the call.
    check(unsafe { libc::mincore(pages.start as *mut _, pages.len, here.as_mut_ptr()) })?;
    Ok(here.iter().filter(|page| **page & 1 != 0).count())
}

/// Swaps out `pages`, which are all of the buffer's at least. There must be swap.
pub fn out(mut layout: Layout, pages: Span, access: &MemoryAccess) -> Result<Layout, Stop> {
    // The memory is read before it is swapped out; reading later would swap it
    // in.
    layout.note_canaries(access);
    layout.note_content(access);
    until(
        layout.buffer,
        "the kernel did not swap the buffer out",
        || span::advise(pages, libc::MADV_PAGEOUT),
        |seen| seen.pagemap.iter().all(|entry| is_out(*entry)),
    )?;
    Ok(layout)
}

/// Waits until the pages satisfy `reached`; calls `push` before each check.
pub fn until(
    buffer: Span,
    otherwise: &str,
    mut push: impl FnMut() -> io::Result<()>,
    reached: impl Fn(&PagesSeen) -> bool,
) -> Result<(), Stop> {
    let begin = Instant::now();
    loop {
        push().map_err(|error| Stop::Impossible(format!("{otherwise}: {error}")))?;
        if reached(&pagemap::look(Moment::LaidOut, buffer)?) {
            return Ok(());
        }
        if begin.elapsed() > patience::of(PATIENCE) {
            return Err(Stop::Impossible(otherwise.into()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
