//! What the card of a guest shows, where that is for the user to choose.

use super::planes::PlanesArg;
use crate::card::BufferApi;
use crate::rig::testbed::TestbedSpec;
use crate::source;

/// What the card shows, and by which API.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Card")]
pub struct CardArgs {
    /// What the card's camera sees, as `pinhole device` takes it
    #[arg(long, value_name = "SPEC")]
    source: Option<String>,

    /// Which of V4L2's two APIs the card has; multi for the formats whose
    /// planes lie in memory of their own
    #[arg(long, value_enum)]
    planes: Option<PlanesArg>,
}

impl CardArgs {
    /// Which API was asked for, if any was.
    pub fn planes(&self) -> Option<BufferApi> {
        self.planes.map(BufferApi::from)
    }

    /// A testbed with that card.
    ///
    /// # Errors
    ///
    /// Where there is no such source.
    pub fn put_into(&self, testbed: TestbedSpec) -> anyhow::Result<TestbedSpec> {
        if let Some(source) = &self.source {
            source::check(source)?;
        }
        Ok(TestbedSpec {
            source: self.source.clone(),
            planes: self.planes().unwrap_or_default(),
            ..testbed
        })
    }
}
