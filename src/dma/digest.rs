//! Digests of the bytes written to guest memory.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of bytes that one digest covers.
pub const DIGEST_BLOCK: usize = 4096;

/// XXH3-64 of one block, written as sixteen hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub u64);

impl Digest {
    /// Returns the digest of `block`, which is at most [`DIGEST_BLOCK`] bytes
    /// long.
    pub fn of(block: &[u8]) -> Self {
        Self(twox_hash::XxHash3_64::oneshot(block))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A record of the witness has hundreds of these, and a formatter takes
        // several times as long.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits: [u8; 16] =
            std::array::from_fn(|at| DIGITS[(self.0 >> (60 - 4 * at)) as usize & 15]);
        serializer.serialize_str(std::str::from_utf8(&digits).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let valid = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(&text, 16) {
            Ok(value) if valid => Ok(Self(value)),
            _ => Err(serde::de::Error::custom(
                "a digest is sixteen hexadecimal digits",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `xxhsum -H3` says of the same bytes, of each way that XXH3 has with a
    /// length.
    #[test]
    fn a_digest_is_xxh3() {
        for (length, digest) in [
            (0, 0x2d06_8005_38d3_94c2),
            (3, 0xc348_9259_e968_ad9e),
            (16, 0x9da2_3836_adf2_be1e),
            (100, 0x6dbb_812c_f19d_012e),
            (240, 0x4917_a75c_0ef8_eed7),
            (1000, 0xd1db_6a0a_fea2_cc82),
            (4095, 0x0b4e_57ed_e5b7_b645),
            (4096, 0x5c72_2d9c_eb6f_9064),
        ] {
            let block: Vec<_> = (0..length).map(|i| (i * 7 + (i >> 8)) as u8).collect();
            assert_eq!(Digest::of(&block), Digest(digest), "{length} bytes");
        }
    }

    #[test]
    fn a_digest_is_written_as_it_is_read() {
        for (value, text) in [
            (0x0123_4567_89ab_cdef, "\"0123456789abcdef\""),
            (0xf0, "\"00000000000000f0\""),
        ] {
            assert_eq!(serde_json::to_string(&Digest(value)).unwrap(), text);
            assert_eq!(serde_json::from_str::<Digest>(text).unwrap(), Digest(value));
        }
    }

    #[test]
    fn a_digest_is_exactly_sixteen_hexadecimal_digits() {
        for bad in [
            "\"\"",
            "\"123\"",
            "\"+123456789abcdef\"",
            "\"00000000000000000\"",
            "5",
        ] {
            assert!(serde_json::from_str::<Digest>(bad).is_err(), "{bad}");
        }
    }
}
