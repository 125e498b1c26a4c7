//! Memory that a device has taken to itself. Who accesses it, or pins it, brings it
//! back.

use super::layout::{Layout, Want};
use super::{anonymous, swap};
use crate::agent::cell::pagemap::is_out;
use crate::guest::cell::Stop;
use crate::guest::cell::device_mirror::{DeviceMirror, Taking};
use crate::guest::cell::span::MemoryAccess;

/// Lays out memory whose content is in the device's own.
pub fn private(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    taken(Taking::Private, want, access)
}

/// Lays out memory that the device alone may access.
pub fn exclusive(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    taken(Taking::Exclusive, want, access)
}

fn taken(taking: Taking, want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mut layout = anonymous::touched(want, access)?;
    // What is read later comes back.
    layout.note_canaries(access);
    layout.note_content(access);
    let (mirror, pages) = (DeviceMirror::open()?, layout.buffer.pages());
    swap::until(
        layout.buffer,
        "the device did not take the memory",
        || mirror.take(pages, taking),
        |seen| seen.pagemap.iter().all(|entry| is_out(*entry)),
    )?;
    Ok(layout.keeping(mirror))
}
