//! Calls on a frame vector, over memory laid out for it.

mod counters;
mod device;
mod layout;
mod userfault;

use pinhole::agent::frame_vector::{FrameVector, FrameVectorAnswer, Outcome, Page, SHOWN, Step};

use crate::failure::Failure;
use device::{Device, Request};
use layout::Range;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Lays out memory, makes the calls, and clears up.
///
/// # Errors
///
/// [`Failure`] where the memory cannot be had, or the probe is not there.
pub fn run(request: &FrameVector) -> Result<FrameVectorAnswer, Failure> {
    let device = Device::open()?;
    let mut range = Range::new(&request.areas, &device)?;
    let mut tracked = Vec::new();
    let mut steps = Vec::new();
    for step in &request.steps {
        steps.push(take(step, &device, &range, &mut tracked)?);
    }
    // The pins first: what is pinned is not to be unmapped.
    drop(device);
    Ok(FrameVectorAnswer {
        steps,
        filled: range.finish()?,
    })
}

/// Takes a step. `tracked` are the PFNs to look at after it.
fn take(
    step: &Step,
    device: &Device,
    range: &Range,
    tracked: &mut Vec<u64>,
) -> Result<Outcome, Failure> {
    let call = match *step {
        Step::Create { frames } => device.call(Request::Create, 0, frames, false),
        Step::Get {
            page,
            frames,
            write,
        } => device.call(Request::Get, range.address(page), frames, write),
        Step::GetAt { address, frames } => device.call(Request::Get, address, frames, true),
        Step::Pages => device.call(Request::Pages, 0, 0, false),
        Step::Pfns => device.call(Request::Pfns, 0, 0, false),
        Step::ToPages => device.call(Request::ToPages, 0, 0, false),
        Step::ToPfns => device.call(Request::ToPfns, 0, 0, false),
        Step::Put => device.call(Request::Put, 0, 0, false),
        Step::Destroy => device.call(Request::Destroy, 0, 0, false),
        Step::Fill { page, frames } => {
            let pfn = range.pfn(page)?;
            if pfn == 0 {
                return Err(Failure::new(format!("page {page} has no PFN to fill in")));
            }
            device.call(Request::Fill, pfn, frames, false)
        }
        Step::Abandon => device.call(Request::Abandon, 0, 0, false),
        Step::Release => device.call(Request::Release, 0, 0, false),
        Step::Hoard { singles } => device.call(Request::Hoard, 0, singles, false),
    };
    let frames = device.frames()?;
    let process = (0..range.pages().min(SHOWN as u32))
        .map(|page| range.pfn(page))
        .collect::<Result<Vec<_>, _>>()?;
    if !frames.is_empty() {
        tracked.clone_from(&frames);
    }
    let looked_at = match tracked.is_empty() {
        true => &process,
        false => &*tracked,
    };
    let pages = looked_at
        .iter()
        .map(|&pfn| device.page(pfn))
        .collect::<Result<Vec<Page>, _>>()?;
    let (returned, refused, vector) = match call {
        Ok((returned, vector)) => (returned, None, vector),
        Err(errno) => (0, Some(errno), None),
    };
    Ok(Outcome {
        returned,
        refused,
        vector,
        frames,
        process,
        pages,
        pins: counters::pins()?,
        free_order: counters::free_order()?,
    })
}
