//! The table of the card's controls.

use crate::card::CardKind;
use crate::source::pattern;
use crate::source::settings::{Settings, overlay};
use crate::wire::control::{
    CTRL_FLAG_EXECUTE_ON_WRITE, CTRL_FLAG_HAS_PAYLOAD, CTRL_FLAG_READ_ONLY, CTRL_FLAG_SLIDER,
    CTRL_FLAG_VOLATILE, CTRL_FLAG_WRITE_ONLY, CTRL_TYPE_BITMASK, CTRL_TYPE_BOOLEAN,
    CTRL_TYPE_BUTTON, CTRL_TYPE_CTRL_CLASS, CTRL_TYPE_INTEGER, CTRL_TYPE_INTEGER_MENU,
    CTRL_TYPE_INTEGER64, CTRL_TYPE_MENU, CTRL_TYPE_STRING,
};

/// Ids of controls: those of linux/v4l2-controls.h, and the card's own, which
/// start at 0x1000 within a class, where drivers have theirs.
#[allow(missing_docs)] // named as the table below
pub mod cid {
    const USER: u32 = 0x0098_0900;
    pub const USER_CLASS: u32 = 0x0098_0001;
    pub const BRIGHTNESS: u32 = USER;
    pub const CONTRAST: u32 = USER + 1;
    pub const SATURATION: u32 = USER + 2;
    pub const HUE: u32 = USER + 3;
    pub const GAIN: u32 = USER + 19;
    pub const HFLIP: u32 = USER + 20;
    pub const VFLIP: u32 = USER + 21;
    pub const ROTATE: u32 = USER + 34;
    pub const JPEG_CLASS: u32 = 0x009d_0001;
    pub const JPEG_COMPRESSION_QUALITY: u32 = 0x009d_0903;
    pub const IMAGE_PROC_CLASS: u32 = 0x009f_0001;
    pub const TEST_PATTERN: u32 = 0x009f_0903;

    const PINHOLE: u32 = 0x00f1_f000;
    pub const PINHOLE_CLASS: u32 = 0x00f1_0001;
    pub const MOTION: u32 = PINHOLE;
    pub const OVERLAY: u32 = PINHOLE + 1;
    pub const TEXT: u32 = PINHOLE + 2;
    pub const NOISE_SEED: u32 = PINHOLE + 3;

    const INJECTION: u32 = 0x00f2_f000;
    pub const INJECTION_CLASS: u32 = 0x00f2_0001;
    pub const DROP_FRAMES: u32 = INJECTION;
    pub const ERROR_FRAMES: u32 = INJECTION + 1;
    pub const SHORT_FRAMES: u32 = INJECTION + 2;
    pub const STALL: u32 = INJECTION + 3;
    pub const REFUSE_QBUF: u32 = INJECTION + 4;
    pub const FAIL_STREAMON: u32 = INJECTION + 5;
    pub const SIGNAL_LOST: u32 = INJECTION + 6;
    pub const KILL_SESSION: u32 = INJECTION + 7;
    pub const END_OF_STREAM: u32 = INJECTION + 8;
    pub const SOURCE_CHANGE: u32 = INJECTION + 9;
    pub const HOLD_FRAMES: u32 = INJECTION + 10;
    pub const HOLD_EVENTS: u32 = INJECTION + 11;
    pub const FRAMES_TO_PASS: u32 = INJECTION + 12;
    pub const EVENTS_TO_PASS: u32 = INJECTION + 13;
}

/// The values of the Motion control, in pixels.
pub const MOTION: [i64; 7] = [0, 1, 2, 4, 8, 16, 32];

/// Largest number of frames, events or refusals that one control can request.
const MOST: i64 = 1_000_000;
/// Longest stall in milliseconds.
const LONGEST_STALL: i64 = 60_000;
/// Longest text of the Text control in bytes, without its NUL.
const LONGEST_TEXT: i64 = 63;

