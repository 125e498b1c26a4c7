//! A thread that reads a film ahead.
//!
//! It owns as many frames as there ever are: what it has no free one for is
//! not read, and so whoever writes into a pipe is held up. Nobody waits for it
//! but at STREAMON, and then not for long.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use super::Fault;
use super::reel::Reel;

/// Frames that a film has: one shown, one being read, and two ahead.
const FRAMES: usize = 4;

/// A frame of a film.
#[derive(Debug)]
pub struct Frame {
    /// Its bytes.
    pub bytes: Box<[u8]>,
    /// Its number, counted on when the film begins again.
    pub number: u64,
}

/// Why no more frames come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// That was the last one.
    Finished,
    /// The film is broken there.
    Broken,
}

/// The answer to who wants a frame.
#[derive(Debug)]
pub enum Next {
    /// Another one.
    Frame(Frame),
    /// The one that there was; the next is for later.
    Hold,
    /// None has been read yet.
    Late,
    /// None will come.
    End(End),
}

/// What the reader and the card both see.
#[derive(Debug)]
struct State {
    free: Vec<Box<[u8]>>,
    ready: VecDeque<Frame>,
    end: Option<End>,
    /// No frame before this one will be asked for.
    wanted: u64,
    /// One more whenever the film is to begin again.
    rewinds: u64,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The reader has something to do.
    asked: Condvar,
    /// The reader has done something.
    answered: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread, from outside. It ends when this is dropped; if it waits for a
/// pipe then, at the next frame.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    is_file: bool,
}

impl Reader {
    /// Starts to read a film, with no end if it is `looped`.
    pub fn start(reel: Reel, looped: bool) -> io::Result<Self> {
        let frame = vec![0; reel.raster().bytes].into_boxed_slice();
        let state = State {
            free: vec![frame; FRAMES],
            ready: VecDeque::with_capacity(FRAMES),
            end: None,
            wanted: 0,
            rewinds: 0,
            closed: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            asked: Condvar::new(),
            answered: Condvar::new(),
        });
        let is_file = reel.is_file();
        let tape = Tape {
            reel,
            looped,
            number: 0,
            began: 0,
            length: None,
        };
        let reads = Arc::clone(&shared);
        let name = "film".to_owned();
        thread::Builder::new()
            .name(name)
            .spawn(move || read(tape, &reads))?;
        Ok(Self { shared, is_file })
    }

    /// Begins again, if it is a file, and waits for the first frame; not for
    /// longer than that.
    pub fn rewind(&self, patience: Duration) {
        if !self.is_file {
            return;
        }
        let mut state = self.shared.lock();
        state.rewinds += 1;
        state.end = None;
        state.wanted = 0;
        while let Some(frame) = state.ready.pop_front() {
            state.free.push(frame.bytes);
        }
        self.shared.asked.notify_one();
        let waiting = |state: &mut State| state.ready.is_empty() && state.end.is_none();
        // Whether it came in time is seen when it is asked for.
        drop(
            self.shared
                .answered
                .wait_timeout_while(state, patience, waiting),
        );
    }

    /// Whether it begins again with every stream.
    pub fn is_file(&self) -> bool {
        self.is_file
    }

    /// Takes the next frame.
    pub fn next(&self) -> Next {
        let mut state = self.shared.lock();
        match (state.ready.pop_front(), state.end) {
            (Some(frame), _) => Next::Frame(frame),
            (None, Some(end)) => Next::End(end),
            (None, None) => Next::Late,
        }
    }

    /// Takes the frame of that number, or of what has been read the one that
    /// comes next to it: any if the film is `behind` its time, else only if
    /// that frame is sure not to come. The next to be asked for is not before
    /// `following`.
    pub fn at(&self, number: u64, following: u64, behind: bool) -> Next {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let due = state.ready.iter().filter(|f| f.number <= number).count();
        for _ in 1..due {
            if let Some(past) = state.ready.pop_front() {
                state.free.push(past.bytes);
            }
        }
        state.wanted = match (behind, self.is_file) {
            (false, _) => number,
            // What was asked for comes first, lest it be left out in its turn.
            (true, true) => state.wanted,
            // A pipe is no faster for leaving frames out.
            (true, false) => 0,
        };
        self.shared.asked.notify_one();
        let passed_over = state.ready.len() > due.min(1);
        let end = state.end;
        match state.ready.front() {
            Some(first) if first.number <= number => {
                let exact = first.number == number;
                if !exact && end == Some(End::Finished) && !behind {
                    return Next::End(End::Finished);
                }
                if !(exact || behind || passed_over || end.is_some()) {
                    return Next::Late;
                }
                if exact || self.is_file {
                    state.wanted = following;
                }
                state.ready.pop_front().map_or(Next::Late, Next::Frame)
            }
            Some(_) => Next::Hold,
            None => end.map_or(Next::Late, Next::End),
        }
    }

    /// Gives back a frame that is shown no more.
    pub fn give_back(&self, frame: Frame) {
        self.shared.lock().free.push(frame.bytes);
        self.shared.asked.notify_one();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.asked.notify_one();
    }
}

