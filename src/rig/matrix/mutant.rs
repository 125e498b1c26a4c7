//! Mutants: the driver with one bug at a time, which the oracles must detect.
//!
//! A matrix that has never judged a broken driver proves little. A separate
//! build of the driver (`guest-driver/mutant.c`) contains the bugs, and a
//! module parameter selects one. Each bug has cells that must become findings.
//! They are run without the bug first and must be as expected, so that it is
//! the bug that is detected.
//!
//! A process cannot notice the effect of some bugs. They are for kernels that
//! check themselves ([`Check`]); a stock kernel would miss them.

use std::collections::BTreeSet;

use super::cells::judged;
use super::name::CellName;
use super::oracle::Oracle;
use crate::agent::cell::{Ends, Hazard, Kind, Point, Scope, table};
use crate::agent::checks::Check;
use crate::card::CardKind;
use crate::rig::kernel::Version;

table! {
    /// A bug of the driver; its name is the value of the module's parameter.
    Mutant:
    UnpinEarly = "unpin-early", "the pages are unpinned before the device has used them";
    PinReadonly = "pin-readonly", "the pages are pinned without asking for write access";
    LeaveClean = "leave-clean", "the pages are not marked dirty when they are unpinned";
    IgnoreOffset = "ignore-offset", "the offset of the buffer in its first page is ignored";
    RoundUp = "round-up", "the buffer's length is rounded up to whole pages";
    LoseLastPage = "lose-last-page", "the last page is left out of the scatter list";
    SwapPages = "swap-pages", "the first two pages stand in the wrong order";
    LeakPin = "leak-pin", "the pages are never unpinned";
    UnpinTwice = "unpin-twice", "the pages are unpinned twice";
    CompleteEarly = "complete-early", "the buffer is given back before the data are there, or have been read";
    StaleList = "stale-list", "the scatter list of the buffer before is used again";
    WrongSync = "wrong-sync", "after the DMA the memory is synchronised for the device, not for the processor";
    UnmapTwice = "unmap-twice", "the memory is unmapped from the DMA API twice";
    LeakMapping = "leak-mapping", "the memory is never unmapped from the DMA API";
    WrongDirection = "wrong-direction", "the memory is mapped for DMA in the other direction";
    SleepLocked = "sleep-locked", "memory is allocated under the spinlock in a way that may wait";
    LockOrder = "lock-order", "two mutexes are taken in the wrong order";
    IrqsOn = "irqs-on", "the spinlock is taken without keeping out the interrupt that takes it, too";
    UseAfterFree = "use-after-free", "a command is read when it was freed";
    LeakCommand = "leak-command", "a command is never freed";
    OutputWritePins = "output-write-pins", "pages that the device only reads are pinned for writing";
    OutputDirty = "output-dirty", "pages that the device has only read are marked dirty";
    OutputNoSync = "output-no-sync", "memory is not synchronised for the device that is to read it";
    M2mSwapped = "m2m-swapped", "what a mem-to-mem device reads is pinned and given back as what it writes to, and the other way round";
    M2mMixedUp = "m2m-mixed-up", "the buffers that a mem-to-mem device is to write to are queued in another file's session";
    UnpinLast = "unpin-last", "when a buffer is dequeued, the memory of the one that was queued last is unpinned";
    LeakPart = "leak-part", "the pages of a range that could be pinned in part only are never unpinned";
    ImportWhole = "import-whole", "the device is given all of a dma-buf, however long the buffer is";
}

