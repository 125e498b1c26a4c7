//! The arguments of subcommands whose user chooses what the card of a guest
//! shows, or what it can do.

use std::sync::Arc;

use anyhow::Context as _;
use rustix::stdio::stdin;

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

    #[command(flatten)]
    features: FeatureArgs,
}

/// What the card can do.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Card")]
pub struct FeatureArgs {
    /// Which of V4L2's two APIs the card has; multi for the formats whose
    /// planes lie in memory of their own
    #[arg(long, value_enum)]
    planes: Option<PlanesArg>,

    /// Give the card controls that make errors happen: lost frames, stalls, a
    /// dead session
    #[arg(long)]
    error_injection: bool,
}

impl CardArgs {
    /// As [`FeatureArgs::planes`].
    pub fn planes(&self) -> Option<BufferApi> {
        self.features.planes()
    }

    /// Returns whether the card is to read standard input.
    pub fn reads_standard_input(&self) -> bool {
        let source = self.source.as_deref();
        source.is_some_and(source::is_standard_input)
    }

    /// Returns the testbed with that card.
    ///
    /// # Errors
    ///
    /// An error if the source does not exist, or it is standard input and the
    /// process has none.
    pub fn put_into(&self, testbed: TestbedSpec) -> anyhow::Result<TestbedSpec> {
        if let Some(source) = &self.source {
            source::check(source)?;
        }
        let input = match self.reads_standard_input() {
            true => {
                let input = stdin().try_clone_to_owned();
                Some(Arc::new(input.context("cannot hand on standard input")?))
            }
            false => None,
        };
        Ok(TestbedSpec {
            source: self.source.clone(),
            card_input: input,
            ..self.features.put_into(testbed)
        })
    }
}

impl FeatureArgs {
    /// Returns the API that was asked for, if one was.
    pub fn planes(&self) -> Option<BufferApi> {
        self.planes.map(BufferApi::from)
    }

    /// Returns the testbed with such a card.
    pub fn put_into(&self, testbed: TestbedSpec) -> TestbedSpec {
        TestbedSpec {
            planes: self.planes().unwrap_or_default(),
            harmless: !self.error_injection,
            ..testbed
        }
    }
}
