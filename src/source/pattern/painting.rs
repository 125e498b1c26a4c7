//! The trait [`Painting`], which every pattern implements, and its settings.

use std::fmt::Debug;

use crate::source::interface::FrameInfo;
use crate::source::settings::Settings;

/// A picture that is painted in pieces of its lines.
pub trait Painting: Debug + Send {
    /// Sets the moving parts for that frame.
    fn begin(&mut self, _frame: &FrameInfo, _settings: &PatternSettings) {}

    /// Paints a part of the line of a colour plane that begins at line `y` of
    /// the picture: `out`, from byte `column` on. It does not reach beyond the
    /// line's end.
    fn paint(&self, plane: usize, y: u32, column: usize, out: &mut [u8]);
}

/// The settings that patterns use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternSettings {
    pub motion: u32,
    pub noise_seed: i64,
    pub overlay: u32,
    pub text: String,
}

impl From<&Settings> for PatternSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            motion: settings.motion,
            noise_seed: settings.noise_seed,
            overlay: settings.overlay,
            text: settings.text.clone(),
        }
    }
}
