use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::queue::{Job, Step, Turn};
use super::*;
use crate::source::PixelFormat;
use crate::source::raster::Raster;
use crate::source::settings::{Adjust, Settings};
use crate::source::whole::{Frame, Whole};

/// Time limit of a test for an event that must come.
const LIMIT: Duration = Duration::from_secs(30);

const THREADS: usize = 3;

fn layout() -> Layout {
    Layout::new(PixelFormat::Grey, 64, 48)
}

/// Returns the frame that is due at the end of interval `n` of a stream of
/// 60 frames a second.
pub fn frame(n: u32) -> FrameInfo {
    let elapsed = Duration::from_nanos((u64::from(n) + 1) * 1_000_000_000 / 60);
    FrameInfo {
        stream: 1,
        sequence: n,
        elapsed,
        wall: Duration::from_secs(1000) + elapsed,
    }
}

/// A source whose frames are full of one byte.
struct Plain {
    /// The frames that have been begun.
    begun: Arc<Mutex<Vec<FrameInfo>>>,
    /// If there is one, it has to be passed for each frame.
    gate: Option<Receiver<()>>,
    /// The frame in which the source panics.
    bad: Option<u32>,
    level: u8,
}

fn plain() -> Plain {
    Plain {
        begun: Arc::default(),
        gate: None,
        bad: None,
        level: 0,
    }
}

/// Returns the byte of which that frame is full. The time counts as well.
fn level(info: &FrameInfo) -> u8 {
    (info.sequence as u8).wrapping_add(info.elapsed.as_millis() as u8)
}

impl Source for Plain {
    fn prepare(&mut self, _layout: &Layout) {}

    fn begin(&mut self, frame: &FrameInfo) -> Begun {
        assert_ne!(self.bad, Some(frame.sequence), "the source is bad");
        if let Some(gate) = &self.gate {
            let _ = gate.recv();
        }
        self.begun.lock().unwrap().push(*frame);
        self.level = level(frame);
        let bytes = layout().sizeimage;
        Begun::Frame { bytes }
    }

    fn fill(&mut self, _offset: usize, out: &mut [u8]) {
        out.fill(self.level);
    }
}

/// Settings by which frames are mirrored, which does not change these.
fn mirrored() -> Settings {
    Settings {
        adjust: Adjust {
            hflip: true,
            ..Adjust::default()
        },
        ..Settings::default()
    }
}

fn recipe(source: &mut dyn Source) -> Recipe {
    Recipe::new(&layout(), &mirrored(), source).unwrap()
}

struct Rig {
    ahead: Ahead,
    place: Box<dyn Source>,
    begun: Arc<Mutex<Vec<FrameInfo>>>,
}

impl Rig {
    fn start(source: Plain) -> Self {
        let mut rig = Self {
            ahead: Ahead::with_threads(THREADS),
            begun: source.begun.clone(),
            place: Box::new(source),
        };
        rig.again();
        rig
    }

    fn again(&mut self) {
        let recipe = recipe(&mut *self.place);
        let pace = Some(Pace::Every(1, 60));
        self.ahead
            .start(&mut self.place, recipe, pace, Some(frame(0)));
    }

    /// Asks for a frame and checks every byte of it.
    fn check(&mut self, info: &FrameInfo) {
        let bytes = layout().sizeimage;
        assert_eq!(self.ahead.begin(info), Begun::Frame { bytes });
        let mut out = vec![0; bytes as usize];
        self.ahead.fill(0, &mut out);
        assert!(out.iter().all(|byte| *byte == level(info)), "{info:?}");
    }

