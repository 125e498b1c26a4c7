//! Pinning memory, and releasing it.
//!
//! The longest frame of the card bounds what its driver pins: 3840x2160 pixels
//! of four bytes, 31.6 MiB. The frame vector's functions, and vivid, which pins
//! whatever the application claims, go on from there.

use serde::Serialize;

use super::BenchError;
use super::guest::{BenchGuest, CARD, VIVID};
use super::spread::Spread;
use crate::agent::bench::{PageSize, Pin, Pinner};
use crate::agent::protocol::Write;
use crate::rig::matrix::Pinning as Model;
use crate::vm::progress::Step;

const MIB: u64 = 1 << 20;

/// The sizes in bytes, with the card's frame of that size, which has four bytes
/// a pixel.
const SIZES: [(u64, Option<(u32, u32)>); 5] = [
    (MIB, Some((512, 512))),
    (16 * MIB, Some((2048, 2048))),
    (3840 * 2160 * 4, Some((3840, 2160))),
    (256 * MIB, None),
    (1024 * MIB, None),
];

/// Memory that the guest needs for everything else, in bytes: vivid's buffers
/// and a kernel with its caches among it.
const REST: u64 = 320 * MIB;

/// The driver's parameter that has the kernel's own functions pin.
const USERPTR: &str = "/sys/module/pinhole/parameters/userptr";

/// How memory was pinned.
#[derive(Debug, Clone, Serialize)]
pub struct Pinning {
    /// What pinned it: `get_vaddr_frames` alone, or a VIDIOC_QBUF: `pinhole`,
    /// `vb2-dma-sg`, which is the same driver with the kernel's own functions,
    /// or `vivid`.
    pub by: &'static str,
    /// Size in bytes.
    pub bytes: u64,
    /// The pages that the memory consists of.
    pub pages: &'static str,
    /// Size in bytes of what was in huge pages.
    pub huge_bytes: u64,
    /// Time to pin it, in microseconds.
    pub pin_us: Spread,
    /// Time to release it, in microseconds.
    pub release_us: Spread,
}

/// Measures all sizes that the guest's memory has room for.
pub fn measure(guest: &mut BenchGuest, runs: u32, step: &Step) -> Result<Vec<Pinning>, BenchError> {
    guest.set_vivid((1280, 720))?;
    let room = (u64::from(guest.testbed().memory_mib) * MIB).saturating_sub(REST);
    let is_ours = guest.testbed().driver == "pinhole";
    let mut all = Vec::new();
    for (bytes, frame) in SIZES.into_iter().filter(|(bytes, _)| *bytes <= room) {
        for pages in PageSize::ALL {
            let mut add = |by: &'static str, pinner| {
                step.update(&format!("{by}, {} KiB, {}", bytes >> 10, pages.name()));
                let answer = guest.pin(Pin {
                    by: pinner,
                    bytes,
                    pages,
                    runs,
                    limit_ms: 0,
                })?;
                let us = |times: Vec<u64>| Spread::of(times.into_iter().map(|ns| ns as f64 / 1e3));
                all.push(Pinning {
                    by,
                    bytes,
                    pages: pages.name(),
                    huge_bytes: answer.huge_bytes,
                    pin_us: us(answer.pin_ns),
                    release_us: us(answer.release_ns),
                });
                Ok::<(), BenchError>(())
            };
            add("get_vaddr_frames", Pinner::FrameVector)?;
            if let Some(size) = frame {
                add("pinhole", device(CARD, "XR24", size))?;
                if is_ours {
                    set_userptr(guest, Model::Sg)?;
                    add("vb2-dma-sg", device(CARD, "XR24", size))?;
                    set_userptr(guest, Model::FrameVector)?;
                }
            }
            // Its frame is the smallest, and what it pins is what is claimed.
            add("vivid", device(VIVID, "GREY", (320, 180)))?;
        }
    }
    Ok(all)
}

fn device(path: &str, format: &str, (width, height): (u32, u32)) -> Pinner {
    Pinner::Device {
        path: path.to_owned(),
        format: format.to_owned(),
        width,
        height,
    }
}

fn set_userptr(guest: &BenchGuest, model: Model) -> Result<(), BenchError> {
    let write = Write {
        path: USERPTR.to_owned(),
        text: model.name().to_owned(),
        append: false,
    };
    guest.ask("switch the driver's way of pinning", write)
}
