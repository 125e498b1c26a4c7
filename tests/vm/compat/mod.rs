//! A 32-bit program on a 64-bit kernel, once with the times that such programs
//! had and once with those they have: what it says and is told comes to the card
//! and back as of any other, and what it captures is what the card wrote.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use pinhole::agent::protocol::Run;
use pinhole::card::BufferApi;
use pinhole::rig::testbed::TestbedSpec;
use pinhole::source::{Layout, PixelFormat};

use crate::program::{self, BRIEF};
use crate::studio::{FILE, Studio, were_pinned};

/// Frames that the program captures, and of what size.
const FRAMES: u32 = 6;
const SIZE: (u32, u32) = (324, 242);

/// The program with times of 32 and of 64 bits, each on a disk as it is.
fn disks(folder: &Path) -> Vec<PathBuf> {
    const ROOM: u64 = 64 << 10;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/compat");
    let build = |times: &str| {
        let path = folder.join(times);
        // A 64-bit system has the kernel's headers for such a program, and no
        // libc.
        let include = program::output(Command::new("gcc").arg("-print-file-name=include"), BRIEF);
        let include = String::from_utf8(include.stdout).unwrap();
        let mut command = Command::new("gcc");
        command
            .args([
                "-m32",
                "-ffreestanding",
                "-nostdinc",
                "-isystem",
                include.trim(),
            ])
            .arg(format!("-I{}", source.display()))
            .args(["-idirafter", "/usr/include"])
            .args(["-idirafter", "/usr/include/x86_64-linux-gnu"])
            .args(["-nostdlib", "-static", "-fno-pie", "-no-pie"])
            .args(["-fno-stack-protector", "-O1", "-Wall", "-Werror"])
            .arg(format!("-D{times}"))
            .arg("-o")
            .arg(&path)
            .arg(source.join("compat.c"));
        let built = program::output(&mut command, BRIEF);
        assert!(built.status.success(), "{built:?}");
        let file = File::options().write(true).open(&path).unwrap();
        assert!(file.metadata().unwrap().len() <= ROOM);
        file.set_len(ROOM).unwrap();
        path
    };
    ["TIME32", "TIME64"].map(build).into()
}

/// What follows that word on each line that begins with it.
fn values<'a>(said: &'a str, word: &str) -> Vec<&'a str> {
    let lines = said.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(first, _)| *first == word)
        .map(|(_, value)| value)
        .collect()
}

/// What the program was told is what the card is.
fn is_the_cards(said: &str, planes: BufferApi) {
    assert_eq!(values(said, "driver"), ["pinhole"]);
    assert_eq!(values(said, "card"), ["Pinhole"]);
    let formats: Vec<_> = planes.formats().map(|format| format.to_string()).collect();
    let told: Vec<_> = values(said, "format")
        .iter()
        .map(|it| it.trim_end())
        .collect();
    assert_eq!(told, formats);
    assert_eq!(values(said, "sizes"), ["16 3840 16 2160"]);
    assert_eq!(values(said, "rates"), ["240 1"]);
    assert_eq!(values(said, "input"), ["pattern", "pattern:ramp"]);
    assert_eq!(values(said, "interval"), ["1 60"]);
    assert_eq!(values(said, "motion"), ["1"]);
}

fn like_any_other_on(kernel: &str) {
    let folder = tempfile::tempdir().unwrap();
    let disks = disks(folder.path());
    for planes in [BufferApi::Single, BufferApi::Multi] {
        let studio = Studio::open(TestbedSpec {
            kernel: Some(kernel.into()),
            planes,
            disks: disks.clone(),
            ..TestbedSpec::default()
        });
        let format = match planes {
            BufferApi::Single => PixelFormat::Yuyv,
            BufferApi::Multi => PixelFormat::Nm12,
        };
        let layout = Layout::new(format, SIZE.0, SIZE.1);
        for disk in ["/dev/vdb", "/dev/vdc"] {
            let guest = &studio.guest;
            guest.must(&format!("cat {disk} >/tmp/compat; chmod +x /tmp/compat"));
            is_the_cards(&guest.must("/tmp/compat /dev/video0 ask"), planes);
            for memory in ["user", "mmap"] {
                let program = Run::new(["/tmp/compat", "/dev/video0", memory, FILE]);
                let (answer, frames) = studio.capture(program, &layout, FRAMES);
                let witness = studio.guest.witness_log();
                let sequences = values(&answer.stdout, "sequence");
                for (frame, content) in (0..).zip(&frames) {
                    let sequence = sequences[frame as usize].parse().unwrap();
                    let verdict = witness.judge(frame, Some(sequence), content);
                    assert!(verdict.verified, "{kernel} {disk} {memory}: {verdict:?}");
                }
                if memory == "user" {
                    were_pinned(&answer, &layout);
                }
            }
        }
        studio.close();
    }
}

#[test]
#[ignore = "boots guests"]
fn a_32_bit_program_is_like_any_other_on_bullseye() {
    like_any_other_on("bullseye");
}

#[test]
#[ignore = "boots guests"]
fn a_32_bit_program_is_like_any_other_on_bookworm() {
    like_any_other_on("bookworm");
}

#[test]
#[ignore = "boots guests"]
fn a_32_bit_program_is_like_any_other_on_trixie() {
    like_any_other_on("trixie");
}

#[test]
#[ignore = "boots guests"]
fn a_32_bit_program_is_like_any_other_on_trixie_backports() {
    like_any_other_on("trixie-backports");
}
