//! Memory that the agent lays out, and calls on a frame vector over it.
//!
//! The module frame_vector_probe.ko, which must be loaded, makes the calls in
//! the context of the calling process, since a frame vector is about the
//! caller's memory. The caller is the agent itself, or a separate process if a
//! call may end the process or change it for good
//! ([`FrameVector::needs_a_process`]).

use serde::{Deserialize, Serialize};

/// Largest number of frames and pages that an [`Outcome`] lists.
pub const SHOWN: usize = 16;

/// Number of base pages in a huge page.
pub const HUGE_PAGES: u32 = 512;

/// Flag of a get: the memory is to be written to.
pub const WRITE: u32 = 1;
/// Flag of a get: the permissions that the mapping could have count, not those
/// it has (`FOLL_FORCE`).
pub const FORCE: u32 = 2;
/// Flag of a get: user space may hold the pages for any time (`FOLL_LONGTERM`).
pub const LONGTERM: u32 = 4;

/// Number of pages of the file behind [`Kind::Repeated`].
pub const REPEATED_PAGES: u32 = 256;

/// Largest number of pages in a range.
pub const RANGE_PAGES_MAX: u64 = 1 << 20;

/// Request to lay out memory, make calls over it one after another, and clean
/// up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameVector {
    /// The range: areas one after another without a gap, with unused address
    /// space on both sides.
    pub areas: Vec<Area>,
    /// What another thread does meanwhile, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meanwhile: Option<Meanwhile>,
    /// The calls.
    pub steps: Vec<Step>,
}

impl FrameVector {
    /// Returns whether the calls need a separate process: one that may be
    /// ended, shares its memory, gets holes in it, or loses its rights.
    pub fn needs_a_process(&self) -> bool {
        let changes = |step: &Step| matches!(step, Step::Abandon | Step::Fork | Step::Limit);
        self.meanwhile.is_some() || self.steps.iter().any(changes)
    }
}

/// The action of another thread when memory of [`Kind::Userfault`] is first
/// used, before it fills the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Meanwhile {
    /// Sends SIGUSR1 to the thread that makes the calls, which handles it.
    Signal,
    /// Sends SIGKILL to its own process.
    Kill,
    /// Unmaps pages with munmap(2).
    Unmap(Pages),
    /// Makes pages read-only with mprotect(2).
    Protect(Pages),
    /// Discards pages with `MADV_DONTNEED`.
    Discard(Pages),
    /// Calls fork(2); the child lives until the last step is done.
    Fork,
}

/// Pages of the range, counted from its first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Index of the first page.
    pub first: u32,
    /// Number of pages.
    pub count: u32,
}

/// A part of the range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Kind of the memory.
    #[serde(flatten)]
    pub kind: Kind,
    /// Length in pages.
    pub pages: u32,
}

/// A kind of memory. It can be read and written unless its description says
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// Private memory that was written to.
    Touched,
    /// Private memory that was never used.
    Untouched,
    /// Private memory that was written to and is now read-only.
    ReadOnly,
    /// A memfd, mapped shared and read-only; it has been written to.
    SharedReadOnly,
    /// A memfd, mapped shared, that was written to.
    Shared,
    /// The [`REPEATED_PAGES`] pages of a memfd, mapped shared again and again.
    Repeated,
    /// A file, or a block device, mapped shared. A file that does not exist is
    /// created, and removed afterwards.
    File {
        /// Path of the file.
        path: String,
    },
    /// Private huge pages of hugetlb that were written to. This kind and the
    /// next must come first in a range, and have a length of whole huge pages.
    HugeTlb,
    /// Transparent huge pages that were written to.
    TransparentHuge,
    /// Address space without a mapping.
    Hole,
    /// Private memory that may not be accessed (`PROT_NONE`).
    NoAccess,
    /// Memory of a PCI device, mapped through sysfs: `VM_IO | VM_PFNMAP`,
    /// without struct pages. Four pages at most.
    Bar,
    /// Pages of the probe that are mapped without a reference: `VM_IO |
    /// VM_PFNMAP`. Four pages at most.
    UncountedPages,
    /// Pages of the probe in a mapping that is only `VM_IO`. Four pages at
    /// most.
    IoPages,
    /// Private memory that another thread fills when it is first used
    /// (`UFFDIO_REGISTER_MODE_MISSING`). Before the thread fills a page, it
    /// maps and unmaps another.
    Userfault,
}

