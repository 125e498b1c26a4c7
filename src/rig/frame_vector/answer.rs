//! The answers to points. Observed and expected answers are compared as values
//! of these types, and printed with their `Display`.

use std::fmt;

use crate::agent::frame_vector::Step;
use crate::rig::kernel::errno_name;

/// The result of `get_vaddr_frames()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// An error.
    Error {
        /// Number of the error.
        errno: i32,
        /// Number of frames that the vector holds all the same.
        frames: u32,
    },
    /// No frames were returned, and no error.
    Nothing,
    /// The function returned a number of frames, but there is no vector.
    NoVector(u32),
    /// The vector holds frames.
    Frames {
        /// Number of frames that the function returned.
        count: u32,
        /// Number of frames requested.
        asked: u32,
        /// Whether the frames are PFNs, not pages.
        pfns: bool,
        /// Whether the frames are pinned.
        held: Held,
        /// Number of frames in the vector, according to the vector.
        frames: u32,
        /// Whether the frames are the process's, as far as those are known.
        own: bool,
    },
}

impl Got {
    /// Returns an error with nothing in the vector.
    pub fn error(errno: i32) -> Self {
        Self::Error { errno, frames: 0 }
    }

    /// Returns pinned pages of the process.
    pub fn pinned(count: u32, asked: u32) -> Self {
        Self::Frames {
            count,
            asked,
            pfns: false,
            held: Held::Pinned,
            frames: count,
            own: true,
        }
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Error { errno, frames: 0 } => f.write_str(&errno_name(errno)),
            Self::Error { errno, frames } => {
                write!(f, "{}, but nr_frames is {frames}", errno_name(errno))
            }
            Self::Nothing => f.write_str("0"),
            Self::NoVector(count) => write!(f, "{count}, and no vector"),
            Self::Frames {
                count,
                asked,
                pfns,
                held,
                frames,
                own,
            } => {
                write!(f, "{count} of {asked} {}, {held}", unit(pfns))?;
                if frames != count {
                    write!(f, ", but nr_frames is {frames}")?;
                }
                match own {
                    true => Ok(()),
                    false => f.write_str(", but not those of the process"),
                }
            }
        }
    }
}

fn unit(pfns: bool) -> &'static str {
    if pfns { "PFNs" } else { "pages" }
}

/// The vector's flag about its frames, compared with their counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The frames are pinned.
    Pinned,
    /// The vector claims that the frames are pinned, but not all are.
    SaidPinned,
    /// The frames are not pinned.
    Unpinned,
    /// The vector claims that the frames are not pinned, but some are.
    SaidUnpinned,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned => "pinned",
            Self::SaidPinned => "said to be pinned and are not",
            Self::Unpinned => "not pinned",
            Self::SaidUnpinned => "said not to be pinned and are",
        })
    }
}

/// How many of a step's pages are pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// No page is pinned.
    None,
    /// All pages are pinned.
    All,
    /// Some pages are pinned.
    Part,
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "not pinned",
            Self::All => "pinned",
            Self::Part => "pinned in part",
        })
    }
}

/// The state of a vector, according to its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// There is no vector.
    NoVector,
    /// There is a vector.
    Vector {
        /// Number of frames.
        frames: u32,
        /// Whether the frames are PFNs.
        pfns: bool,
        /// Whether the frames are pinned.
        pinned: bool,
    },
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoVector => f.write_str("no vector"),
            Self::Vector {
                frames,
                pfns,
                pinned,
            } => {
                let not = if pinned { "" } else { "not " };
                write!(f, "{frames} {}, {not}said to be pinned", unit(pfns))
            }
        }
    }
}

/// The result of `frame_vector_create()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// `NULL`, with that number of warnings.
    Null(usize),
    /// A vector allocated by `kmalloc()`.
    Kmalloc,
    /// A vector allocated by `vmalloc()`.
    Vmalloc,
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null(0) => f.write_str("NULL"),
            Self::Null(warnings) => write!(f, "NULL, {warnings} warning"),
            Self::Kmalloc => f.write_str("by kmalloc()"),
            Self::Vmalloc => f.write_str("by vmalloc()"),
        }
    }
}

/// The result of `frame_vector_pages()` for PFNs that were filled in before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewed {
    /// The error number in its `ERR_PTR`, if it was one.
    pub errno: Option<i32>,
    /// Whether the vector still holds those PFNs.
    pub still: bool,
}

impl fmt::Display for Viewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Some(errno) => write!(f, "ERR_PTR(-{})", errno_name(errno))?,
            None => f.write_str("pages")?,
        }
        f.write_str(match self.still {
            true => ", still the PFNs",
            false => ", something else",
        })
    }
}

/// The owner of the pages of memory that was never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The zero page that all processes share.
    Zero,
    /// The process itself.
    Own,
    /// Some of both.
    Both,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "the zero page",
            Self::Own => "pages of its own",
            Self::Both => "some of both",
        })
    }
}

