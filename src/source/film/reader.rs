//! A thread that reads a film ahead.
//!
//! It owns as many frames as there ever are: what it has no free one for is
//! not read, and so whoever writes into a pipe is held up. Nobody waits for it
//! but at STREAMON, and then not for long.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use super::error::Fault;
use super::input::Hangup;
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

/// What comes after a film's last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    End,
    /// Its first; of a FIFO, what is written into it next.
    Again,
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
    End,
}

/// What the reader and the card both see.
#[derive(Debug)]
struct State {
    free: Vec<Box<[u8]>>,
    ready: VecDeque<Frame>,
    /// The last frame has been read.
    end: bool,
    /// No frame before this one will be asked for.
    wanted: u64,
    /// One more whenever the film is to begin again, or a FIFO's next.
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

/// The thread, from outside. It ends when this is dropped.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    hangup: Arc<Hangup>,
    is_file: bool,
    is_fifo: bool,
}

impl Reader {
    /// Starts to read a film.
    pub fn start(reel: Reel, after: After) -> io::Result<Self> {
        let frame = vec![0; reel.raster().bytes].into_boxed_slice();
        let state = State {
            free: vec![frame; FRAMES],
            ready: VecDeque::with_capacity(FRAMES),
            end: false,
            wanted: 0,
            rewinds: 0,
            closed: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            asked: Condvar::new(),
            answered: Condvar::new(),
        });
        let (is_file, is_fifo) = (reel.is_file(), reel.is_fifo());
        let hangup = reel.hangup();
        let ahead = ReadAhead {
            reel,
            after,
            number: 0,
            began: 0,
            said: false,
        };
        let reads = Arc::clone(&shared);
        let name = "film".to_owned();
        thread::Builder::new()
            .name(name)
            .spawn(move || read(ahead, &reads))?;
        Ok(Self {
            shared,
            hangup,
            is_file,
            is_fifo,
        })
    }

    /// Begins again, if it is a file, and waits for the first frame; not for
    /// longer than that. Of a FIFO whose writer has ended it is the next that is
    /// waited for from now on, but not here.
    pub fn rewind(&self, patience: Duration) {
        let mut state = self.shared.lock();
        let is_over = state.end && state.ready.is_empty();
        if !(self.is_file || self.is_fifo && is_over) {
            return;
        }
        state.rewinds += 1;
        state.end = false;
        state.wanted = 0;
        while let Some(frame) = state.ready.pop_front() {
            state.free.push(frame.bytes);
        }
        self.shared.asked.notify_one();
        if self.is_fifo {
            return;
        }
        let waiting = |state: &mut State| state.ready.is_empty() && !state.end;
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
            (None, true) => Next::End,
            (None, false) => Next::Late,
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
                if !exact && end && !behind {
                    return Next::End;
                }
                if !(exact || behind || passed_over) {
                    return Next::Late;
                }
                if exact || self.is_file {
                    state.wanted = following;
                }
                state.ready.pop_front().map_or(Next::Late, Next::Frame)
            }
            Some(_) => Next::Hold,
            None if end => Next::End,
            None => Next::Late,
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
        self.hangup.hang_up();
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
struct ReadAhead {
    reel: Reel,
    after: After,
    /// The next frame's number.
    number: u64,
    /// That of the film's first frame, when it began last.
    began: u64,
    /// What is wrong with it has been said.
    said: bool,
}

impl ReadAhead {
    fn rewind(&mut self) -> Result<(), Fault> {
        (self.number, self.began) = (0, 0);
        match self.reel.is_fifo() {
            true => self.reel.next_writer(),
            false => self.reel.rewind(),
        }
    }

    /// Reads the next frame, or passes over it if it is before `wanted`.
    fn step(&mut self, frame: &mut [u8], wanted: u64) -> Result<Step, Fault> {
        let skipped = self.number < wanted;
        let more = match skipped {
            true => self.reel.skip(),
            false => self.reel.read(frame),
        };
        if more? {
            self.number += 1;
            return Ok(match skipped {
                true => Step::Passed,
                false => Step::Frame(self.number - 1),
            });
        }
        Ok(Step::End)
    }

    /// Goes on after the last frame, and says whether there is anything.
    fn go_on(&mut self, wanted: u64) -> Result<bool, Fault> {
        if self.after == After::End {
            return Ok(false);
        }
        if self.reel.is_fifo() {
            self.reel.next_writer()?;
            return Ok(true);
        }
        let length = self.number - self.began;
        if length == 0 {
            return Err(Fault::Empty);
        }
        // Whole rounds need not be read.
        let rounds = wanted.saturating_sub(self.number) / length;
        self.number += rounds * length;
        self.began = self.number;
        self.reel.rewind()?;
        Ok(true)
    }

    /// What was done next. A film ends where it breaks: one that begins again
    /// then does so, and a FIFO has another writer, if it can be waited for.
    fn proceed(&mut self, frame: &mut [u8], wanted: u64, again: bool) -> Step {
        let begun = match again {
            true => self.rewind(),
            false => Ok(()),
        };
        match begun.and_then(|()| self.step(frame, wanted)) {
            Ok(Step::End) => {}
            Ok(step) => return step,
            Err(fault) => self.say(&fault),
        }
        loop {
            match self.go_on(wanted) {
                Ok(true) => return Step::Passed,
                Ok(false) => return Step::End,
                Err(fault) => {
                    self.say(&fault);
                    // Only a FIFO's next film may be another.
                    if !self.reel.is_fifo() || matches!(fault, Fault::Read(_)) {
                        return Step::End;
                    }
                }
            }
        }
    }

    /// Says where it broke.
    fn say(&mut self, fault: &Fault) {
        if fault.is_hangup() {
            return;
        }
        // A file is the same when it begins again; a FIFO's next film is not.
        if !std::mem::replace(&mut self.said, !self.reel.is_fifo()) {
            log::warn!("{}: {fault}; the film ends there", self.reel.name());
        }
    }
}

/// The thread.
fn read(mut ahead: ReadAhead, shared: &Shared) {
    let mut applied = 0;
    let mut state = shared.lock();
    loop {
        if state.closed {
            return;
        }
        let frame = match state.end {
            false => state.free.pop(),
            true => None,
        };
        let Some(mut bytes) = frame else {
            let waited = shared.asked.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let (wanted, rewinds) = (state.wanted, state.rewinds);
        drop(state);
        let again = std::mem::replace(&mut applied, rewinds) != rewinds;
        let step = ahead.proceed(&mut bytes, wanted, again);
        state = shared.lock();
        let is_past = state.rewinds != rewinds;
        match step {
            Step::Frame(number) if !is_past => state.ready.push_back(Frame { bytes, number }),
            Step::Frame(_) | Step::Passed => state.free.push(bytes),
            Step::End => {
                state.free.push(bytes);
                state.end |= !is_past;
            }
        }
        shared.answered.notify_one();
    }
}