/// A step, mostly a call of the frame vector API. Pages are counted from the
/// range's first page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// `frame_vector_create()`.
    Create {
        /// The number of frames to make room for.
        frames: u32,
    },
    /// `get_vaddr_frames()` on memory of the range.
    Get {
        /// Index of the first page.
        page: u32,
        /// Offset of the first address within the first page, in bytes.
        #[serde(default)]
        offset: u32,
        /// Number of frames.
        frames: u32,
        /// Flags: [`WRITE`], [`FORCE`], [`LONGTERM`].
        flags: u32,
    },
    /// `get_vaddr_frames()` for writing while the vector holds pinned pages.
    /// The probe remembers those pages for [`Step::Release`].
    GetAgain {
        /// Index of the first page.
        page: u32,
        /// Number of frames.
        frames: u32,
    },
    /// `get_vaddr_frames()` for writing, at any address.
    GetAt {
        /// The address.
        address: u64,
        /// Number of frames.
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
    /// `frame_vector_destroy()`; pinned pages are put first.
    Destroy,
    /// Fills the vector with PFNs that are not pinned, as `get_vaddr_frames()`
    /// did for `VM_PFNMAP` until the end of 2022.
    Fill {
        /// The pages whose PFNs these are.
        pages: Vec<u32>,
    },
    /// Sets the two flags of the vector, as they may be in memory that was not
    /// cleared.
    Poison,
    /// `frame_vector_destroy()` while the pages are pinned.
    Abandon,
    /// Unpins the pages that were abandoned, or replaced by another get.
    Release,
    /// Writes to the first [`SHOWN`] pages of the range, as a program does.
    Touch,
    /// Calls fork(2); the child lives until the last step is done.
    Fork,
    /// Takes the right to locked memory from the process (`RLIMIT_MEMLOCK`,
    /// `CAP_IPC_LOCK`), and returns the result of mlock(2) on a page of the
    /// range.
    Limit,
    /// `frame_vector_create()` right after all free blocks of memory of 64 KiB or
    /// more were allocated, which stay so until the last step is done.
    CreateFragmented {
        /// The number of frames to make room for.
        frames: u32,
        /// Number of single pages to leave free.
        singles: u32,
    },
}

/// The outcomes of the steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameVectorAnswer {
    /// One outcome for each step that ended.
    pub steps: Vec<Outcome>,
    /// How the process was ended in the next step, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<Killed>,
    /// What the thread did that filled memory, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<Filled>,
}

impl FrameVectorAnswer {
    /// Adds a part of the answer. The caller handles [`AnswerPart::Failed`].
    pub fn add(&mut self, part: AnswerPart) {
        match part {
            AnswerPart::Step(outcome) => self.steps.push(outcome),
            AnswerPart::Filled(filled) => self.filled = Some(filled),
            AnswerPart::Failed { .. } => {}
        }
    }
}

/// How the process was ended, and what it left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// Number of the signal that ended it.
    pub signal: i32,
    /// What the last `get_vaddr_frames()` returned to the probe.
    pub returned: i32,
    /// Number of pins in the whole kernel afterwards.
    pub pins: u64,
}

/// The outcome of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Return value of the function: 1 for a pointer, a negative error number
    /// for an `ERR_PTR`, 0 for `NULL` or no value.
    pub returned: i32,
    /// Error number with which the probe refused to make the call, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<i32>,
    /// The vector after the step, if it exists.
    pub vector: Option<Vector>,
    /// The first [`SHOWN`] PFNs in the vector.
    pub frames: Vec<u64>,
    /// The PFNs of [`SHOWN`] pages of the range, starting at the first page of
    /// the last get: those in the process's page table, or those of a device's
    /// addresses. Zero if no page is present, or if the PFN is not known
    /// ([`Kind::UncountedPages`]).
    pub process: Vec<u64>,
    /// The pages that the vector held first, or holds now; before it held any,
    /// those of the process.
    pub pages: Vec<Page>,
    /// Number of pins in the whole kernel: `nr_foll_pin_acquired` less
    /// `nr_foll_pin_released`.
    pub pins: u64,
    /// KiB that the process is charged for as pinned and as locked (`VmPin` and
    /// `VmLck` of proc_pid_status(5)).
    pub accounted: [u64; 2],
    /// The largest order with a free block of memory that the kernel may use
    /// for itself, right before the step's call.
    pub free_order: u32,
}

/// A part of the answer: a line from the process that makes the calls to the
/// agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerPart {
    /// The outcome of the next step.
    Step(Outcome),
    /// What the thread did that filled memory.
    Filled(Filled),
    /// A failure, after which the process does not continue.
    Failed {
        /// What failed, and on which object.
        message: String,
        /// The error number, if a system call failed.
        errno: Option<i32>,
    },
}

/// A frame vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vector {
    /// Number of frames that the vector has room for.
    pub allocated: u32,
    /// Number of frames that it holds.
    pub frames: u32,
    /// Whether the frames are pinned.
    pub got_ref: bool,
    /// Whether the frames are PFNs, not pages.
    pub is_pfns: bool,
    /// Whether the vector was allocated by `vmalloc()`.
    pub is_vmalloc: bool,
}

/// A page frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Page frame number.
    pub pfn: u64,
    /// Whether it has a struct page.
    pub exists: bool,
    /// Reference count. A pin of a small page counts 1024.
    pub references: i32,
    /// Whether it may be pinned for DMA (`page_maybe_dma_pinned()`).
    pub pinned: bool,
    /// Whether it is in `ZONE_MOVABLE`.
    #[serde(default)]
    pub movable: bool,
}

/// What the thread did that filled memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// Number of pages that it filled.
    pub pages: u32,
    /// How often it mapped and unmapped another page first, which takes the
    /// lock of the address space for writing.
    pub mapped: u32,
    /// Number of pages that still hold the data that it wrote, in the end.
    pub intact: u32,
    /// Number of signals that the thread that makes the calls handled
    /// ([`Meanwhile::Signal`]).
    #[serde(default)]
    pub signals: u32,
}
