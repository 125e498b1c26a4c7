//! A camera to put words into the mouth of: what it answers by itself makes
//! sense, and its owner changes what it likes. With the capabilities of a screen it
//! is one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ioctl::{Answers, EINVAL, ENOSPC, ENOTTY, Ioctl};

/// `V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING`.
pub const SINGLE: u32 = 0x0400_0001;
/// `V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_STREAMING`.
pub const MULTI: u32 = 0x0400_1000;

/// `V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_STREAMING`.
pub const SINGLE_OUTPUT: u32 = 0x0400_0002;
/// `V4L2_CAP_VIDEO_OUTPUT_MPLANE | V4L2_CAP_STREAMING`.
pub const MULTI_OUTPUT: u32 = 0x0400_2000;

/// Numbers of ioctls, as their names in linux/videodev2.h have them.
#[allow(missing_docs)]
mod code {
    pub const ENUM_FMT: u32 = 2;
    pub const G_FMT: u32 = 4;
    pub const S_FMT: u32 = 5;
    pub const REQBUFS: u32 = 8;
    pub const QUERYBUF: u32 = 9;
    pub const QBUF: u32 = 15;
    pub const STREAMON: u32 = 18;
    pub const STREAMOFF: u32 = 19;
    pub const ENUMINPUT: u32 = 26;
    pub const G_CTRL: u32 = 27;
    pub const S_CTRL: u32 = 28;
    pub const QUERYMENU: u32 = 37;
    pub const G_INPUT: u32 = 38;
    pub const S_INPUT: u32 = 39;
    pub const G_OUTPUT: u32 = 46;
    pub const S_OUTPUT: u32 = 47;
    pub const ENUMOUTPUT: u32 = 48;
    pub const TRY_FMT: u32 = 64;
    pub const G_EXT_CTRLS: u32 = 71;
    pub const S_EXT_CTRLS: u32 = 72;
    pub const TRY_EXT_CTRLS: u32 = 73;
    pub const SUBSCRIBE_EVENT: u32 = 90;
    pub const UNSUBSCRIBE_EVENT: u32 = 91;
    pub const QUERY_EXT_CTRL: u32 = 103;
}
pub use code::*;

/// `V4L2_MEMORY_USERPTR`.
const USERPTR: u32 = 2;

/// `V4L2_CID_MAX_CTRLS`: most controls in one ioctl.
const MAX_CONTROLS: usize = 1024;

/// Entries that are kept of what was done to it, and buffers of one stream.
const KEPT: usize = 10_000;

/// Longest plane that is taken; frames have three kilobytes.
const PLANE_MAX: u32 = 1 << 20;

/// Keeps one more, as long as there is room.
fn keep<T>(list: &mut Vec<T>, one: T) {
    if list.len() < KEPT {
        list.push(one);
    }
}

/// `V4L2_CTRL_TYPE_*` and `V4L2_CTRL_FLAG_*`.
#[allow(missing_docs)]
mod kind {
    pub const INTEGER: u32 = 1;
    pub const BOOLEAN: u32 = 2;
    pub const MENU: u32 = 3;
    pub const BUTTON: u32 = 4;
    pub const INTEGER64: u32 = 5;
    pub const STRING: u32 = 7;
    pub const BITMASK: u32 = 8;
    pub const INTEGER_MENU: u32 = 9;
    pub const INACTIVE: u32 = 0x10;
    pub const MODIFY_LAYOUT: u32 = 0x400;
    pub const VOLATILE: u32 = 0x80;
    pub const HAS_PAYLOAD: u32 = 0x100;
    pub const EXECUTE_ON_WRITE: u32 = 0x200;
}
pub use kind::*;

