//! What each of the threads does.

use std::sync::{Arc, PoisonError};

use super::queue::Step;
use super::{Away, Shared};
use crate::source::frame::{Begun, Native};
use crate::source::processing::{Product, Tools};

/// The main function of the threads.
pub fn run(shared: &Shared) {
    let mut alarm = Alarm {
        shared,
        has_source: None,
    };
    let mut tools = Tools::default();
    let mut queue = shared.lock();
    loop {
        match queue.step(tools.is_empty()) {
            Step::End => return,
            Step::Wait => {
                let waited = shared.work.wait(queue);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
            }
            Step::Rest => {
                drop(queue);
                tools = Tools::default();
                queue = shared.lock();
            }
            Step::Turn(mut turn) => {
                drop(queue);
                alarm.has_source = Some(turn.source.native());
                tools.suit(&turn.recipe);
                let (mut begun, mut whole) = (None, None);
                if let Some(source) = turn.source.whole() {
                    begun = Some(source.begin_ahead(&turn.info, turn.unshown, turn.is_awaited));
                    whole = source.frame().cloned();
                }
                let begun = begun.unwrap_or_else(|| turn.source.begin(&turn.info));
                if let Begun::Frame { .. } = begun
                    && whole.is_none()
                {
                    tools.draw(&mut *turn.source, writable(&mut turn.product));
                }
                queue = shared.lock();
                alarm.has_source = None;
                let job = queue.end_turn(turn, begun, whole);
                shared.done.notify_all();
                shared.work.notify_all();
                let Some(mut job) = job else {
                    continue;
                };
                drop(queue);
                let whole = job.whole.take();
                let bytes = whole.as_ref().map(|frame| &frame.bytes[..]);
                let product = writable(&mut job.product);
                let result = tools.process(bytes, &job.info, product);
                // The frame's buffer goes home before the next turn.
                drop(whole);
                queue = shared.lock();
                queue.end_job(job, result);
                shared.done.notify_all();
                shared.work.notify_one();
            }
        }
    }
}

/// Returns the buffer, which nobody else holds.
fn writable(product: &mut Arc<Product>) -> &mut Product {
    if Arc::get_mut(product).is_none() {
        *product = Arc::default();
    }
    Arc::get_mut(product).unwrap_or_else(|| unreachable!("a new buffer has one holder"))
}

/// Tells the camera when this thread panics: a camera that waits for a frame
/// would wait for ever.
struct Alarm<'a> {
    shared: &'a Shared,
    /// The thread has its turn; these are the properties of the source.
    has_source: Option<Native>,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        log::error!("a thread that makes frames ahead has panicked; the stream ends");
        let source = self.has_source.take();
        let mut queue = self.shared.lock();
        queue.broke(source.map(|native| Box::new(Away(native)) as _));
        self.shared.done.notify_all();
        self.shared.work.notify_all();
    }
}
