//! `pinhole-agent`: the init of a Pinhole guest, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    pinhole::guest::main()
}
