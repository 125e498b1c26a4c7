//! Hazards: what happens to a buffer's memory while the device owns it, and
//! when.

use super::kind::{Given, Kind};

table! {
    /// What happens to the memory.
    Hazard:
    None = "none", "nothing happens";
    ForkParentWrites = "fork-parent-writes", "the process forks, then writes a byte of each page: as it was if the card captures, another one if it reads";
    ForkChildWrites = "fork-child-writes", "the process forks, and the child writes over all of the buffer";
    ForkChildExits = "fork-child-exits", "the process forks, and the child exits";
    Munmap = "munmap", "the memory is unmapped";
    MunmapMmap = "munmap-mmap", "the memory is unmapped, and other memory mapped in its place and written to";
    MapFixed = "map-fixed", "other memory is mapped over it by MAP_FIXED and written to";
    Mremap = "mremap", "the memory is moved to another address";
    MremapDontunmap = "mremap-dontunmap", "the pages are moved to another address, and the mapping stays (MREMAP_DONTUNMAP)";
    MprotectReadOnly = "mprotect-read-only", "the memory is made read-only";
    MprotectNone = "mprotect-none", "all access to the memory is taken away";
    Munlock = "munlock", "the memory is locked by mlock(2), then unlocked by munlock(2)";
    MadviseDontneed = "madvise-dontneed", "the memory is given up by MADV_DONTNEED";
    MadviseRemove = "madvise-remove", "a hole is punched into the memory's file by MADV_REMOVE";
    MadviseFree = "madvise-free", "the memory is given up by MADV_FREE, then to be reclaimed at once";
    MadvisePageout = "madvise-pageout", "the memory is to be reclaimed at once by MADV_PAGEOUT, to zram or its file";
    DamonPageout = "damon-pageout", "DAMON has the kernel reclaim the pages, by their physical addresses";
    Swapoff = "swapoff", "the swap is taken away by swapoff(2), then given back";
    MadviseCollapse = "madvise-collapse", "the memory is to be made a huge page by MADV_COLLAPSE";
    Khugepaged = "khugepaged", "khugepaged looks at the memory twice";
    ThpSplit = "thp-split", "a huge page is mapped page by page, then to be split";
    MovePages = "move-pages", "the pages are to move to the other NUMA node by move_pages(2)";
    MigratePages = "migrate-pages", "the process is to move to the other NUMA node by migrate_pages(2)";
    DeviceTakes = "device-takes", "a device is to move the pages to its own memory, out of the processor's reach";
    NumaBalancing = "numa-balancing", "NUMA balancing looks at the memory, which is on another node than the processors";
    UffdioMove = "uffdio-move", "the pages are to move to another mapping by UFFDIO_MOVE";
    SoftOffline = "soft-offline", "the first page is to be taken out of use by MADV_SOFT_OFFLINE";
    Compaction = "compaction", "all memory is compacted";
    Ksm = "ksm", "the pages are made alike before the DMA, and KSM looks at them twice";
    MemoryOffline = "memory-offline", "the memory blocks that the first page was in when it was laid out, and is in now, are to go offline";
    DropCaches = "drop-caches", "all is written back, and clean caches are dropped";
    Writeback = "writeback", "the memory is written back to its file by msync(2) and sync(2)";
    MemoryPressure = "memory-pressure", "the process's memory cgroup is to give back all it can";
    ODirect = "o-direct", "a disk reads the pages and writes them back (O_DIRECT)";
    IoUring = "io-uring", "the memory is registered as a buffer of an io_uring, then unregistered";
    Vmsplice = "vmsplice", "the pages are given to a pipe by vmsplice(2), which keeps them";
    ProcessVmWritev = "process-vm-writev", "process_vm_readv(2) reads the pages, and process_vm_writev(2) writes them back";
    ProcMem = "proc-mem", "the pages are read and written back through /proc/PID/mem, as a debugger does";
    Signal = "signal", "a signal is handled";
    Execve = "execve", "the process executes another program";
    Close = "close", "the last descriptor of the device is closed";
    Exit = "exit", "the process exits";
    Sigkill = "sigkill", "the process is killed by SIGKILL";
    MmapContention = "mmap-contention", "two threads queue and dequeue while a third maps, writes and unmaps";
    Streamoff = "streamoff", "the stream is ended by VIDIOC_STREAMOFF";
    Suspend = "suspend", "the system goes to sleep and wakes up: all devices are suspended and resumed";
    QueuedTwice = "queued-twice", "the memory is queued in a second buffer of the device, too";
    DmabufClose = "dmabuf-close", "the process closes its descriptor of the dma-buf";
    DmabufSync = "dmabuf-sync", "the process reads the memory between the brackets of DMA_BUF_IOCTL_SYNC";
    MemfdTruncate = "memfd-truncate", "the memfd that the dma-buf is made of is to be cut to nothing by ftruncate(2)";
    MemfdPunch = "memfd-punch", "a hole is punched into the memfd that the dma-buf is made of";
    ExporterFree = "exporter-free", "the device that exports the dma-buf frees its buffer by VIDIOC_REQBUFS";
    ExporterClose = "exporter-close", "the file that the dma-buf is of is closed: a device, or a memfd";
    ExporterUnbind = "exporter-unbind", "the driver that exports the dma-buf is unbound from its device through sysfs";
    ExporterUnload = "exporter-unload", "the device that exports the dma-buf is closed, and its driver's module unloaded";
    FailNth = "fail-nth", "each allocation of a call fails once, and each copy between it and the process";
}

