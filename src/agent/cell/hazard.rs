//! What happens to a buffer's memory while the device has it, and when.

table! {
    /// What happens to the memory.
    Hazard:
    None = "none", "nothing happens";
    ForkParentWrites = "fork-parent-writes", "the process forks, then writes a byte of each page anew, as it was";
    ForkChildWrites = "fork-child-writes", "the process forks, and the child writes over all of the buffer";
    ForkChildExits = "fork-child-exits", "the process forks, and the child exits";
    Munmap = "munmap", "the memory is unmapped";
    MunmapMmap = "munmap-mmap", "the memory is unmapped, and other memory mapped in its place and written to";
    Mremap = "mremap", "the memory is moved to another address";
    MprotectReadOnly = "mprotect-read-only", "the memory is made read-only";
    MadviseDontneed = "madvise-dontneed", "the memory is given up by MADV_DONTNEED";
    MadvisePageout = "madvise-pageout", "the memory is to be reclaimed at once by MADV_PAGEOUT, to zram or its file";
    MadviseCollapse = "madvise-collapse", "the memory is to be made a huge page by MADV_COLLAPSE";
    Khugepaged = "khugepaged", "khugepaged looks at the memory twice";
    MovePages = "move-pages", "the pages are to move to the other NUMA node by move_pages(2)";
    MigratePages = "migrate-pages", "the process is to move to the other NUMA node by migrate_pages(2)";
    Compaction = "compaction", "all memory is compacted";
    Ksm = "ksm", "the pages are made alike if the card has yet to write, and KSM looks at them twice";
    MemoryOffline = "memory-offline", "the memory blocks that the first page was in when it was laid out, and is in now, are to go offline";
    DropCaches = "drop-caches", "all is written back, and clean caches are dropped";
    Writeback = "writeback", "the memory is written back to its file by msync(2) and sync(2)";
    MemoryPressure = "memory-pressure", "the process's memory cgroup is to give back all it can";
    Close = "close", "the last descriptor of the device is closed";
    Exit = "exit", "the process exits";
    Sigkill = "sigkill", "the process is killed by SIGKILL";
    MmapContention = "mmap-contention", "two threads queue and dequeue while a third maps, writes and unmaps";
    Streamoff = "streamoff", "the stream is ended by VIDIOC_STREAMOFF";
}

impl Hazard {
    /// Whether the buffer is still to be dequeued after the hazard.
    pub const fn leaves_a_stream(self) -> bool {
        !matches!(
            self,
            Self::Close | Self::Exit | Self::Sigkill | Self::Streamoff
        )
    }
}

table! {
    /// When a hazard comes.
    Point:
    BeforeDma = "before-dma", "the buffer is queued and the card has not written to it yet";
    AfterDma = "after-dma", "the card has written the frame and the buffer cannot be dequeued yet";
}
