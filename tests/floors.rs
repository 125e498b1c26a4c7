//! The order of the guest driver's files, and what tests/floors.sh says when a
//! call runs against it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn driver() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-driver")
}

/// The driver's sources in a folder of their own, where one text of one file is
/// another.
fn changed(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(driver()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = dir.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(&path, text.replace(from, to)).unwrap();
    dir
}

fn floors(folder: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/floors.sh");
    Command::new(script).arg(folder).output().unwrap()
}

fn complaint(folder: &Path) -> String {
    let output = floors(folder);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_driver_calls_downwards_only() {
    let output = floors(&driver());
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_call_upwards_is_told_with_both_its_ends() {
    let dir = changed("eventq.c", "dev->up->lost(", "pinhole_session_lost(");
    assert_eq!(
        complaint(dir.path()),
        "floors: eventq.c uses pinhole_session_lost of recovery.c, which stands above it\n"
    );
}

#[test]
fn the_address_of_what_stands_above_is_no_way_around() {
    let dir = changed(
        "stream.c",
        "wake_up_all(",
        "(void)&pinhole_upcalls;\n\twake_up_all(",
    );
    let main = dir.path().join("main.c");
    let text = fs::read_to_string(&main).unwrap();
    let visible = text.replace(
        "static const struct pinhole_upcalls",
        "const struct pinhole_upcalls",
    );
    fs::write(&main, visible).unwrap();
    assert_eq!(
        complaint(dir.path()),
        "floors: stream.c uses pinhole_upcalls of main.c, which stands above it\n"
    );
}

#[test]
fn a_comment_or_a_message_calls_nothing() {
    let dir = changed(
        "eventq.c",
        "/* Gives the device",
        "/* pinhole_session_lost() gives the device",
    );
    assert!(floors(dir.path()).status.success());
}

#[test]
fn each_file_has_its_place() {
    let dir = changed("Kbuild", " vb2.o", "");
    assert!(complaint(dir.path()).contains("floors: vb2.c is not in Kbuild\n"));
}
