//! The code that a program needs to start, and not to serve.

use rustix::mm::{Advice, madvise};

/// Size of a page, in whose units memory is mapped.
const PAGE: usize = 4096;

unsafe extern "C" {
    // The linker's names for the first byte of the program, and for the one behind its
    // code. Before that there are constants.
    static __executable_start: u8;
    static etext: u8;
}

/// Takes the program's code and constants out of its resident memory. What is needed
/// comes back from the page cache page by page; the command line, the sandbox and what
/// else only the start needs, a third of what is resident by then, does not.
///
/// It is no error if the kernel refuses: more is resident then.
pub fn drop_it() {
    let (first, end) = (&raw const __executable_start, &raw const etext);
    let whole_pages = (end.addr() - first.addr()) / PAGE * PAGE;
    // SAFETY: the range is a private mapping of the program's file to which nothing is
    // written, so that each page that is dropped is read again as it was.
    let dropped = unsafe { madvise(first.cast_mut().cast(), whole_pages, Advice::LinuxDontNeed) };
    if let Err(error) = dropped {
        log::debug!("the start's code stays resident: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_constants_are_there_again_when_they_are_needed() {
        let text = "constants are there".to_owned();
        drop_it();
        assert_eq!(text, "constants are there");
        assert_eq!(text.split(' ').count(), 3);
    }
}
