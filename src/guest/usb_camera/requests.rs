//! What the camera answers at endpoint 0: to the requests that every device knows, and
//! to those by which a format is negotiated (UVC 1.0, 4.3.1.1).

use std::time::Duration;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::descriptors::{CONTROL, INTERVALS, PAYLOAD, SIZES, STREAMING, descriptor, frame_length};

/// Requests (USB 2.0, 9.4; UVC 1.0, A.8).
const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_CONFIGURATION: u8 = 9;
const GET_INTERFACE: u8 = 10;
const SET_INTERFACE: u8 = 11;
const SET_CUR: u8 = 0x01;
const GET_CUR: u8 = 0x81;
const GET_MIN: u8 = 0x82;
const GET_MAX: u8 = 0x83;
const GET_RES: u8 = 0x84;
const GET_LEN: u8 = 0x85;
const GET_INFO: u8 = 0x86;
const GET_DEF: u8 = 0x87;

/// Controls of the interface with the stream, and why a request was refused, of the
/// other.
const PROBE: u8 = 1;
const COMMIT: u8 = 2;
const ERROR_CODE: u8 = 2;

/// The code that says that there is no such control.
const INVALID_CONTROL: u8 = 6;

/// What a stream is to be (UVC 1.0, table 4-47): 26 bytes.
#[derive(Debug, Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Negotiated {
    hint: U16,
    format: u8,
    frame: u8,
    interval: U32,
    key_frame_rate: U16,
    p_frame_rate: U16,
    quality: U16,
    window: U16,
    delay: U16,
    frame_size: U32,
    payload_size: U32,
}

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Its number, of those that were turned on since the camera was plugged in.
    pub number: u64,
    /// Length of a frame in bytes.
    pub length: u32,
    /// Time from a frame to the next, in units of 100 ns.
    interval: u32,
}

impl Stream {
    /// Returns the time from a frame to the next.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(u64::from(self.interval) * 100)
    }
}

/// The state that requests change.
#[derive(Debug)]
pub struct Requests {
    configuration: u8,
    setting: u8,
    streams: u64,
    probed: Negotiated,
    committed: Negotiated,
}

impl Requests {
    /// Returns the state of a device that was just plugged in.
    pub fn new() -> Self {
        let usual = answer(&Negotiated::new_zeroed());
        Self {
            configuration: 0,
            setting: 0,
            streams: 0,
            probed: usual.clone(),
            committed: usual,
        }
    }

    /// Returns whether the host has chosen the configuration.
    pub fn is_configured(&self) -> bool {
        self.configuration != 0
    }

    /// Returns the stream, if the host has turned it on.
    pub fn stream(&self) -> Option<Stream> {
        (self.setting != 0).then(|| Stream {
            number: self.streams,
            length: self.committed.frame_size.get(),
            interval: self.committed.interval.get(),
        })
    }

    /// Answers a request, with `data` for the device: the data for the host, at most as
    /// many as it asks for. `None` refuses it.
    pub fn answer(&mut self, setup: [u8; 8], data: &[u8]) -> Option<Vec<u8>> {
        let [
            kind,
            request,
            value,
            value_high,
            index,
            _,
            length,
            length_high,
        ] = setup;
        let value = [value, value_high];
        let mut answer = match kind {
            // Of the device, an interface or an endpoint, to the host or from it.
            0x00..=0x02 | 0x80..=0x82 => self.standard(request, value, index)?,
            // Of the class, about an interface.
            0x21 | 0xa1 => self.class(request, value[1], index, data)?,
            _ => return None,
        };
        answer.truncate(u16::from_le_bytes([length, length_high]).into());
        Some(answer)
    }

    fn standard(&mut self, request: u8, [value, high]: [u8; 2], index: u8) -> Option<Vec<u8>> {
        match request {
            GET_DESCRIPTOR => return descriptor(high, value),
            GET_STATUS => return Some(vec![0, 0]),
            GET_CONFIGURATION => return Some(vec![self.configuration]),
            GET_INTERFACE => return Some(vec![self.setting]),
            SET_CONFIGURATION if value <= 1 => {
                self.configuration = value;
                self.setting = 0;
            }
            SET_INTERFACE if index == STREAMING && value <= 1 => {
                self.setting = value;
                self.streams += u64::from(value);
            }
            SET_INTERFACE if index == CONTROL && value == 0 => {}
            CLEAR_FEATURE | SET_FEATURE => {}
            _ => return None,
        }
        Some(Vec::new())
    }