/// Answers one ioctl in place of the camera.
pub type Override = Box<dyn FnMut(&mut Ioctl<'_>) -> Result<(), u32> + Send>;

/// The memory of a plane: address and length of each piece.
pub type Memory = Vec<(u64, u32)>;

/// A control.
#[derive(Clone, Default)]
pub struct Control {
    /// `V4L2_CID_*`.
    pub id: u32,
    /// `V4L2_CTRL_TYPE_*`.
    pub kind: u32,
    /// Its name, of which 32 bytes are told.
    pub name: &'static str,
    /// Minimum, maximum, step and default.
    pub range: (i64, i64, u64, i64),
    /// `V4L2_CTRL_FLAG_*`.
    pub flags: u32,
    /// Length of its only dimension; 0 where it is no array.
    pub dims: u32,
    /// Its value, if it is a number's.
    pub value: i64,
    /// Its value, if it is a string's.
    pub text: String,
    /// Items of a menu, by index: a name, or a number's eight bytes.
    pub items: Vec<(u32, Vec<u8>)>,
}

/// What the camera is, and what was done to it.
#[derive(Default)]
pub struct Camera {
    /// Its controls.
    pub controls: Vec<Control>,
    /// Lengths of the planes of a frame; none for a single-planar camera with
    /// frames of 3072 bytes.
    pub planes: Vec<u32>,
    /// `num_planes` that it tells, if it is to lie.
    pub told_planes: Option<u8>,
    /// Controls that were set: id, value, text.
    pub set: Vec<(u32, i64, String)>,
    /// Whether it knows TRY_EXT_CTRLS.
    pub tries: bool,
    /// TRY_EXT_CTRLS and S_EXT_CTRLS that came: the ioctl, and the controls.
    pub asked: Vec<(u32, Vec<u32>)>,
    /// A control that it takes no value of, and the error number.
    pub unwilling: Option<(u32, u32)>,
    /// A control, and what it makes of any value of it.
    pub wilful: Option<(u32, i64)>,
    /// Subscriptions: type and id.
    pub subscribed: Vec<(u32, u32)>,
    /// The session in which the last buffer was queued.
    pub session: u32,
    /// Buffers at the camera: index, and the memory of each plane.
    pub queued: Vec<(u32, Vec<Memory>)>,
    /// What the driver said of each plane of the buffer that it queued last:
    /// bytesused, and data_offset.
    pub used: Vec<(u32, u32)>,
    /// Whether it streams.
    pub streaming: bool,
    /// What the next QBUF is answered with although its buffer was taken.
    pub denied: Option<u32>,
    /// An error number that the next ioctl is refused with, whatever it is.
    pub refuse: Option<u32>,
    /// An ioctl whose next call is refused, and the error number.
    pub refuse_one: Option<(u32, u32)>,
    /// Height of the picture from the next REQBUFS of buffers on.
    pub next_height: Option<u32>,
    /// Height of the picture; 0 for 48.
    pub height: u32,
    /// How often STREAMON was called.
    pub streamons: u32,
    /// What answers ioctls in its place, by their numbers.
    pub overrides: Vec<(u32, Override)>,
}

/// A camera that its owner and the device share.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Camera>>);

impl Shared {
    /// Shares a camera.
    pub fn new(camera: Camera) -> Self {
        Self(Arc::new(Mutex::new(camera)))
    }

    /// Returns the camera; the device waits meanwhile.
    pub fn get(&self) -> MutexGuard<'_, Camera> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what answers for it.
    pub fn answers(&self) -> Answers {
        let camera = self.clone();
        Box::new(move |ioctl| camera.get().answer(ioctl))
    }

    /// Changes a control, if there is one of that id, without anybody being told.
    pub fn change(&self, id: u32, change: impl FnOnce(&mut Control)) {
        let mut camera = self.get();
        let found = camera.controls.iter_mut().find(|control| control.id == id);
        found.map(change);
    }

    /// Has an ioctl answered in the camera's place, until
    /// [`Shared::restore`].
    pub fn override_with(
        &self,
        code: u32,
        answer: impl FnMut(&mut Ioctl<'_>) -> Result<(), u32> + Send + 'static,
    ) {
        self.get().overrides.push((code, Box::new(answer)));
    }

    /// Has the camera answer all by itself again.
    pub fn restore(&self) {
        self.get().overrides.clear();
    }
}

impl Camera {
    fn answer(&mut self, ioctl: &mut Ioctl<'_>) -> Result<(), u32> {
        if let Some(error) = self.refuse.take() {
            return Err(error);
        }
        if ioctl.code == STREAMON {
            self.streamons += 1;
        }
        if let Some((code, error)) = self.refuse_one
            && code == ioctl.code
        {
            self.refuse_one = None;
            return Err(error);
        }
        let mut overrides = self.overrides.iter_mut();
        if let Some((_, answer)) = overrides.find(|(code, _)| *code == ioctl.code) {
            return answer(ioctl);
        }
        match ioctl.code {
            ENUM_FMT => match ioctl.u32(0) {
                0 => {
                    ioctl.put(44, b"GREY");
                    Ok(())
                }
                _ => Err(EINVAL),
            },
            G_FMT | S_FMT | TRY_FMT => {
                self.format(ioctl);
                Ok(())
            }
            REQBUFS if ioctl.u32(8) != USERPTR => Err(EINVAL),
            REQBUFS => {
                self.queued.clear();
                if ioctl.u32(0) != 0 {
                    self.height = self.next_height.take().unwrap_or(self.height);
                }
                // V4L2_BUF_CAP_SUPPORTS_USERPTR.
                ioctl.put(12, &2u32.to_le_bytes());
                Ok(())
            }
            QUERYBUF => {
                self.describe(ioctl);
                Ok(())
            }
            QBUF => {
                self.session = ioctl.session;
                self.queue(ioctl)?;
                self.denied.take().map_or(Ok(()), Err)
            }
            STREAMON => {
                self.streaming = true;
                Ok(())
            }
            STREAMOFF => {
                self.streaming = false;
                self.queued.clear();
                Ok(())
            }
            // V4L2_INPUT_TYPE_CAMERA and V4L2_OUTPUT_TYPE_ANALOG are the same.
            ENUMINPUT | ENUMOUTPUT if ioctl.u32(0) == 0 => {
                ioctl.put(4, b"Script\0");
                ioctl.put(36, &2u32.to_le_bytes());
                Ok(())
            }
            G_INPUT | G_OUTPUT => {
                ioctl.put(0, &[0; 4]);
                Ok(())
            }
            S_INPUT | S_OUTPUT if ioctl.u32(0) == 0 => Ok(()),
            ENUMINPUT | ENUMOUTPUT | S_INPUT | S_OUTPUT => Err(EINVAL),
            G_CTRL | S_CTRL => self.value(ioctl),
            QUERYMENU => self.menu(ioctl),
            QUERY_EXT_CTRL => self.control(ioctl),
            TRY_EXT_CTRLS if !self.tries => Err(ENOTTY),
            G_EXT_CTRLS | S_EXT_CTRLS | TRY_EXT_CTRLS => self.values(ioctl),
            SUBSCRIBE_EVENT => {
                keep(&mut self.subscribed, (ioctl.u32(0), ioctl.u32(4)));
                Ok(())
            }
            UNSUBSCRIBE_EVENT => {
                let gone = (ioctl.u32(0), ioctl.u32(4));
                self.subscribed.retain(|one| *one != gone);
                Ok(())
            }
            _ => Err(ENOTTY),
        }
    }

    /// `struct v4l2_format`: 64x48, in as many planes as there are.
    fn format(&self, ioctl: &mut Ioctl<'_>) {
        let height = match self.height {
            0 => 48,
            height => height,
        };
        ioctl.put(8, &64u32.to_le_bytes());
        ioctl.put(12, &height.to_le_bytes());
        ioctl.put(16, b"GREY");
        ioctl.put(20, &1u32.to_le_bytes());
        if self.planes.is_empty() {
            ioctl.put(24, &64u32.to_le_bytes());
            ioctl.put(28, &(64 * height).to_le_bytes());
            return;
        }
        for (index, length) in self.planes.iter().enumerate() {
            ioctl.put(28 + 20 * index, &length.to_le_bytes());
            ioctl.put(32 + 20 * index, &64u32.to_le_bytes());
        }
        let told = self.told_planes.unwrap_or(self.planes.len() as u8);
        ioctl.put(188, &[told]);
    }

    /// Length of a frame's plane.
    fn length(&self) -> u32 {
        match self.height {
            0 => 64 * 48,
            height => 64 * height,
        }
    }

    /// `struct v4l2_buffer`, and its planes, of a buffer that is not queued.
    fn describe(&self, ioctl: &mut Ioctl<'_>) {
        ioctl.put(60, &USERPTR.to_le_bytes());
        if self.planes.is_empty() {
            ioctl.put(72, &self.length().to_le_bytes());
            return;
        }
        let room = ioctl.u32(72) as usize;
        ioctl.put(72, &(self.planes.len() as u32).to_le_bytes());
        for (plane, length) in self.planes.iter().take(room).enumerate() {
            ioctl.put(88 + 64 * plane + 4, &length.to_le_bytes());
        }
    }

    /// `struct v4l2_buffer`, its planes and their scatter entries.
    fn queue(&mut self, ioctl: &Ioctl<'_>) -> Result<(), u32> {
        let length = ioctl.u32(72);
        let mut used = vec![(ioctl.u32(8), 0)];
        let (planes, mut at): (Vec<u32>, usize) = match self.planes.len() {
            0 => (vec![length], 88),
            count => {
                if length as usize != count {
                    ioctl.fault(format!("a buffer of {length} planes, and not {count}"));
                    return Err(EINVAL);
                }
                let field = |plane, at| ioctl.u32(88 + 64 * plane + at);
                used = (0..count)
                    .map(|one| (field(one, 0), field(one, 16)))
                    .collect();
                let lengths = (0..count).map(|plane| field(plane, 4));
                (lengths.collect(), 88 + 64 * count)
            }
        };
        // A frame of a bigger buffer would be as long as the driver likes.
        if let Some(length) = planes.iter().find(|length| **length > PLANE_MAX) {
            ioctl.fault(format!("a plane of {length} bytes"));
            return Err(EINVAL);
        }
        if self.queued.len() >= KEPT {
            ioctl.fault(format!("more than {KEPT} buffers in a stream"));
            return Err(EINVAL);
        }
        let mut memory = Vec::new();
        for mut left in planes {
            let mut entries = Vec::new();
            while left > 0 {
                let entry = ioctl.entry(at);
                if entry.1 == 0 || entry.1 > left {
                    ioctl.fault(format!(
                        "an entry of {} bytes where {left} are left",
                        entry.1
                    ));
                    return Err(EINVAL);
                }
                left -= entry.1;
                at += 16;
                entries.push(entry);
            }
            memory.push(entries);
        }
        if at != ioctl.request.len() {
            ioctl.fault("entries that cover nothing");
        }
        self.queued.push((ioctl.u32(0), memory));
        self.used = used;
        Ok(())
    }

    fn control(&self, ioctl: &mut Ioctl<'_>) -> Result<(), u32> {
        const NEXT: u32 = 0xc000_0000;
        let asked = ioctl.u32(0);
        // In the order of the table, which a liar's need not be that of ids.
        let found = match asked & NEXT {
            0 => self.controls.iter().find(|control| control.id == asked),
            _ => {
                let last = asked & !NEXT;
                let after = self.controls.iter().position(|control| control.id == last);
                self.controls.get(after.map_or(0, |index| index + 1))
            }
        };
        let control = found.ok_or(EINVAL)?;
        let (minimum, maximum, step, default) = control.range;
        ioctl.put(0, &control.id.to_le_bytes());
        ioctl.put(4, &control.kind.to_le_bytes());
        ioctl.put(8, &control.name.as_bytes()[..control.name.len().min(32)]);
        ioctl.put(40, &minimum.to_le_bytes());
        ioctl.put(48, &maximum.to_le_bytes());
        ioctl.put(56, &step.to_le_bytes());
        ioctl.put(64, &default.to_le_bytes());
        let (size, payload) = match control.kind {
            // With the zero at its end, behind a pointer.
            STRING => ((maximum as u32).wrapping_add(1), HAS_PAYLOAD),
            INTEGER64 => (8, 0),
            _ => (4, 0),
        };
        ioctl.put(72, &(control.flags | payload).to_le_bytes());
        ioctl.put(76, &size.to_le_bytes());
        ioctl.put(80, &control.dims.max(1).to_le_bytes());
        ioctl.put(84, &u32::from(control.dims > 0).to_le_bytes());
        ioctl.put(88, &control.dims.to_le_bytes());
        Ok(())
    }

    fn menu(&self, ioctl: &mut Ioctl<'_>) -> Result<(), u32> {
        let (id, index) = (ioctl.u32(0), ioctl.u32(4));
        let control = self.controls.iter().find(|control| control.id == id);
        let items = &control.ok_or(EINVAL)?.items;
        let item = items.iter().find(|(at, _)| *at == index).ok_or(EINVAL)?;
        ioctl.put(8, &item.1);
        Ok(())
    }

    /// `struct v4l2_control`, which is of no string and of no wide number.
    fn value(&mut self, ioctl: &mut Ioctl<'_>) -> Result<(), u32> {
        let id = ioctl.u32(0);
        let found = self.controls.iter_mut().find(|control| control.id == id);
        let narrow = found.filter(|control| ![STRING, INTEGER64].contains(&control.kind));
        let control = narrow.ok_or(EINVAL)?;
        if ioctl.code == S_CTRL {
            control.value = i64::from(ioctl.u32(4) as i32);
            keep(&mut self.set, (id, control.value, String::new()));
        } else {
            ioctl.put(4, &(control.value as i32).to_le_bytes());
        }
        Ok(())
    }

    /// All controls of the list, or none.
    fn values(&mut self, ioctl: &mut Ioctl<'_>) -> Result<(), u32> {
        let count = ioctl.u32(4) as usize;
        let at = |index: usize| 32 + 20 * index;
        if count > MAX_CONTROLS || ioctl.bytes(at(0), 20 * count).is_none() {
            ioctl.fault(format!("not {count} controls"));
            return Err(EINVAL);
        }
        let ids: Vec<_> = (0..count).map(|index| ioctl.u32(at(index))).collect();
        if ioctl.code != G_EXT_CTRLS {
            keep(&mut self.asked, (ioctl.code, ids.clone()));
            if let Some((_, error)) = self.unwilling.filter(|(id, _)| ids.contains(id)) {
                return Err(error);
            }
        }
        let mut entries = (at(count)..ioctl.request.len()).step_by(16);
        for (index, id) in ids.into_iter().enumerate() {
            let found = self.controls.iter_mut().find(|control| control.id == id);
            let control = found.ok_or(EINVAL)?;
            let memory = match control.kind {
                STRING => entries.next().map(|entry| ioctl.entry(entry)),
                _ => None,
            };
            let size = ioctl.u32(at(index) + 4);
            if control.kind == STRING && memory.is_none_or(|memory| memory.1 != size) {
                ioctl.fault(format!(
                    "a string of {size} bytes whose entry is {memory:x?}"
                ));
            }
            let place = at(index) + 12;
            if ioctl.code == G_EXT_CTRLS {
                match memory {
                    // The pointer comes back as it was given.
                    Some(memory) => {
                        let mut text = control.text.clone().into_bytes();
                        // A text longer than the control may be, a liar's, has no end.
                        if text.len() as i64 <= control.range.1 {
                            text.push(0);
                            if text.len() > size as usize {
                                let whole = (control.range.1 as u32).wrapping_add(1);
                                ioctl.put(at(index) + 4, &whole.to_le_bytes());
                                return Err(ENOSPC);
                            }
                        }
                        ioctl.write(memory, &text);
                    }
                    None => ioctl.put(place, &control.value.to_le_bytes()),
                }
                continue;
            }
            let value = ioctl.u64(place) as i64;
            let value = match (self.wilful, control.kind) {
                (Some((wilful, value)), _) if wilful == id => value,
                (_, INTEGER64) => value,
                (_, STRING) => control.value,
                _ => i64::from(value as i32),
            };
            if memory.is_none() {
                ioctl.put(place, &value.to_le_bytes());
            }
            if ioctl.code == TRY_EXT_CTRLS {
                continue;
            }
            control.value = value;
            if let Some(memory) = memory {
                let bytes = ioctl.read(memory);
                match std::ffi::CStr::from_bytes_until_nul(&bytes) {
                    Ok(text) => control.text = text.to_string_lossy().into_owned(),
                    Err(_) => ioctl.fault("a string without end"),
                }
            }
            keep(&mut self.set, (id, control.value, control.text.clone()));
        }
        if entries.next().is_some() {
            ioctl.fault("entries that cover nothing");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::super::ioctl::Delivery;
    use super::*;

    /// Asks a camera with the string "here", of up to 16 characters, for it: room of
    /// so many bytes at 0x1000. Returns what it says, and the memory there.
    fn text(size: u32) -> (Result<(), u32>, u32, Vec<u8>) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x2000)]).unwrap();
        memory
            .write_slice(&[0x55; 32], GuestAddress(0x1000))
            .unwrap();
        let mut camera = Camera {
            controls: vec![Control {
                id: 0x00f3_0007,
                kind: STRING,
                range: (0, 16, 1, 0),
                text: "here".into(),
                ..Control::default()
            }],
            ..Camera::default()
        };
        let mut request = vec![0; 32 + 20 + 16];
        for (at, value) in [
            (4, 1),
            (32, 0x00f3_0007),
            (36, size),
            (52, 0x1000),
            (60, size),
        ] {
            request[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        let mut ioctl = Ioctl {
            code: G_EXT_CTRLS,
            session: 1,
            request: &request,
            reply: request[..52].to_vec(),
            delivery: Delivery::Whole,
            memory: &memory,
            faults: Default::default(),
        };
        let result = camera.answer(&mut ioctl);
        assert_eq!(ioctl.faults.take(), [""; 0]);
        let told = u32::from_le_bytes(ioctl.reply[36..40].try_into().unwrap());
        let mut after = vec![0; 8];
        memory.read_slice(&mut after, GuestAddress(0x1000)).unwrap();
        (result, told, after)
    }

    #[test]
    fn a_string_comes_with_its_end_or_not_at_all() {
        assert_eq!(text(17), (Ok(()), 17, b"here\0UUU".to_vec()));
        assert_eq!(text(5), (Ok(()), 5, b"here\0UUU".to_vec()));
        for short in [1, 2, 4] {
            assert_eq!(text(short), (Err(ENOSPC), 17, b"UUUUUUUU".to_vec()));
        }
    }
}
