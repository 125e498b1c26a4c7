//! What came of a point's calls: what was seen and what was expected are
//! compared by these types, and a person reads their `Display`.

use std::fmt;

use crate::agent::frame_vector::Step;
use crate::rig::kernel::errno_name;

/// What `get_vaddr_frames()` got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// An error.
    Error {
        /// Its number.
        errno: i32,
        /// Frames that the vector holds all the same.
        frames: u32,
    },
    /// No frames, and no error.
    Nothing,
    /// So many frames, and there is no vector.
    NoVector(u32),
    /// Frames, in a vector.
    Frames {
        /// How many it returned.
        count: u32,
        /// How many were asked for.
        asked: u32,
        /// They are PFNs, not pages.
        pfns: bool,
        /// What holds them.
        held: Held,
        /// How many the vector says that it holds.
        frames: u32,
        /// They are those of the process, as far as these are known.
        own: bool,
    },
}

impl Got {
    /// An error, and nothing in the vector.
    pub fn error(errno: i32) -> Self {
        Self::Error { errno, frames: 0 }
    }

    /// Pages of the process's, pinned.
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

/// What a vector says of its frames, and their counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// They are pinned.
    Pinned,
    /// It says so, and they are not all.
    SaidPinned,
    /// They are not pinned.
    Unpinned,
    /// It says so, and some are.
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

/// How many of the pages that a step looked at are pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// None.
    None,
    /// All.
    All,
    /// Some.
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

/// What a vector says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// There is no vector.
    NoVector,
    /// What is in it.
    Vector {
        /// How many frames.
        frames: u32,
        /// They are PFNs.
        pfns: bool,
        /// They are pinned.
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

/// What `frame_vector_create()` made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// `NULL`, with so many warnings.
    Null(usize),
    /// A vector of `kmalloc()`.
    Kmalloc,
    /// A vector of `vmalloc()`.
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

/// What `frame_vector_pages()` gave for PFNs that were filled in before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewed {
    /// The error number in its `ERR_PTR`, if it was one.
    pub errno: Option<i32>,
    /// The vector still holds those PFNs.
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

/// Whose pages memory is of that was never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The page of zeroes that all share.
    Zero,
    /// The process's own.
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
    /// What one call got.
    Got(Got),
    /// The same, and warnings of the function that is called.
    Warned { got: Got, warnings: usize },
    /// What two calls got, with a put between.
    Twice {
        first: Got,
        second: Got,
        warnings: usize,
    },
    /// What two calls got, and the pins after the second and after put.
    Again {
        first: Got,
        second: Got,
        pins: [i64; 2],
    },
    /// The same without a put between: the pins after each call, after put, and
    /// after what was lost is unpinned.
    Over {
        first: Got,
        second: Got,
        pins: [i64; 4],
    },
    /// What a call got, and the pins after it and after put.
    Kept { got: Got, pins: [i64; 2] },
    /// What a call that fails got, what the vector says then, and the pins after
    /// put.
    Failed { got: Got, flags: Flags, pins: i64 },
    /// Pins after a call, after put, and after another.
    Put { pins: [i64; 3], pages: Pinned },
    /// The pages and pins after destroy, and after they are unpinned.
    Destroyed {
        pages: Pinned,
        pins: i64,
        unpinned: Pinned,
    },
    /// What put left of PFNs that were not pinned.
    Spared { page: i32, kernel: i64, frames: u32 },
    /// PFNs, viewed as pages.
    Viewed(Viewed),
    /// The same, and what `frame_vector_to_pages()` returned then.
    Converted { viewed: Viewed, returned: i32 },
    /// Whether pages are the same as PFNs and back, and pinned after put.
    ThereAndBack { same: bool, after: Pinned },
    /// The pages, viewed as PFNs, and after put.
    AsPfns { before: Pinned, after: Pinned },
    /// What a call got, and whose pages.
    Whose { got: Got, whose: Whose },
    /// What a call got, and how many of the pages were in `ZONE_MOVABLE`.
    Movable {
        got: Got,
        before: usize,
        after: usize,
    },
    /// What mlock(2) is refused with, what a call got, and what the process is
    /// accounted for, in KiB.
    Limited {
        refused: i32,
        got: Got,
        pinned: u64,
        locked: u64,
    },
    /// Only a kernel's own callers may choose flags.
    NoFlags,
    /// What a call over huge pages got, and the pins after it and after put.
    Huge {
        got: Got,
        in_place: bool,
        pins: [i64; 2],
    },
    /// A vector.
    Created(Created),
    /// How many of several calls made one.
    Vectors { count: usize, warnings: usize },
    /// Whether each view of a vector without frames was a pointer, and what it
    /// says of itself after put.
    Views { pointers: [bool; 3], flags: Flags },
    /// Pins after put and destroy of a new vector, and what it said before.
    Fresh { pins: [i64; 2], flags: Flags },
    /// A vector for much memory, what the call got, and the pins after it and
    /// after put.
    Large {
        created: Created,
        got: Got,
        pins: [i64; 2],
    },
    /// The same while there is no free block of this size, or one of that order.
    Fragmented {
        block: Option<u32>,
        created: Created,
        got: Got,
    },
    /// What a call that waits got, and the pages that were filled meanwhile.
    Filled { got: Got, pages: u32, intact: u32 },
    /// The call does not wait; what it got.
    NoWait(Option<Got>),
    /// How often another thread mapped memory while it waited.
    Mapped(u32),
    /// What a call got, and how many signals were handled.
    Signalled { got: Got, handled: u32 },
    /// What a call returned that was killed, and the pins after it.
    Killed { returned: i32, pins: i64 },
    /// What a call got, and how many of the pages are the process's after it has
    /// written to them.
    Written { got: Got, own: usize, frames: usize },
    /// Not all steps were taken.
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

/// Pins after a call, and after put.
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
