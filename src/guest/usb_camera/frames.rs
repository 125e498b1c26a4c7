//! The camera's picture, as the packets of isochronous transfers. It stands still, and
//! no two words of it are equal, so that nothing can be in another's place unseen.

use super::descriptors::PAYLOAD;

/// Length of a payload's header: its own length, and its flags (UVC 1.0, 2.4.3.3).
const HEADER: usize = 2;

/// The bit that changes from a frame to the next, that of a frame's last packet, and
/// that of the header's end.
const FRAME_ID: u8 = 1;
const END_OF_FRAME: u8 = 2;
const END_OF_HEADER: u8 = 0x80;

/// The frames of a stream.
#[derive(Debug)]
pub struct Frames {
    picture: Vec<u8>,
    /// How much of the frame was sent.
    sent: usize,
    frame_id: u8,
}

impl Frames {
    /// Returns the frames of a stream with that many bytes each; the first begins.
    pub fn new(length: u32) -> Self {
        Self {
            picture: picture(length as usize),
            sent: 0,
            frame_id: 0,
        }
    }

    /// Returns whether a part of a frame was sent, and not all of it.
    pub fn is_begun(&self) -> bool {
        self.sent > 0
    }

    /// Returns the data of packets that are no longer than `lengths`, and how many of
    /// them each packet has. Packets after the frame's last are empty; the next frame is
    /// in the packets of the next call.
    pub fn packets(&mut self, lengths: impl Iterator<Item = usize>) -> (Vec<u8>, Vec<usize>) {
        let mut data = Vec::new();
        let packets = lengths.map(|length| {
            let before = data.len();
            let room = length.min(PAYLOAD as usize).saturating_sub(HEADER);
            let part = room.min(self.picture.len() - self.sent);
            if part > 0 {
                let end = self.sent + part;
                let last = match end == self.picture.len() {
                    true => END_OF_FRAME,
                    false => 0,
                };
                data.extend([HEADER as u8, END_OF_HEADER | self.frame_id | last]);
                data.extend_from_slice(&self.picture[self.sent..end]);
                self.sent = end;
            }
            data.len() - before
        });
        let packets = packets.collect();
        if self.sent == self.picture.len() {
            self.sent = 0;
            self.frame_id ^= FRAME_ID;
        }
        (data, packets)
    }
}

/// Returns a picture of that many bytes.
fn picture(length: usize) -> Vec<u8> {
    // Multiples of an odd number are all different.
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = (1..).flat_map(|word: u64| word.wrapping_mul(ODD).to_le_bytes());
    words.take(length).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_frame_is_in_its_packets() {
        let mut frames = Frames::new(10_000);
        let (data, lengths) = frames.packets([3072, 1000, 0, 3072].into_iter());
        assert_eq!(lengths, [3072, 1000, 0, 3072]);
        assert_eq!(data[..2], [2, 0x80]);
        assert!(frames.is_begun());
        let (more, rest) = frames.packets([4096, 4096].into_iter());
        assert!(!frames.is_begun());
        assert_eq!(rest, [10_000 - 3070 - 998 - 3070 + 2, 0]);
        assert_eq!(more[..2], [2, 0x82]);
        let whole = [&data[2..3072], &data[3074..4072], &data[4074..], &more[2..]];
        assert!(whole.concat() == picture(10_000));
        let (data, _) = frames.packets([100].into_iter());
        assert_eq!(data[..2], [2, 0x81]);
        assert!(data[2..] == picture(98));
    }

    #[test]
    fn no_two_words_of_the_picture_are_equal() {
        let picture = picture(320 * 180 * 2);
        let words: HashSet<_> = picture.chunks_exact(8).collect();
        assert_eq!(words.len(), picture.len() / 8);
    }
}
