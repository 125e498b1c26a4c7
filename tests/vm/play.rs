//! `pinhole play`, the program, as a user runs it.

use serde_json::Value;

use crate::streamed::{stream, tampered, write_film};

/// Plays frames, which must all be verified.
fn played(args: &[&str], frames: u64) -> Value {
    stream("play", args).verified("played", frames)
}

/// What the card read is what was played by two witnesses: its digests, and the
/// bytes themselves in its sink.
#[test]
#[ignore = "boots a guest"]
fn user_pointers_on_trixie() {
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().join("shown.raw");
    let sink = format!("raw:{}", shown.display());
    let played = stream("play", &["--sink", &sink]);
    let json = played.verified("played", 60);
    assert_eq!(json["kernel"]["id"], "trixie");
    assert_eq!(json["stream"]["memory"], "userptr");
    assert_eq!(json["stream"]["store"], "memory");
    let pages_a_buffer = 1280 * 720 * 2 / 4096;
    let pinned = &json["dma"]["pinned_pages_max"];
    assert!(pinned.as_u64().unwrap() >= 32 * pages_a_buffer, "{pinned}");
    assert_eq!(json["pins"]["before"], json["pins"]["after"]);
    let probe = &json["trace"]["get_vaddr_frames"];
    assert!(probe["calls"].as_u64().unwrap() >= 32, "{probe}");

    let folder = played.folder.path();
    let frames = std::fs::read(folder.join("frames.raw")).unwrap();
    assert_eq!(frames.len(), 60 * 1280 * 720 * 2);
    let shown = std::fs::read(shown).unwrap();
    assert!(shown.starts_with(&frames), "the sink has other bytes");
    let (first, second) = frames.split_at(1280 * 720 * 2);
    assert!(!second.starts_with(first), "all frames are the same");
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap();
    assert_eq!(report, json);
    let sheet = image::open(folder.join("contact-sheet.png")).unwrap();
    assert!(sheet.width() > 1000);
    assert!(folder.join("witness.jsonl").exists());
}

#[test]
#[ignore = "boots guests"]
fn other_ways_of_giving_memory() {
    for memory in ["mmap", "dmabuf", "write"] {
        let args = ["--memory", memory, "--size", "640x480", "--frames", "30"];
        let json = played(&args, 30);
        assert_eq!(json["stream"]["memory"], memory);
        assert_eq!(json["trace"]["get_vaddr_frames"]["calls"], 0);
    }
}

#[test]
#[ignore = "boots a guest"]
fn planes_of_their_own_from_a_disk_as_fast_as_they_come() {
    let args = ["--format", "NM12", "--size", "640x480", "--frames", "30"];
    let json = played(
        &[&args[..], &["--fps", "max", "--store", "disk"]].concat(),
        30,
    );
    assert_eq!(json["stream"]["store"], "disk");
}

#[test]
#[ignore = "boots a guest"]
fn one_changed_byte_in_one_frame_fails_the_play() {
    tampered("play");
}

#[test]
#[ignore = "boots a guest"]
fn a_film_that_ends_too_early_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.y4m");
    write_film(&film, 4);
    let source = format!("y4m:{},once,rate=frame", film.display());
    let args = ["--source", &source, "--size", "64x48", "--format", "YU12"];
    let short = stream("play", &args);
    assert_eq!(short.code, Some(2), "{}", short.stderr);
    let said = "the source ends after 4 frames; 60 are to be played";
    assert!(short.stderr.contains(said), "{}", short.stderr);
    let json = played(&[&args[..], &["--frames", "4"]].concat(), 4);
    assert_eq!(json["frames"]["dropped"], 0);
}
