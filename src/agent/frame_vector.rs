//! Memory laid out in the agent, and calls on a frame vector over it.
//!
//! The calls are made by the module frame_vector_probe.ko, which must be
//! loaded, in the context of the agent's own process, as a frame vector is about
//! the memory of who calls; or of a process of its own, where that may end in a
//! call or is changed for good ([`FrameVector::needs_a_process`]).

use serde::{Deserialize, Serialize};

/// Most frames and pages that an [`Outcome`] tells of.
pub const SHOWN: usize = 16;

/// Pages of a huge page.
pub const HUGE_PAGES: u32 = 512;

/// How memory is wanted: to be written to.
pub const WRITE: u32 = 1;
/// What the mapping could be allowed counts, not what it is (`FOLL_FORCE`).
pub const FORCE: u32 = 2;
/// For as long as user space likes (`FOLL_LONGTERM`).
pub const LONGTERM: u32 = 4;

/// Pages of the file behind [`Kind::Repeated`].
pub const REPEATED_PAGES: u32 = 256;

/// Most pages of a whole range.
pub const RANGE_PAGES_MAX: u64 = 1 << 20;

/// Lay out memory, make calls over it one after another, and clear up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameVector {
    /// The range: areas one after another without a gap, in the middle of
    /// memory that nothing else is in.
    pub areas: Vec<Area>,
    /// What else happens, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meanwhile: Option<Meanwhile>,
    /// The calls.
    pub steps: Vec<Step>,
}

impl FrameVector {
    /// Whether the calls are for a process of its own: it may be ended, shares its
    /// memory, has holes where there were none, or lost its rights.
    pub fn needs_a_process(&self) -> bool {
        let changes = |step: &Step| matches!(step, Step::Abandon | Step::Fork | Step::Limit);
        self.meanwhile.is_some() || self.steps.iter().any(changes)
    }
}

/// What another thread does when memory of [`Kind::Userfault`] is used for the
/// first time, before it fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Meanwhile {
    /// Sends SIGUSR1 to who makes the calls, which handles it.
    Signal,
    /// Sends SIGKILL to the process, itself included.
    Kill,
    /// munmap(2).
    Unmap(Pages),
    /// mprotect(2), to be read only.
    Protect(Pages),
    /// `MADV_DONTNEED`.
    Discard(Pages),
    /// fork(2); the child lives until the last step is done.
    Fork,
}

/// Pages of the range, counted from its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// A part of the range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// What memory it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its length.
    pub pages: u32,
}

/// A kind of memory. Where it is not said otherwise it may be read and written
/// to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// Private memory that was written to.
    Touched,
    /// Private memory that was never used.
    Untouched,
    /// Private memory that was written to and may now only be read.
    ReadOnly,
    /// A memfd, mapped shared and to be read only; it has been written to.
    SharedReadOnly,
    /// A memfd, mapped shared, that was written to.
    Shared,
    /// The [`REPEATED_PAGES`] pages of a memfd, mapped shared again and again.
    Repeated,
    /// A file, or a block device, mapped shared. A file that is not there is
    /// made, and removed.
    File {
        /// Its path.
        path: String,
    },
    /// Huge pages of hugetlb, private, that were written to. Like the next kind
    /// they come first in a range, and are as many as fill huge pages.
    HugeTlb,
    /// Transparent huge pages that were written to.
    TransparentHuge,
    /// Nothing is mapped.
    Hole,
    /// Private memory that may not be accessed (`PROT_NONE`).
    NoAccess,
    /// Memory of a PCI device, through sysfs: `VM_IO | VM_PFNMAP`, and no
    /// struct page. Four pages at most.
    Bar,
    /// Pages of the probe that it keeps no count of: `VM_IO | VM_PFNMAP`. Four
    /// pages at most.
    UncountedPages,
    /// Pages of the probe in a mapping that is `VM_IO` alone. Four pages at
    /// most.
    IoPages,
    /// Private memory that another thread fills when it is first used
    /// (`UFFDIO_REGISTER_MODE_MISSING`). Before it fills a page it maps and
    /// unmaps another.
    Userfault,
}

