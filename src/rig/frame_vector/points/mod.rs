//! The points: the questions, their scripts, and the evaluation of the results.

mod calls;
mod memory;
mod point;
mod vectors;
mod waits;

pub use self::point::{Point, Reading};

/// Returns all points, in the order in which they are tried. Points that
/// fragment the guest's memory come last.
pub fn all() -> impl Iterator<Item = &'static Point> {
    [calls::ALL, memory::ALL, waits::ALL, vectors::ALL]
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::frame_vector::expectation::{Kernel, of};
    use crate::rig::kernel::Version;

    #[test]
    fn every_point_has_a_name_of_its_own_and_an_expectation() {
        let mut names: Vec<_> = all().map(|point| point.name).collect();
        for point in all() {
            for (major, minor) in [(5, 10), (6, 1), (6, 12), (7, 3)] {
                for debug_vm in [false, true] {
                    let version = Version(major, minor);
                    let expected = of(point.name, Kernel { version, debug_vm });
                    assert!(
                        expected.is_some_and(|(_, reason)| !reason.is_empty()),
                        "{}",
                        point.name
                    );
                }
            }
            assert!(point.question.ends_with('?'), "{}", point.question);
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
