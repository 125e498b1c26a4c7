//! What frames are converted with. The sessions share it, as they take turns.

use crate::dma::Staging;
use crate::source::Layout;
use crate::source::transform::{Transform, TransformError, Transformer};

/// How much memory the transformers that are kept may have, in bytes. Sessions that
/// take turns need one each; those of 256 MiB are a dozen sessions of 3840x2160.
const KEPT: usize = 256 << 20;

/// A transformer, and what it is for.
#[derive(Debug)]
struct Tool {
    from: Layout,
    to: Layout,
    how: Transform,
    transformer: Transformer,
}

impl Tool {
    /// Returns about how much memory the transformer has: two frames as it makes
    /// them on its way.
    fn bytes(&self) -> usize {
        2 * self.from.sizeimage.max(self.to.sizeimage) as usize
    }
}

/// The memory and the tools of the card's work.
#[derive(Default)]
pub struct Workshop {
    /// Where frames pass through in pieces.
    pub staging: Staging,
    /// A frame that was read.
    pub frame: Vec<u8>,
    /// The tools, the one that was used last first.
    tools: Vec<Tool>,
}

impl Workshop {
    /// Makes room for a frame.
    pub fn prepare(&mut self, from: &Layout) {
        self.frame.resize(from.sizeimage as usize, 0);
    }

    /// Returns the frame that is made of the one that was read.
    ///
    /// # Errors
    /// None can be made of it.
    pub fn transform(
        &mut self,
        from: &Layout,
        to: &Layout,
        how: &Transform,
    ) -> Result<(&[u8], &mut Staging), TransformError> {
        let fits = |tool: &Tool| (&tool.from, &tool.to, &tool.how) == (from, to, how);
        match self.tools.iter().position(fits) {
            Some(place) => self.tools[..=place].rotate_right(1),
            None => {
                let transformer = Transformer::new(from, to, how)?;
                let tool = Tool {
                    from: *from,
                    to: *to,
                    how: how.clone(),
                    transformer,
                };
                self.tools.insert(0, tool);
                let mut sum = 0;
                self.tools.retain(|tool| {
                    let is_last_used = sum == 0;
                    sum += tool.bytes();
                    is_last_used || sum <= KEPT
                });
            }
        }
        let made = self.tools[0].transformer.transform(&self.frame)?;
        Ok((made, &mut self.staging))
    }

    /// Frees the memory.
    pub fn free(&mut self) {
        *self = Self::default();
    }
}
