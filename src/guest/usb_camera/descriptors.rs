//! What the camera says it is: a camera of the USB Video Class, version 1.0, with one
//! isochronous endpoint, uncompressed frames of a few sizes and rates, and no controls.

/// Number of the endpoint of the frames, without its direction.
pub const ENDPOINT: u8 = 1;

/// Most bytes of a frame's payload in one packet, its header included: what an
/// isochronous endpoint of high speed takes in a microframe (USB 2.0, 5.6.3).
pub const PAYLOAD: u32 = 3 * 1024;

/// The interface with the controls, and that with the stream.
pub const CONTROL: u8 = 0;
pub const STREAMING: u8 = 1;

/// Sizes of the frames in pixels.
pub const SIZES: [(u16, u16); 3] = [(160, 120), (320, 180), (640, 360)];

/// Times from a frame to the next, in units of 100 ns; the first is the usual one.
pub const INTERVALS: [u32; 3] = [333_333, 666_666, 1_000_000];

/// Bytes of a pixel of YUYV.
const PIXEL: u32 = 2;

/// The format's GUID, YUY2 (UVC 1.0, Payload Uncompressed, 2.2).
const YUY2: [u8; 16] = *b"YUY2\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";

/// The strings, from number 1 on.
const STRINGS: [&str; 2] = ["Pinhole", "Pinhole USB camera"];

/// Types of descriptors (USB 2.0, 9.4; UVC 1.0, A.4).
mod kind {
    pub const DEVICE: u8 = 1;
    pub const CONFIGURATION: u8 = 2;
    pub const STRING: u8 = 3;
    pub const INTERFACE: u8 = 4;
    pub const ENDPOINT: u8 = 5;
    pub const ASSOCIATION: u8 = 11;
    pub const CLASS_INTERFACE: u8 = 0x24;
}

/// Class of video devices, and its subclasses (UVC 1.0, A.1, A.2).
const VIDEO: u8 = 14;
const VIDEO_CONTROL: u8 = 1;
const VIDEO_STREAMING: u8 = 2;
const VIDEO_COLLECTION: u8 = 3;

/// Returns the length in bytes of the frames of a size; it is one of [`SIZES`].
pub fn frame_length((width, height): (u16, u16)) -> u32 {
    u32::from(width) * u32::from(height) * PIXEL
}

/// Returns the descriptor of a type and number, as GET_DESCRIPTOR asks for it.
pub fn descriptor(wanted: u8, number: u8) -> Option<Vec<u8>> {
    match (wanted, number) {
        (kind::DEVICE, 0) => Some(device()),
        (kind::CONFIGURATION, 0) => Some(configuration()),
        // The languages: English.
        (kind::STRING, 0) => Some(vec![4, kind::STRING, 9, 4]),
        (kind::STRING, number) => STRINGS.get(usize::from(number) - 1).map(|text| {
            let text = text.encode_utf16().flat_map(u16::to_le_bytes);
            described(kind::STRING, &text.collect::<Vec<_>>())
        }),
        _ => None,
    }
}

/// Returns a descriptor of that type: its length comes first.
fn described(kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = rest.len() as u8 + 2;
    [&[length, kind], rest].concat()
}

/// The Linux Foundation's numbers for a gadget of several functions. The class is that
/// of devices with associations of interfaces.
fn device() -> Vec<u8> {
    described(
        kind::DEVICE,
        &[
            0x00, 0x02, 0xef, 2, 1, 64, 0x6b, 0x1d, 0x04, 0x01, 0x00, 0x01, 1, 2, 0, 1,
        ],
    )
}

fn configuration() -> Vec<u8> {
    let parts = [
        described(
            kind::ASSOCIATION,
            &[CONTROL, 2, VIDEO, VIDEO_COLLECTION, 0, 2],
        ),
        interface(CONTROL, 0, 0, VIDEO_CONTROL),
        control(),
        interface(STREAMING, 0, 0, VIDEO_STREAMING),
        streaming(),
        interface(STREAMING, 1, 1, VIDEO_STREAMING),
        endpoint(),
    ];
    let parts = parts.concat();
    let [low, high] = (parts.len() as u16 + 9).to_le_bytes();
    // Bus-powered, 100 mA.
    let head = described(kind::CONFIGURATION, &[low, high, 2, 1, 0, 0x80, 50]);
    [head, parts].concat()
}

fn interface(number: u8, setting: u8, endpoints: u8, subclass: u8) -> Vec<u8> {
    described(
        kind::INTERFACE,
        &[number, setting, endpoints, VIDEO, subclass, 0, 0],
    )
}