impl Mutant {
    /// Returns the cells that must become findings. [`Self::StaleList`] shows
    /// in its second buffer; the first is that of the run without the bug.
    pub fn cells(self) -> Vec<CellName> {
        let plain = CellName::plain;
        let after = |kind, hazard| CellName {
            hazard,
            ..plain(kind)
        };
        let scheduled = |hazard, schedule: &str| CellName {
            schedule: schedule.parse().ok(),
            ..after(Kind::AnonTouched, hazard)
        };
        match self {
            Self::UnpinEarly => vec![
                plain(Kind::AnonTouched),
                after(Kind::AnonTouched, Hazard::MovePages),
                after(Kind::AnonTouched, Hazard::NumaBalancing),
                plain(Kind::MemfdShared),
                plain(Kind::AnonTouched).of_output(),
                after(Kind::AnonTouched, Hazard::Munmap).of_output(),
                scheduled(Hazard::ForkParentWrites, "qQ!dDrRxX").of_output(),
                plain(Kind::AnonTouched).of_m2m(Ends::Read),
            ],
            Self::PinReadonly => vec![
                plain(Kind::ReadOnly),
                after(Kind::AnonUntouched, Hazard::ForkParentWrites).of_output(),
            ],
            Self::IgnoreOffset => vec![
                CellName {
                    offset: 1234,
                    ..plain(Kind::AnonTouched)
                },
                CellName {
                    offset: 64,
                    ..plain(Kind::Hugetlb)
                },
                CellName {
                    offset: 1234,
                    ..plain(Kind::AnonTouched).of_output()
                },
                // The one buffer begins in the page in which the other ends.
                CellName {
                    tail: 1000,
                    ..plain(Kind::AnonTouched).of_m2m(Ends::Adjacent)
                },
            ],
            Self::RoundUp => [
                plain(Kind::AnonTouched),
                plain(Kind::AnonTouched).of_m2m(Ends::Turned),
            ]
            .map(|cell| CellName { tail: 1000, ..cell })
            .into(),
            Self::CompleteEarly => {
                let at = |point| CellName {
                    point,
                    ..after(Kind::AnonTouched, Hazard::ForkChildExits)
                };
                let captures = [Point::BeforeDma, Point::AfterDma].map(at);
                let by_steps = scheduled(Hazard::ForkChildExits, "qQ!dDrRxX");
                [
                    &captures[..],
                    &captures.map(CellName::of_output),
                    &[by_steps],
                ]
                .concat()
            }
            Self::LeakPart => {
                let halted = |hazard| CellName {
                    point: Point::DuringPin,
                    ..after(Kind::AnonTouched, hazard)
                };
                vec![
                    plain(Kind::Hole),
                    plain(Kind::Hole).of_output(),
                    halted(Hazard::Munmap),
                    halted(Hazard::MprotectNone),
                ]
            }
            Self::OutputWritePins => vec![
                plain(Kind::ReadOnlyShared).of_output(),
                plain(Kind::ReadOnly).of_output(),
                plain(Kind::Ext4Shared).of_output(),
            ],
            // Anonymous pages have their mark in the page table; those of a file
            // have it until they are written back.
            Self::OutputDirty => vec![
                plain(Kind::AnonTouched).of_output(),
                plain(Kind::Heap).of_output(),
                after(Kind::Ext4Shared, Hazard::Writeback).of_output(),
                after(Kind::ReadOnlyShared, Hazard::DropCaches).of_output(),
            ],
            // A mapping copies the first frame by itself.
            Self::OutputNoSync => {
                vec![after(Kind::AnonTouched, Hazard::MmapContention).of_output()]
            }
            Self::M2mSwapped => vec![
                plain(Kind::AnonTouched).of_m2m(Ends::Read),
                plain(Kind::ReadOnlyShared).of_m2m(Ends::Read),
                plain(Kind::ReadOnly).of_m2m(Ends::Written),
            ],
            Self::M2mMixedUp => vec![
                plain(Kind::AnonTouched).of_m2m(Ends::TwoFiles),
                plain(Kind::MemfdShared).of_m2m(Ends::TwoFiles),
            ],
            // While the card has one buffer at a time, it is the one that is dequeued.
            Self::UnpinLast => {
                let captures = ["qQdrx!DRX", "qQ!dDrxRX", "qdQ!rxDRX"];
                let captures = captures.map(|order| scheduled(Hazard::Munmap, order));
                let output = scheduled(Hazard::ForkParentWrites, "qQdrx!DRX").of_output();
                [&captures[..], &[output]].concat()
            }
            // The witness tells of the pages that the frame lies in, and of no others.
            Self::ImportWhole => vec![CellName {
                tail: 2056,
                ..plain(Kind::DmabufVivid).of_output()
            }],
            // The writer's own mapping has already marked pages of a file
            // dirty.
            Self::LeaveClean => vec![plain(Kind::AnonTouched), plain(Kind::Heap)],
            Self::LeakPin => vec![
                plain(Kind::AnonTouched),
                plain(Kind::MemfdShared),
                plain(Kind::AnonTouched).of_output(),
                plain(Kind::MemfdShared).of_output(),
                plain(Kind::AnonTouched).of_m2m(Ends::InPlace),
            ],
            Self::SwapPages | Self::UnpinTwice | Self::StaleList => vec![
                plain(Kind::AnonTouched),
                plain(Kind::MemfdShared),
                plain(Kind::AnonTouched).of_output(),
                plain(Kind::MemfdShared).of_output(),
            ],
            Self::LoseLastPage => vec![
                plain(Kind::AnonTouched),
                plain(Kind::MemfdShared),
                plain(Kind::AnonTouched).of_output(),
            ],
            Self::WrongSync => vec![plain(Kind::AnonTouched), plain(Kind::MemfdShared)],
            Self::WrongDirection => vec![
                plain(Kind::AnonTouched),
                plain(Kind::AnonTouched).of_output(),
            ],
            Self::UnmapTwice
            | Self::LeakMapping
            | Self::SleepLocked
            | Self::LockOrder
            | Self::IrqsOn
            | Self::UseAfterFree
            | Self::LeakCommand => vec![plain(Kind::AnonTouched)],
        }
    }

