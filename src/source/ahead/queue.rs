//! The queue of frames that are made ahead, and the source that they come from.
//! It decides what is to be done; it does not do it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::source::frame::{Begun, FrameInfo, Pace};
use crate::source::interface::Source;
use crate::source::processing::{Fault, Product, Recipe};
use crate::source::whole::Frame;

/// How much earlier than asked a frame may have been begun if frames are due
/// when the guest has a buffer.
const FRESH: Duration = Duration::from_millis(100);

/// A frame in the queue.
#[derive(Debug)]
struct Slot {
    info: FrameInfo,
    /// The id of its picture. Frames that repeat a picture have the same one.
    picture: u64,
}

/// A picture that frames in the queue show.
#[derive(Debug)]
struct Picture {
    id: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    InWork,
    Made(Arc<Product>),
    Failed(Begun),
}

/// What a thread is to do in its turn: begin a frame of the source.
pub struct Turn {
    pub source: Box<dyn Source>,
    pub recipe: Arc<Recipe>,
    pub info: FrameInfo,
    /// Number of frames that have been begun and not shown.
    pub unshown: usize,
    /// The card waits for this frame.
    pub is_awaited: bool,
    pub product: Arc<Product>,
    /// The show to which the turn belongs; another one may begin meanwhile.
    show: u64,
    /// What had happened when the turn began.
    seen: Seen,
}

/// What a thread is to do after its turn: process the frame.
pub struct Job {
    pub info: FrameInfo,
    pub whole: Option<Arc<Frame>>,
    pub product: Arc<Product>,
    picture: u64,
}

/// What a thread does next.
pub enum Step {
    Turn(Turn),
    Wait,
    /// Frees its memory, and waits.
    Rest,
    End,
}

/// The answer to a request for a frame.
pub enum Answer {
    /// It is not known yet.
    Wait,
    Begun(Begun),
    /// The frame to show; `None` if it shows what is shown already.
    Show(Option<Arc<Product>>),
}

/// Events that may be the end of a source's lateness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// Number of requests for frames.
    asked: u64,
    /// Number of times that the source has called.
    wakes: u64,
}

/// The frames that are made ahead, in order, and those to be made.
pub struct Queue {
    /// Maximal number of frames in the queue.
    depth: usize,
    slots: VecDeque<Slot>,
    pictures: VecDeque<Picture>,
    /// Id of the next picture.
    next_picture: u64,
    /// Id of the picture that is shown.
    shown: Option<u64>,
    /// Buffers that nothing uses. There is one more than frames in the queue,
    /// which is shown.
    free: Vec<Arc<Product>>,
    /// `None` also while a thread has its turn.
    source: Option<Box<dyn Source>>,
    recipe: Option<Arc<Recipe>>,
    /// The frame of the source that was begun last, and its picture.
    last: Option<(Weak<Frame>, u64)>,
    is_in_order: bool,
    /// The frame to be begun next, if it is known.
    next: Option<FrameInfo>,
    pace: Option<Pace>,
    /// Incremented whenever frames that have been begun are not wanted any more.
    show: u64,
    /// Number of frames that the source is to take back.
    retract: usize,
    is_open: bool,
    /// No frame of this show has been shown.
    is_fresh: bool,
    /// The card waits for a frame.
    is_awaited: bool,
    /// The source has ended.
    has_ended: bool,
    /// What had happened when the source was late; `None` while it is not.
    late: Option<Seen>,
    seen: Seen,
    /// A thread has panicked.
    pub is_broken: bool,
    /// The threads are to end.
    is_over: bool,
    /// The number of threads.
    pub threads: usize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("slots", &self.slots)
            .field("pictures", &self.pictures)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// Returns a queue of at most `depth` frames.
    pub fn new(depth: usize) -> Self {
        Self {
            depth,
            slots: VecDeque::with_capacity(depth),
            pictures: VecDeque::with_capacity(depth),
            next_picture: 0,
            shown: None,
            free: (0..=depth).map(|_| Arc::default()).collect(),
            source: None,
            recipe: None,
            last: None,
            is_in_order: false,
            next: None,
            pace: None,
            show: 0,
            retract: 0,
            is_open: false,
            is_fresh: true,
            is_awaited: false,
            has_ended: false,
            late: None,
            seen: Seen::default(),
            is_broken: false,
            is_over: false,
            threads: 0,
        }
    }

