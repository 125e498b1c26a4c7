//! The sources of the card's pixels.
//!
//! A [`Source`] makes frames of one [`Layout`] piece by piece, so that the card
//! needs no memory for a whole one. The card has a [`Camera`]: several
//! inputs with a source each, and the [`Settings`] of the card's controls.
//!
//! The cargo feature `films` enables films, pictures and JPEG. Without it, the
//! files `without_films.rs`, `without_convert.rs` and `without_jpeg.rs` replace
//! them and refuse every request.
//!
//! | file | what is in it |
//! |---|---|
//! | `frame`, [`interface`], [`whole`] | what the card asks of a source |
//! | [`pattern`], [`film`] | the sources |
//! | [`camera`] | the inputs, and which of them is shown |
//! | `ahead` | threads that make frames before they are due |
//! | `processing` | what those make of a source's frame: [`convert`], [`adjust`], `jpeg` |
//! | [`transform`] | what a mem-to-mem card makes of a frame: the same, and `turn` |
//! | [`layout`], [`format`], [`raster`] | how pictures lie in memory |

pub mod adjust;
mod ahead;
pub mod camera;
#[cfg(feature = "films")]
pub mod convert;
#[cfg(not(feature = "films"))]
#[path = "without_convert.rs"]
pub mod convert;
#[cfg(feature = "films")]
pub mod film;
#[cfg(not(feature = "films"))]
#[path = "without_films.rs"]
pub mod film;
#[cfg(all(test, feature = "films"))]
mod fixtures;
pub mod format;
mod frame;
mod interface;
#[cfg(feature = "films")]
mod jpeg;
#[cfg(not(feature = "films"))]
#[path = "without_jpeg.rs"]
mod jpeg;
pub mod layout;
pub mod name;
mod opening;
pub mod pattern;
mod processing;
pub mod raster;
mod rgb565;
pub mod settings;
pub mod transform;
mod turn;
pub mod whole;

pub use camera::{Camera, Input};
pub use film::{Access, Descriptors, FilmError};
pub use format::PixelFormat;
pub use frame::{Begun, FrameInfo, Native, Pace};
pub use interface::Source;
pub use layout::{Layout, MemoryPlane};
pub use name::{absolute, file_of, is_passed_on, is_standard_input};
pub use opening::{SourceError, check, descriptors_of, open, open_input};
pub use pattern::Pattern;
pub use settings::Settings;
