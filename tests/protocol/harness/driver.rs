//! The library's scripted driver, for a card that does nothing wrong: what the
//! library tells of fails the test.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use pinhole::scripted::driver::front::{EVENT_IDX, INDIRECT_DESC, PROTOCOL_FEATURES, VERSION_1};
use pinhole::scripted::driver::queue::Queue;
use pinhole::scripted::driver::{Driver as Scripted, Log};
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Frontend, VhostUserFrontend};

use super::card::{Card, LIMIT};
use super::memory::{Memory, PAGE, guest_memory};
use super::region::Region;
use super::v4l2::{Buffer, Ioctl};

pub use pinhole::scripted::driver::{Chains, Event, Options, Reply};

/// A guest's driver, connected to a card.
pub struct Driver {
    scripted: Scripted,
    /// The connection, for messages out of order.
    pub front: Frontend,
}

impl Deref for Driver {
    type Target = Scripted;

    fn deref(&self) -> &Scripted {
        &self.scripted
    }
}

impl DerefMut for Driver {
    fn deref_mut(&mut self) -> &mut Scripted {
        &mut self.scripted
    }
}

/// The features that every card has.
const NEEDED: u64 = VERSION_1 | PROTOCOL_FEATURES | INDIRECT_DESC | EVENT_IDX;

impl Driver {
    /// A driver with eight MiB of memory for frames.
    pub fn new(card: &mut Card) -> Self {
        Self::attach(card, guest_memory(8 << 20), Options::default())
    }

    /// Connects to the card and sets it up with that memory.
    pub fn attach(card: &mut Card, memory: Memory, options: Options) -> Self {
        let mut driver = Self::connect(card, memory, options);
        driver.scripted.start().expect("the rings start");
        driver
    }

    /// Connects to the card, and tells it of no memory and no ring yet.
    pub fn connect(card: &mut Card, memory: Memory, options: Options) -> Self {
        let options = Options {
            limit: LIMIT,
            // A notification that does not come costs a test its time.
            relies_on_calls: true,
            ..options
        };
        let driver = Scripted::connect(card.connect(), memory, options, Log::default());
        let scripted = driver.expect("the connection");
        let mut front = scripted.connection.front.clone();
        check_offers(&scripted, &mut front);
        Self { scripted, front }
    }

    /// Works on the queue of commands, in the memory that it lies in.
    pub fn on_commands<T>(&mut self, work: impl FnOnce(&mut Queue, &mut Memory) -> T) -> T {
        work(&mut self.scripted.commands, &mut self.scripted.memory)
    }

    /// Works on the queue of events, in the memory that it lies in.
    pub fn on_events<T>(&mut self, work: impl FnOnce(&mut Queue, &mut Memory) -> T) -> T {
        work(&mut self.scripted.events, &mut self.scripted.memory)
    }

    /// Accepts the features, hands over memory and rings, and enables them.
    pub fn start_rings(&mut self) {
        self.scripted.start_rings().expect("the rings start");
    }

    /// Sends the first `most` of the messages that start the rings, and says
    /// which one failed.
    pub fn start_some(&self, most: usize) -> Result<(), String> {
        let sent = self.scripted.start_some(most);
        sent.map_err(|fault| fault.to_string())
    }

    /// Stops both rings, as a VMM does for a guest that is paused; it gives
    /// back what the card would look at next.
    pub fn stop_rings(&mut self) -> [u32; 2] {
        self.scripted.stop_rings().expect("the rings stop")
    }

    /// Starts with fresh rings, as another driver would.
    pub fn restart(&mut self) {
        self.scripted.restart().expect("the rings start");
    }

    /// Makes fresh rings, which the card is not told of.
    pub fn begin_anew(&mut self) {
        self.scripted.begin_anew().expect("queues");
    }

    /// Returns when the card has handled every vhost-user message so far.
    pub fn barrier(&self) {
        self.scripted.barrier().expect("GET_FEATURES");
    }

    /// Disconnects; the memory stays.
    pub fn detach(mut self) -> Memory {
        std::mem::replace(&mut self.scripted.memory, guest_memory(PAGE))
    }

    /// Gives the card a command; [`Self::wait`] has the answer.
    pub fn submit(&mut self, readable: &[u8], writable: usize) -> u16 {
        let submitted = self.scripted.submit(readable, writable);
        submitted.expect("free descriptors")
    }

    /// Waits for the answer to a command.
    pub fn wait(&mut self, ticket: u16) -> Reply {
        let reply = self.scripted.wait(ticket).expect("an answer");
        self.assert_regular();
        reply
    }