    /// Waits until that many frames have been begun.
    fn until_begun(&self, frames: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.begun.lock().unwrap().len() < frames {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }
}

#[test]
fn every_frame_is_made_once_before_it_is_asked_for() {
    let mut rig = Rig::start(plain());
    for n in 0..500 {
        // As many as have room, and no more.
        rig.until_begun(n as usize + THREADS + AHEAD);
        rig.check(&frame(n));
    }
    let begun = rig.begun.lock().unwrap().clone();
    assert!(begun.len() <= 500 + THREADS + AHEAD);
    let expected = (0..).map(frame);
    assert!(begun.iter().copied().eq(expected.take(begun.len())));
}

#[test]
fn a_frame_that_is_not_asked_for_is_thrown_away() {
    let mut rig = Rig::start(plain());
    let mut n = 0;
    for step in [1, 1, 2, 3, 5, 6, 7, 1, 100, 1, 1, 2, 1] {
        rig.until_begun(THREADS + AHEAD);
        rig.check(&frame(n));
        n += step;
    }
    // Another time, or another stream, is another frame.
    let later = FrameInfo {
        elapsed: frame(n).elapsed + Duration::from_nanos(1),
        ..frame(n)
    };
    rig.check(&later);
    assert!(rig.begun.lock().unwrap().contains(&later));
    let other = FrameInfo {
        stream: 2,
        ..frame(n + 1)
    };
    rig.check(&other);
    assert!(rig.begun.lock().unwrap().contains(&other));
    // What was shown is made again if it is asked for again.
    rig.check(&frame(3));
    rig.check(&frame(3));
    rig.check(&frame(2));
}

#[test]
fn without_a_pace_a_frame_is_made_when_it_is_asked_for() {
    let mut rig = Rig::start(plain());
    rig.ahead.stop(&mut rig.place);
    rig.begun.lock().unwrap().clear();
    let recipe = recipe(&mut *rig.place);
    rig.ahead.start(&mut rig.place, recipe, None, None);
    for n in [0, 1, 7, 7, 3] {
        rig.check(&frame(n));
    }
    assert_eq!(*rig.begun.lock().unwrap(), [0, 1, 7, 7, 3].map(frame));
}

/// Frames that are due when there is a buffer have been begun a short time
/// before, at most.
#[test]
fn at_the_highest_rate_no_frame_is_old() {
    let mut rig = Rig::start(plain());
    rig.ahead.expect(Some(Pace::Free), None);
    let mut elapsed = Duration::from_secs(1);
    for sequence in 0..200 {
        elapsed += match sequence % 40 {
            39 => Duration::from_secs(2),
            _ => Duration::from_millis(3),
        };
        let info = FrameInfo {
            sequence,
            elapsed,
            ..frame(0)
        };
        let bytes = layout().sizeimage;
        assert_eq!(rig.ahead.begin(&info), Begun::Frame { bytes });
        let mut out = [0];
        rig.ahead.fill(0, &mut out);
        let begun = rig.begun.lock().unwrap();
        let made = begun.iter().rfind(|begun| begun.sequence == sequence);
        let made = made.expect("it was begun");
        assert_eq!(out[0], level(made));
        let age = elapsed - made.elapsed;
        assert!(age <= Duration::from_millis(100), "{age:?}");
    }
}

/// A source that has its turn comes back when it has drawn its frame.
#[test]
fn a_source_comes_back_also_if_it_is_slow() {
    let (open, gate): (Sender<()>, _) = channel();
    let mut rig = Rig::start(Plain {
        gate: Some(gate),
        ..plain()
    });
    open.send(()).unwrap();
    rig.check(&frame(0));
    // A thread is at the gate, or on its way.
    drop(open);
    rig.ahead.stop(&mut rig.place);
    assert!(!rig.ahead.is_running());
    rig.begun.lock().unwrap().clear();
    rig.again();
    rig.check(&frame(0));
    rig.check(&frame(1));
}

#[test]
fn a_source_that_panics_ends_its_stream_and_nothing_else() {
    let mut rig = Rig::start(Plain {
        bad: Some(2),
        ..plain()
    });
    let deadline = Instant::now() + LIMIT;
    let mut n = 0;
    while rig.ahead.begin(&frame(n)) != Begun::Ended {
        n += 1;
        assert!(n <= 2 && Instant::now() < deadline);
    }
    assert_eq!(rig.ahead.begin(&frame(n)), Begun::Ended);
    rig.ahead.stop(&mut rig.place);
    assert_eq!(rig.place.begin(&frame(0)), Begun::Ended);
    for _ in 0..3 {
        rig.place = Box::new(plain());
        rig.again();
        for n in 0..20 {
            rig.check(&frame(n));
        }
        rig.ahead.stop(&mut rig.place);
    }
}

#[test]
fn threads_end_with_the_camera() {
    let rig = Rig::start(plain());
    let shared = Arc::downgrade(&rig.ahead.shared);
    rig.until_begun(THREADS);
    drop(rig);
    let deadline = Instant::now() + LIMIT;
    while shared.strong_count() > 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

/// A source whose frames come whole, and which repeats each of them once.
struct Pairs {
    raster: Raster,
    count: u64,
    frame: Option<Arc<Frame>>,
    taken_back: Arc<Mutex<usize>>,
}

fn pairs() -> Pairs {
    Pairs {
        raster: Raster::rgb(64, 48),
        count: 0,
        frame: None,
        taken_back: Arc::default(),
    }
}

impl Source for Pairs {
    fn whole(&mut self) -> Option<&mut dyn Whole> {
        Some(self)
    }

    fn prepare(&mut self, _layout: &Layout) {}

    fn begin(&mut self, _frame: &FrameInfo) -> Begun {
        if self.count.is_multiple_of(2) {
            self.frame = Some(Arc::new(Frame {
                bytes: vec![self.count as u8; self.raster.bytes].into(),
                number: self.count,
                home: None,
            }));
        }
        self.count += 1;
        Begun::Frame { bytes: 0 }
    }

    fn fill(&mut self, _offset: usize, _out: &mut [u8]) {}
}

impl Whole for Pairs {
    fn raster(&self) -> &Raster {
        &self.raster
    }

    fn frame(&self) -> Option<&Arc<Frame>> {
        self.frame.as_ref()
    }

    fn is_in_order(&self) -> bool {
        true
    }

    fn go_ahead(&mut self, _ahead: Option<(usize, Wake)>) {}

    fn begin_ahead(&mut self, info: &FrameInfo, _unshown: usize, _is_awaited: bool) -> Begun {
        self.begin(info)
    }

    fn take_back(&mut self, frames: usize) {
        *self.taken_back.lock().unwrap() += frames;
    }
}

/// Returns a queue with that source and one thread, which the test is.
fn queue(mut source: Box<dyn Source>) -> Queue {
    let recipe = recipe(&mut *source);
    let mut queue = Queue::new(4);
    queue.threads = 1;
    let (pace, next) = (Pace::Every(1, 60), frame(0));
    queue.open(source, Arc::new(recipe), Some(pace), Some(next));
    queue
}

fn turn(queue: &mut Queue) -> Option<Turn> {
    match queue.step(true) {
        Step::Turn(turn) => Some(turn),
        _ => None,
    }
}

/// Begins a frame and returns it if it is to be processed.
fn begin(queue: &mut Queue) -> Option<Job> {
    let mut turn = turn(queue).expect("a turn");
    let info = turn.info;
    let (unshown, is_awaited) = (turn.unshown, turn.is_awaited);
    let (begun, whole) = match turn.source.whole() {
        Some(whole) => {
            let begun = whole.begin_ahead(&info, unshown, is_awaited);
            (begun, whole.frame().cloned())
        }
        None => (turn.source.begin(&info), None),
    };
    queue.end_turn(turn, begun, whole)
}

#[test]
fn a_frame_is_awaited_that_was_asked_for_and_is_not_there() {
    let mut queue = queue(Box::new(pairs()));
    let first = turn(&mut queue).expect("a turn");
    assert!(!first.is_awaited, "nobody has asked");
    let ask = queue.ask(&first.info);
    assert!(matches!(queue.answer(ask), Answer::Wait));
    queue.end_turn(first, Begun::Late, None);
    assert!(matches!(queue.answer(ask), Answer::Wait));
    let again = turn(&mut queue).expect("a turn");
    assert!(again.is_awaited);
    queue.end_turn(again, Begun::Late, None);
    assert!(matches!(queue.answer(ask), Answer::Begun(Begun::Late)));
    queue.wake();
    assert!(
        !turn(&mut queue).expect("a turn").is_awaited,
        "it was answered"
    );
}

/// A stream ends while frames of it are being processed, and the next one does
/// not see them.
#[test]
fn a_stream_ends_in_the_middle_of_the_work() {
    let source = pairs();
    let taken_back = source.taken_back.clone();
    let mut queue = queue(Box::new(source));
    let first = begin(&mut queue).expect("work");
    assert!(begin(&mut queue).is_none(), "it repeats the first");
    let third = begin(&mut queue).expect("work");
    let source = queue.close().expect("the source is here");
    assert_eq!(*taken_back.lock().unwrap(), 3);
    let recipe = Arc::new(recipe(&mut *Box::new(pairs())));
    queue.open(source, recipe, Some(Pace::Every(1, 60)), Some(frame(0)));
    let job = begin(&mut queue).expect("no frame of the last show is repeated");
    queue.end_job(first, Ok(()));
    queue.end_job(third, Ok(()));
    let ask = queue.ask(&frame(0));
    assert!(matches!(queue.answer(ask), Answer::Wait));
    queue.end_job(job, Ok(()));
    assert!(matches!(queue.answer(ask), Answer::Show(Some(_))));
}

/// A thread that has its turn when the stream ends gives its frame back too.
#[test]
fn a_stream_ends_in_the_middle_of_a_turn() {
    let source = pairs();
    let taken_back = source.taken_back.clone();
    let mut queue = queue(Box::new(source));
    begin(&mut queue).expect("work");
    let mut mine = turn(&mut queue).expect("a turn");
    assert!(queue.close().is_none(), "the source is away");
    let begun = mine.source.begin(&mine.info);
    assert!(queue.end_turn(mine, begun, None).is_none());
    assert!(queue.close().is_some());
    assert_eq!(*taken_back.lock().unwrap(), 2);
}

#[test]
fn a_picture_that_is_repeated_is_processed_once() {
    let mut queue = queue(Box::new(pairs()));
    let mut shown: Option<Arc<Product>> = None;
    for n in 0..40 {
        // A frame for each odd number repeats the one before.
        if let Some(job) = begin(&mut queue) {
            assert!(job.whole.as_ref().is_some_and(|frame| frame.number == n));
            queue.end_job(job, Ok(()));
        } else {
            assert!(n % 2 == 1);
        }
        let ask = queue.ask(&frame(n as u32));
        let Answer::Show(product) = queue.answer(ask) else {
            panic!("no frame {n}");
        };
        assert_eq!(product.is_some(), n % 2 == 0, "{n}");
        if let Some(past) = product.and_then(|product| shown.replace(product)) {
            queue.release(past);
        }
    }
}

/// Without a wake-up, a late source is asked again each time that the card asks.
#[test]
fn a_late_source_is_asked_again() {
    let mut queue = queue(Box::new(plain()));
    let ask = queue.ask(&frame(0));
    assert!(matches!(queue.answer(ask), Answer::Wait));
    let late = turn(&mut queue).expect("a turn");
    assert!(queue.end_turn(late, Begun::Late, None).is_none());
    assert!(matches!(queue.answer(ask), Answer::Begun(Begun::Late)));
    assert!(turn(&mut queue).is_none(), "it is late");
    let ask = queue.ask(&frame(0));
    assert!(matches!(queue.answer(ask), Answer::Wait));
    let late = turn(&mut queue).expect("a turn");
    queue.wake();
    assert!(queue.end_turn(late, Begun::Late, None).is_none());
    let woken = turn(&mut queue).expect("it was woken meanwhile");
    let begun = Begun::Frame { bytes: 1 };
    let job = queue.end_turn(woken, begun, None).expect("work");
    queue.end_job(job, Ok(()));
    assert!(matches!(queue.answer(ask), Answer::Show(Some(_))));
}
