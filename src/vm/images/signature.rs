//! Signatures of modules.
//!
//! A signed module ends with the signature, a `struct module_signature`
//! (include/linux/module_signature.h in Linux 6.12) that tells its length, and a line.
//! The kernel digests the whole module to verify it, and does arithmetic with numbers of
//! hundreds of bits; an emulated processor takes longer for that than for all else that
//! loads a module. One without a signature is loaded as pinhole.ko is, which has none.

/// The last bytes of a signed module (`MODULE_SIG_STRING`).
const MARK: &[u8] = b"~Module signature appended~\n";

/// Length of `struct module_signature`, whose last four bytes are the length of the
/// signature, in network byte order.
const TRAILER: usize = 12;

/// Returns the length of a module without its signature; the whole length if it has
/// none that is well-formed.
pub fn unsigned_length(module: &[u8]) -> usize {
    let length = || {
        let trailed = module.strip_suffix(MARK)?;
        let (rest, trailer) = trailed.split_last_chunk::<TRAILER>()?;
        let [.., a, b, c, d] = *trailer;
        let signature = u32::from_be_bytes([a, b, c, d]) as usize;
        rest.len().checked_sub(signature)
    };
    length().unwrap_or(module.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a module with a signature of 5 bytes that says to have `said`.
    fn signed(said: u8) -> Vec<u8> {
        let trailer = [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, said];
        [b"\x7fELF module", &b"12345"[..], &trailer, MARK].concat()
    }

    #[test]
    fn a_signature_is_told_from_the_module() {
        let module = signed(5);
        assert_eq!(&module[..unsigned_length(&module)], b"\x7fELF module");
    }

    #[test]
    fn a_module_without_a_signature_is_whole() {
        for module in [&b""[..], b"\x7fELF module", MARK, &signed(200)] {
            assert_eq!(unsigned_length(module), module.len());
        }
    }
}