    /// Gives the card a command and waits for its answer.
    pub fn command(&mut self, readable: &[u8], writable: usize) -> Reply {
        let ticket = self.submit(readable, writable);
        self.wait(ticket)
    }

    /// Runs an ioctl with that payload and whatever comes after it.
    pub fn ioctl_with(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        payload: &[u8],
    ) -> Result<Vec<u8>, u32> {
        let answer = self.scripted.ioctl_with(session, ioctl, payload);
        let answer = answer.expect("a response");
        self.assert_regular();
        answer
    }

    /// Runs an ioctl.
    pub fn ioctl(&mut self, session: u32, ioctl: Ioctl, payload: &[u8]) -> Result<Vec<u8>, u32> {
        let given = if ioctl.given { ioctl.size } else { 0 };
        assert_eq!(payload.len(), given, "{ioctl:?}");
        self.ioctl_with(session, ioctl, payload)
    }

    /// Opens a session.
    pub fn open(&mut self) -> u32 {
        let session = self.scripted.open().expect("a session");
        self.assert_regular();
        session
    }

    /// Closes a session; there is no response to read.
    pub fn close(&mut self, session: u32) {
        let reply = self.scripted.close(session).expect("CLOSE comes back");
        self.assert_regular();
        assert!(reply.bytes.is_empty(), "{reply:?}");
    }

    /// Posts a buffer for one event.
    pub fn post_event_buffer(&mut self) {
        let posted = self.scripted.post_event_buffer();
        posted.expect("free descriptors");
    }

    /// Takes in whatever the card has given back so far.
    pub fn reap(&mut self) {
        self.scripted.reap().expect("the used rings");
        self.assert_regular();
    }

    /// The next event, or none if there is none for so long.
    pub fn event_within(&mut self, limit: Duration) -> Option<Event> {
        let event = self.scripted.event_within(limit).expect("the used ring");
        self.assert_regular();
        event
    }

    /// The next event.
    pub fn event(&mut self) -> Event {
        self.event_within(LIMIT).expect("an event")
    }

    /// The next buffer that comes back, of that session.
    pub fn dqbuf(&mut self, session: u32) -> Buffer {
        match self.event() {
            Event::Dqbuf {
                session: of,
                buffer,
                ..
            } => {
                assert_eq!(of, session);
                buffer
            }
            other => panic!("{other:?} instead of a buffer"),
        }
    }

    /// Fails if the card wrote anything that it was not asked to write.
    pub fn assert_untouched(&mut self) {
        self.reap();
        super::memory::assert_untouched(&self.memory);
    }

    /// Events that have come and were not taken yet.
    pub fn pending_events(&mut self) -> usize {
        let pending = self.scripted.pending_events();
        self.assert_regular();
        pending.expect("the used rings")
    }

    /// Forgets the events that have come so far.
    pub fn forget_events(&mut self) {
        self.scripted.forget_events().expect("the used rings");
        self.assert_regular();
    }

    /// Waits until the card has taken the last kick of a queue.
    pub fn wait_kick_taken(queue: &Queue) {
        let deadline = Instant::now() + LIMIT;
        // The card empties the eventfd, which nothing can wait for.
        while queue.kick_is_pending() {
            assert!(Instant::now() < deadline, "the kick is not taken");
            std::thread::yield_now();
        }
    }

    /// The region, which the driver was made with.
    pub fn window(&self) -> Region<'_> {
        Region(self.region.as_ref().expect("a region"))
    }

    /// Fails if the card did anything that is not as it should be.
    fn assert_regular(&mut self) {
        let anomalies = self.scripted.take_anomalies();
        assert!(anomalies.is_empty(), "{}", anomalies[0]);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Of the region there may be some that no answer came with.
        self.assert_regular();
        if let Some(region) = &self.region {
            Region(region).assert_sealed();
        }
    }
}

/// Fails if the card lacks a feature that the tests use.
fn check_offers(driver: &Scripted, front: &mut Frontend) {
    let offered = driver.connection.features;
    assert_eq!(offered & NEEDED, NEEDED, "the card offers {offered:#x}");
    let needed = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures::REPLY_ACK;
    let offered = driver.connection.protocol;
    assert!(offered.contains(needed), "the card offers {offered:?}");
    assert_eq!(driver.options.region, driver.region.is_some());
    if let Some(region) = &driver.region {
        assert_eq!(region.size(), 512 << 20);
    }
    assert_eq!(front.get_queue_num().expect("GET_QUEUE_NUM"), 2);
}
