//! The DMA mappings of the card's device, if the kernel tracks them
//! (CONFIG_DMA_API_DEBUG, kernel/dma/debug.c).
//!
//! A checked kernel needs some tenths of a second to list all mappings, because
//! it locks each of 16384 buckets. It reports their number at once, so before
//! and after a cell the list is only read if the number has changed.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::agent::cell::evidence::Moment;
use crate::agent::cell::instruments::{Mapping, MappingsSeen};

use super::device::sysfs_of;

const DEBUG: &str = "/sys/kernel/debug/dma-api";

/// Returns whether the kernel tracks mappings, and warns of those that it takes for
/// mistakes.
pub fn are_tracked() -> bool {
    count().is_some()
}

/// The mappings of the card's device between two cells.
pub struct Before {
    device: Device,
    /// Number of mappings of all devices together.
    count: u64,
    mappings: Vec<Mapping>,
}

/// The mappings after the previous cell.
static LAST: Mutex<Option<Before>> = Mutex::new(None);

impl Before {
    /// Returns the mappings of the device at `path` before a cell; `None` if
    /// the kernel does not report them.
    pub fn look(path: &str) -> Option<Self> {
        let count = count()?;
        let device = Device::of(path)?;
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mappings = match last {
            Some(last) if last.count == count && last.device == device => last.mappings,
            _ => device.list()?,
        };
        Some(Self {
            device,
            count,
            mappings,
        })
    }

    /// Returns the difference of the mappings after the cell.
    pub fn after(self) -> Option<MappingsSeen> {
        let count = count()?;
        let mappings = match count == self.count {
            true => self.mappings.clone(),
            false => self.device.list()?,
        };
        let seen = self.beyond(MappingsSeen {
            moment: Moment::Ended,
            translated: self.device.translated,
            mappings: mappings.clone(),
            gone: 0,
        });
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Self {
            count,
            mappings,
            ..self
        });
        Some(seen)
    }

    /// Removes the earlier mappings from those seen, each as often as it
    /// existed.
    pub fn beyond(&self, mut seen: MappingsSeen) -> MappingsSeen {
        for before in &self.mappings {
            let mut now = seen.mappings.iter();
            match now.position(|mapping| mapping == before) {
                Some(place) => drop(seen.mappings.swap_remove(place)),
                None => seen.gone += 1,
            }
        }
        seen.mappings.sort();
        seen
    }
}

/// Returns all current mappings of the device at `path`; `None` if the kernel
/// does not report them.
pub fn look(path: &str, moment: Moment) -> Option<MappingsSeen> {
    let device = Device::of(path)?;
    Some(MappingsSeen {
        moment,
        mappings: device.list()?,
        translated: device.translated,
        gone: 0,
    })
}

/// The device for which memory is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    /// Name of the device; for a virtio device, of its parent device.
    name: String,
    /// Whether the device gets addresses of the DMA API; `None` for a device
    /// that is not a virtio device.
    translated: Option<bool>,
}

impl Device {
    /// Returns the device behind a video device.
    fn of(path: &str) -> Option<Self> {
        let link = sysfs_of(path).join("device");
        Self::at(&fs::canonicalize(link).ok()?)
    }

    /// Returns the device in that directory of sysfs. The driver of a virtio
    /// device lets the parent device do the DMA (drivers/virtio/virtio_ring.c).
    fn at(dir: &Path) -> Option<Self> {
        let features = fs::read_to_string(dir.join("features")).ok();
        let translated = features.map(|features| has_access_platform(&features));
        let dir = match translated {
            Some(_) => dir.parent()?,
            None => dir,
        };
        Some(Self {
            name: dir.file_name()?.to_str()?.to_owned(),
            translated,
        })
    }

    fn list(&self) -> Option<Vec<Mapping>> {
        let text = fs::read_to_string(format!("{DEBUG}/dump")).ok()?;
        let of_it = |line| {
            let (device, mapping) = parse(line)?;
            (device == self.name).then_some(mapping)
        };
        Some(text.lines().filter_map(of_it).collect())
    }
}

