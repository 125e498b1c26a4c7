//! The formats of a device, and their sizes. The API makes no difference to who calls:
//! a multi-planar format is told as a single-planar one, as it has one plane of memory.

use std::io;

use crate::agent::cell::FrameSize;
use crate::card::{BufferApi, BufferType};
use crate::wire::Ioctl;
use crate::wire::format::{
    FIELD_NONE, FmtDesc, Format, FormatMplane, Fract, FrmSizeEnum, PixFormat, PixFormatMplane,
};
use crate::wire::parm::StreamParm;
use crate::wire::selection::{Rect, SEL_TGT_COMPOSE, Selection};
use zerocopy::FromZeros;

use super::Device;

impl Device {
    /// Sets the device's format to GREY frames of that size; returns the size
    /// of a frame in bytes.
    pub fn set_format(&self, size: FrameSize) -> io::Result<usize> {
        let grey = u32::from_le_bytes(*b"GREY");
        let format = self.set_pixels(grey, size.width, size.height)?;
        Ok(format.sizeimage.get() as usize)
    }

    /// Sets the device's format to frames of that format and size; returns the
    /// one that the device has then.
    pub fn set_pixels(&self, pixelformat: u32, width: u32, height: u32) -> io::Result<PixFormat> {
        let wanted = PixFormat {
            width: width.into(),
            height: height.into(),
            pixelformat: pixelformat.into(),
            field: FIELD_NONE.into(),
            ..FromZeros::new_zeroed()
        };
        self.exchange_format(Ioctl::SFmt, wanted)
    }

    /// Sets the device's rate in frames per second, or the nearest one that it
    /// has.
    pub fn set_rate(&self, rate: u32) -> io::Result<()> {
        let interval = Fract {
            numerator: 1.into(),
            denominator: rate.into(),
        };
        let mut parameters = StreamParm::of(self.buffer_type(), interval);
        self.ioctl(Ioctl::SParm.request(), &mut parameters)
    }

    /// Returns the device's format, whatever API its buffers are of.
    pub(super) fn raw_format(&self) -> io::Result<Format> {
        let mut format = Format::of(self.buffer_type(), FromZeros::new_zeroed());
        self.ioctl(Ioctl::GFmt.request(), &mut format)?;
        Ok(format)
    }

    /// Returns the device's format.
    pub fn get_format(&self) -> io::Result<PixFormat> {
        self.exchange_format(Ioctl::GFmt, FromZeros::new_zeroed())
    }

    /// Returns the format that the device would have if it were set to that one.
    pub fn try_format(&self, wanted: PixFormat) -> io::Result<PixFormat> {
        self.exchange_format(Ioctl::TryFmt, wanted)
    }

    /// Sets the device's format as near to that one as it can be; returns it.
    pub fn change_format(&self, wanted: PixFormat) -> io::Result<PixFormat> {
        self.exchange_format(Ioctl::SFmt, wanted)
    }

    fn exchange_format(&self, ioctl: Ioctl, wanted: PixFormat) -> io::Result<PixFormat> {
        match self.type_.api {
            BufferApi::Single => {
                let mut format = Format::of(self.buffer_type(), wanted);
                self.ioctl(ioctl.request(), &mut format)?;
                Ok(format.pix)
            }
            BufferApi::Multi => {
                let mut format = FormatMplane::of(self.buffer_type(), with_a_plane(wanted));
                self.ioctl(ioctl.request(), &mut format)?;
                of_a_plane(&format.pix_mp)
            }
        }
    }

    /// Has the picture fill frames of that size. A device may leave it in a part of the
    /// frame that is as large as the picture was before, and writes nothing elsewhere.
    pub fn compose(&self, width: u32, height: u32) -> io::Result<()> {
        let whole = BufferType {
            api: BufferApi::Single,
            ..self.type_
        };
        let mut selection = Selection {
            // The ioctl is for either API with the single-planar type.
            type_: whole.number().into(),
            target: SEL_TGT_COMPOSE.into(),
            r: Rect {
                left: 0.into(),
                top: 0.into(),
                width: width.into(),
                height: height.into(),
            },
            ..FromZeros::new_zeroed()
        };
        self.ioctl(Ioctl::SSelection.request(), &mut selection)
    }

    /// Returns the device's formats, as it enumerates them.
    pub fn formats(&self) -> Vec<FmtDesc> {
        let at = |index: u32| {
            let mut format = FmtDesc {
                index: index.into(),
                type_: self.buffer_type().into(),
                ..FromZeros::new_zeroed()
            };
            let described = self.ioctl(Ioctl::EnumFmt.request(), &mut format);
            described.ok().map(|()| format)
        };
        (0..ENUMERATED).map_while(at).collect()
    }

    /// Returns the sizes that frames of a format may have, as the device enumerates
    /// them; none if it does not.
    pub fn sizes(&self, pixelformat: u32) -> Vec<FrmSizeEnum> {
        let at = |index: u32| {
            let mut size = FrmSizeEnum {
                index: index.into(),
                pixel_format: pixelformat.into(),
                ..FromZeros::new_zeroed()
            };
            let described = self.ioctl(Ioctl::EnumFrameSizes.request(), &mut size);
            described.ok().map(|()| size)
        };
        (0..ENUMERATED).map_while(at).collect()
    }
}

/// Most formats and sizes that are enumerated: a driver may never come to an end.
const ENUMERATED: u32 = 1000;

/// Returns a format as the multi-planar API has it, with one plane.
fn with_a_plane(pix: PixFormat) -> PixFormatMplane {
    let mut multi = PixFormatMplane {
        width: pix.width,
        height: pix.height,
        pixelformat: pix.pixelformat,
        field: pix.field,
        colorspace: pix.colorspace,
        num_planes: 1,
        ..FromZeros::new_zeroed()
    };
    multi.plane_fmt[0].sizeimage = pix.sizeimage;
    multi.plane_fmt[0].bytesperline = pix.bytesperline;
    multi
}

/// Returns a format as the single-planar API has it, if it has one plane.
fn of_a_plane(multi: &PixFormatMplane) -> io::Result<PixFormat> {
    if multi.num_planes != 1 {
        return Err(io::Error::other(format!(
            "its frames lie in {} pieces of memory",
            multi.num_planes
        )));
    }
    Ok(PixFormat {
        width: multi.width,
        height: multi.height,
        pixelformat: multi.pixelformat,
        field: multi.field,
        colorspace: multi.colorspace,
        sizeimage: multi.plane_fmt[0].sizeimage,
        bytesperline: multi.plane_fmt[0].bytesperline,
        ..FromZeros::new_zeroed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_of_one_plane_is_one_of_either_api() {
        let pix = PixFormat {
            width: 320.into(),
            height: 200.into(),
            pixelformat: u32::from_le_bytes(*b"YUYV").into(),
            field: FIELD_NONE.into(),
            colorspace: 8.into(),
            bytesperline: 704.into(),
            sizeimage: 140_800.into(),
            ..FromZeros::new_zeroed()
        };
        let mut multi = with_a_plane(pix);
        let again = of_a_plane(&multi).unwrap();
        assert_eq!(
            zerocopy::IntoBytes::as_bytes(&again),
            zerocopy::IntoBytes::as_bytes(&pix)
        );
        multi.num_planes = 2;
        let error = of_a_plane(&multi).unwrap_err().to_string();
        assert_eq!(error, "its frames lie in 2 pieces of memory");
    }
}
