//! Replays the corpora of the fuzz targets: lives of a card, and of its front
//! ends, that have once shown something new.

#[path = "../fuzz/connect/mod.rs"]
mod connect;
#[path = "../fuzz/convert.rs"]
mod convert;
#[path = "../fuzz/drive.rs"]
mod drive;
#[path = "../fuzz/script.rs"]
mod script;

use std::fs;
use std::path::Path;

/// Has each life of a target's corpus lived.
fn replay(target: &str, live: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut lives = 0;
    for entry in fs::read_dir(corpus.join(target)).expect("the corpus") {
        let path = entry.expect("the corpus").path();
        let data = fs::read(&path).expect("a life");
        eprintln!("{}", path.display());
        live(&data);
        lives += 1;
    }
    assert!(lives >= 100, "{lives} lives");
}

/// Has as many lives of so many random bytes lived.
fn random(lives: usize, bytes: usize, live: fn(&[u8])) {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..lives {
        let life: Vec<u8> = (0..bytes)
            .map(|_| {
                // Marsaglia's xorshift.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        live(&life);
    }
}

#[test]
fn every_life_of_the_corpus_is_lived_as_it_should_be() {
    replay("card", drive::drive);
}

#[test]
fn random_lives_are_lived_as_they_should_be() {
    random(400, 2000, drive::drive);
}

#[test]
fn random_lives_of_a_mem_to_mem_card_are_lived_as_they_should_be() {
    random(400, 2000, convert::drive);
}

#[test]
fn every_front_end_of_the_corpus_does_what_it_may() {
    replay("vhost", connect::drive);
}

#[test]
fn random_front_ends_do_what_they_may() {
    random(40, 400, connect::drive);
}