/// What the reader has done.
enum Step {
    Frame(u64),
    /// It is somewhere else now.
    Passed,
    End,
}

/// The reader's own: a film, and where it is.
struct Tape {
    reel: Reel,
    looped: bool,
    /// The next frame's number.
    number: u64,
    /// That of the film's first frame, when it began last.
    began: u64,
    /// Frames of the film, when it has been read to its end.
    length: Option<u64>,
}

impl Tape {
    fn rewind(&mut self) -> Result<(), Fault> {
        (self.number, self.began) = (0, 0);
        self.reel.rewind()
    }

    /// Reads the next frame, or passes over it if it is before `wanted`.
    fn step(&mut self, frame: &mut [u8], wanted: u64) -> Result<Step, Fault> {
        let skipped = self.number < wanted;
        let more = match skipped {
            true => self.reel.skip()?,
            false => self.reel.read(frame)?,
        };
        if more {
            self.number += 1;
            return Ok(match skipped {
                true => Step::Passed,
                false => Step::Frame(self.number - 1),
            });
        }
        if !self.looped {
            return Ok(Step::End);
        }
        self.begin_again(wanted)?;
        Ok(Step::Passed)
    }

    fn begin_again(&mut self, wanted: u64) -> Result<(), Fault> {
        let length = *self.length.insert(self.number - self.began);
        if length == 0 {
            return Err(Fault::Empty);
        }
        // Whole rounds need not be read.
        let rounds = wanted.saturating_sub(self.number) / length;
        self.number += rounds * length;
        self.began = self.number;
        self.reel.rewind()
    }
}

/// The thread.
fn read(mut tape: Tape, shared: &Shared) {
    let mut applied = 0;
    let mut said = false;
    let mut state = shared.lock();
    loop {
        if state.closed {
            return;
        }
        let frame = match state.end {
            None => state.free.pop(),
            Some(_) => None,
        };
        let Some(mut bytes) = frame else {
            let waited = shared.asked.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let (wanted, rewinds) = (state.wanted, state.rewinds);
        drop(state);
        let again = std::mem::replace(&mut applied, rewinds) != rewinds;
        let result = match again {
            true => tape.rewind(),
            false => Ok(()),
        };
        let result = result.and_then(|()| tape.step(&mut bytes, wanted));
        if let Err(fault) = &result
            && !std::mem::replace(&mut said, true)
        {
            let name = tape.reel.name();
            log::warn!("{name}: {fault}; the last whole frame stays");
        }
        state = shared.lock();
        let is_past = state.rewinds != rewinds;
        match result {
            Ok(Step::Frame(number)) if !is_past => state.ready.push_back(Frame { bytes, number }),
            Ok(Step::Frame(_) | Step::Passed) => state.free.push(bytes),
            Ok(Step::End) | Err(_) => {
                state.free.push(bytes);
                if !is_past {
                    let finished = result.is_ok();
                    state.end = Some(if finished { End::Finished } else { End::Broken });
                }
            }
        }
        shared.answered.notify_one();
    }
}