/// The answer to a point. Pins are those of the whole kernel, as a difference
/// to those before the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The result of one call.
    Got(Got),
    /// The result of one call, and the number of warnings of the called
    /// function.
    Warned { got: Got, warnings: usize },
    /// The results of two calls, with a put between them.
    Twice {
        first: Got,
        second: Got,
        warnings: usize,
    },
    /// The results of two calls, and the pins after the second and after put.
    Again {
        first: Got,
        second: Got,
        pins: [i64; 2],
    },
    /// The results of two calls without a put between them, and the pins after
    /// each call, after put, and after the lost pages are unpinned.
    Over {
        first: Got,
        second: Got,
        pins: [i64; 4],
    },
    /// The result of a call, and the pins after it and after put.
    Kept { got: Got, pins: [i64; 2] },
    /// The result of a call that fails, the state of the vector afterwards, and
    /// the pins after put.
    Failed { got: Got, flags: Flags, pins: i64 },
    /// The pins after a call, after put, and after another put.
    Put { pins: [i64; 3], pages: Pinned },
    /// The pages and pins after destroy, and the pages after they are unpinned.
    Destroyed {
        pages: Pinned,
        pins: i64,
        unpinned: Pinned,
    },
    /// The effects of put on PFNs that were not pinned.
    Spared { page: i32, kernel: i64, frames: u32 },
    /// The result of viewing PFNs as pages.
    Viewed(Viewed),
    /// The result of viewing PFNs as pages, and of `frame_vector_to_pages()`
    /// then.
    Converted { viewed: Viewed, returned: i32 },
    /// Whether pages are the same after conversion to PFNs and back, and
    /// whether they are pinned after put.
    ThereAndBack { same: bool, after: Pinned },
    /// Whether pages viewed as PFNs are pinned, and whether they are after put.
    AsPfns { before: Pinned, after: Pinned },
    /// The result of a call, and the owner of the pages.
    Whose { got: Got, whose: Whose },
    /// The result of a call, and the number of pages in `ZONE_MOVABLE` before
    /// and after it.
    Movable {
        got: Got,
        before: usize,
        after: usize,
    },
    /// The error with which mlock(2) is refused, the result of a call, and the
    /// memory charged to the process, in KiB.
    Limited {
        refused: i32,
        got: Got,
        pinned: u64,
        locked: u64,
    },
    /// The kernel does not let a caller choose flags.
    NoFlags,
    /// The result of a call over huge pages, and the pins after it and after
    /// put.
    Huge {
        got: Got,
        in_place: bool,
        pins: [i64; 2],
    },
    /// A vector.
    Created(Created),
    /// The number of calls of several that created a vector.
    Vectors { count: usize, warnings: usize },
    /// Whether each view of a vector without frames was a pointer, and the
    /// state of the vector after put.
    Views { pointers: [bool; 3], flags: Flags },
    /// The pins after put and destroy of a new vector, and its state before.
    Fresh { pins: [i64; 2], flags: Flags },
    /// The result of creating a vector for much memory, the result of the call,
    /// and the pins after it and after put.
    Large {
        created: Created,
        got: Got,
        pins: [i64; 2],
    },
    /// The results of creating a vector for much memory and of the call, while
    /// there is no free block of the needed size; `block` is the order of one
    /// that exists nevertheless.
    Fragmented {
        block: Option<u32>,
        created: Created,
        got: Got,
    },
    /// The result of a call that waits, and the number of pages filled
    /// meanwhile.
    Filled { got: Got, pages: u32, intact: u32 },
    /// The result of a call that does not wait.
    NoWait(Option<Got>),
    /// How often another thread mapped memory while the call waited.
    Mapped(u32),
    /// The result of a call, and the number of signals handled.
    Signalled { got: Got, handled: u32 },
    /// The return value of a call whose process was killed, and the pins after
    /// it.
    Killed { returned: i32, pins: i64 },
    /// The result of a call, and how many of the pages are the process's after
    /// it has written to its memory.
    Written { got: Got, own: usize, frames: usize },
    /// Not all steps were executed.
    NotTried,
    /// A signal ended the caller, in a step or after the last.
    Ended {
        bug: bool,
        step: Option<Step>,
        signal: i32,
    },
    /// The guest did not answer.
    Silence(String),
}