impl Hazard {
    /// Returns the points at which the hazard can happen.
    pub const fn points(self) -> &'static [Point] {
        match self {
            Self::FailNth => Point::CALLS,
            _ if self.can_interrupt_a_pin() => Point::TRANSFER,
            _ => Point::DMA,
        }
    }

    /// Returns the default point of the hazard.
    pub const fn usual_point(self) -> Option<Point> {
        match self {
            Self::FailNth => None,
            _ => Some(Point::BeforeDma),
        }
    }

    /// Returns whether it can happen at [`Point::DuringPin`]: it touches none of the
    /// pages, for which it would wait as the pin does, and leaves one memory, of which the
    /// pin gets the rest or nothing.
    const fn can_interrupt_a_pin(self) -> bool {
        matches!(
            self,
            Self::ForkChildExits
                | Self::Munmap
                | Self::Mremap
                | Self::MprotectReadOnly
                | Self::MprotectNone
                | Self::Execve
                | Self::Exit
                | Self::Sigkill
        )
    }

    /// Returns whether something happens to the memory, or to the stream that has it,
    /// and not to the calls.
    pub const fn is_on_memory(self) -> bool {
        !matches!(self, Self::None | Self::FailNth)
    }

    /// Returns whether it can happen to memory of that kind.
    pub const fn suits(self, kind: Kind) -> bool {
        match self {
            Self::DmabufClose | Self::DmabufSync => matches!(kind.given(), Given::Dmabuf),
            Self::MemfdTruncate | Self::MemfdPunch => kind.is_udmabuf(),
            Self::ExporterClose => kind.is_udmabuf() || kind.is_of_vivid(),
            Self::ExporterFree | Self::ExporterUnbind | Self::ExporterUnload => kind.is_of_vivid(),
            // Their threads and calls queue user pointers.
            Self::MmapContention | Self::FailNth => matches!(kind.given(), Given::UserPointer),
            // The driver of a virtiofs that is in use does not let the system sleep.
            Self::Suspend => !matches!(kind, Kind::VirtiofsShared),
            _ => true,
        }
    }

    /// Returns whether it is to more than the process and its memory: it changes
    /// settings of the kernel's, needs swap or a file system, takes pages out of use, or
    /// burdens all that run on the machine.
    pub const fn is_to_the_machine(self) -> bool {
        matches!(
            self,
            Self::MadvisePageout
                | Self::DamonPageout
                | Self::Khugepaged
                | Self::NumaBalancing
                | Self::DeviceTakes
                | Self::Compaction
                | Self::Ksm
                | Self::MemoryOffline
                | Self::DropCaches
                | Self::Writeback
                | Self::MemoryPressure
                | Self::Swapoff
                | Self::SoftOffline
                | Self::ODirect
                | Self::Suspend
                | Self::ExporterUnbind
                | Self::ExporterUnload
                | Self::FailNth
        )
    }

    /// Returns whether the process's memory afterwards is not that which the device
    /// has, or holds something else.
    pub const fn replaces_memory(self) -> bool {
        matches!(
            self,
            Self::ForkChildWrites
                | Self::Munmap
                | Self::MunmapMmap
                | Self::MapFixed
                | Self::MremapDontunmap
                | Self::MadviseDontneed
                | Self::MadviseRemove
                | Self::MemfdTruncate
                | Self::MemfdPunch
                | Self::Ksm
        )
    }

    /// Returns whether the buffer can still be dequeued after the hazard.
    pub const fn leaves_a_stream(self) -> bool {
        !matches!(
            self,
            Self::Close
                | Self::Execve
                | Self::Exit
                | Self::Sigkill
                | Self::Streamoff
                | Self::Suspend
        )
    }
}

