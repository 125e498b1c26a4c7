//! What Pinhole's card shows in a guest's cells.

use std::fs;
use std::io;
use std::path::Path;

use crate::card::CardKind;

/// The side of the still picture: its bytes are a square.
const SIDE: usize = 256;

/// Returns the name of the source of the pictures of a card of that kind; `None` if it
/// shows none. With a witness every line of every frame is known. Without one what is
/// known is what stands still: a picture that is made in `dir`, no part of which is
/// like another. This program's patterns have a mark of the time in each page.
///
/// # Errors
///
/// An error if the picture cannot be written.
pub(super) fn source(kind: CardKind, witnessed: bool, dir: &Path) -> io::Result<Option<String>> {
    match (kind, witnessed) {
        (CardKind::Output | CardKind::M2m, _) => Ok(None),
        (CardKind::Capture, true) => Ok(Some("pattern:integrity".into())),
        // Nor does it move much in the others.
        (CardKind::Capture, false) if !cfg!(feature = "films") => Ok(Some("pattern:bars".into())),
        (CardKind::Capture, false) => {
            let path = dir.join("picture");
            fs::write(&path, still())?;
            // A comma would begin an option.
            let path = path.display().to_string().replace(',', ",,");
            Ok(Some(format!("raw:{path},format=GREY,size={SIDE}x{SIDE}")))
        }
    }
}

/// Returns the picture, a byte for each pixel.
fn still() -> Vec<u8> {
    // The generator of Numerical Recipes; its high bits are the random ones.
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let states = std::iter::successors(Some(1), next);
    let bytes = states.map(|state: u32| (state >> 24) as u8);
    bytes.take(SIDE * SIDE).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agent::cell::PAGE;

    #[test]
    fn a_still_picture_is_nowhere_like_itself() {
        let picture = still();
        assert_eq!(picture.len(), SIDE * SIDE);
        let pages: BTreeSet<_> = picture.chunks(PAGE).collect();
        assert_eq!(pages.len(), picture.len() / PAGE);
    }

    #[test]
    fn the_card_shows_what_can_be_judged() {
        let dir = tempfile::Builder::new().prefix("a,b").tempdir().unwrap();
        let source = |kind, witnessed| source(kind, witnessed, dir.path()).unwrap();
        let integrity = source(CardKind::Capture, true);
        assert_eq!(integrity.as_deref(), Some("pattern:integrity"));
        assert_eq!(source(CardKind::Output, false), None);
        let still = source(CardKind::Capture, false).unwrap();
        if cfg!(feature = "films") {
            assert!(
                still.starts_with("raw:") && still.contains("a,,b"),
                "{still}"
            );
            assert_eq!(
                fs::read(dir.path().join("picture")).unwrap(),
                super::still()
            );
        }
    }
}
