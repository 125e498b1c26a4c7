//! Controls.

use zerocopy::little_endian::{I32, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// V4L2_CTRL_TYPE_INTEGER.
pub const CTRL_TYPE_INTEGER: u32 = 1;
/// V4L2_CTRL_TYPE_BOOLEAN.
pub const CTRL_TYPE_BOOLEAN: u32 = 2;
/// V4L2_CTRL_TYPE_MENU.
pub const CTRL_TYPE_MENU: u32 = 3;
/// V4L2_CTRL_TYPE_BUTTON.
pub const CTRL_TYPE_BUTTON: u32 = 4;
/// V4L2_CTRL_TYPE_INTEGER64.
pub const CTRL_TYPE_INTEGER64: u32 = 5;
/// V4L2_CTRL_TYPE_CTRL_CLASS.
pub const CTRL_TYPE_CTRL_CLASS: u32 = 6;
/// V4L2_CTRL_TYPE_STRING.
pub const CTRL_TYPE_STRING: u32 = 7;
/// V4L2_CTRL_TYPE_BITMASK.
pub const CTRL_TYPE_BITMASK: u32 = 8;
/// V4L2_CTRL_TYPE_INTEGER_MENU.
pub const CTRL_TYPE_INTEGER_MENU: u32 = 9;

/// V4L2_CTRL_FLAG_READ_ONLY.
pub const CTRL_FLAG_READ_ONLY: u32 = 0x0004;
/// V4L2_CTRL_FLAG_SLIDER.
pub const CTRL_FLAG_SLIDER: u32 = 0x0020;
/// V4L2_CTRL_FLAG_WRITE_ONLY.
pub const CTRL_FLAG_WRITE_ONLY: u32 = 0x0040;
/// V4L2_CTRL_FLAG_VOLATILE: the value changes by itself.
pub const CTRL_FLAG_VOLATILE: u32 = 0x0080;
/// V4L2_CTRL_FLAG_HAS_PAYLOAD: the control's value lies behind a pointer.
pub const CTRL_FLAG_HAS_PAYLOAD: u32 = 0x0100;
/// V4L2_CTRL_FLAG_EXECUTE_ON_WRITE: a write has an effect even if the value
/// does not change.
pub const CTRL_FLAG_EXECUTE_ON_WRITE: u32 = 0x0200;

/// V4L2_CTRL_FLAG_NEXT_CTRL, in an id: the next control that is not compound.
pub const CTRL_FLAG_NEXT_CTRL: u32 = 0x8000_0000;
/// V4L2_CTRL_FLAG_NEXT_COMPOUND, in an id: the next compound control.
pub const CTRL_FLAG_NEXT_COMPOUND: u32 = 0x4000_0000;
/// V4L2_CTRL_ID_MASK.
pub const CTRL_ID_MASK: u32 = 0x0fff_ffff;
/// Mask of V4L2_CTRL_ID2WHICH(): the bits of an id that name its class.
pub const CTRL_CLASS_MASK: u32 = 0x0fff_0000;
/// V4L2_CID_PRIVATE_BASE: ids from here on are not extended controls.
pub const CID_PRIVATE_BASE: u32 = 0x0800_0000;
/// V4L2_CID_MAX_CTRLS: the largest number of controls in one ioctl.
pub const MAX_CONTROLS: u32 = 1024;

/// V4L2_CTRL_WHICH_CUR_VAL: current values, of controls of any class.
pub const CTRL_WHICH_CUR_VAL: u32 = 0;
/// V4L2_CTRL_WHICH_DEF_VAL: default values.
pub const CTRL_WHICH_DEF_VAL: u32 = 0x0f00_0000;
/// V4L2_CTRL_WHICH_REQUEST_VAL: values of a request.
pub const CTRL_WHICH_REQUEST_VAL: u32 = 0x0f01_0000;

/// `struct v4l2_control`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Control {
    /// V4L2_CID_*.
    pub id: U32,
    /// Value of the control.
    pub value: I32,
}

