//! The sinks of the card's pixels: where the frames go that an output card
//! reads.
//!
//! The card has a [`Display`]: several outputs with a sink each. A sink takes
//! frames of one [`Layout`](crate::source::Layout) part by part, as the card
//! reads them from guest memory:
//!
//! - `digest`: the card reads the frames, its witness has their digests, and
//!   nothing keeps them;
//! - `raw:FILE`: the bytes of all frames, one after the other; a part that the
//!   guest did not give is zero, and a compressed frame is as long as it came;
//! - `y4m:FILE`: a YUV4MPEG2 film, as FFmpeg, GStreamer and the card's own
//!   [sources](crate::source::film) read it. Luma and chroma are moved without
//!   loss into the film's planes; red, green and blue become luma and chroma at
//!   4:4:4.
//!
//! `-` is standard output. FILE may be a FIFO, and a comma in it is doubled, as
//! in a source's. The streams of a card go into the same file. A film has one
//! header: the rate is that of its first stream, and frames of another size or
//! sampling are left out of it.
//!
//! A thread writes the frames. The memories that frames are read into go round
//! between the card and that thread, four of them, so a reader that is slow, or
//! does not read at all, holds the frames back and never the card. A file that takes no more, because its disk is full or its
//! reader is gone, costs a line in the log; its sink goes on as `digest`. What a
//! file holds then are whole frames.
//!
//! | file | what is in it |
//! |---|---|
//! | `display` | the outputs, and which of them is selected |
//! | `opening` | sinks by their specifications |
//! | `writer` | the frames on the card's side |
//! | `thread`, `queue` | the thread that writes them, and what it shares with the card |
//! | `encoding`, `y4m` | what the thread makes of a frame |
//! | `target` | the file, which ends with a whole frame |

mod display;
mod encoding;
mod opening;
mod queue;
mod target;
#[cfg(test)]
mod tests;
mod thread;
mod writer;
mod y4m;

pub use display::{Display, Output};
pub use opening::{SinkError, file_of, is_standard_output, open, takes};
