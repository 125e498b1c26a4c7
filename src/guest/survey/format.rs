//! The choice of a format: frames of one plane, as small as cells can use, so that a
//! cell takes little time and memory of any kind has room for a frame.

use std::io;

use crate::wire::format::{
    FMT_FLAG_COMPRESSED, FRMSIZE_TYPE_DISCRETE, FmtDesc, FrmSizeEnum, PixFormat,
};
use zerocopy::FromZeros;

use super::failed::failed;
use crate::guest::cell::device::Device;

/// Length of a buffer in bytes that is large enough to have pages in its middle.
const LEAST: u32 = 64 << 10;
/// Greatest length of a buffer, in bytes, that memory of every kind has room for.
const MOST: u32 = 8 << 20;

/// Greatest length of a buffer of a device that has no shorter ones, in bytes.
const MOST_EVER: u32 = 64 << 20;

/// Sizes that are tried of a device that has ranges of sizes, in pixels.
const SIZES: [(u32, u32); 9] = [
    (160, 120),
    (176, 144),
    (256, 192),
    (320, 240),
    (384, 288),
    (640, 360),
    (640, 480),
    (1280, 720),
    (1920, 1080),
];

/// Formats whose frames are lines of pixels of so many bytes each
/// (Documentation/userspace-api/media/v4l/pixfmt*.rst).
const PACKED: [(&[u8; 4], u32); 29] = [
    (b"GREY", 1),
    (b"BA81", 1),
    (b"GBRG", 1),
    (b"GRBG", 1),
    (b"RGGB", 1),
    (b"YUYV", 2),
    (b"UYVY", 2),
    (b"YVYU", 2),
    (b"VYUY", 2),
    (b"RGBP", 2),
    (b"RGBR", 2),
    (b"AR15", 2),
    (b"XR15", 2),
    (b"AR12", 2),
    (b"XR12", 2),
    (b"Y10 ", 2),
    (b"Y12 ", 2),
    (b"Y16 ", 2),
    (b"RGB3", 3),
    (b"BGR3", 3),
    (b"RGB4", 4),
    (b"BGR4", 4),
    (b"AR24", 4),
    (b"XR24", 4),
    (b"BA24", 4),
    (b"BX24", 4),
    (b"AB24", 4),
    (b"XB24", 4),
    (b"YUV4", 4),
];

/// Sets the device's format to the smallest frames that cells can use: in its present
/// format if that will do, and returns it. Why there is none, in a sentence. If the device
/// enumerates no sizes, it has its present one, or, if it is `free`, those that are tried.
pub fn choose(device: &Device, free: bool) -> Result<PixFormat, String> {
    let present = device.get_format();
    let offered = device.formats();
    for pixelformat in preferred(present.as_ref().ok(), &offered) {
        let enumerated = device.sizes(pixelformat);
        let sizes = match free && enumerated.is_empty() {
            true => SIZES.to_vec(),
            false => sizes(&enumerated, present.as_ref().ok()),
        };
        for (width, height) in sizes {
            let wanted = PixFormat {
                width: width.into(),
                height: height.into(),
                pixelformat: pixelformat.into(),
                ..FromZeros::new_zeroed()
            };
            let fits = |format: &PixFormat| {
                format.pixelformat.get() == pixelformat
                    && (LEAST..=MOST).contains(&format.sizeimage.get())
            };
            // What cannot be tried may be set.
            if device.try_format(wanted).is_ok_and(|tried| !fits(&tried)) {
                continue;
            }
            match set(device, wanted) {
                Ok(format) if fits(&format) => return Ok(format),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    return Err(failed("VIDIOC_S_FMT", &error));
                }
                _ => {}
            }
        }
    }
    // All are too small or too large, or the device has one only and does not tell.
    let present = device.get_format();
    let present = present.map_err(|error| failed("it has no format for a cell", &error))?;
    check_length(present.sizeimage.get()).map(|()| present)
}

/// Sets the format of the frames that a mem-to-mem device makes of frames in the format
/// `read`: the same one if it will do, or another of that size. Why there is none, in a
/// sentence.
pub fn choose_made(device: &Device, read: &PixFormat) -> Result<PixFormat, String> {
    let offered = device.formats();
    let mut codes = preferred(Some(read), &offered);
    let is_offered =
        |code: &u32| offered.is_empty() || offered.iter().any(|one| one.pixelformat.get() == *code);
    codes.retain(is_offered);
    for pixelformat in codes {
        let wanted = PixFormat {
            width: read.width,
            height: read.height,
            pixelformat: pixelformat.into(),
            ..FromZeros::new_zeroed()
        };
        match device.change_format(wanted) {
            Ok(format)
                if format.pixelformat.get() == pixelformat
                    && check_length(format.sizeimage.get()).is_ok() =>
            {
                return Ok(format);
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                return Err(failed("VIDIOC_S_FMT", &error));
            }
            _ => {}
        }
    }
    Err("it has no format for what it makes of a frame".into())
}

