//! A disk under `--out` that is full, before a run or in its midst.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::program::{self, WITH_A_GUEST};

/// Mounts a disk of the size $1 at $2, where nobody else sees it, runs the rest
/// there with the output in $3, fills the disk once a guest boots if $4 says
/// so, and copies what is left of it to $3 as well.
const ON_A_DISK: &str = r#"
size=$1 disk=$2 kept=$3 fill=$4
shift 4
mount -t tmpfs -o "size=$size" none "$disk"
code=0
"$@" --out "$disk/out" >"$kept/stdout" 2>"$kept/stderr" &
if [ "$fill" = fill ]; then
    until grep -q '^booting ' "$kept/stderr"; do
        kill -0 $!
        sleep 0.1
    done
    cat /dev/zero >"$disk/zeros" 2>/dev/null || true
fi
wait $! || code=$?
cp -r "$disk/out" "$kept"
exit $code
"#;

/// A run of the program, and what it left.
struct Run {
    output: Output,
    kept: tempfile::TempDir,
}

impl Run {
    /// Runs that command line on a disk of that size.
    fn on_a_disk(size: &str, fill: &str, line: &[&str]) -> Self {
        let (disk, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["--mount", "--propagation=private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-euc", ON_A_DISK, "sh", size])
            .args([disk.path(), kept.path()])
            .args([fill, env!("CARGO_BIN_EXE_pinhole")])
            .args(line);
        let output = program::output(&mut command, WITH_A_GUEST);
        Self { output, kept }
    }

    fn kept(&self, name: &str) -> String {
        let path = self.kept.path().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The sentence that it ends with, and code 2.
    fn refusal(&self) -> String {
        let said = self.kept("stderr");
        assert_eq!(
            self.output.status.code(),
            Some(2),
            "{:?}\n{said}",
            self.output
        );
        said.lines().last().unwrap_or_default().to_owned()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
#[ignore = "mounts a file system"]
fn a_run_that_has_no_room_is_told_so_before_the_boot() {
    let capture = Run::on_a_disk("4m", "", &["capture", "--frames", "20"]);
    let said = capture.refusal();
    assert!(
        said.starts_with("pinhole: the disk is full: the frames take 36.9 MB in ")
            && said.contains(", and 4.2 MB are free there"),
        "{said}"
    );
    assert!(!capture.kept("stderr").contains("booting"));
    // Nothing is left that would take more of it.
    assert_eq!(names(&capture.kept.path().join("out")), [""; 0]);
    let small = ["capture", "--frames", "1", "--size", "64x64"];
    let said = Run::on_a_disk("1m", "", &small).refusal();
    assert!(
        said.contains("full: witness, logs and report take "),
        "{said}"
    );
    let said = Run::on_a_disk("1m", "", &["matrix"]).refusal();
    assert!(said.contains("full: the results take "), "{said}");
}

#[test]
#[ignore = "boots a guest"]
fn a_disk_that_fills_up_is_why_a_capture_has_no_witness() {
    let line = ["capture", "--frames", "60", "--size", "64x64"];
    let said = Run::on_a_disk("16m", "fill", &line).refusal();
    assert!(
        said.starts_with("pinhole: the disk is full: the card could not write its witness"),
        "{said}"
    );
}

#[test]
#[ignore = "boots a guest"]
fn a_disk_that_fills_up_costs_the_matrix_no_result() {
    let run = Run::on_a_disk("16m", "fill", &["matrix", "--cell", "anon-touched@64"]);
    let said = format!("{}{}", run.kept("stdout"), run.kept("stderr"));
    assert_eq!(run.output.status.code(), Some(0), "{said}");
    let out = run.kept.path().join("out");
    let files = ["index.html", "junit.xml", "matrix.ktap", "trixie.json"];
    assert_eq!(names(&out), files);
    let outcome: Value = serde_json::from_str(&run.kept("out/trixie.json")).unwrap();
    assert_eq!(outcome["cells"][0]["verdict"], "expected", "{outcome:#}");
}
