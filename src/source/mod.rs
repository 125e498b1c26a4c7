//! Where pixels come from.
//!
//! A [`Source`] makes frames of one [`Layout`] a piece at a time, so that the
//! card can render straight into guest memory. A [`Camera`] is what the card
//! has: several inputs with a source each, and the [`Settings`] of its
//! controls.
//!
//! The cargo feature `films` turns films, pictures and JPEG on. Without it the
//! files `without_films.rs` and `without_jpeg.rs` take their place, and refuse them.

pub mod adjust;
pub mod camera;
#[cfg(feature = "films")]
pub mod convert;
#[cfg(feature = "films")]
pub mod film;
#[cfg(not(feature = "films"))]
#[path = "without_films.rs"]
pub mod film;
pub mod format;
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
mod post_process;
#[cfg(feature = "films")]
pub mod raster;
mod rgb565;
pub mod settings;

pub use camera::{Camera, Input};
pub use film::{Access, Descriptors, FilmError};
pub use format::PixelFormat;
pub use interface::{Begun, FrameInfo, Native, Source};
pub use layout::{Layout, MemoryPlane};
pub use name::{absolute, file_of, is_passed_on, is_standard_input};
pub use opening::{SourceError, check, descriptors_of, open, open_input};
pub use pattern::Pattern;
pub use settings::Settings;
