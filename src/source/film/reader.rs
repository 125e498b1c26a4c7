//! A thread that reads a film ahead.
//!
//! The reader owns a fixed number of frames. While none is free, it reads
//! nothing, which holds up the writer of a pipe. The card waits for the reader
//! only at STREAMON, and there only for a short time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use std::{io, thread};

use super::error::Fault;
use super::input::Hangup;
use super::reel::Reel;
use crate::source::whole::{Frame, Home, Wake};

/// Number of frames of a film: one shown, one being read, and two ahead. Frames
/// that are begun ahead come on top.
const FRAMES: usize = 4;

/// What follows a film's last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    End,
    /// Its first frame; from a FIFO, the film of the next writer.
    Again,
}

/// The answer to a request for a frame.
#[derive(Debug)]
pub enum Next {
    /// Another one.
    Frame(Arc<Frame>),
    /// No other frame: the one that is shown stays, and the next one is for
    /// later.
    Hold,
    /// No frame has been read yet.
    Late,
    /// No frame will come.
    End,
}

/// The state that the reader and the card share.
struct State {
    free: Vec<Box<[u8]>>,
    ready: VecDeque<Arc<Frame>>,
    /// Number of frames that there are, free or not.
    frames: usize,
    /// Number of frames that there are to be.
    limit: usize,
    /// Called when there is another frame, or will be none.
    wake: Option<Wake>,
    /// The last frame has been read.
    end: bool,
    /// Lower bound on the number of every frame to be asked for.
    wanted: u64,
    /// Incremented when the film is to begin again, or a FIFO's next film is to
    /// begin.
    rewinds: u64,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Size of a frame in bytes.
    bytes: usize,
    /// Notified when the reader has something to do.
    asked: Condvar,
    /// Notified when the reader has done something.
    answered: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the bytes of a frame that is not used any more.
    fn free(&mut self, bytes: Box<[u8]>) {
        match self.frames > self.limit {
            true => self.frames -= 1,
            false => self.free.push(bytes),
        }
    }

    /// Frees a frame that is not shown, unless somebody else holds it: then it
    /// goes home later.
    fn pass_over(&mut self, frame: Arc<Frame>) {
        // The frame's own way home would lock the state again.
        if let Some(mut frame) = Arc::into_inner(frame) {
            self.free(std::mem::take(&mut frame.bytes));
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Home for Shared {
    fn give_back(&self, bytes: Box<[u8]>) {
        self.lock().free(bytes);
        self.asked.notify_one();
    }
}

/// The handle of the thread, which ends when the handle is dropped.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    hangup: Arc<Hangup>,
    is_file: bool,
    is_fifo: bool,
}

impl Reader {
    /// Starts a thread that reads a film.
    pub fn start(reel: Reel, after: After) -> io::Result<Self> {
        let bytes = reel.raster().bytes;
        let frame = vec![0; bytes].into_boxed_slice();
        let state = State {
            free: vec![frame; FRAMES],
            ready: VecDeque::with_capacity(FRAMES),
            frames: FRAMES,
            limit: FRAMES,
            wake: None,
            end: false,
            wanted: 0,
            rewinds: 0,
            closed: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            bytes,
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

    /// Rewinds a file, and waits at most `patience` for the first frame. If the
    /// writer of a FIFO has ended and all its frames have been taken, the
    /// thread waits for the next writer from now on, but this function does
    /// not.
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
            state.pass_over(frame);
        }
        self.shared.asked.notify_one();
        if self.is_fifo {
            return;
        }
        let waiting = |state: &mut State| state.ready.is_empty() && !state.end;
        // Whether the frame came in time shows when it is asked for.
        drop(
            self.shared
                .answered
                .wait_timeout_while(state, patience, waiting),
        );
    }

    /// Returns whether the film begins again with every stream.
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

    /// Takes the frame `number`. Otherwise takes the nearest one before it that
    /// has been read: any such frame if the film is `behind` its time, else
    /// only if frame `number` is certain not to come. The next request is for
    /// frame `following` or a later one.
    pub fn at(&self, number: u64, following: u64, behind: bool) -> Next {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let due = state.ready.iter().filter(|f| f.number <= number).count();
        for _ in 1..due {
            if let Some(past) = state.ready.pop_front() {
                state.pass_over(past);
            }
        }
        state.wanted = match (behind, self.is_file) {
            (false, _) => number,
            // The bound stays, so that the frame that was asked for comes first
            // and is not left out in turn.
            (true, true) => state.wanted,
            // Leaving frames out does not make a pipe faster.
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

    /// Puts back a frame that was taken and not shown; the last one taken first.
    pub fn put_back(&self, frame: Arc<Frame>) {
        self.shared.lock().ready.push_front(frame);
    }

    /// Prepares for `frames` more frames that are taken ahead, and calls the
    /// given function when another one is ready; or ends that.
    pub fn go_ahead(&self, ahead: Option<(usize, Wake)>) {
        let mut state = self.shared.lock();
        let (frames, wake) = ahead.map_or((0, None), |(frames, wake)| (frames, Some(wake)));
        state.wake = wake;
        state.limit = FRAMES + frames;
        while state.frames < state.limit {
            state.free.push(vec![0; self.shared.bytes].into());
            state.frames += 1;
        }
        while state.frames > state.limit && state.free.pop().is_some() {
            state.frames -= 1;
        }
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

/// The outcome of a step of the reader.
enum Step {
    Frame(u64),
    /// The position changed, but no frame was read.
    Passed,
    End,
}

/// The state of the thread alone: a film, and the position in it.
struct ReadAhead {
    reel: Reel,
    after: After,
    /// The next frame's number.
    number: u64,
    /// Number of the film's first frame in the current round.
    began: u64,
    /// A fault of the film has been logged.
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

    /// Reads the next frame, or skips it if its number is below `wanted`.
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

    /// Continues after the last frame; returns whether anything follows.
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
        // Whole rounds that are not wanted are not read.
        let rounds = wanted.saturating_sub(self.number) / length;
        self.number += rounds * length;
        self.began = self.number;
        self.reel.rewind()?;
        Ok(true)
    }

    /// Does the next step, and returns what was done. A film ends where it
    /// breaks: a looping film then begins again, and a FIFO continues with its
    /// next writer, if the reader can wait for one.
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
                    // Only a FIFO can continue, with another film.
                    if !self.reel.is_fifo() || matches!(fault, Fault::Read(_)) {
                        return Step::End;
                    }
                }
            }
        }
    }

    /// Logs the fault that ends the film.
    fn say(&mut self, fault: &Fault) {
        if fault.is_hangup() {
            return;
        }
        // A file has the same fault in each round, so it is logged once; a
        // FIFO's next film is another one.
        if !std::mem::replace(&mut self.said, !self.reel.is_fifo()) {
            log::warn!("{}: {fault}; the film ends there", self.reel.name());
        }
    }
}

/// The main function of the thread.
fn read(mut ahead: ReadAhead, shared: &Arc<Shared>) {
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
        let wake = match step {
            Step::Frame(number) if !is_past => {
                let home: Weak<dyn Home> = Arc::downgrade(shared) as _;
                state.ready.push_back(Arc::new(Frame {
                    bytes,
                    number,
                    home: Some(home),
                }));
                state.wake.clone()
            }
            Step::Frame(_) | Step::Passed => {
                state.free(bytes);
                None
            }
            Step::End => {
                state.free(bytes);
                state.end |= !is_past;
                state.wake.clone()
            }
        };
        shared.answered.notify_one();
        if let Some(wake) = wake {
            drop(state);
            wake();
            state = shared.lock();
        }
    }
}
