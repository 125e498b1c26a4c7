//! The layout of memory of every kind.

mod anonymous;
mod bad_addresses;
pub mod buffers;
mod device_memory;
mod devices;
mod dmabufs;
pub mod exporters;
mod faults;
mod files;
mod huge;
pub mod layout;
mod process;
mod rings;
mod shared;
mod swap;
mod thp;

use std::io;
use std::os::fd::OwnedFd;

use crate::agent::cell::{Kind, PAGE};

use self::layout::{Layout, Want, fill};
use super::Stop;
use super::device::sysfs_of;
use super::span::{MemoryAccess, Span};

/// Lays out memory of a kind.
pub fn lay_out(kind: Kind, want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mut layout = match kind {
        Kind::AnonTouched => anonymous::touched(want, access),
        Kind::AnonUntouched => anonymous::untouched(want, access),
        Kind::AnonForked => process::forked(want, access),
        Kind::AnonSparse => anonymous::sparse(want, access),
        Kind::Thp => thp::whole(want, access),
        Kind::ThpPart => thp::part(want, access),
        Kind::ThpPteMapped => thp::pte_mapped(want, access),
        Kind::ThpPartlyMapped => thp::partly_mapped(want, access),
        Kind::ThpMremapped => thp::remapped(want, access),
        Kind::ThpPartlyShared => thp::partly_shared(want, access),
        Kind::ThpSwapped => thp::swapped(want, access),
        Kind::Mthp => thp::of_another_size(want, access),
        Kind::HugeZeroPage => thp::zero(want, access),
        Kind::Hugetlb => huge::hugetlb(want, access),
        Kind::HugetlbHvo => huge::optimised(want, access),
        Kind::Hugetlb1g => huge::gigantic(want, access),
        Kind::Stack => process::stack(want, access),
        Kind::Heap => process::heap(want, access),
        Kind::MemfdShared => shared::memfd(want, access),
        Kind::MemfdHugetlb => huge::memfd(want, access),
        Kind::MemfdSealed => shared::sealed(want, access),
        Kind::MemfdSwapped => swap::memfd(want, access),
        Kind::SysvShm => shared::sysv(want, access),
        Kind::TmpfsShared => files::tmpfs_shared(want, access),
        Kind::TmpfsPrivate => files::tmpfs_private(want, access),
        Kind::TmpfsHuge => thp::tmpfs(want, access),
        Kind::Ext4Shared => files::ext4_shared(want, access),
        Kind::Ext4Private => files::ext4_private(want, access),
        Kind::XfsShared => files::xfs_shared(want, access),
        Kind::BtrfsShared => files::btrfs_shared(want, access),
        Kind::OverlayfsShared => files::overlayfs_shared(want, access),
        Kind::VirtiofsShared => files::virtiofs_shared(want, access),
        Kind::Mlocked => anonymous::locked(want, access),
        Kind::Mseal => anonymous::sealed(want, access),
        Kind::Droppable => anonymous::droppable(want, access),
        Kind::MremapDontunmap => anonymous::moved_away(want, access),
        Kind::ReadOnly => anonymous::read_only(want, access),
        Kind::ReadOnlyShared => files::read_only(want, access),
        Kind::ProtNone => anonymous::prot_none(want),
        Kind::ProtNoneTail => anonymous::prot_none_tail(want, access),
        Kind::Hole => anonymous::hole(want, access),
        Kind::TwoMappings => anonymous::two_mappings(want, access),
        Kind::TwoKinds => anonymous::two_kinds(want, access),
        Kind::Ksm => faults::merged(want, access),
        Kind::Swapped => swap::swapped(want, access),
        Kind::UffdMissing => faults::missing(want, access),
        Kind::UffdWp => faults::write_protected(want, access),
        Kind::UffdRwp => faults::inaccessible(want, access),
        Kind::UffdMinor => faults::minor(want, access),
        Kind::Hwpoison => faults::failed(want, access),
        Kind::Secretmem => devices::secret(want, access),
        Kind::Vb2Mmap => buffers::vivid(want, access),
        Kind::Udmabuf => devices::udmabuf(want, access),
        Kind::DmaHeap => devices::dma_heap(want, access),
        Kind::IoUringRing => rings::io_uring(want, access),
        Kind::PerfRing => rings::perf(want, access),
        Kind::PacketRing => rings::packet(want, access),
        Kind::PciBar => devices::pci_bar(want),
        Kind::Ivshmem => devices::ivshmem(want, access),
        Kind::CardMmap => buffers::card(want, access),
        Kind::DevicePrivate => device_memory::private(want, access),
        Kind::DeviceExclusive => device_memory::exclusive(want, access),
        Kind::DeviceDax => devices::dax(want, access),
        Kind::FsDax => files::dax(want, access),
        Kind::GuardRegion => faults::guarded(want, access),
        Kind::Null => bad_addresses::null(want),
        Kind::KernelAddress => bad_addresses::kernel(want),
        Kind::AddressSpaceEnd => bad_addresses::end(want, access),
        Kind::WrappingLength => bad_addresses::wrapping(want),
        Kind::DmabufUdmabuf => dmabufs::udmabuf(want, access),
        Kind::DmabufUdmabufMapped => dmabufs::mapped(want, access),
        Kind::DmabufUdmabufOffset => dmabufs::at_an_offset(want, access),
        Kind::DmabufUdmabufList => dmabufs::reversed(want, access),
        Kind::DmabufUdmabufHuge => dmabufs::of_huge_pages(want, access),
        Kind::DmabufUdmabufUntouched => dmabufs::untouched(want, access),
        Kind::DmabufUdmabufSealed => dmabufs::sealed(want, access),
        Kind::DmabufUdmabufSwapped => dmabufs::swapped(want, access),
        Kind::DmabufSystemHeap => dmabufs::system_heap(want, access),
        Kind::DmabufCmaHeap => dmabufs::cma_heap(want, access),
        Kind::DmabufVivid => dmabufs::vivid(want, access),
        Kind::DmabufOwn => dmabufs::own(want, access),
        Kind::DmabufReadOnly => dmabufs::read_only(want, access),
        Kind::DmabufShort => dmabufs::short(want, access),
        Kind::DmabufNone => dmabufs::none(want, access),
        Kind::DmabufClosed => dmabufs::closed(want, access),
    }?;
    layout.note_canaries(access);
    Ok(layout)
}

