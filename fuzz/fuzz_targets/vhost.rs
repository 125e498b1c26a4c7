#![no_main]

#[path = "../connect/mod.rs"]
mod connect;
#[path = "../script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|data: &[u8]| connect::drive(data));
