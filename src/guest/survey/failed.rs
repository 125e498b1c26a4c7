//! A call on the device that failed, as a sentence.

use std::io;

/// Says what failed, or that another program has the device.
pub fn failed(what: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => format!("another program uses it ({what}: {error})"),
        _ => format!("{what}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_device_is_another_program() {
        let of = |errno| failed("VIDIOC_S_FMT", &io::Error::from_raw_os_error(errno));
        let why = of(libc::EBUSY);
        assert!(
            why.starts_with("another program uses it (VIDIOC_S_FMT: "),
            "{why}"
        );
        assert!(of(libc::EINVAL).starts_with("VIDIOC_S_FMT: "));
    }
}