    fn class(&mut self, request: u8, control: u8, interface: u8, data: &[u8]) -> Option<Vec<u8>> {
        match (interface, control) {
            (STREAMING, PROBE | COMMIT) => {}
            (CONTROL, ERROR_CODE) if request == GET_CUR => return Some(vec![INVALID_CONTROL]),
            _ => return None,
        }
        let state = match control {
            PROBE => &mut self.probed,
            _ => &mut self.committed,
        };
        Some(match request {
            SET_CUR => {
                let (wanted, _) = Negotiated::read_from_prefix(data).ok()?;
                *state = answer(&wanted);
                Vec::new()
            }
            GET_CUR => state.as_bytes().to_vec(),
            GET_DEF | GET_MIN | GET_MAX => answer(&Negotiated::new_zeroed()).as_bytes().to_vec(),
            GET_RES => Negotiated::new_zeroed().as_bytes().to_vec(),
            GET_LEN => (size_of::<Negotiated>() as u16).to_le_bytes().to_vec(),
            // It can be read and set.
            GET_INFO => vec![3],
            _ => return None,
        })
    }
}

/// Returns what the camera makes of what is wanted.
fn answer(wanted: &Negotiated) -> Negotiated {
    let frame = wanted.frame.clamp(1, SIZES.len() as u8);
    let size = SIZES[usize::from(frame) - 1];
    let near = |interval: &u32| interval.abs_diff(wanted.interval.get());
    let interval = match wanted.interval.get() {
        0 => INTERVALS.first(),
        _ => INTERVALS.iter().min_by_key(|interval| near(interval)),
    };
    Negotiated {
        hint: wanted.hint,
        format: 1,
        frame,
        interval: interval.copied().unwrap_or_default().into(),
        frame_size: frame_length(size).into(),
        payload_size: PAYLOAD.into(),
        ..Negotiated::new_zeroed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request to the device, or to the host, about the control of the stream.
    fn of_stream(request: u8, control: u8) -> [u8; 8] {
        let kind = match request {
            SET_CUR => 0x21,
            _ => 0xa1,
        };
        [kind, request, 0, control, STREAMING, 0, 26, 0]
    }

    const ON: [u8; 8] = [1, SET_INTERFACE, 1, 0, STREAMING, 0, 0, 0];

    #[test]
    fn a_stream_is_what_was_committed() {
        let mut camera = Requests::new();
        assert!(!camera.is_configured());
        let none = camera.answer([0, SET_CONFIGURATION, 1, 0, 0, 0, 0, 0], &[]);
        assert_eq!(none, Some(vec![]));
        assert!(camera.is_configured());
        let wanted = Negotiated {
            frame: 3,
            interval: 700_000.into(),
            ..Negotiated::new_zeroed()
        };
        let probe = of_stream(SET_CUR, PROBE);
        assert!(camera.answer(probe, wanted.as_bytes()).is_some());
        let probed = camera.answer(of_stream(GET_CUR, PROBE), &[]).unwrap();
        let (probed, rest) = Negotiated::read_from_prefix(&probed).unwrap();
        assert!(rest.is_empty());
        assert_eq!(probed.interval.get(), 666_666);
        assert_eq!(probed.frame_size.get(), 640 * 360 * 2);
        let commit = of_stream(SET_CUR, COMMIT);
        assert!(camera.answer(commit, probed.as_bytes()).is_some());
        assert_eq!(camera.stream(), None);
        assert!(camera.answer(ON, &[]).is_some());
        let stream = Stream {
            number: 1,
            length: 640 * 360 * 2,
            interval: 666_666,
        };
        assert_eq!(camera.stream(), Some(stream));
        // Turned on once more, it begins anew.
        assert!(camera.answer(ON, &[]).is_some());
        assert_eq!(
            camera.stream(),
            Some(Stream {
                number: 2,
                ..stream
            })
        );
    }

    #[test]
    fn answers_are_no_longer_than_asked_for() {
        let mut camera = Requests::new();
        let head = camera.answer([0x80, GET_DESCRIPTOR, 0, 2, 0, 0, 9, 0], &[]);
        assert_eq!(head.unwrap().len(), 9);
    }

    #[test]
    fn what_the_camera_has_not_it_refuses() {
        let mut camera = Requests::new();
        let refused = [
            // A device qualifier, a third interface, a vendor's request.
            [0x80, GET_DESCRIPTOR, 0, 6, 0, 0, 10, 0],
            [1, SET_INTERFACE, 1, 0, 2, 0, 0, 0],
            [0xc0, GET_CUR, 0, 0, 0, 0, 1, 0],
            // A still image's control.
            of_stream(GET_CUR, 3),
        ];
        for setup in refused {
            assert_eq!(camera.answer(setup, &[]), None, "{setup:?}");
        }
        assert_eq!(camera.answer(of_stream(SET_CUR, PROBE), &[1; 5]), None);
        // A number that no frame has.
        let wanted = Negotiated {
            frame: 200,
            ..Negotiated::new_zeroed()
        };
        let probe = of_stream(SET_CUR, PROBE);
        assert!(camera.answer(probe, wanted.as_bytes()).is_some());
    }
}