    /// Returns those of its cells that can be run without a witness, with a frame as
    /// long as the device makes it.
    pub fn cells_without_witness(self) -> Vec<CellName> {
        let cells = self.cells().into_iter();
        let cells = cells.map(judged::at_its_length);
        let suits = |cell: &CellName| judged::unsuitable(cell, Scope::Guest).is_none();
        let mut cells: Vec<_> = cells.filter(suits).collect();
        cells.dedup();
        cells
    }

    /// Returns why the bug does not show to a process alone in that one of its cells, a
    /// part of a sentence; `None` if it must.
    pub const fn needs_witness(self, cell: &CellName) -> Option<&'static str> {
        match (self, cell.card()) {
            (Self::RoundUp, _) => {
                Some("the device writes no more than a frame, however much memory it has")
            }
            (
                Self::IgnoreOffset | Self::SwapPages | Self::StaleList | Self::CompleteEarly,
                CardKind::Output,
            ) => Some("a device that only reads leaves no trace of what it has read, or when"),
            (Self::CompleteEarly, _) if matches!(cell.point, Point::AfterDma) => {
                Some("once the hazard is over, the data are there")
            }
            _ => None,
        }
    }

    /// Returns the oracle that must detect the bug in that one of its cells. Others may
    /// detect it, too, some of them not always.
    pub const fn oracle(self, cell: &CellName) -> Oracle {
        match self {
            Self::UnpinEarly
            | Self::LeakPin
            | Self::UnpinTwice
            | Self::UnpinLast
            | Self::LeakPart => Oracle::Pins,
            Self::PinReadonly | Self::LoseLastPage | Self::StaleList | Self::OutputWritePins => {
                Oracle::Outcome
            }
            Self::LeaveClean | Self::OutputDirty => Oracle::Dirty,
            Self::M2mSwapped => match cell.kind {
                Kind::AnonTouched => Oracle::Dirty,
                _ => Oracle::Outcome,
            },
            // A card that reads beside the buffer leaves no trace there.
            Self::IgnoreOffset => match cell.card() {
                CardKind::Capture | CardKind::M2m => Oracle::Fences,
                CardKind::Output => Oracle::Address,
            },
            Self::RoundUp | Self::SwapPages | Self::M2mMixedUp | Self::ImportWhole => {
                Oracle::Address
            }
            // The buffer is not where the schedule has it.
            Self::CompleteEarly if cell.schedule.is_some() => Oracle::Outcome,
            Self::CompleteEarly | Self::WrongSync | Self::OutputNoSync => Oracle::Data,
            Self::LeakMapping => Oracle::Mappings,
            Self::LeakCommand => Oracle::Leaks,
            Self::UnmapTwice
            | Self::WrongDirection
            | Self::SleepLocked
            | Self::LockOrder
            | Self::IrqsOn
            | Self::UseAfterFree => Oracle::Log,
        }
    }

    /// Returns whether one of its cells shows the bug on a kernel of that version.
    pub fn shows_in(self, cell: &CellName, kernel: Version) -> bool {
        match (self, cell.card(), cell.kind) {
            // Later kernels pin for writing all the same, or need not.
            (Self::PinReadonly, CardKind::Output, _) => kernel < Version(5, 12),
            // Since 6.16 ext4 has folios of several pages, which the oracle does not
            // judge. Before 6.2 memory is pinned for writing, which the one mapping does
            // not allow.
            (Self::OutputDirty, _, Kind::ReadOnlyShared) => {
                (Version(6, 2)..Version(6, 16)).contains(&kernel)
            }
            (Self::OutputDirty, _, Kind::Ext4Shared) => kernel < Version(6, 16),
            // All pins are for writing.
            (Self::M2mSwapped, _, Kind::ReadOnly | Kind::ReadOnlyShared) => kernel >= Version(6, 2),
            // Nor does any filesystem refuse a pin for writing.
            (Self::OutputWritePins, _, Kind::Ext4Shared) => kernel >= Version(6, 5),
            _ => true,
        }
    }

    /// Returns the check of the kernel without which the bug cannot be
    /// detected.
    pub const fn check(self) -> Option<Check> {
        match self {
            Self::UnmapTwice | Self::LeakMapping | Self::WrongDirection => Some(Check::DmaApi),
            Self::SleepLocked => Some(Check::AtomicSleep),
            Self::LockOrder | Self::IrqsOn => Some(Check::Lockdep),
            Self::UseAfterFree => Some(Check::Kasan),
            Self::LeakCommand => Some(Check::Kmemleak),
            _ => None,
        }
    }

    /// Returns whether the card must be behind bounce buffers: without them the
    /// driver maps no pinned memory, and synchronising has no effect on this
    /// machine.
    pub fn wants_bounce_buffers(self) -> bool {
        matches!(self, Self::WrongSync | Self::OutputNoSync) || self.check() == Some(Check::DmaApi)
    }

    /// Returns why the bug has no effect, or cannot be detected, on a kernel
    /// with those checks, if that is so.
    pub fn unseen(self, kernel: Version, checks: &BTreeSet<Check>) -> Option<String> {
        let always_writes = (Version(5, 12)..Version(6, 2)).contains(&kernel);
        if self == Self::PinReadonly && always_writes {
            let why = "get_vaddr_frames() has no parameter for it and asks for write access";
            return Some(why.into());
        }
        if self == Self::OutputWritePins && kernel < Version(6, 2) {
            return Some("before 6.2 memory is pinned for writing in any case".into());
        }
        let missing = self.check().filter(|check| !checks.contains(check))?;
        Some(format!(
            "only a kernel with {missing} can see it, and this one has none"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::matrix::Pinning;

    #[test]
    fn most_bugs_show_without_a_witness_where_the_device_writes() {
        // The first bugs are of captures.
        let first = Mutant::ALL.iter().take_while(|one| one.check().is_none());
        let (seen, hidden): (Vec<&Mutant>, Vec<&Mutant>) = first.partition(|mutant| {
            let mut cells = mutant.cells_without_witness().into_iter();
            cells.any(|cell| mutant.needs_witness(&cell).is_none())
        });
        assert_eq!(hidden, [&Mutant::RoundUp]);
        assert!(seen.len() >= 9, "{seen:?}");
        for mutant in Mutant::ALL {
            for cell in mutant.cells_without_witness() {
                assert_eq!(cell.tail, 0, "{mutant}");
            }
        }
    }

    #[test]
    fn every_mutant_has_cells_of_the_drivers_own_pinning() {
        for mutant in Mutant::ALL {
            let cells = mutant.cells();
            assert!(!cells.is_empty(), "{mutant}");
            for cell in cells {
                assert_eq!(cell.check(), Ok(()), "{mutant}");
                assert_eq!(cell.pinning, Pinning::FrameVector, "{mutant}: {cell}");
                assert_eq!(cell.to_string().parse(), Ok(cell));
            }
            assert_eq!(mutant.name().parse(), Ok(*mutant));
        }
        let mut of_schedules = Mutant::UnpinLast.cells().into_iter();
        assert!(of_schedules.all(|cell| cell.schedule.is_some()));
        for mutant in [Mutant::UnpinEarly, Mutant::CompleteEarly] {
            let mut cells = mutant.cells().into_iter();
            assert!(cells.any(|cell| cell.schedule.is_some()), "{mutant}");
        }
    }

    #[test]
    fn every_mutant_that_is_seen_on_a_kernel_has_cells_there() {
        let all = Check::ALL.iter().copied().collect();
        for kernel in [Version(5, 10), Version(6, 1), Version(6, 12), Version(7, 3)] {
            for mutant in Mutant::ALL {
                let shows = |cell: &CellName| mutant.shows_in(cell, kernel);
                let has_cells = mutant.cells().iter().any(shows);
                let is_seen = mutant.unseen(kernel, &all).is_none();
                assert!(has_cells || !is_seen, "{mutant} on {kernel:?}");
            }
        }
        let cells = |kernel| {
            let mut cells = Mutant::PinReadonly.cells();
            cells.retain(|cell| Mutant::PinReadonly.shows_in(cell, kernel));
            cells.len()
        };
        assert_eq!((cells(Version(5, 10)), cells(Version(6, 12))), (2, 1));
    }

    #[test]
    fn a_mutant_is_unseen_where_the_kernel_lacks_its_check() {
        let kernel = Version(6, 12);
        let all = Check::ALL.iter().copied().collect();
        for mutant in Mutant::ALL {
            assert_eq!(mutant.unseen(kernel, &all), None, "{mutant}");
            let stock = mutant.unseen(kernel, &BTreeSet::new());
            assert_eq!(stock.is_some(), mutant.check().is_some(), "{mutant}");
        }
        assert_eq!(
            Mutant::UseAfterFree.unseen(kernel, &BTreeSet::from([Check::Kmemleak])),
            Some("only a kernel with KASAN can see it, and this one has none".into())
        );
        for kernel in [Version(5, 10), Version(6, 1)] {
            assert!(Mutant::OutputWritePins.unseen(kernel, &all).is_some());
        }
        let forced = Mutant::PinReadonly.unseen(Version(6, 1), &all);
        assert!(
            forced
                .unwrap()
                .starts_with("get_vaddr_frames() has no parameter")
        );
    }
}