/// `struct v4l2_queryctrl`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct QueryCtrl {
    /// V4L2_CID_*.
    pub id: U32,
    /// V4L2_CTRL_TYPE_*.
    pub type_: U32,
    /// Name, NUL-terminated.
    pub name: [u8; 32],
    /// Least value.
    pub minimum: I32,
    /// Greatest value.
    pub maximum: I32,
    /// Step between values.
    pub step: I32,
    /// Default value.
    pub default_value: I32,
    /// V4L2_CTRL_FLAG_*.
    pub flags: U32,
    /// Reserved.
    pub reserved: [U32; 2],
}

/// `struct v4l2_query_ext_ctrl`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct QueryExtCtrl {
    /// V4L2_CID_*.
    pub id: U32,
    /// V4L2_CTRL_TYPE_*.
    pub type_: U32,
    /// Name, NUL-terminated.
    pub name: [u8; 32],
    /// Least value.
    pub minimum: I64,
    /// Greatest value.
    pub maximum: I64,
    /// Step between values.
    pub step: U64,
    /// Default value.
    pub default_value: I64,
    /// V4L2_CTRL_FLAG_*.
    pub flags: U32,
    /// Bytes of an element.
    pub elem_size: U32,
    /// Number of elements.
    pub elems: U32,
    /// Number of dimensions of an array.
    pub nr_of_dims: U32,
    /// Size in each dimension.
    pub dims: [U32; 4],
    /// Reserved.
    pub reserved: [U32; 32],
}

/// `struct v4l2_querymenu`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct QueryMenu {
    /// V4L2_CID_*.
    pub id: U32,
    /// Index of the menu item.
    pub index: U32,
    /// The union: the item's name or, in an integer menu, an `__s64`.
    pub item: [u8; 32],
    /// Reserved.
    pub reserved: U32,
}

/// `struct v4l2_ext_control`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtControl {
    /// V4L2_CID_*.
    pub id: U32,
    /// Bytes of the payload behind the pointer; 0 if `value` is not a pointer.
    pub size: U32,
    /// Reserved.
    pub reserved2: U32,
    /// The union: a value of 32 or 64 bits, or the driver's own pointer.
    pub value: I64,
}

impl ExtControl {
    /// Returns the union as its 32-bit `value`.
    pub fn value32(&self) -> i32 {
        // `value` is the lower half: the wire is little-endian.
        self.value.get() as i32
    }
}

/// `struct v4l2_ext_controls` of 64-bit Linux.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtControls {
    /// A control class, or V4L2_CTRL_WHICH_*.
    pub which: U32,
    /// Number of controls that follow.
    pub count: U32,
    /// Index of the control that caused an error.
    pub error_idx: U32,
    /// Not used by the card.
    pub request_fd: I32,
    /// Reserved.
    pub reserved: U32,
    /// Aligns `controls` to 8 bytes.
    pub padding: U32,
    /// The driver's own pointer.
    pub controls: U64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(Control, 8, { id: 0, value: 4 });
        assert_layout!(QueryCtrl, 68, {
            id: 0, type_: 4, name: 8, minimum: 40, maximum: 44, step: 48, default_value: 52,
            flags: 56, reserved: 60,
        });
        assert_layout!(QueryExtCtrl, 232, {
            id: 0, type_: 4, name: 8, minimum: 40, maximum: 48, step: 56, default_value: 64,
            flags: 72, elem_size: 76, elems: 80, nr_of_dims: 84, dims: 88, reserved: 104,
        });
        assert_layout!(QueryMenu, 44, { id: 0, index: 4, item: 8, reserved: 40 });
        assert_layout!(ExtControl, 20, { id: 0, size: 4, reserved2: 8, value: 12 });
        assert_layout!(ExtControls, 32, {
            which: 0, count: 4, error_idx: 8, request_fd: 12, reserved: 16, controls: 24,
        });
    }
}
