//! `fuzz/build.sh run m2m`: see `convert.rs`.

#![no_main]

#[path = "../convert.rs"]
mod convert;
#[path = "../script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|data: &[u8]| convert::drive(data));