/// The kind of value that a control has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// No value: the control is the heading of a class.
    Class,
    /// A 32-bit number.
    Integer,
    /// 0 or 1.
    Boolean,
    /// The index of one of these names.
    Menu(Vec<&'static str>),
    /// The index of one of these numbers.
    IntegerMenu(&'static [i64]),
    /// No value: writing the control has an effect.
    Button,
    /// A bit mask; `maximum` holds the valid bits.
    Bitmask,
    /// Text of `minimum` to `maximum` bytes.
    Text,
    /// A 64-bit number.
    Integer64,
}

impl Kind {
    /// Returns V4L2_CTRL_TYPE_*.
    pub fn type_(&self) -> u32 {
        match self {
            Self::Class => CTRL_TYPE_CTRL_CLASS,
            Self::Integer => CTRL_TYPE_INTEGER,
            Self::Boolean => CTRL_TYPE_BOOLEAN,
            Self::Menu(_) => CTRL_TYPE_MENU,
            Self::IntegerMenu(_) => CTRL_TYPE_INTEGER_MENU,
            Self::Button => CTRL_TYPE_BUTTON,
            Self::Bitmask => CTRL_TYPE_BITMASK,
            Self::Text => CTRL_TYPE_STRING,
            Self::Integer64 => CTRL_TYPE_INTEGER64,
        }
    }

    /// Returns the name of the kind for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Menu(_) => "menu",
            Self::IntegerMenu(_) => "integer-menu",
            Self::Button => "button",
            Self::Bitmask => "bitmask",
            Self::Text => "string",
            Self::Integer64 => "integer64",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Control {
    /// V4L2_CID_*.
    pub id: u32,
    /// Name of at most 31 bytes.
    pub name: &'static str,
    /// Kind of its value.
    pub kind: Kind,
    /// Least value.
    pub minimum: i64,
    /// Greatest value.
    pub maximum: i64,
    /// Step between the values of an integer, from the least one on.
    pub step: i64,
    /// Default value; unused for a string.
    pub default: i64,
    /// V4L2_CTRL_FLAG_*.
    pub flags: u32,
}

impl Control {
    const fn new(id: u32, name: &'static str, kind: Kind) -> Self {
        Self {
            id,
            name,
            kind,
            minimum: 0,
            maximum: 0,
            step: 1,
            default: 0,
            flags: 0,
        }
    }

    fn class(id: u32, name: &'static str) -> Self {
        Self {
            flags: CTRL_FLAG_READ_ONLY | CTRL_FLAG_WRITE_ONLY,
            ..Self::new(id, name, Kind::Class)
        }
    }

    fn integer(id: u32, name: &'static str, range: (i64, i64), default: i64) -> Self {
        Self {
            minimum: range.0,
            maximum: range.1,
            default,
            ..Self::new(id, name, Kind::Integer)
        }
    }

    fn slider(id: u32, name: &'static str, range: (i64, i64), default: i32) -> Self {
        Self {
            flags: CTRL_FLAG_SLIDER,
            ..Self::integer(id, name, range, default.into())
        }
    }

    /// Returns a control that counts down by itself, and starts again whenever
    /// it is set.
    fn countdown(id: u32, name: &'static str, maximum: i64) -> Self {
        Self {
            flags: CTRL_FLAG_VOLATILE | CTRL_FLAG_EXECUTE_ON_WRITE,
            ..Self::integer(id, name, (0, maximum), 0)
        }
    }

    fn boolean(id: u32, name: &'static str, default: bool) -> Self {
        Self {
            maximum: 1,
            default: default.into(),
            ..Self::new(id, name, Kind::Boolean)
        }
    }

    fn button(id: u32, name: &'static str) -> Self {
        Self {
            flags: CTRL_FLAG_WRITE_ONLY | CTRL_FLAG_EXECUTE_ON_WRITE,
            ..Self::new(id, name, Kind::Button)
        }
    }

    /// Returns whether `flag` is set.
    pub fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Returns the step between values, as VIDIOC_QUERYCTRL reports it: 0 for
    /// kinds without steps, and 1 for the others except integers, menus among them
    /// (`v4l2_query_ext_ctrl()`).
    pub fn step(&self) -> u32 {
        match self.kind {
            Kind::Class | Kind::Button | Kind::Bitmask => 0,
            Kind::Integer => self.step as u32,
            Kind::Boolean | Kind::Text | Kind::Integer64 | Kind::Menu(_) | Kind::IntegerMenu(_) => {
                1
            }
        }
    }

    /// Returns the size of the value in bytes; for a string, its greatest size
    /// with the NUL.
    pub fn size(&self) -> u32 {
        match self.kind {
            // The maximum is at most LONGEST_TEXT.
            Kind::Text => self.maximum as u32 + 1,
            Kind::Integer64 => 8,
            _ => 4,
        }
    }
}

/// Returns all controls of a card of that kind, in the order of their ids; those
/// that make errors happen only with `error_injection`.
pub fn table(kind: CardKind, error_injection: bool) -> Vec<Control> {
    let mut table = match kind {
        CardKind::Capture => picture(),
        CardKind::Output => Vec::new(),
        CardKind::M2m => conversion(),
    };
    if error_injection {
        let injection = injection().into_iter();
        table.extend(injection.filter(|control| is_injected_into(kind, control.id)));
    }
    table
}

/// Returns whether an error can be injected into a card of that kind. A card
/// that shows frames has no signal to lose, and no source that changes or ends; one
/// that converts them loses none, its stream ends where the application wants, and a
/// frame that passes would be two buffers.
fn is_injected_into(kind: CardKind, id: u32) -> bool {
    use cid::{
        DROP_FRAMES, END_OF_STREAM, EVENTS_TO_PASS, FRAMES_TO_PASS, SIGNAL_LOST, SOURCE_CHANGE,
    };
    match kind {
        CardKind::Capture => true,
        CardKind::Output => ![SIGNAL_LOST, END_OF_STREAM, SOURCE_CHANGE].contains(&id),
        CardKind::M2m => ![
            DROP_FRAMES,
            SIGNAL_LOST,
            END_OF_STREAM,
            FRAMES_TO_PASS,
            EVENTS_TO_PASS,
        ]
        .contains(&id),
    }
}

/// Returns the controls of the camera's picture.
fn picture() -> Vec<Control> {
    let Settings {
        adjust,
        quality,
        motion,
        ..
    } = Settings::default();
    let motion = MOTION.iter().position(|m| *m == i64::from(motion));
    let mut patterns = vec!["Disabled"];
    patterns.extend(pattern::NAMES);
    vec![
        Control::class(cid::USER_CLASS, "User Controls"),
        Control::slider(cid::BRIGHTNESS, "Brightness", (0, 255), adjust.brightness),
        Control::slider(cid::CONTRAST, "Contrast", (0, 255), adjust.contrast),
        Control::slider(cid::SATURATION, "Saturation", (0, 255), adjust.saturation),
        Control::slider(cid::HUE, "Hue", (-128, 127), adjust.hue),
        Control::slider(cid::GAIN, "Gain", (0, 255), adjust.gain),
        Control::boolean(cid::HFLIP, "Horizontal Flip", adjust.hflip),
        Control::boolean(cid::VFLIP, "Vertical Flip", adjust.vflip),
        Control::class(cid::JPEG_CLASS, "JPEG Compression Controls"),
        Control::integer(
            cid::JPEG_COMPRESSION_QUALITY,
            "Compression Quality",
            (1, 100),
            quality.into(),
        ),
        Control::class(cid::IMAGE_PROC_CLASS, "Image Processing Controls"),
        Control {
            maximum: patterns.len() as i64 - 1,
            ..Control::new(cid::TEST_PATTERN, "Test Pattern", Kind::Menu(patterns))
        },
        Control::class(cid::PINHOLE_CLASS, "Pinhole"),
        Control {
            maximum: MOTION.len() as i64 - 1,
            default: motion.unwrap_or_default() as i64,
            ..Control::new(cid::MOTION, "Motion", Kind::IntegerMenu(&MOTION))
        },
        Control {
            maximum: overlay::ALL.into(),
            default: overlay::ALL.into(),
            ..Control::new(cid::OVERLAY, "Overlay", Kind::Bitmask)
        },
        Control {
            maximum: LONGEST_TEXT,
            flags: CTRL_FLAG_HAS_PAYLOAD,
            ..Control::new(cid::TEXT, "Text", Kind::Text)
        },
        Control {
            minimum: i64::MIN,
            maximum: i64::MAX,
            ..Control::new(cid::NOISE_SEED, "Noise Seed", Kind::Integer64)
        },
    ]
}

/// Returns the controls of a conversion.
fn conversion() -> Vec<Control> {
    vec![
        Control::class(cid::USER_CLASS, "User Controls"),
        Control::boolean(cid::HFLIP, "Horizontal Flip", false),
        Control::boolean(cid::VFLIP, "Vertical Flip", false),
        Control {
            step: 90,
            ..Control::integer(cid::ROTATE, "Rotate", (0, 270), 0)
        },
        Control::class(cid::JPEG_CLASS, "JPEG Compression Controls"),
        Control::integer(
            cid::JPEG_COMPRESSION_QUALITY,
            "Compression Quality",
            (1, 100),
            Settings::default().quality.into(),
        ),
    ]
}

/// Returns the controls that make errors happen.
fn injection() -> [Control; 15] {
    [
        Control::class(cid::INJECTION_CLASS, "Error Injection"),
        Control::countdown(cid::DROP_FRAMES, "Drop Frames", MOST),
        Control::countdown(cid::ERROR_FRAMES, "Error Frames", MOST),
        Control::countdown(cid::SHORT_FRAMES, "Short Frames", MOST),
        Control::countdown(cid::STALL, "Stall", LONGEST_STALL),
        Control::countdown(cid::REFUSE_QBUF, "Refuse QBUF", MOST),
        Control::countdown(cid::FAIL_STREAMON, "Fail STREAMON", MOST),
        Control::boolean(cid::SIGNAL_LOST, "Signal Lost", false),
        Control::button(cid::KILL_SESSION, "Kill Session"),
        Control::button(cid::END_OF_STREAM, "End of Stream"),
        Control::button(cid::SOURCE_CHANGE, "Source Change"),
        Control::boolean(cid::HOLD_FRAMES, "Hold Frames", false),
        Control::boolean(cid::HOLD_EVENTS, "Hold Events", false),
        Control::countdown(cid::FRAMES_TO_PASS, "Frames to Pass", MOST),
        Control::countdown(cid::EVENTS_TO_PASS, "Events to Pass", MOST),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sorted_and_its_rows_make_sense() {
        let table = table(CardKind::Capture, true);
        assert!(table.is_sorted_by(|a, b| a.id < b.id));
        for control in &table {
            let Control {
                name,
                minimum,
                maximum,
                default,
                ..
            } = control;
            assert!(name.len() < 32, "{name}");
            assert!(minimum <= maximum, "{name}");
            assert!((minimum..=maximum).contains(&default), "{name}");
            let class = control.id & 0x0fff_0000 | 1;
            assert!(table.iter().any(|c| c.id == class), "{name} has no class");
            assert_eq!(control.id == class, control.kind == Kind::Class, "{name}");
        }
    }

    #[test]
    fn nothing_breaks_the_card_unless_it_was_asked_for() {
        let table = table(CardKind::Capture, false);
        assert!(
            table
                .iter()
                .all(|control| control.id < cid::INJECTION_CLASS)
        );
    }

    #[test]
    fn the_default_of_motion_is_what_the_camera_does_by_default() {
        let table = table(CardKind::Capture, false);
        let motion = table.iter().find(|c| c.id == cid::MOTION).unwrap();
        let pixels = MOTION[motion.default as usize];
        assert_eq!(pixels, i64::from(Settings::default().motion));
    }
}