    /// Begins a show of that source.
    pub fn open(
        &mut self,
        mut source: Box<dyn Source>,
        recipe: Arc<Recipe>,
        pace: Option<Pace>,
        next: Option<FrameInfo>,
    ) {
        self.is_in_order = source.whole().is_some_and(|whole| whole.is_in_order());
        self.source = Some(source);
        self.recipe = Some(recipe);
        (self.last, self.shown) = (None, None);
        self.retract = 0;
        self.is_open = true;
        self.is_broken = self.threads == 0;
        self.expect(pace, next);
        self.forget();
    }

    /// Ends the show, and returns the source; `None` as long as a thread has its
    /// turn.
    pub fn close(&mut self) -> Option<Box<dyn Source>> {
        self.is_open = false;
        self.forget();
        let mut source = self.source.take()?;
        self.take_back(&mut *source);
        self.recipe = None;
        Some(source)
    }

    /// Sets what the next frames will probably be.
    pub fn expect(&mut self, pace: Option<Pace>, next: Option<FrameInfo>) {
        (self.pace, self.next) = (pace, next);
    }

    /// Ends the threads.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// Notes that a late source may have a frame.
    pub fn wake(&mut self) {
        self.seen.wakes += 1;
    }

    /// Takes back a buffer that the caller does not use any more.
    pub fn release(&mut self, mut product: Arc<Product>) {
        // Another holder of the buffer releases it later.
        if Arc::get_mut(&mut product).is_some() {
            self.free.push(product);
        }
    }

    /// Frees the memory of the free buffers.
    pub fn free_memory(&mut self) {
        for product in self.free.iter_mut().filter_map(Arc::get_mut) {
            product.free();
        }
    }

    /// Throws all frames away. The source is to take them back.
    fn forget(&mut self) {
        self.retract += self.slots.len();
        self.slots.clear();
        self.prune();
        self.show += 1;
        self.is_fresh = true;
        self.has_ended = false;
        self.late = None;
    }

    fn take_back(&mut self, source: &mut dyn Source) {
        let frames = std::mem::take(&mut self.retract);
        if let Some(whole) = source.whole() {
            whole.take_back(frames);
        }
    }

    /// Drops the pictures that no frame in the queue shows.
    fn prune(&mut self) {
        let slots = &self.slots;
        let is_dropped = |p: &Picture| slots.iter().all(|slot| slot.picture != p.id);
        while let Some(place) = self.pictures.iter().position(is_dropped) {
            if let Some(picture) = self.pictures.remove(place)
                && let State::Made(mut product) = picture.state
                // Another holder of the buffer releases it later.
                && Arc::get_mut(&mut product).is_some()
            {
                self.free.push(product);
            }
        }
    }

    /// Asks for a frame: frames in the queue that come before it are thrown
    /// away. Returns the number of the request.
    pub fn ask(&mut self, info: &FrameInfo) -> u64 {
        let (in_order, pace) = (self.is_in_order, self.pace);
        let is_asked = |begun: &FrameInfo| {
            let past = info.elapsed.checked_sub(begun.elapsed);
            let is_fresh = match pace {
                Some(Pace::Free) => past.is_some_and(|past| past <= FRESH),
                _ => past == Some(Duration::ZERO),
            };
            let (sequence, stream) = (begun.sequence, begun.stream);
            in_order || is_fresh && (sequence, stream) == (info.sequence, info.stream)
        };
        let place = self.slots.iter().position(|slot| is_asked(&slot.info));
        match (place, &self.next) {
            (Some(0), _) => {}
            (Some(place), _) if !self.is_fresh => {
                self.slots.drain(..place);
                self.prune();
            }
            (None, Some(next)) if is_asked(next) && (self.slots.is_empty() || !self.is_fresh) => {
                self.slots.clear();
                self.prune();
            }
            // A film begins with the frame that is shown first, so frames begun
            // before it are not only thrown away.
            _ => {
                self.forget();
                self.next = Some(*info);
            }
        }
        self.is_awaited = true;
        self.seen.asked += 1;
        self.seen.asked
    }

    /// Answers the request with that number, which is the last one.
    pub fn answer(&mut self, ask: u64) -> Answer {
        let answer = self.state_of(ask);
        self.is_awaited = matches!(answer, Answer::Wait);
        answer
    }