/// Describes the pins after a call, and after put.
fn until_put([call, put]: [i64; 2]) -> String {
    format!("pins: {call:+}, {put:+} after put")
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Got(got) => write!(f, "{got}"),
            Self::Warned { got, warnings } => write!(f, "{got}, {warnings} warning"),
            Self::Twice {
                first,
                second,
                warnings,
            } if first == second => write!(f, "{first}, both times; {warnings} warning"),
            Self::Twice {
                first,
                second,
                warnings,
            } => write!(f, "{first}, then {second}; {warnings} warning"),
            Self::Again {
                first,
                second,
                pins,
            } => write!(f, "{first}, then {second}; {}", until_put(*pins)),
            Self::Over {
                first,
                second,
                pins: [one, two, put, unpinned],
            } => write!(
                f,
                "{first}, then {second}; pins: {one:+}, {two:+}, {put:+} after put, \
                 {unpinned:+} after unpin_user_pages()"
            ),
            Self::Kept { got, pins } => write!(f, "{got}; {}", until_put(*pins)),
            Self::Failed { got, flags, pins } => {
                write!(f, "{got}; {flags}; pins: {pins:+} after put")
            }
            Self::Put {
                pins: [call, put, again],
                pages,
            } => write!(
                f,
                "pins: {call:+}, {put:+} after put, {again:+} after another; \
                 the pages are {pages}"
            ),
            Self::Destroyed {
                pages,
                pins,
                unpinned,
            } => write!(
                f,
                "{pages} after destroy ({pins:+} pins), {unpinned} after unpin_user_pages()"
            ),
            Self::Spared {
                page,
                kernel,
                frames,
            } => write!(
                f,
                "the page has {page:+} pins, the kernel {kernel:+}; {frames} frames left"
            ),
            Self::Viewed(viewed) => write!(f, "{viewed}"),
            Self::Converted { viewed, returned } => {
                write!(f, "{viewed}; frame_vector_to_pages() is ")?;
                match returned {
                    0 => f.write_str("0"),
                    errno => write!(f, "-{}", errno_name(-errno)),
                }
            }
            Self::ThereAndBack { same, after } => {
                let not = if *same { "" } else { "not " };
                write!(f, "{not}the same, {after} after put")
            }
            Self::AsPfns { before, after } => write!(f, "{before} as PFNs, {after} after put"),
            Self::Whose { got, whose } => write!(f, "{got}; {whose}"),
            Self::Movable { got, before, after } => {
                write!(f, "{got}; {before} in it before, {after} after")
            }
            Self::Limited {
                refused,
                got,
                pinned,
                locked,
            } => write!(
                f,
                "mlock() is {}; {got}; VmPin {pinned} kB, VmLck {locked} kB",
                errno_name(*refused)
            ),
            Self::NoFlags => f.write_str("it takes no flags"),
            Self::Huge {
                got,
                in_place,
                pins,
            } => {
                let each = match in_place {
                    true => "each in its place",
                    false => "not all in their places",
                };
                write!(f, "{got}, {each}; {}", until_put(*pins))
            }
            Self::Created(created) => write!(f, "{created}"),
            Self::Vectors { count: 0, warnings } => {
                write!(f, "NULL, each time; {warnings} warning")
            }
            Self::Vectors { count, warnings } => write!(f, "{count} vectors; {warnings} warning"),
            Self::Views { pointers, flags } => {
                let views = pointers.map(|pointer| match pointer {
                    true => "a pointer",
                    false => "an error",
                });
                write!(f, "{}; {flags}", views.join(", "))
            }
            Self::Fresh {
                pins: [put, destroy],
                flags,
            } => write!(f, "pins: {put:+}, {destroy:+}; {flags}"),
            Self::Large { created, got, pins } => {
                write!(f, "{created}, {got}; {}", until_put(*pins))
            }
            Self::Fragmented {
                block,
                created,
                got,
            } => {
                match block {
                    None => f.write_str("no block")?,
                    Some(order) => write!(f, "a block of order {order}")?,
                }
                write!(f, ": {created}, {got}")
            }
            Self::Filled { got, pages, intact } => {
                write!(f, "{got}; {pages} filled, {intact} intact")
            }
            Self::NoWait(got) => {
                f.write_str("it does not wait: ")?;
                got.as_ref().map_or(Ok(()), |got| write!(f, "{got}"))
            }
            Self::Mapped(count) => write!(f, "yes, {count} times"),
            Self::Signalled { got, handled } => write!(f, "{got}; {handled} handled"),
            Self::Killed { returned, pins } => {
                f.write_str("yes, with ")?;
                match *returned {
                    errno if errno < 0 => f.write_str(&errno_name(-errno))?,
                    count => write!(f, "{count} pages")?,
                }
                write!(f, "; pins: {pins:+} after it")
            }
            Self::Written { got, own, frames } => {
                write!(f, "{got}; then {own} of {frames} are the process's")
            }
            Self::NotTried => f.write_str("not tried"),
            Self::Ended {
                bug,
                step: Some(step),
                signal,
            } => {
                let why = if *bug { "a BUG" } else { "the kernel" };
                write!(f, "{why} ends the caller in {step:?}, by signal {signal}")
            }
            Self::Ended {
                step: None, signal, ..
            } => write!(f, "signal {signal} ends the caller after the last step"),
            Self::Silence(error) => write!(f, "could not be tried: {error}"),
        }
    }
}
