//! Work on many bytes at once.
//!
//! The programs are built for any processor of their kind, for which the
//! compiler uses registers of 16 bytes, unless a function is said to be for
//! processors that have longer ones.

/// Work that is worth longer registers.
pub trait Work {
    /// What comes of it.
    type Result;

    /// Does it. This function, and whatever takes time in it, has to be
    /// `inline(always)`, so that it becomes a part of [`widely`].
    fn work(self) -> Self::Result;
}

/// Does the work with the longest registers that the processor has.
pub fn widely<W: Work>(work: W) -> W::Result {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn with_avx2<W: Work>(work: W) -> W::Result {
            work.work()
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { with_avx2(work) };
        }
    }
    work.work()
}

/// Writes the exclusive or of `one` and `other` into `out`; all have the same
/// length.
#[inline(always)]
pub fn xor(out: &mut [u8], one: &[u8], other: &[u8]) {
    const STEP: usize = 32;
    #[inline(always)]
    fn step(one: &[u8; STEP], other: &[u8; STEP]) -> [u8; STEP] {
        // The compiler makes no vectors of what may overlap.
        let mut mixed = [0; STEP];
        for i in 0..STEP {
            mixed[i] = one[i] ^ other[i];
        }
        mixed
    }
    let ends = (out.len() >= STEP).then(|| one.last_chunk().zip(other.last_chunk()));
    let Some((one_end, other_end)) = ends.flatten() else {
        for (out, (one, other)) in out.iter_mut().zip(one.iter().zip(other)) {
            *out = one ^ other;
        }
        return;
    };
    let given = one.as_chunks().0.iter().zip(other.as_chunks().0);
    for (out, (one, other)) in out.as_chunks_mut().0.iter_mut().zip(given) {
        *out = step(one, other);
    }
    // The last step overlaps the one before.
    if let Some(out) = out.last_chunk_mut() {
        *out = step(one_end, other_end);
    }
}
