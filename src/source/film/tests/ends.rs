//! Tests of the bytes behind a film's last frame.

use super::*;

/// Returns the numbers of the next frames.
fn numbers(show: &mut Show, count: usize) -> Vec<Option<usize>> {
    let frames = (0..count).map(|_| show.next());
    frames.map(|frame| Some(number_of(&frame?))).collect()
}

/// Other readers show the frames of files with such bytes behind them, and so
/// does the card, again and again.
#[test]
fn whatever_is_behind_the_last_frame_a_film_begins_again() {
    let files = Files::new();
    let another = b"YUV4MPEG2 W18 H16 F30:1 C420jpeg\nFRAME\n".to_vec();
    let mark_of_another = [another.clone(), vec![9; 18 * 16 * 3 / 2]].concat();
    for behind in [
        &b"\n"[..],
        b"\r\n\r\n",
        &[0; 10_000],
        b"FRAME\n",
        b"FRAME",
        b"FRA",
        &frame_of(3)[..200],
        b"garbage",
        &[b'F'; 5000],
        &another,
        &mark_of_another,
    ] {
        let bytes = [film(3), behind.to_vec()].concat();
        let path = files.file("film", &bytes);
        let mut show = Show::of(&format!("y4m:{path},rate=frame"), PixelFormat::Yu12);
        let expected = [0, 1, 2, 0, 1, 2, 0].map(Some);
        assert_eq!(numbers(&mut show, 7), expected, "{behind:?}");
        let mut show = Show::of(&format!("y4m:{path},once,rate=frame"), PixelFormat::Yu12);
        let expected = [Some(0), Some(1), Some(2), None];
        assert_eq!(numbers(&mut show, 4), expected, "{behind:?}");
        // With rate=time, as far as another round.
        let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
        let seen = [0, 1, 2, 3, 31, 302].map(|frame| {
            let time = Duration::from_nanos(1_000_000_000 * frame / 30);
            show.number_at(time)
        });
        assert_eq!(seen, [0, 1, 2, 0, 1, 2].map(Some), "{behind:?}");
        // A film from a pipe is shown too, and ends.
        let (_reader, mut writer, path) = pipe();
        writer.write_all(&bytes).unwrap();
        drop(writer);
        let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
        let expected = [Some(0), Some(1), Some(2), None];
        assert_eq!(numbers(&mut show, 4), expected, "{behind:?}");
    }
}

#[test]
fn films_one_behind_the_other_are_one() {
    let files = Files::new();
    let second = [HEADER.as_bytes(), &frame_of(7), b"\n", &frame_of(8)].concat();
    let path = files.file("film", &[film(2), second].concat());
    let mut show = Show::of(&format!("y4m:{path},rate=frame"), PixelFormat::Yu12);
    assert_eq!(numbers(&mut show, 6), [0, 1, 7, 8, 0, 1].map(Some));
}

/// The film has no frame to begin again with.
#[test]
fn a_film_that_is_no_more_ends() {
    let files = Files::new();
    let path = files.file("film", &film(2));
    let mut show = Show::of(&format!("y4m:{path},rate=frame"), PixelFormat::Yu12);
    assert_eq!(numbers(&mut show, 3), [0, 1, 0].map(Some));
    // This has the effect of a disk that is gone.
    fs::write(&path, HEADER).unwrap();
    let deadline = Instant::now() + LIMIT;
    while show.next().is_some() {
        assert!(Instant::now() < deadline);
    }
}
