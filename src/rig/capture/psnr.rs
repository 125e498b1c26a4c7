//! The similarity of two pictures that cannot be equal.

/// Returns the peak signal-to-noise ratio of `picture` against `original`, in
/// decibels: ten times the logarithm of 255 squared over the mean squared
/// difference of their samples, which have eight bits each. Returns infinity
/// for equal pictures, and `None` for pictures of different lengths.
pub fn psnr(original: &[u8], picture: &[u8]) -> Option<f64> {
    if original.len() != picture.len() {
        return None;
    }
    let squares = original
        .iter()
        .zip(picture)
        .map(|(one, other)| u64::from(one.abs_diff(*other)).pow(2));
    let mean = squares.sum::<u64>() as f64 / original.len() as f64;
    Some(10.0 * (255.0_f64.powi(2) / mean).log10())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_in_decibels() {
        let black = [0; 100];
        assert_eq!(psnr(&black, &black), Some(f64::INFINITY));
        assert_eq!(psnr(&black, &[255; 100]), Some(0.0));
        let one_off = psnr(&[7; 100], &[6; 100]).unwrap();
        assert!((one_off - 48.130_8).abs() < 0.001, "{one_off}");
        assert_eq!(psnr(&black, &[0; 99]), None);
    }
}
