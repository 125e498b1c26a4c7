//! A mem-to-mem device: the formats of what it reads and of what it makes of that, and
//! whether it makes the same of the same frame.

use crate::agent::cell::picture::Picture;
use crate::agent::cell::{Made, Subject};
use crate::card::{BufferApi, BufferType, Direction};

use super::failed::failed;
use super::format;
use super::picture::FILLINGS;
use super::subject::{buffers, check_bytes, described};
use crate::guest::cell::conversion::{Conversion, NotMade};
use crate::guest::cell::device::Device;

/// Finds out how a cell uses the mem-to-mem device at `path`, which is open as `device`.
/// Returns that, and what it makes of some frame each time. A sentence if no cell can.
pub fn look(
    path: &str,
    device: Device,
    api: BufferApi,
    notes: &mut Vec<String>,
) -> Result<(Subject, Option<Picture>), String> {
    let direction = Direction::Output;
    let read = device.for_buffers_of(BufferType { direction, api });
    let written = read
        .queue_of(Direction::Capture)
        .map_err(|error| failed("dup", &error))?;
    let mut subject = subject(&read, &written, api)?;
    // Only one file may be able to have buffers at a time.
    drop((read, written));
    let conversion = Conversion::new(path, &subject);
    let (one, other) = (conversion.sample(), conversion.sample());
    let make = |frame: &[u8], filling| conversion.make(frame, filling).map_err(nothing);
    let made = [make(&one, FILLINGS[0])?, make(&one, FILLINGS[1])?];
    let picture = match known(made, &make(&other, FILLINGS[0])?) {
        Ok(made) => {
            let sizeimage = subject.of(Direction::Capture).sizeimage;
            Some(Picture::of(&made, sizeimage as usize))
        }
        Err(why) => {
            notes.push(why.into());
            None
        }
    };
    if let Some(made) = &mut subject.made {
        made.repeats = picture.is_some();
    }
    Ok((subject, picture))
}

/// Sets the formats, and finds out how many buffers there are of each.
fn subject(read: &Device, written: &Device, api: BufferApi) -> Result<Subject, String> {
    // What it makes may have any size, and so may what it reads.
    let format = format::choose(read, true)?;
    if format::is_compressed(&read.formats(), format.pixelformat.get()) {
        return Err(
            "it is a decoder: what it reads is compressed, and the cells have frames of random bytes \
             for it, not such a stream"
                .into(),
        );
    }
    let made = format::choose_made(written, &format)?;
    // What is made may have set what is read.
    let read_now = read.get_format();
    let read_now = read_now.map_err(|error| failed("VIDIOC_G_FMT", &error))?;
    let kept = |it: &crate::wire::format::PixFormat| (it.pixelformat, it.sizeimage);
    if kept(&read_now) != kept(&format) {
        return Err("the format of what it makes changes that of what it reads".into());
    }
    let counts = (
        buffers(read, Direction::Output)?,
        buffers(written, Direction::Capture)?,
    );
    let bytes = u64::from(counts.0) * u64::from(format.sizeimage.get())
        + u64::from(counts.1) * u64::from(made.sizeimage.get());
    check_bytes("its buffers", bytes)?;
    let is_compressed = format::is_compressed(&written.formats(), made.pixelformat.get());
    Ok(Subject {
        made: Some(Box::new(Made {
            queue: described(&made, is_compressed, api, counts.1),
            repeats: false,
        })),
        ..described(&format, false, api, counts.0)
    })
}

/// Returns what is made of one frame each time, given what was made of it into memory that
/// held different bytes, and what was made of another frame; why it is not known, a
/// sentence.
fn known(made: [Vec<u8>; 2], other: &[u8]) -> Result<Vec<u8>, &'static str> {
    let [one, again] = made;
    match () {
        () if one.is_empty() => Err("what it makes of a frame is empty"),
        () if one != again => {
            Err("it does not make the same of one frame each time, or leaves bytes as they were")
        }
        () if one == other => Err("it makes the same of two frames that differ"),
        () => Ok(one),
    }
}

/// Says why nothing was made of a frame.
fn nothing(why: NotMade) -> String {
    const WHAT: &str = "it makes nothing of a frame in memory of its own driver either";
    match why {
        NotMade::Call(call, error) => failed(&format!("{WHAT}, {call}"), &error),
        why => format!("{WHAT}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_known_if_it_is_made_of_the_frame() {
        let made = |one: &[u8], again: &[u8], other: &[u8]| {
            known([one.to_vec(), again.to_vec()], other).map_err(str::to_owned)
        };
        assert_eq!(made(&[1, 2], &[1, 2], &[3, 4]), Ok(vec![1, 2]));
        let differs = made(&[1, 0], &[1, 0xa5], &[3, 4]).unwrap_err();
        assert!(differs.contains("leaves bytes"), "{differs}");
        let deaf = made(&[1, 2], &[1, 2], &[1, 2]).unwrap_err();
        assert!(deaf.contains("two frames that differ"), "{deaf}");
        assert!(made(&[], &[], &[1]).unwrap_err().contains("empty"));
    }

    #[test]
    fn a_device_that_makes_nothing_says_at_which_call() {
        let busy = std::io::Error::from_raw_os_error(libc::EBUSY);
        let why = nothing(NotMade::Call("VIDIOC_REQBUFS", busy));
        assert!(
            why.starts_with("another program uses it (it makes"),
            "{why}"
        );
        let why = nothing(NotMade::InError);
        assert!(why.ends_with("came back in error"), "{why}");
    }
}
