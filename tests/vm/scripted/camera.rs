//! A camera to put words into the mouth of: what it answers by itself makes
//! sense, and a test changes what it likes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::{Answers, EINVAL, ENOTTY, Ioctl};

/// `V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING`.
pub const SINGLE: u32 = 0x0400_0001;
/// `V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_STREAMING`.
pub const MULTI: u32 = 0x0400_1000;

const ENUM_FMT: u32 = 2;
pub const G_FMT: u32 = 4;
const S_FMT: u32 = 5;
pub const REQBUFS: u32 = 8;
pub const QBUF: u32 = 15;
pub const STREAMON: u32 = 18;
const STREAMOFF: u32 = 19;
const ENUMINPUT: u32 = 26;
const QUERYMENU: u32 = 37;
const G_INPUT: u32 = 38;
const TRY_FMT: u32 = 64;
const G_EXT_CTRLS: u32 = 71;
pub const S_EXT_CTRLS: u32 = 72;
pub const TRY_EXT_CTRLS: u32 = 73;
const SUBSCRIBE_EVENT: u32 = 90;
const UNSUBSCRIBE_EVENT: u32 = 91;
const QUERY_EXT_CTRL: u32 = 103;

/// `enum v4l2_ctrl_type`.
pub const INTEGER: u32 = 1;
pub const BOOLEAN: u32 = 2;
pub const MENU: u32 = 3;
pub const BUTTON: u32 = 4;
pub const INTEGER64: u32 = 5;
pub const STRING: u32 = 7;
pub const BITMASK: u32 = 8;
pub const INTEGER_MENU: u32 = 9;

/// `V4L2_CTRL_FLAG_*`.
pub const INACTIVE: u32 = 0x10;
pub const MODIFY_LAYOUT: u32 = 0x400;
pub const VOLATILE: u32 = 0x80;
pub const EXECUTE_ON_WRITE: u32 = 0x200;

/// The memory of a plane: address and length of each piece.
pub type Memory = Vec<(u64, u32)>;

/// A control.
#[derive(Clone, Default)]
pub struct Control {
    pub id: u32,
    pub kind: u32,
    pub name: &'static str,
    /// Minimum, maximum, step and default.
    pub range: (i64, i64, u64, i64),
    pub flags: u32,
    pub dims: u32,
    pub value: i64,
    pub text: String,
    /// Items of a menu, by index: a name, or a number's eight bytes.
    pub items: Vec<(u32, Vec<u8>)>,
}

/// What the camera is, and what was done to it.
#[derive(Default)]
pub struct Camera {
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
    /// Buffers at the camera: index, and the memory of each plane.
    pub queued: Vec<(u32, Vec<Memory>)>,
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
}

/// A camera that the test and the device share.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Camera>>);

impl Shared {
    pub fn new(camera: Camera) -> Self {
        Self(Arc::new(Mutex::new(camera)))
    }

    pub fn get(&self) -> MutexGuard<'_, Camera> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers for it.
    pub fn answers(&self) -> Answers {
        let camera = self.clone();
        Box::new(move |ioctl| camera.get().answer(ioctl))
    }

    /// Changes a control without anybody being told.
    pub fn change(&self, id: u32, change: impl FnOnce(&mut Control)) {
        let mut camera = self.get();
        let found = camera.controls.iter_mut().find(|control| control.id == id);
        change(found.unwrap());
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
            REQBUFS => {
                self.queued.clear();
                if ioctl.u32(0) != 0 {
                    self.height = self.next_height.take().unwrap_or(self.height);
                }
                Ok(())
            }
            QBUF => {
                self.queue(ioctl);
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
            ENUMINPUT if ioctl.u32(0) == 0 => {
                ioctl.put(4, b"Script\0");
                ioctl.put(36, &2u32.to_le_bytes());
                Ok(())
            }
            ENUMINPUT => Err(EINVAL),
            G_INPUT => {
                ioctl.put(0, &[0; 4]);
                Ok(())
            }
            QUERYMENU => self.menu(ioctl),
            QUERY_EXT_CTRL => self.control(ioctl),
            TRY_EXT_CTRLS if !self.tries => Err(ENOTTY),
            G_EXT_CTRLS | S_EXT_CTRLS | TRY_EXT_CTRLS => self.values(ioctl),
            SUBSCRIBE_EVENT => {
                self.subscribed.push((ioctl.u32(0), ioctl.u32(4)));
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

    /// `struct v4l2_buffer`, its planes and their scatter entries.
    fn queue(&mut self, ioctl: &Ioctl<'_>) {
        let length = ioctl.u32(72);
        let (planes, mut at): (Vec<u32>, usize) = match self.planes.len() {
            0 => (vec![length], 88),
            count => {
                assert_eq!(length as usize, count);
                let lengths = (0..count).map(|plane| ioctl.u32(88 + 64 * plane + 4));
                (lengths.collect(), 88 + 64 * count)
            }
        };
        let mut memory = Vec::new();
        for mut left in planes {
            let mut entries = Vec::new();
            while left > 0 {
                let entry = ioctl.entry(at);
                assert!(entry.1 <= left, "an entry covers two planes");
                left -= entry.1;
                at += 16;
                entries.push(entry);
            }
            memory.push(entries);
        }
        assert_eq!(at, ioctl.request.len(), "entries that cover nothing");
        self.queued.push((ioctl.u32(0), memory));
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
        ioctl.put(72, &control.flags.to_le_bytes());
        ioctl.put(84, &control.dims.to_le_bytes());
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

    /// All controls of the list, or none.
    fn values(&mut self, ioctl: &mut Ioctl<'_>) -> Result<(), u32> {
        let count = ioctl.u32(4) as usize;
        let at = |index: usize| 32 + 20 * index;
        let ids: Vec<_> = (0..count).map(|index| ioctl.u32(at(index))).collect();
        if ioctl.code != G_EXT_CTRLS {
            self.asked.push((ioctl.code, ids.clone()));
            if let Some((_, error)) = self.unwilling.filter(|(id, _)| ids.contains(id)) {
                return Err(error);
            }
        }
        let mut entries = (at(count)..ioctl.request.len()).step_by(16);
        for (index, id) in ids.into_iter().enumerate() {
            let found = self.controls.iter_mut().find(|control| control.id == id);
            let control = found.ok_or(EINVAL)?;
            let memory = (control.kind == STRING).then(|| ioctl.entry(entries.next().unwrap()));
            if let Some(memory) = memory {
                assert_eq!(ioctl.u32(at(index) + 4), memory.1, "size and entry differ");
            }
            let place = at(index) + 12;
            if ioctl.code == G_EXT_CTRLS {
                ioctl.put(place, &control.value.to_le_bytes());
                if let Some(memory) = memory {
                    ioctl.write(memory, control.text.as_bytes());
                }
                continue;
            }
            let value = i64::from_le_bytes(ioctl.request[place..place + 8].try_into().unwrap());
            let value = match (self.wilful, control.kind) {
                (Some((wilful, value)), _) if wilful == id => value,
                (_, INTEGER64) => value,
                _ => i64::from(value as i32),
            };
            ioctl.put(place, &value.to_le_bytes());
            if ioctl.code == TRY_EXT_CTRLS {
                continue;
            }
            control.value = value;
            if let Some(memory) = memory {
                let bytes = ioctl.read(memory);
                let end = bytes.iter().position(|byte| *byte == 0).unwrap();
                control.text = String::from_utf8(bytes[..end].to_vec()).unwrap();
            }
            self.set.push((id, control.value, control.text.clone()));
        }
        assert_eq!(entries.next(), None, "entries that cover nothing");
        Ok(())
    }
}