/// Returns whether pinning changes memory of that kind, so that it must be laid
/// out again for another capture. The layout then covers all that was mapped
/// for it.
pub fn is_changed_by_a_pin(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::AnonUntouched
            | Kind::AnonForked
            | Kind::AnonSparse
            | Kind::ThpPartlyShared
            | Kind::ThpSwapped
            | Kind::HugeZeroPage
            | Kind::MremapDontunmap
            | Kind::MemfdSwapped
            | Kind::TmpfsPrivate
            | Kind::Ext4Private
            | Kind::Ksm
            | Kind::Swapped
            | Kind::DevicePrivate
            | Kind::DeviceExclusive
            | Kind::UffdMissing
            | Kind::UffdWp
            | Kind::UffdRwp
            | Kind::UffdMinor
    )
}

/// Returns whether a device is one whose buffers are memory of that kind: it cannot
/// have them as its own and as the process's at once.
pub fn is_of_the_device(kind: Kind, device: &str) -> bool {
    kind == Kind::Vb2Mmap && buffers::is_vivid(&sysfs_of(device))
}

/// Fills a buffer anew, before the next frame is written to it or read from it.
pub fn refill(access: &MemoryAccess, buffer: Span) -> io::Result<()> {
    fill(access, buffer)
}

/// Creates a dma-buf of udmabuf with at least `len` bytes, and maps it; returns
/// it with the range of the first `len` bytes.
pub fn dmabuf(len: usize) -> Result<(OwnedFd, Span), Stop> {
    let (buffer, mapping) = devices::made_by_udmabuf(len.next_multiple_of(PAGE))?;
    Ok((buffer, mapping.part(0, len)))
}

#[cfg(test)]
mod tests {
    use crate::agent::cell::evidence::{CanaryState, Place};
    use crate::card::Direction;

    use super::*;
    use crate::guest::cell::contents::digests;
    use crate::guest::cell::pagemap;

    const WANT: Want = Want {
        offset: 17,
        length: 5 * PAGE + 100,
        roomy: false,
        direction: Direction::Capture,
    };

    /// Lays out memory of that kind, and checks the place of the buffer.
    fn laid_out(kind: Kind, access: &MemoryAccess) -> Layout {
        let layout = match lay_out(kind, WANT, access) {
            Ok(layout) => layout,
            Err(stop) => panic!("{kind}: {stop:?}"),
        };
        let Span { start, len } = layout.buffer;
        assert_eq!((start % PAGE, len), (17, WANT.length), "{kind}");
        layout
    }

    #[test]
    fn ordinary_memory_is_where_it_should_be_and_its_canaries_are_watched() {
        let access = MemoryAccess::new().unwrap();
        for kind in [
            Kind::AnonTouched,
            Kind::AnonUntouched,
            Kind::AnonForked,
            Kind::AnonSparse,
            Kind::MremapDontunmap,
            Kind::SysvShm,
            Kind::Stack,
            Kind::Heap,
            Kind::TmpfsShared,
            Kind::TmpfsPrivate,
            Kind::Mlocked,
            Kind::TwoMappings,
            Kind::TwoKinds,
            Kind::MemfdShared,
        ] {
            let layout = laid_out(kind, &access);
            let buffer = layout.buffer;
            // A device that writes the buffer, and only the buffer.
            access.write(buffer.start, &vec![1; buffer.len]).unwrap();
            let state = |place| {
                let canary = layout
                    .canaries(&access)
                    .find(|canary| canary.place == place);
                canary.unwrap().state
            };
            assert_eq!(state(Place::Before), CanaryState::Intact, "{kind}");
            assert_eq!(state(Place::After), CanaryState::Intact, "{kind}");
            // A device that ignores the offset.
            let before = Span::new(buffer.start - 17, 17);
            let bytes = access.read(before).unwrap();
            let others: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
            access.write(before.start, &others).unwrap();
            let changed = CanaryState::Changed {
                first: buffer.start as u64 - 17,
                bytes: 17,
            };
            assert_eq!(state(Place::Before), changed, "{kind}");
            // A device that fills the last page.
            access.write(buffer.end() + PAGE, &[0x11; 8]).unwrap();
            assert!(matches!(state(Place::After), CanaryState::Changed { .. }));
        }
    }

