//! Replays the corpus of the fuzz target: lives of a card that have once shown
//! something new.

#[path = "../fuzz/drive.rs"]
mod drive;

use std::fs;
use std::path::Path;

#[test]
fn every_life_of_the_corpus_is_lived_as_it_should_be() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/card");
    let mut lives = 0;
    for entry in fs::read_dir(corpus).expect("the corpus") {
        let path = entry.expect("the corpus").path();
        let data = fs::read(&path).expect("a life");
        eprintln!("{}", path.display());
        drive::drive(&data);
        lives += 1;
    }
    assert!(lives >= 100, "{lives} lives");
}

#[test]
fn random_lives_are_lived_as_they_should_be() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..400 {
        let life: Vec<u8> = (0..2000)
            .map(|_| {
                // Marsaglia's xorshift.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        drive::drive(&life);
    }
}
