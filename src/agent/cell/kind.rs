//! Kinds of memory that a driver can be given: what a user pointer can name, and what
//! dma-bufs are made of.

use super::HUGE_PAGE;

table! {
    /// A kind of memory.
    Kind:
    AnonTouched = "anon-touched", "anonymous memory that was written to";
    AnonUntouched = "anon-untouched", "anonymous memory that was read but never written to: the zero page";
    AnonForked = "anon-forked", "anonymous memory that a child shares until one of the two writes";
    AnonSparse = "anon-sparse", "anonymous memory of which only every other page was ever touched";
    Thp = "thp", "a transparent huge page, from its first byte to its last";
    ThpPart = "thp-part", "part of a transparent huge page";
    ThpPteMapped = "thp-pte-mapped", "part of a transparent huge page that is mapped page by page (by PTEs)";
    ThpPartlyMapped = "thp-partly-mapped", "all that is still mapped of a transparent huge page, whose rest was unmapped";
    ThpMremapped = "thp-mremapped", "part of a transparent huge page, moved by mremap(2) to where no huge page fits";
    ThpPartlyShared = "thp-partly-shared", "part of a transparent huge page, of which a child shares one half";
    ThpSwapped = "thp-swapped", "part of a transparent huge page that was swapped out, to zram";
    Mthp = "mthp", "large folios of 64 KiB, transparent huge pages of another size (mTHP)";
    HugeZeroPage = "huge-zero-page", "anonymous memory that was only read, by a huge page: the huge zero page";
    Hugetlb = "hugetlb", "pages of hugetlb, across the border of two";
    HugetlbHvo = "hugetlb-hvo", "pages of hugetlb whose own descriptions are mostly given up (HVO), across the border of two";
    Hugetlb1g = "hugetlb-1g", "part of a page of hugetlb of 1 GiB";
    Stack = "stack", "the main thread's stack";
    Heap = "heap", "the heap of brk(2)";
    MemfdShared = "memfd-shared", "a shared mapping of a memfd";
    MemfdHugetlb = "memfd-hugetlb", "a shared mapping of a memfd of huge pages, across the border of two";
    MemfdSealed = "memfd-sealed", "a shared mapping of a memfd that may only be read since it was sealed against writing";
    MemfdSwapped = "memfd-swapped", "a shared mapping of a memfd that was swapped out, to zram";
    SysvShm = "sysv-shm", "a segment of System V shared memory";
    TmpfsShared = "tmpfs-shared", "a shared mapping of a file on a tmpfs";
    TmpfsPrivate = "tmpfs-private", "a private mapping of a file on a tmpfs, read but never written to";
    TmpfsHuge = "tmpfs-huge", "a shared mapping of a file on a tmpfs of huge pages, across the border of two";
    Ext4Shared = "ext4-shared", "a shared mapping of a file on an ext4";
    Ext4Private = "ext4-private", "a private mapping of a file on an ext4, read but never written to";
    XfsShared = "xfs-shared", "a shared mapping of a file on an xfs";
    BtrfsShared = "btrfs-shared", "a shared mapping of a file on a btrfs";
    OverlayfsShared = "overlayfs-shared", "a shared mapping of a file in the upper layer of an overlayfs, on an ext4";
    VirtiofsShared = "virtiofs-shared", "a shared mapping of a file on a virtiofs, in a directory of the host";
    Mlocked = "mlocked", "anonymous memory locked by mlock(2)";
    Mseal = "mseal", "anonymous memory whose mapping is sealed by mseal(2)";
    Droppable = "droppable", "anonymous memory that the kernel may drop when memory is scarce (MAP_DROPPABLE)";
    MremapDontunmap = "mremap-dontunmap", "anonymous memory whose pages mremap(2) has moved away from there (MREMAP_DONTUNMAP)";
    ReadOnly = "read-only", "anonymous memory made read-only after it was written to";
    ReadOnlyShared = "read-only-shared", "a shared mapping of a file on an ext4 that may only be read";
    ProtNone = "prot-none", "memory mapped without any access";
    ProtNoneTail = "prot-none-tail", "anonymous memory whose last page cannot be accessed";
    Hole = "hole", "anonymous memory with a page in the middle unmapped";
    TwoMappings = "two-mappings", "two anonymous mappings, one right after the other";
    TwoKinds = "two-kinds", "an anonymous mapping with a shared one of a memfd right after it";
    Ksm = "ksm", "anonymous pages that were alike and were merged into one by KSM";
    Swapped = "swapped", "anonymous memory that was swapped out, to zram";
    UffdMissing = "uffd-missing", "anonymous memory that is missing until another thread fills it by userfaultfd(2)";
    UffdWp = "uffd-wp", "anonymous memory that is write-protected until another thread lifts it by userfaultfd(2)";
    UffdRwp = "uffd-rwp", "anonymous memory that nobody has access to until another thread gives it by userfaultfd(2)";
    UffdMinor = "uffd-minor", "a shared mapping of a memfd whose pages are there, and not mapped until another thread lets them be by userfaultfd(2)";
    Hwpoison = "hwpoison", "anonymous memory with a page in its middle that has failed (MADV_HWPOISON)";
    Secretmem = "secretmem", "memory of memfd_secret(2), which the kernel itself cannot reach";
    Vb2Mmap = "vb2-mmap", "a buffer of another capture device, vivid, mapped by mmap(2)";
    Udmabuf = "udmabuf", "pages of a memfd, mapped through a dma-buf made of them by udmabuf";
    DmaHeap = "dma-heap", "a buffer of the system's DMA heap, mapped through its dma-buf (VM_PFNMAP)";
    IoUringRing = "io-uring-ring", "the submission queue's entries of an io_uring: the kernel's own memory, mapped";
    PerfRing = "perf-ring", "the ring of a perf event: the kernel's own memory, mapped, of which a process writes no more than the first page";
    PacketRing = "packet-ring", "a receive ring of a packet socket: the kernel's own memory, mapped";
    PciBar = "pci-bar", "registers of a PCI device, mapped through sysfs (VM_PFNMAP)";
    Ivshmem = "ivshmem", "memory on a PCI device, ivshmem, mapped through sysfs (VM_PFNMAP)";
    CardMmap = "card-mmap", "memory of the card's own, mapped by mmap(2) of its device node (VM_PFNMAP)";
    DevicePrivate = "device-private", "anonymous memory whose pages have moved to a device's own memory, out of the processor's reach (MEMORY_DEVICE_PRIVATE)";
    DeviceExclusive = "device-exclusive", "anonymous memory that a device has taken for its own accesses alone, until somebody else wants it";
    DeviceDax = "device-dax", "persistent memory mapped through its own device (device DAX)";
    FsDax = "fs-dax", "a shared mapping of a file on an ext4 with direct access to persistent memory";
    GuardRegion = "guard-region", "anonymous memory with a guard region in its middle (MADV_GUARD_INSTALL)";
    Null = "null", "the address 0, where nothing is mapped";
    KernelAddress = "kernel-address", "an address of the kernel's half of the address space";
    AddressSpaceEnd = "address-space-end", "memory that runs over the end of the process's address space";
    WrappingLength = "wrapping-length", "an address so high that with its length it wraps";
    DmabufUdmabuf = "dmabuf-udmabuf", "a dma-buf that udmabuf makes of a memfd, which the process has mapped";
    DmabufUdmabufMapped = "dmabuf-udmabuf-mapped", "a dma-buf that udmabuf makes of a memfd; the process has the dma-buf mapped";
    DmabufUdmabufOffset = "dmabuf-udmabuf-offset", "a dma-buf that udmabuf makes of part of a memfd, from its second page on";
    DmabufUdmabufList = "dmabuf-udmabuf-list", "a dma-buf that udmabuf makes of the pages of a memfd, in another order (UDMABUF_CREATE_LIST)";
    DmabufUdmabufHuge = "dmabuf-udmabuf-huge", "a dma-buf that udmabuf makes of a memfd of huge pages, across the border of two";
    DmabufUdmabufUntouched = "dmabuf-udmabuf-untouched", "a dma-buf that udmabuf makes of a memfd that was read but never written to";
    DmabufUdmabufSealed = "dmabuf-udmabuf-sealed", "a dma-buf that udmabuf makes of a memfd that is sealed against writing (F_SEAL_FUTURE_WRITE)";
    DmabufUdmabufSwapped = "dmabuf-udmabuf-swapped", "a dma-buf that udmabuf makes of a memfd that was swapped out, to zram";
    DmabufSystemHeap = "dmabuf-system-heap", "a dma-buf of the system's DMA heap";
    DmabufCmaHeap = "dmabuf-cma-heap", "a dma-buf of a DMA heap whose memory is in one piece (CMA)";
    DmabufVivid = "dmabuf-vivid", "a buffer of another capture device, vivid, exported as a dma-buf (VIDIOC_EXPBUF)";
    DmabufOwn = "dmabuf-own", "a buffer of the device's own driver, exported as a dma-buf (VIDIOC_EXPBUF)";
    DmabufReadOnly = "dmabuf-read-only", "a buffer of vivid, exported as a dma-buf that may only be read (O_RDONLY)";
    DmabufShort = "dmabuf-short", "a dma-buf that is a page shorter than the frame";
    DmabufNone = "dmabuf-none", "a memfd in the place of a dma-buf";
    DmabufClosed = "dmabuf-closed", "the number of a file that is closed, in the place of a dma-buf";
}