/// The camera's terminal, and that of the stream (UVC 1.0, 3.7.2).
fn control() -> Vec<u8> {
    let camera = [2, 1, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0];
    let stream = [3, 2, 0x01, 0x01, 0, 1, 0];
    let terminals = [
        described(kind::CLASS_INTERFACE, &camera),
        described(kind::CLASS_INTERFACE, &stream),
    ];
    let terminals = terminals.concat();
    let [low, high] = (terminals.len() as u16 + 13).to_le_bytes();
    // Version 1.00, a clock of 48 MHz, one interface with a stream.
    let head = [
        1, 0x00, 0x01, low, high, 0x00, 0x6c, 0xdc, 0x02, 1, STREAMING,
    ];
    [described(kind::CLASS_INTERFACE, &head), terminals].concat()
}

/// The format, its sizes, and its colours (UVC 1.0, 3.9.2).
fn streaming() -> Vec<u8> {
    let format = [&[4, 1, SIZES.len() as u8][..], &YUY2, &[16, 1, 0, 0, 0, 0]];
    let mut parts = described(kind::CLASS_INTERFACE, &format.concat());
    for (number, size) in (1..).zip(SIZES) {
        parts.extend(described(kind::CLASS_INTERFACE, &frame(number, size)));
    }
    // BT.709, its transfer function, and SMPTE 170M.
    parts.extend(described(kind::CLASS_INTERFACE, &[13, 1, 1, 4]));
    let [low, high] = (parts.len() as u16 + 14).to_le_bytes();
    let endpoint = ENDPOINT | 0x80;
    let head = [1, 1, low, high, endpoint, 0, 2, 0, 0, 0, 1, 0];
    [described(kind::CLASS_INTERFACE, &head), parts].concat()
}

/// A size (UVC 1.0, Payload Uncompressed, 3.1.2).
fn frame(number: u8, (width, height): (u16, u16)) -> Vec<u8> {
    let length = frame_length((width, height));
    let bits_a_second = |interval: u32| {
        let bits = u64::from(length) * 8 * 10_000_000 / u64::from(interval);
        bits as u32
    };
    let mut frame = vec![5, number, 0];
    frame.extend(width.to_le_bytes());
    frame.extend(height.to_le_bytes());
    let [fastest, .., slowest] = INTERVALS;
    for number in [
        bits_a_second(slowest),
        bits_a_second(fastest),
        length,
        fastest,
    ] {
        frame.extend(number.to_le_bytes());
    }
    frame.push(INTERVALS.len() as u8);
    frame.extend(INTERVALS.into_iter().flat_map(u32::to_le_bytes));
    frame
}

/// The endpoint of the frames: isochronous, asynchronous, three packets of 1024 bytes
/// each microframe.
fn endpoint() -> Vec<u8> {
    let [low, high] = (2u16 << 11 | 1024).to_le_bytes();
    described(kind::ENDPOINT, &[ENDPOINT | 0x80, 5, low, high, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the descriptors that follow each other in `bytes`.
    fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut parts = Vec::new();
        while let [length, ..] = bytes {
            let (part, rest) = bytes.split_at(usize::from(*length));
            parts.push(part);
            bytes = rest;
        }
        parts
    }

    #[test]
    fn the_descriptors_are_as_long_as_they_say() {
        assert_eq!(device().len(), 18);
        let bytes = configuration();
        assert_eq!(bytes[2..4], (bytes.len() as u16).to_le_bytes());
        let parts = parts(&bytes);
        let of_class = |kind: u8, at: usize| {
            let mut all = parts.iter().skip(at);
            let found = all.find(|part| part[1] == kind::CLASS_INTERFACE && part[2] == kind);
            found.unwrap().to_vec()
        };
        // The header and the two terminals of the first interface.
        let head = of_class(1, 0);
        assert_eq!(head[5..7], (13u16 + 18 + 9).to_le_bytes());
        // A header, a format, its sizes and its colours.
        let head = of_class(1, 4);
        let frames = SIZES.len() as u16 * (26 + 4 * INTERVALS.len() as u16);
        assert_eq!(head[4..6], (14 + 27 + frames + 6).to_le_bytes());
        assert_eq!(of_class(4, 0).len(), 27);
        assert_eq!(of_class(5, 0).len(), 26 + 4 * INTERVALS.len());
        assert_eq!(parts.last().unwrap(), &[7, 5, 0x81, 5, 0x00, 0x14, 1]);
    }

    #[test]
    fn strings_are_utf_16_and_others_are_not_there() {
        let text = descriptor(kind::STRING, 1).unwrap();
        assert_eq!(text[..4], [16, 3, b'P', 0]);
        assert_eq!(descriptor(kind::STRING, 3), None);
        assert_eq!(descriptor(6, 0), None);
    }
}
