//! What was seen of the buffers that a cell has besides its first.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::evidence::{
    CanarySeen, CellAnswer, ContentsSeen, Evidence, FrameSeen, Memory, PagesSeen,
};

/// The evidence of a further buffer; each list is as that of the first in
/// [`CellAnswer`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BufferSeen {
    /// Its memory, once it was laid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The pages behind it.
    pub pages: Vec<PagesSeen>,
    /// The frames that were dequeued with it.
    pub frames: Vec<FrameSeen>,
    /// Its content at moments without a dequeued frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<ContentsSeen>,
    /// The bytes around it.
    pub canaries: Vec<CanarySeen>,
}

impl CellAnswer {
    /// Adds a piece of evidence that is of the buffer `number`, counted from 0.
    /// Evidence of a further buffer that is not of its memory is the cell's.
    pub fn add_of(&mut self, number: usize, evidence: Evidence) {
        /// More buffers than any cell has; the process may be anything by now.
        const MOST: usize = 8;
        let Some(place) = number.checked_sub(1).filter(|place| *place < MOST) else {
            return self.add(evidence);
        };
        if self.further.len() <= place {
            self.further.resize(place + 1, BufferSeen::default());
        }
        let seen = &mut self.further[place];
        match evidence {
            Evidence::Memory(memory) => seen.memory = Some(memory),
            Evidence::Pages(pages) => seen.pages.push(pages),
            Evidence::Frame(frame) => seen.frames.push(frame),
            Evidence::Contents(contents) => seen.contents.push(contents),
            Evidence::Canary(canary) => seen.canaries.push(canary),
            other => self.add(other),
        }
    }

    /// Returns the evidence as if the buffer `number`, counted from 0, were the
    /// cell's first. What else there is of the cell is only in that of the first.
    pub fn of_buffer(&self, number: usize) -> Cow<'_, Self> {
        let Some(place) = number.checked_sub(1) else {
            return Cow::Borrowed(self);
        };
        let seen = self.further.get(place).cloned().unwrap_or_default();
        Cow::Owned(Self {
            ended: self.ended,
            calls: self.calls.clone(),
            counters: self.counters.clone(),
            memory: seen.memory,
            pages: seen.pages,
            frames: seen.frames,
            contents: seen.contents,
            canaries: seen.canaries,
            ..Self::default()
        })
    }

    /// Returns the pages of all buffers, at every look.
    pub fn all_pages(&self) -> impl Iterator<Item = &[PagesSeen]> {
        let further = self.further.iter().map(|seen| &seen.pages[..]);
        [&self.pages[..]].into_iter().chain(further)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::evidence::{Ended, Moment};
    use crate::dma::Digest;

    #[test]
    fn each_buffer_has_what_was_seen_of_it() {
        let contents = |digest| {
            Evidence::Contents(ContentsSeen {
                moment: Moment::Filled,
                digests: vec![Some(Digest(digest))],
                upside_down: Vec::new(),
            })
        };
        let mut answer = CellAnswer {
            ended: Ended::TimedOut,
            ..CellAnswer::default()
        };
        for number in [0, 2, usize::MAX] {
            answer.add(Evidence::Of(number, Box::new(contents(number as u64))));
        }
        answer.add(Evidence::Of(
            2,
            Box::new(Evidence::Note("no memory".into())),
        ));
        let seen = |number| {
            let of_it = answer.of_buffer(number);
            assert_eq!(of_it.ended, Ended::TimedOut);
            let contents = of_it.contents.iter();
            let digests = contents.flat_map(|seen| seen.digests.clone());
            digests.map(|digest| digest.unwrap().0).collect::<Vec<_>>()
        };
        // What is of no buffer that there could be is the cell's.
        assert_eq!(seen(0), [0, u64::MAX]);
        assert_eq!(seen(1), [0; 0]);
        assert_eq!(seen(2), [2]);
        assert_eq!(seen(3), [0; 0]);
        assert_eq!(answer.notes, ["no memory"]);
        assert_eq!(answer.all_pages().count(), 3);
        let read: CellAnswer =
            serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap();
        assert_eq!(read, answer);
    }
}