/// How memory is given to a driver (V4L2_MEMORY_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// By its address in the process (V4L2_MEMORY_USERPTR).
    UserPointer,
    /// By a file that stands for it (V4L2_MEMORY_DMABUF).
    Dmabuf,
}

impl Kind {
    /// Returns how memory of this kind is given to the driver.
    pub const fn given(self) -> Given {
        match self {
            Self::DmabufShort | Self::DmabufNone | Self::DmabufClosed => Given::Dmabuf,
            _ if self.is_udmabuf() || self.is_of_vivid() => Given::Dmabuf,
            Self::DmabufSystemHeap | Self::DmabufCmaHeap | Self::DmabufOwn => Given::Dmabuf,
            _ => Given::UserPointer,
        }
    }

    /// Returns whether it is a dma-buf that udmabuf makes of a memfd.
    pub const fn is_udmabuf(self) -> bool {
        matches!(
            self,
            Self::DmabufUdmabuf
                | Self::DmabufUdmabufMapped
                | Self::DmabufUdmabufOffset
                | Self::DmabufUdmabufList
                | Self::DmabufUdmabufHuge
                | Self::DmabufUdmabufUntouched
                | Self::DmabufUdmabufSealed
                | Self::DmabufUdmabufSwapped
        )
    }

    /// Returns whether it is a dma-buf that vivid exports.
    pub const fn is_of_vivid(self) -> bool {
        matches!(self, Self::DmabufVivid | Self::DmabufReadOnly)
    }

