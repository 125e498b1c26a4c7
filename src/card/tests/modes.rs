//! Lists of sizes and rates.

use super::*;
use crate::card::Modes;
use crate::wire::Errno;
use crate::wire::format::{Fract, FrmIvalEnum, FrmSizeEnum};
use crate::wire::parm::StreamParm;
use crate::wire::selection::Selection;

const EINVAL: u32 = Errno::EINVAL.0;
const ENOTTY: u32 = Errno::ENOTTY.0;
const SIZES: [(u32, u32); 3] = [(1280, 720), (640, 480), (1920, 1080)];
const RATES: [(u32, u32); 3] = [(30, 1), (60, 1), (30000, 1001)];

/// Returns a camera with lists, whose first input is `native`.
fn rig(native: Native) -> Rig {
    let mut rig = Rig::new(Rate::Guest);
    let stage = Stage {
        native,
        ..Stage::default()
    };
    let numbers = Numbers {
        stage: Arc::new(Mutex::new(stage)),
        bytes: 0,
    };
    rig.card = Card::new(Spec {
        modes: Modes::new(BufferApi::Single, &SIZES, &RATES).unwrap(),
        ..Spec::new(
            Camera::new(vec![
                input("Numbers", numbers),
                input("Other", Numbers::default()),
            ]),
            Rate::Guest,
        )
    });
    rig
}

/// Returns the enumerated sizes, and checks that all are discrete.
fn sizes(rig: &mut Rig, session: u32) -> Vec<(u32, u32)> {
    let mut asked = FrmSizeEnum::new_zeroed();
    asked.pixel_format = u32::from_le_bytes(*b"NV12").into();
    let mut sizes = Vec::new();
    loop {
        asked.index = (sizes.len() as u32).into();
        match rig.ioctl(session, Ioctl::EnumFrameSizes, asked.as_bytes()) {
            Ok(answer) => {
                let answer = FrmSizeEnum::read_from_bytes(&answer).unwrap();
                assert_eq!((answer.index, answer.type_.get()), (asked.index, 1));
                // The width and height of v4l2_frmsize_discrete lie where the
                // range's bounds do.
                sizes.push((answer.min_width.get(), answer.max_width.get()));
            }
            Err(error) => {
                assert_eq!(error, EINVAL);
                return sizes;
            }
        }
    }
}

/// Returns the enumerated rates of a size, and checks that all are discrete.
fn rates(rig: &mut Rig, session: u32, size: (u32, u32)) -> Vec<(u32, u32)> {
    let mut asked = FrmIvalEnum::new_zeroed();
    asked.pixel_format = u32::from_le_bytes(*b"NV12").into();
    (asked.width, asked.height) = (size.0.into(), size.1.into());
    let mut rates = Vec::new();
    loop {
        asked.index = (rates.len() as u32).into();
        match rig.ioctl(session, Ioctl::EnumFrameIntervals, asked.as_bytes()) {
            Ok(answer) => {
                let answer = FrmIvalEnum::read_from_bytes(&answer).unwrap();
                assert_eq!((answer.index, answer.type_.get()), (asked.index, 1));
                rates.push((answer.min.denominator.get(), answer.min.numerator.get()));
            }
            Err(error) => {
                assert_eq!(error, EINVAL);
                return rates;
            }
        }
    }
}

#[test]
fn lists_are_enumerated_and_the_nearest_is_set() {
    let mut rig = rig(Native::default());
    for _ in 0..2 {
        let session = rig.open();
        assert_eq!(sizes(&mut rig, session), SIZES);
        for size in SIZES {
            assert_eq!(rates(&mut rig, session, size), RATES);
        }
        for other in [(640, 481), (1280, 480), (16, 16), (0, 0)] {
            assert!(rates(&mut rig, session, other).is_empty(), "{other:?}");
        }
        // The card begins with the first entry of each list.
        let mut asked = Format::new_zeroed();
        asked.type_ = 1.into();
        let pix = rig.get(session, Ioctl::GFmt, &asked).pix;
        assert_eq!((pix.width.get(), pix.height.get()), SIZES[0]);
        let unset = StreamParm::of(1, Fract::new(0, 0));
        let parm = rig.get(session, Ioctl::GParm, &unset);
        assert_eq!(parm.timeperframe, Fract::new(1, 30));
        for (wanted, got) in [
            ((640, 480), (640, 480)),
            ((641, 479), (640, 480)),
            ((0, 0), (640, 480)),
            ((1000, 700), (1280, 720)),
            ((3840, 2160), (1920, 1080)),
        ] {
            for ioctl in [Ioctl::TryFmt, Ioctl::SFmt] {
                let asked = format(b"NV12", wanted.0, wanted.1);
                let pix = rig.get(session, ioctl, &asked).pix;
                assert_eq!((pix.width.get(), pix.height.get()), got, "{wanted:?}");
            }
        }
        for (wanted, got) in [
            ((1, 60), (1, 60)),
            ((1, 240), (1, 60)),
            ((1, 1), (1001, 30000)),
            ((1, 29), (1001, 30000)),
            ((0, 0), (1, 30)),
        ] {
            let asked = StreamParm::of(1, Fract::new(wanted.0, wanted.1));
            let parm = rig.get(session, Ioctl::SParm, &asked);
            assert_eq!(parm.timeperframe, Fract::new(got.0, got.1), "{wanted:?}");
        }
        rig.card.reset();
    }
}

/// v4l2-compliance requires this: a device with several discrete sizes does not
/// crop.
#[test]
fn a_card_with_a_list_of_sizes_has_no_selections() {
    let mut rig = rig(Native::default());
    let session = rig.open();
    let mut asked = Selection::new_zeroed();
    asked.type_ = 1.into();
    for ioctl in [Ioctl::GSelection, Ioctl::SSelection] {
        assert_eq!(rig.ioctl(session, ioctl, asked.as_bytes()), Err(ENOTTY));
    }
}

#[test]
fn a_source_that_is_not_scaled_has_no_choice() {
    let mut rig = rig(Native {
        size: Some((320, 240)),
        interval: Some((1, 24)),
        follow: true,
    });
    let session = rig.open();
    assert_eq!(sizes(&mut rig, session), [(320, 240)]);
    assert_eq!(rates(&mut rig, session, (320, 240)), [(24, 1)]);
    let pix = rig
        .get(session, Ioctl::SFmt, &format(b"NV12", 640, 480))
        .pix;
    assert_eq!((pix.width.get(), pix.height.get()), (320, 240));
    rig.ok(session, Ioctl::SInput, &1u32.to_le_bytes());
    assert_eq!(sizes(&mut rig, session), SIZES);
}