table! {
    /// The point at which a hazard happens.
    Point:
    BeforeDma = "before-dma", "the buffer is queued and the card has not written to it yet, or read it";
    AfterDma = "after-dma", "the card has written the frame, or read it, and the buffer cannot be dequeued yet";
    DuringPin = "during-pin", "QBUF has pinned the first half of the buffer, and waits for a page of the other";
    Open = "open", "the device is opened by open(2)";
    SubscribeEvent = "subscribe-event", "VIDIOC_SUBSCRIBE_EVENT subscribes to the beginnings of frames";
    SCtrl = "s-ctrl", "VIDIOC_S_CTRL sets a number";
    SExtCtrls = "s-ext-ctrls", "VIDIOC_S_EXT_CTRLS sets a text";
    SFmt = "s-fmt", "VIDIOC_S_FMT sets the format";
    Reqbufs = "reqbufs", "VIDIOC_REQBUFS makes buffers for user pointers";
    ReqbufsMmap = "reqbufs-mmap", "VIDIOC_REQBUFS makes buffers of the driver's own memory";
    CreateBufs = "create-bufs", "VIDIOC_CREATE_BUFS makes one more of them";
    Mmap = "mmap", "mmap(2) maps one of them";
    Expbuf = "expbuf", "VIDIOC_EXPBUF exports one of them as a dma-buf";
    Qbuf = "qbuf", "VIDIOC_QBUF queues a user pointer";
    QbufMmap = "qbuf-mmap", "VIDIOC_QBUF queues a buffer of the driver's own memory";
    QbufDmabuf = "qbuf-dmabuf", "VIDIOC_QBUF queues a dma-buf of udmabuf";
    Streamon = "streamon", "VIDIOC_STREAMON starts the stream";
    Dqbuf = "dqbuf", "VIDIOC_DQBUF takes the frame";
    Streamoff = "streamoff", "VIDIOC_STREAMOFF ends the stream";
    Close = "close", "close(2) closes the device while it streams";
    Read = "read", "read(2) reads a frame";
    Unbind = "unbind", "the driver is unbound from the card through sysfs";
    Bind = "bind", "the driver is bound to the card through sysfs";
    Insmod = "insmod", "finit_module(2) loads the driver, which is not bound yet";
}

impl Point {
    /// The points at which the card has a buffer, and holds back what it does.
    pub const DMA: &[Self] = Self::ALL.split_at(2).0;

    /// All points in the transfer of a frame.
    pub const TRANSFER: &[Self] = Self::ALL.split_at(3).0;

    /// The points that are calls of a capture's lifetime, or of the driver's.
    pub const CALLS: &[Self] = Self::ALL.split_at(3).1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_one_of_the_dma_or_a_call() {
        assert_eq!(Point::DMA, [Point::BeforeDma, Point::AfterDma]);
        assert_eq!(Point::TRANSFER.last(), Some(&Point::DuringPin));
        assert_eq!(Point::CALLS.first(), Some(&Point::Open));
        for hazard in Hazard::ALL {
            let usual = hazard.usual_point();
            assert!(usual.is_none_or(|point| hazard.points().contains(&point)));
        }
    }
}
