//! A kernel's version, and the names of its error numbers.

/// The first two numbers of a kernel's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// Returns the version in a kernel's release, such as
    /// `6.12.107+deb13-amd64`.
    pub fn of(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next()?.parse().ok();
        Some(Self(number()?, number()?))
    }
}

/// Returns the name of an error number of Linux, as in errno(3).
pub fn errno_name(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::ENODEV => "ENODEV",
        libc::EINVAL => "EINVAL",
        libc::ENOSPC => "ENOSPC",
        libc::ERANGE => "ERANGE",
        libc::ENODATA => "ENODATA",
        libc::EOVERFLOW => "EOVERFLOW",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        other => return format!("errno {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_releases() {
        for (release, version) in [
            ("5.10.0-32-amd64", Some(Version(5, 10))),
            ("6.12.107+deb13-amd64", Some(Version(6, 12))),
            ("7.3-rc1", Some(Version(7, 3))),
            ("7.3.4+deb13-amd64", Some(Version(7, 3))),
            ("6", None),
            ("next", None),
        ] {
            assert_eq!(Version::of(release), version, "{release}");
        }
        assert!(Version(5, 10) < Version(6, 1));
        assert!(Version(6, 12) > Version(6, 2));
    }

    #[test]
    fn a_number_without_a_name_is_told_as_one() {
        assert_eq!(errno_name(libc::EFAULT), "EFAULT");
        assert_eq!(errno_name(4000), "errno 4000");
    }
}