/// A call. Pages are counted from the range's first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// `frame_vector_create()`.
    Create {
        /// Its argument.
        frames: u32,
    },
    /// `get_vaddr_frames()` on memory of the range.
    Get {
        /// The first page.
        page: u32,
        /// Bytes of it that come before the first address.
        #[serde(default)]
        offset: u32,
        /// How many.
        frames: u32,
        /// How: [`WRITE`], [`FORCE`], [`LONGTERM`].
        flags: u32,
    },
    /// The same for writing, while the vector holds pinned pages, which are
    /// remembered for [`Step::Release`].
    GetAgain {
        /// The first page.
        page: u32,
        /// How many.
        frames: u32,
    },
    /// `get_vaddr_frames()` for writing, on any address.
    GetAt {
        /// The address.
        address: u64,
        /// How many pages.
        frames: u32,
    },
    /// `frame_vector_pages()`.
    Pages,
    /// `frame_vector_pfns()`.
    Pfns,
    /// `frame_vector_to_pages()`.
    ToPages,
    /// `frame_vector_to_pfns()`.
    ToPfns,
    /// `put_vaddr_frames()`.
    Put,
    /// `frame_vector_destroy()`; what is pinned is put first.
    Destroy,
    /// Fill the vector with PFNs that are not pinned, as `get_vaddr_frames()`
    /// did for `VM_PFNMAP` until the end of 2022.
    Fill {
        /// The pages whose PFNs these are.
        pages: Vec<u32>,
    },
    /// Set the two flags of the vector, as memory that nobody cleared may have
    /// them.
    Poison,
    /// `frame_vector_destroy()` while the pages are pinned.
    Abandon,
    /// Unpin what was abandoned, or lost to another get.
    Release,
    /// Write to the first [`SHOWN`] pages of the range, as a program does.
    Touch,
    /// fork(2); the child lives until the last step is done.
    Fork,
    /// Allow the process no locked memory (`RLIMIT_MEMLOCK`, `CAP_IPC_LOCK`), and
    /// return what mlock(2) of a page of the range says to that.
    Limit,
    /// Take all free blocks of memory of 64 KiB or more, until the last step is
    /// done.
    Hoard {
        /// Single pages to leave free.
        singles: u32,
    },
}

/// What came of the steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameVectorAnswer {
    /// One for each step that was taken to its end.
    pub steps: Vec<Outcome>,
    /// If the process which made the calls was ended in the step that came next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<Killed>,
    /// If a thread filled memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<Filled>,
}

impl FrameVectorAnswer {
    /// Adds a piece of it. Why it goes no further is for who asked to tell.
    pub fn add(&mut self, part: AnswerPart) {
        match part {
            AnswerPart::Step(outcome) => self.steps.push(outcome),
            AnswerPart::Filled(filled) => self.filled = Some(filled),
            AnswerPart::Failed { .. } => {}
        }
    }
}

/// How the process ended, and what was left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// The signal.
    pub signal: i32,
    /// What the last `get_vaddr_frames()` returned to the probe.
    pub returned: i32,
    /// Pins in the whole kernel, after it.
    pub pins: u64,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the function returned: 1 for a pointer, a negative error number
    /// for an `ERR_PTR`, 0 for `NULL` or nothing.
    pub returned: i32,
    /// The probe did not make the call, with this error number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<i32>,
    /// The vector after it, if there is one.
    pub vector: Option<Vector>,
    /// The first [`SHOWN`] PFNs in the vector.
    pub frames: Vec<u64>,
    /// The PFNs of [`SHOWN`] pages of the range, from the first that was last asked
    /// for, by the process's page table, or a device's by its address; zero where
    /// nothing is present, or nobody tells ([`Kind::UncountedPages`]).
    pub process: Vec<u64>,
    /// The pages that the vector held first, or holds now; before there were
    /// any, those of the process.
    pub pages: Vec<Page>,
    /// Pins in the whole kernel: `nr_foll_pin_acquired` less
    /// `nr_foll_pin_released`.
    pub pins: u64,
    /// KiB that the process is accounted for as pinned and as locked (`VmPin` and
    /// `VmLck` of proc_pid_status(5)).
    pub accounted: [u64; 2],
    /// The largest order of which there is a free block of memory that the kernel
    /// may have for itself.
    pub free_order: u32,
}

/// A piece of the answer: a line from the process that makes the calls to the
/// agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerPart {
    /// What came of the next step.
    Step(Outcome),
    /// What the thread that filled memory did.
    Filled(Filled),
    /// Why it goes no further.
    Failed {
        /// What failed, and on what.
        message: String,
        /// The error number, if a system call failed.
        errno: Option<i32>,
    },
}

/// A frame vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vector {
    /// Frames that it has room for.
    pub allocated: u32,
    /// Frames that it holds.
    pub frames: u32,
    /// They are pinned.
    pub got_ref: bool,
    /// They are PFNs, not pages.
    pub is_pfns: bool,
    /// It was allocated by `vmalloc()`.
    pub is_vmalloc: bool,
}

/// A page frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its number.
    pub pfn: u64,
    /// It has a struct page.
    pub exists: bool,
    /// Its reference count. A pin of a small page is 1024 of them.
    pub references: i32,
    /// It may be pinned for DMA (`page_maybe_dma_pinned()`).
    pub pinned: bool,
    /// It is in `ZONE_MOVABLE`.
    #[serde(default)]
    pub movable: bool,
}

/// What the thread that fills memory did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// Pages that it filled.
    pub pages: u32,
    /// How often it had mapped and unmapped another page first, which takes
    /// the lock of the address space for writing.
    pub mapped: u32,
    /// Pages that hold what it filled them with, in the end.
    pub intact: u32,
    /// Signals that who makes the calls has handled ([`Meanwhile::Signal`]).
    #[serde(default)]
    pub signals: u32,
}