    #[test]
    fn what_a_card_reads_tells_where_it_was() {
        let access = MemoryAccess::new().unwrap();
        let content = |layout: &Layout| layout.content(&access);
        let (one, other) = (
            laid_out(Kind::AnonTouched, &access),
            laid_out(Kind::AnonTouched, &access),
        );
        let blocks: std::collections::BTreeSet<_> = [&one, &other]
            .iter()
            .flat_map(|layout| content(layout))
            .map(|digest| digest.unwrap().0)
            .collect();
        assert_eq!(blocks.len(), 2 * 6);
        let before = content(&one);
        refill(&access, one.buffer).unwrap();
        assert_ne!(content(&one), before);
        // The tail cannot be read any more, but was.
        let dark = laid_out(Kind::ProtNoneTail, &access);
        let now = digests(&access, dark.buffer);
        assert_eq!((now[0].is_some(), now.last()), (true, Some(&None)));
        let noted = content(&dark);
        assert_eq!((noted[0], noted.contains(&None)), (now[0], false));
    }

    #[test]
    fn what_must_not_be_read_is_known_without() {
        let access = MemoryAccess::new().unwrap();
        let mut layout = laid_out(Kind::AnonTouched, &access);
        let bytes = access.read(layout.buffer).unwrap();
        let read = layout.content(&access);
        layout.expect_content(&bytes);
        assert_eq!(layout.content(&access), read);
        crate::guest::cell::span::unmap(layout.buffer.pages()).unwrap();
        assert_eq!(layout.content(&access), read);
    }

    #[test]
    fn what_is_not_there_yet_is_known_as_it_will_be() {
        let access = MemoryAccess::new().unwrap();
        for (kind, present) in [(Kind::AnonSparse, 3), (Kind::MremapDontunmap, 0)] {
            let layout = laid_out(kind, &access);
            let entries = pagemap::entries(layout.buffer).unwrap();
            let is_there = |entry: &&u64| **entry & 1 << 63 != 0;
            assert_eq!(entries.iter().filter(is_there).count(), present, "{kind}");
            let noted = layout.content(&access);
            assert_eq!(noted, digests(&access, layout.buffer), "{kind}");
        }
    }

    #[test]
    fn pages_that_are_given_up_are_not_watched_any_more() {
        let access = MemoryAccess::new().unwrap();
        let mut layout = laid_out(Kind::AnonTouched, &access);
        assert_eq!(layout.whole().len, WANT.with_canaries());
        layout.give_up_pages();
        crate::guest::cell::span::unmap(layout.buffer.pages()).unwrap();
        for canary in layout.canaries(&access) {
            assert_eq!(
                (canary.length, canary.state),
                (PAGE as u64, CanaryState::Intact)
            );
        }
    }

    #[test]
    fn huge_pages_are_given_up_whole() {
        let mapping = Span::new(0x3f_f000, WANT.with_canaries());
        let mut layout = Layout::amid(mapping, WANT).of_pages(2 << 20);
        assert_eq!(layout.buffer.start, 0x40_0011);
        assert_eq!(layout.pages(), Span::new(0x40_0000, 2 << 20));
        layout.buffer.start -= PAGE;
        assert_eq!(layout.pages(), Span::new(0x20_0000, 4 << 20));
        layout.give_up_pages();
        assert_eq!(layout.whole(), Span::new(0x20_0000, 4 << 20));
    }

    #[test]
    fn memory_that_cannot_all_be_written_is_so() {
        let access = MemoryAccess::new().unwrap();
        for kind in [
            Kind::ReadOnly,
            Kind::MemfdSealed,
            Kind::ProtNone,
            Kind::ProtNoneTail,
            Kind::Hole,
            Kind::Null,
            Kind::KernelAddress,
            Kind::AddressSpaceEnd,
            Kind::WrappingLength,
        ] {
            let layout = laid_out(kind, &access);
            let buffer = layout.buffer;
            let refused = access.write(buffer.start, &vec![1; buffer.len]);
            assert_eq!(
                refused.unwrap_err().raw_os_error(),
                Some(libc::EFAULT),
                "{kind}"
            );
        }
        let wrapping = laid_out(Kind::WrappingLength, &access).buffer;
        assert!(wrapping.end() < wrapping.start);
    }
}
