//! Puts the guest driver's sources into the program, so that it builds the
//! driver for any guest from wherever it is installed.

use std::path::Path;
use std::{env, fs, io};

/// The folder of the driver, beside this file.
const DRIVER: &str = "guest-driver";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={DRIVER}");
    let dir = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(DRIVER);
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // What a build in that folder leaves behind is not a source.
        let generated = name.starts_with('.') || name.ends_with(".mod.c");
        let source = name == "Kbuild"
            || name == "Makefile"
            || [".c", ".h"].iter().any(|end| name.ends_with(end));
        if source && !generated {
            names.push(name);
        }
    }
    names.sort();
    let mut table = String::from("&[\n");
    for name in names {
        let path = dir.join(&name);
        table += &format!("    ({name:?}, include_bytes!({path:?})),\n");
    }
    table += "]\n";
    let out = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("driver_sources.rs");
    fs::write(out, table)
}
