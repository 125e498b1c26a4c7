//! The contact sheet of a stream, captured or played.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::PictureError;
use super::contact_sheet::{ContactSheet, Verdict as Mark};
use crate::rig::capture::Capture;
use crate::rig::capture::outcome::{Done, Outcome};
use crate::rig::capture::witness::Verdict;
use crate::source::Layout;

/// Number of thumbnails on a contact sheet, and in one of its rows.
const THUMBNAILS: usize = 12;
const COLUMNS: usize = 4;

/// The reason why there is no contact sheet.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// The frames could not be read.
    #[error("cannot read {path}: {source}")]
    Frames {
        /// The file of the frames.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A frame cannot be shown.
    #[error("cannot draw the contact sheet: {0}")]
    Picture(#[from] PictureError),
    /// The picture could not be written.
    #[error("cannot write {path}: {source}")]
    Png {
        /// The file of the picture.
        path: PathBuf,
        /// The encoder's error.
        source: image::ImageError,
    },
}

/// Writes the contact sheet of a capture into its folder: contact-sheet.png.
///
/// # Errors
///
/// [`SheetError`] if the frames cannot be read or shown, or the sheet cannot be
/// written.
pub fn write_sheet(capture: &Capture, layout: &Layout) -> Result<(), SheetError> {
    let path = capture.folder.contact_sheet();
    let frames = capture.folder.frames();
    let unread = |source| SheetError::Frames {
        path: frames.clone(),
        source,
    };
    let file = File::open(&frames).map_err(unread)?;
    let Outcome {
        kernel,
        stream,
        frames: count,
        ..
    } = &capture.outcome;
    let title = format!(
        "{}x{} {} {}by {}",
        stream.width,
        stream.height,
        stream.format,
        match count.done {
            Done::Captured(_) => "",
            Done::Played(_) => "played ",
        },
        stream.memory.name()
    );
    let shown = worth_showing(&capture.verdicts);
    let subtitle = format!(
        "{} ({}): {} of {} frames verified{}",
        kernel.release,
        kernel.id,
        count.verified,
        count.requested,
        left_out(shown.len(), capture.verdicts.len())
    );
    let mut sheet = ContactSheet::new(&title, &subtitle, layout, COLUMNS);
    let mut bytes = Vec::new();
    for verdict in shown {
        // The frames are adjacent in the file.
        let before = capture.verdicts[..verdict.frame as usize].iter();
        let at = before.map(|verdict| verdict.bytes).sum();
        bytes.resize(verdict.bytes as usize, 0);
        file.read_exact_at(&mut bytes, at).map_err(unread)?;
        let caption = verdict
            .sequence
            .map_or("?".to_owned(), |sequence| format!("#{sequence}"));
        let mark = if verdict.verified {
            Mark::Verified
        } else {
            Mark::Mismatched(&verdict.bad_blocks)
        };
        sheet.add(&caption, &bytes, mark)?;
    }
    let saved = sheet.finish().save(&path);
    saved.map_err(|source| SheetError::Png { path, source })
}

/// Returns the note for a contact sheet that does not show all frames, so that
/// the others are not taken for dropped ones.
fn left_out(shown: usize, captured: usize) -> String {
    match shown < captured {
        true => format!(", {shown} of {captured} shown"),
        false => String::new(),
    }
}

/// Returns the frames for the contact sheet, in order. The first wrong ones get
/// half of the room, or more if the good ones leave more; the good ones are
/// spread evenly over the capture.
fn worth_showing(verdicts: &[Verdict]) -> Vec<&Verdict> {
    let (good, wrong): (Vec<_>, Vec<_>) = verdicts.iter().partition(|verdict| verdict.verified);
    let shown_wrong = wrong
        .len()
        .min(THUMBNAILS.saturating_sub(good.len()).max(THUMBNAILS / 2));
    let room = THUMBNAILS - shown_wrong;
    let shown_good = good.len().min(room);
    let spread = (0..shown_good).map(|at| good[at * (good.len() - 1) / (shown_good - 1).max(1)]);
    let mut shown: Vec<_> = wrong[..shown_wrong].iter().copied().chain(spread).collect();
    shown.sort_by_key(|verdict| verdict.frame);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(count: u32, wrong: &[u32]) -> Vec<Verdict> {
        let verdict = |frame| Verdict {
            frame,
            sequence: Some(frame),
            bytes: 1,
            error: false,
            repeated: false,
            verified: !wrong.contains(&frame),
            bad_blocks: Vec::new(),
            resembles: None,
        };
        (0..count).map(verdict).collect()
    }

    fn shown(count: u32, wrong: &[u32]) -> Vec<u32> {
        worth_showing(&verdicts(count, wrong))
            .iter()
            .map(|verdict| verdict.frame)
            .collect()
    }

    #[test]
    fn frames_are_spread_from_the_first_to_the_last() {
        assert_eq!(shown(12, &[]), (0..12).collect::<Vec<_>>());
        let many = shown(300, &[]);
        assert_eq!((many.len(), many[0], many[11]), (12, 0, 299));
        assert!(shown(0, &[]).is_empty());
        assert_eq!(shown(1, &[]), [0]);
        assert_eq!(shown(2, &[]), [0, 1]);
    }

    #[test]
    fn frames_without_room_are_told_of() {
        assert_eq!(left_out(12, 20), ", 12 of 20 shown");
        assert_eq!(left_out(12, 12), "");
    }

    #[test]
    fn wrong_frames_are_shown_first_of_all() {
        assert!(shown(300, &[7, 150]).contains(&7) && shown(300, &[7, 150]).contains(&150));
        let all_wrong: Vec<_> = (0..300).collect();
        assert_eq!(shown(300, &all_wrong).len(), 12);
        let nearly = shown(300, &all_wrong[..299]);
        assert!(nearly.len() == 12 && nearly.contains(&299), "{nearly:?}");
    }
}