/// Returns whether the feature is offered. In sysfs a device's features are one
/// digit each, that of bit 0 first.
fn has_access_platform(features: &str) -> bool {
    /// VIRTIO_F_ACCESS_PLATFORM of linux/virtio_config.h.
    const ACCESS_PLATFORM: usize = 33;
    features.as_bytes().get(ACCESS_PLATFORM) == Some(&b'1')
}

/// Returns the number of mappings of all devices.
fn count() -> Option<u64> {
    let number = |name| -> Option<u64> {
        let text = fs::read_to_string(format!("{DEBUG}/{name}")).ok()?;
        text.trim().parse().ok()
    };
    number("nr_total_entries")?.checked_sub(number("num_free_entries")?)
}

/// Parses a line of the list: driver, device, kind, `idx` and a number, then
/// `P=` the physical address, `D=` the device's address, `L=` the length and
/// others, all in hexadecimal, and the direction.
fn parse(line: &str) -> Option<(&str, Mapping)> {
    let mut words = line.split(' ');
    let (_driver, device, kind) = (words.next()?, words.next()?, words.next()?);
    let words: Vec<_> = words.collect();
    let number = |name: &str| {
        let mut values = words.iter().filter_map(|word| word.strip_prefix(name));
        u64::from_str_radix(values.next()?.trim_start_matches("0x"), 16).ok()
    };
    let direction = words.iter().find(|word| word.starts_with("DMA_"))?;
    let mapping = Mapping {
        kind: kind.to_owned(),
        physical: number("P=")?,
        length: number("L=")?,
        direction: (*direction).to_owned(),
    };
    Some((device, mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(physical: u64) -> Mapping {
        Mapping {
            kind: "single".into(),
            physical,
            length: 0x260,
            direction: "DMA_FROM_DEVICE".into(),
        }
    }

    #[test]
    fn a_mapping_is_read_from_a_line_of_any_kernel() {
        for line in [
            "virtio-pci 0000:00:02.0 single idx 7719 P=0x000000000bc4e800 D=bc4e800 L=260 cln=0x00000000002f13a0 DMA_FROM_DEVICE dma map error checked",
            "virtio-pci 0000:00:02.0 single idx 7719 P=0x000000000bc4e800 D=bc4e800 L=260 cln=0x00000000002f13a0 DMA_FROM_DEVICE dma map error checked attrs=0x20",
            "virtio-pci 0000:00:02.0 single idx 7719 P=bc4e800 N=bc4e D=bc4e800 L=260 DMA_FROM_DEVICE dma map error checked",
        ] {
            assert_eq!(parse(line), Some(("0000:00:02.0", mapping(0x0bc4_e800))));
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse("a b single idx 1 P=x D=0 L=1 DMA_TO_DEVICE"), None);
    }

    #[test]
    fn what_was_there_before_is_left_out_as_often_as_it_was() {
        let before = Before {
            device: Device {
                name: String::new(),
                translated: None,
            },
            count: 2,
            mappings: vec![mapping(1), mapping(2)],
        };
        let now = before.beyond(MappingsSeen {
            moment: Moment::Ended,
            translated: None,
            mappings: vec![mapping(3), mapping(1), mapping(1)],
            gone: 0,
        });
        assert_eq!(now.mappings, [mapping(1), mapping(3)]);
        assert_eq!(now.gone, 1);
    }

    #[test]
    fn a_virtio_device_leaves_dma_to_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let virtio = dir.path().join("0000:00:02.0/virtio1");
        fs::create_dir_all(&virtio).unwrap();
        let name = |device: Device| (device.name, device.translated);
        assert_eq!(
            Device::at(&virtio).map(name),
            Some(("virtio1".into(), None))
        );
        for (bit, translated) in [("0", false), ("1", true)] {
            let features = format!("{}{bit}000\n", "0".repeat(33));
            fs::write(virtio.join("features"), features).unwrap();
            assert_eq!(
                Device::at(&virtio).map(name),
                Some(("0000:00:02.0".into(), Some(translated)))
            );
        }
    }
}