/// Checks the length of a frame in bytes.
fn check_length(sizeimage: u32) -> Result<(), String> {
    match sizeimage {
        0 => Err("it has no format for a cell, its frames have no length".into()),
        1..=MOST_EVER => Ok(()),
        _ => Err(format!(
            "it has no format for a cell, its frames take {sizeimage} bytes, and a cell has \
             {MOST_EVER} for one"
        )),
    }
}

fn set(device: &Device, wanted: PixFormat) -> io::Result<PixFormat> {
    let format = device.change_format(wanted)?;
    // Few devices can compose, and others have nothing to compose.
    let _ = device.compose(format.width.get(), format.height.get());
    device.get_format()
}

/// Returns whether the device offers a format as one whose frames have any length.
pub fn is_compressed(offered: &[FmtDesc], pixelformat: u32) -> bool {
    let mut of_it = offered
        .iter()
        .filter(|format| format.pixelformat.get() == pixelformat);
    of_it.any(|format| format.flags.get() & FMT_FLAG_COMPRESSED != 0)
}

/// Returns the bytes of a pixel of a format with lines of pixels alone; `None` of any
/// other.
fn pixel(pixelformat: u32) -> Option<u32> {
    let code = pixelformat.to_le_bytes();
    let found = PACKED.iter().find(|(packed, _)| **packed == code);
    found.map(|(_, bytes)| *bytes)
}

/// Returns the formats in the order in which they are tried: those whose frames are all
/// of one length first, among them those of whose frames every byte is known, and among
/// these the present one.
fn preferred(present: Option<&PixFormat>, offered: &[FmtDesc]) -> Vec<u32> {
    let code = |format: &FmtDesc| format.pixelformat.get();
    let present = present.map(|format| format.pixelformat.get());
    let mut codes: Vec<u32> = present.into_iter().collect();
    for format in offered {
        if !codes.contains(&code(format)) {
            codes.push(code(format));
        }
    }
    codes.sort_by_key(|code| (is_compressed(offered, *code), pixel(*code).is_none()));
    codes
}

/// Returns the sizes that are tried, the smallest first.
fn sizes(offered: &[FrmSizeEnum], present: Option<&PixFormat>) -> Vec<(u32, u32)> {
    let mut sizes: Vec<(u32, u32)> = Vec::new();
    for range in offered {
        let least = (range.min_width.get(), range.min_height.get());
        match range.type_.get() {
            FRMSIZE_TYPE_DISCRETE => sizes.push(range.discrete()),
            _ => sizes.extend(SIZES.iter().map(|(width, height)| {
                let ranges = [
                    (least.0, range.max_width.get(), range.step_width.get()),
                    (least.1, range.max_height.get(), range.step_height.get()),
                ];
                (within(*width, ranges[0]), within(*height, ranges[1]))
            })),
        }
    }
    if let (true, Some(present)) = (sizes.is_empty(), present) {
        sizes.push((present.width.get(), present.height.get()));
    }
    sizes.sort_by_key(|(width, height)| u64::from(*width) * u64::from(*height));
    sizes.dedup();
    sizes
}

/// Returns the least number in a range that is no less than the wanted one.
fn within(wanted: u32, (least, most, step): (u32, u32, u32)) -> u32 {
    let above = wanted.saturating_sub(least);
    let stepped = above.checked_next_multiple_of(step.max(1)).unwrap_or(above);
    least.saturating_add(stepped).min(most.max(least))
}

/// Returns how many bytes of a line of the format are pixels, if that is known of it.
pub fn line(format: &PixFormat) -> Option<u32> {
    let bytes = pixel(format.pixelformat.get())?;
    let line = format.width.get().checked_mul(bytes)?;
    let stride = format.bytesperline.get();
    let frame = u64::from(stride) * u64::from(format.height.get());
    (line <= stride && frame <= u64::from(format.sizeimage.get())).then_some(line)
}