    fn state_of(&mut self, ask: u64) -> Answer {
        let Some(slot) = self.slots.front() else {
            return match self.late {
                _ if self.is_broken || self.has_ended => Answer::Begun(Begun::Ended),
                Some(seen) if seen.asked >= ask => Answer::Begun(Begun::Late),
                _ => Answer::Wait,
            };
        };
        let id = slot.picture;
        let product = match self.pictures.iter().find(|picture| picture.id == id) {
            _ if self.is_broken => return Answer::Begun(Begun::Ended),
            Some(picture) => match &picture.state {
                State::InWork => return Answer::Wait,
                State::Made(product) => Some(Arc::clone(product)),
                State::Failed(begun) => {
                    let begun = *begun;
                    self.slots.pop_front();
                    self.prune();
                    return Answer::Begun(begun);
                }
            },
            // It is shown already.
            None => None,
        };
        self.slots.pop_front();
        self.is_fresh = false;
        self.shown = Some(id);
        self.prune();
        Answer::Show(product)
    }

    /// Returns what a thread does next; `rests` tells that it has freed its
    /// memory.
    pub fn step(&mut self, rests: bool) -> Step {
        if self.is_over {
            return Step::End;
        }
        if !self.is_open {
            return if rests { Step::Wait } else { Step::Rest };
        }
        let is_late = self.late.is_some_and(|seen| seen == self.seen);
        let is_full = self.slots.len() >= self.depth || self.free.is_empty();
        let (Some(info), Some(recipe)) = (self.next, &self.recipe) else {
            return Step::Wait;
        };
        if is_late || is_full || self.has_ended || self.is_broken {
            return Step::Wait;
        }
        let recipe = Arc::clone(recipe);
        let Some(mut source) = self.source.take() else {
            return Step::Wait;
        };
        self.take_back(&mut *source);
        Step::Turn(Turn {
            source,
            recipe,
            info,
            unshown: self.slots.len(),
            is_awaited: self.is_awaited && self.slots.is_empty(),
            // `is_full` would be true.
            product: self.free.pop().unwrap_or_default(),
            show: self.show,
            seen: self.seen,
        })
    }

    /// Ends a turn, in which the frame `begun` was begun; `whole` is the frame
    /// if it came whole. Returns the frame if it is to be processed.
    pub fn end_turn(&mut self, turn: Turn, begun: Begun, whole: Option<Arc<Frame>>) -> Option<Job> {
        let Turn {
            source,
            info,
            product,
            show,
            seen,
            ..
        } = turn;
        self.source = Some(source);
        let is_frame = matches!(begun, Begun::Frame { .. });
        if show != self.show {
            self.retract += usize::from(is_frame);
            self.release(product);
            return None;
        }
        self.late = (begun == Begun::Late).then_some(seen);
        self.has_ended = begun == Begun::Ended;
        if !is_frame {
            self.release(product);
            return None;
        }
        self.next = self.pace.map(|pace| pace.after(&info));
        let repeated = match (&self.last, &whole) {
            (Some((last, picture)), Some(frame)) => {
                let is_same = std::ptr::eq(last.as_ptr(), Arc::as_ptr(frame));
                let is_there =
                    self.shown == Some(*picture) || self.pictures.iter().any(|p| p.id == *picture);
                (is_same && is_there).then_some(*picture)
            }
            _ => None,
        };
        if let Some(picture) = repeated {
            self.slots.push_back(Slot { info, picture });
            self.release(product);
            return None;
        }
        let picture = self.next_picture;
        self.next_picture += 1;
        self.slots.push_back(Slot { info, picture });
        self.pictures.push_back(Picture {
            id: picture,
            state: State::InWork,
        });
        self.last = whole.as_ref().map(|frame| (Arc::downgrade(frame), picture));
        Some(Job {
            info,
            whole,
            product,
            picture,
        })
    }

    /// Ends the processing of a frame.
    pub fn end_job(&mut self, job: Job, result: Result<(), Fault>) {
        let Job {
            product, picture, ..
        } = job;
        let Some(picture) = self.pictures.iter_mut().find(|p| p.id == picture) else {
            // It has been thrown away.
            self.release(product);
            if !self.is_open {
                self.free_memory();
            }
            return;
        };
        picture.state = match result {
            Ok(()) => State::Made(product),
            Err(fault) => {
                let begun = match fault {
                    Fault::TooLong => Begun::Late,
                    Fault::Conversion(error) => {
                        log::error!("a frame cannot be converted: {error}");
                        Begun::Ended
                    }
                };
                picture.state = State::Failed(begun);
                return self.release(product);
            }
        };
    }

    /// Notes that a thread has panicked, which had the source if that is not
    /// here; `stand_in` then takes its place.
    pub fn broke(&mut self, stand_in: Option<Box<dyn Source>>) {
        self.threads -= 1;
        self.is_broken = true;
        if let Some(stand_in) = stand_in {
            self.source = Some(stand_in);
        }
        // The panic took the thread's buffer with it.
        self.free.push(Arc::default());
    }
}
