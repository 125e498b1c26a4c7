#![no_main]

#[path = "../drive.rs"]
mod drive;
#[path = "../script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::drive(data));
