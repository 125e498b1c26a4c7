//! Puts the sources of the guests' kernel modules into the program, so that it
//! builds them for any guest from wherever it is installed.

use std::path::Path;
use std::{env, fs, io};

/// The folder of the driver, beside this file.
const DRIVER: &str = "guest-driver";

/// The folder of the probe in it.
const PROBE: &str = "probe";

/// What the probe shares with the driver.
const SHARED: &str = "compat.h";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={DRIVER}");
    let dir = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(DRIVER);
    write_table(&dir, &sources(&dir)?, "driver_sources.rs")?;
    let probe = sources(&dir.join(PROBE))?.into_iter();
    let mut names: Vec<_> = probe.map(|name| format!("{PROBE}/{name}")).collect();
    names.insert(0, SHARED.to_owned());
    write_table(&dir, &names, "probe_sources.rs")
}

/// The names of the sources in a folder.
fn sources(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
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
    Ok(names)
}

/// Writes a table of the files `names` under `dir` and their contents.
fn write_table(dir: &Path, names: &[String], table: &str) -> io::Result<()> {
    let mut text = String::from("&[\n");
    for name in names {
        let path = dir.join(name);
        text += &format!("    ({name:?}, include_bytes!({path:?})),\n");
    }
    text += "]\n";
    let out = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join(table);
    fs::write(out, text)
}