    /// Returns whether its pages can be taken away, so that a pin waits for them
    /// ([`Point::DuringPin`]).
    ///
    /// [`Point::DuringPin`]: super::Point::DuringPin
    pub const fn can_be_waited_for(self) -> bool {
        matches!(self, Self::AnonTouched | Self::Heap | Self::MemfdShared)
    }

    /// Returns whether it is of a file that is not in memory, and needs its file system:
    /// the module, and a mount.
    pub const fn needs_file_system(self) -> bool {
        matches!(
            self,
            Self::Ext4Shared
                | Self::Ext4Private
                | Self::ReadOnlyShared
                | Self::XfsShared
                | Self::BtrfsShared
                | Self::OverlayfsShared
                | Self::VirtiofsShared
                | Self::FsDax
        )
    }

    /// Approximate length in bytes of a frame that suits this kind.
    pub const fn length(self) -> usize {
        match self {
            Self::Thp => HUGE_PAGE,
            _ => 64 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_as_a_dmabuf_is_called_so() {
        for kind in Kind::ALL {
            let is_one = kind.given() == Given::Dmabuf;
            assert_eq!(is_one, kind.name().starts_with("dmabuf-"), "{kind}");
            assert!(
                is_one || !(kind.is_udmabuf() || kind.is_of_vivid()),
                "{kind}"
            );
        }
    }
}