/// Says what the frames are, if they are not progressive.
pub fn field_note(format: &PixFormat) -> Option<String> {
    const FIELDS: [&str; 10] = [
        "ANY",
        "NONE",
        "TOP",
        "BOTTOM",
        "INTERLACED",
        "SEQ_TB",
        "SEQ_BT",
        "ALTERNATE",
        "INTERLACED_TB",
        "INTERLACED_BT",
    ];
    match format.field.get() as usize {
        0 | 1 => None,
        field => Some(format!(
            "its frames are not progressive, V4L2_FIELD_{}",
            FIELDS
                .get(field)
                .unwrap_or(&"of a number that is not known")
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::format::FRMSIZE_TYPE_STEPWISE;

    use super::*;

    fn code(name: &[u8; 4]) -> u32 {
        u32::from_le_bytes(*name)
    }

    fn pix(name: &[u8; 4], (width, height): (u32, u32), stride: u32, sizeimage: u32) -> PixFormat {
        PixFormat {
            width: width.into(),
            height: height.into(),
            pixelformat: code(name).into(),
            bytesperline: stride.into(),
            sizeimage: sizeimage.into(),
            ..FromZeros::new_zeroed()
        }
    }

    #[test]
    fn the_present_format_is_preferred_among_those_whose_lines_are_known() {
        let offered =
            [(b"MJPG", 1), (b"NV12", 0), (b"YUYV", 0), (b"GREY", 0)].map(|(name, flags)| FmtDesc {
                pixelformat: code(name).into(),
                flags: u32::into(flags),
                ..FromZeros::new_zeroed()
            });
        let order = |present: Option<&[u8; 4]>| {
            let present = present.map(|name| pix(name, (1, 1), 0, 0));
            let codes = preferred(present.as_ref(), &offered);
            let names = codes.iter().map(|code| code.to_le_bytes());
            names.collect::<Vec<_>>()
        };
        let [grey, mjpg, nv12, yuyv] = [*b"GREY", *b"MJPG", *b"NV12", *b"YUYV"];
        assert_eq!(order(Some(b"GREY")), [grey, yuyv, nv12, mjpg]);
        assert_eq!(order(Some(b"YUYV")), [yuyv, grey, nv12, mjpg]);
        assert_eq!(order(Some(b"NV12")), [yuyv, grey, nv12, mjpg]);
        assert_eq!(order(Some(b"MJPG")), [yuyv, grey, nv12, mjpg]);
        assert_eq!(order(None), [yuyv, grey, nv12, mjpg]);
    }

    #[test]
    fn a_frame_has_a_length_that_memory_can_have() {
        assert_eq!(check_length(MOST_EVER), Ok(()));
        let why = check_length(MOST_EVER + 1).unwrap_err();
        assert!(why.contains("67108865 bytes"), "{why}");
        assert!(check_length(0).unwrap_err().contains("no length"));
    }

    #[test]
    fn sizes_are_those_that_the_device_has() {
        let discrete = |width: u32, height: u32| FrmSizeEnum {
            type_: FRMSIZE_TYPE_DISCRETE.into(),
            min_width: width.into(),
            max_width: height.into(),
            ..FromZeros::new_zeroed()
        };
        let offered = [discrete(1280, 720), discrete(320, 180)];
        let present = pix(b"YUYV", (640, 480), 0, 0);
        assert_eq!(sizes(&offered, Some(&present)), [(320, 180), (1280, 720)]);
        assert_eq!(sizes(&[], Some(&present)), [(640, 480)]);
        assert_eq!(sizes(&[], None), []);
        let range = FrmSizeEnum {
            type_: FRMSIZE_TYPE_STEPWISE.into(),
            min_width: 48.into(),
            max_width: 640.into(),
            step_width: 32.into(),
            min_height: 200.into(),
            max_height: 480.into(),
            step_height: 0.into(),
            ..FromZeros::new_zeroed()
        };
        let tried = sizes(&[range], None);
        assert_eq!(tried[0], (176, 200));
        assert_eq!(tried.last(), Some(&(640, 480)));
        assert_eq!(within(100, (4, u32::MAX, u32::MAX)), u32::MAX);
    }

    #[test]
    fn lines_are_known_of_packed_formats() {
        assert_eq!(line(&pix(b"YUYV", (320, 240), 704, 168_960)), Some(640));
        assert_eq!(line(&pix(b"NV12", (320, 240), 320, 115_200)), None);
        // A driver may say what is not so.
        assert_eq!(line(&pix(b"YUYV", (320, 240), 320, 168_960)), None);
        assert_eq!(line(&pix(b"YUYV", (320, 240), 704, 1000)), None);
        assert_eq!(line(&pix(b"YUYV", (u32::MAX, 1), 704, 1000)), None);
    }

    #[test]
    fn fields_are_noted() {
        let of = |field: u32| {
            field_note(&PixFormat {
                field: field.into(),
                ..FromZeros::new_zeroed()
            })
        };
        assert_eq!(of(1), None);
        let alternate = of(7).unwrap();
        assert!(alternate.ends_with("V4L2_FIELD_ALTERNATE"), "{alternate}");
        assert!(of(99).is_some());
    }
}
