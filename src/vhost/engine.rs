//! The engine between the queues and the card: what happens on a kick or a
//! tick.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use vhost::vhost_user::Backend as FrontEndChannel;
use vhost_user_backend::{VringState, VringT};
use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use super::chain::Chain;
use super::device::Device;
use super::remote::Mailbox;
use super::timer::{Timer, now};
use super::vring::{Vring, interrupt};
use super::window::{PATIENCE, Window};
use crate::card::Refused;
use crate::dma::Bus;
use crate::wire::protocol::{COMMAND_QUEUE, Config, EVENT_QUEUE, QUEUES};
use crate::wire::{Errno, Reply, Request};

/// Number of malformed chains and commands of one front end that are logged; a
/// guest must not be able to fill a disk with them.
const FAULTS_LOGGED: u32 = 10;

/// How long the engine executes commands, and then sends events, before it lets
/// a due frame or a waiting thread have the card. It finishes a chain that it
/// has begun.
const TURN: Duration = Duration::from_millis(2);

/// Id of the timer in the worker's event loop; the queues and the loop's own
/// event have the ids up to [`QUEUES`].
pub(super) const TIMER_EVENT: u64 = QUEUES as u64 + 1;

/// Id of the mailbox with the requests of other threads.
pub(super) const MAILBOX_EVENT: u64 = TIMER_EVENT + 1;

/// The guest has not set up the queue properly.
struct BadQueue;

/// A command whose answer waits for the front end.
struct Awaited {
    /// The command's chain, which is not returned yet.
    head: u16,
    chain: Chain,
    ticket: u64,
    /// Until when the front end may take to answer, on CLOCK_MONOTONIC.
    until: Duration,
}

/// The card and its connection to one guest.
pub struct Engine<D> {
    card: D,
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    timer: Timer,
    mailbox: Mailbox<D>,
    /// Address ranges of the rings, as of the last kick.
    rings: Vec<Range<u64>>,
    /// Whether the front end has stopped the command queue since the last kick.
    stopped: bool,
    /// The channel for requests to the front end. QEMU requires it before it
    /// offers VIRTIO_F_ACCESS_PLATFORM, and reports an error if it is closed.
    channel: Option<FrontEndChannel>,
    /// Whether the front end has asked for the shared memory regions, which it
    /// does if it maps memory into them.
    asked_for_regions: bool,
    /// The requests to map memory.
    window: Option<Window>,
    /// The thread of an earlier connection's requests, which still waits for
    /// that front end.
    leftover: Option<JoinHandle<()>>,
    /// The command that waits for the front end; the next ones wait for it.
    awaited: Option<Awaited>,
    faults: u32,
    chain: Chain,
    reply: Reply,
    event: Vec<u8>,
}

impl<D: Device> Engine<D> {
    pub fn new(card: D, timer: Timer, mailbox: Mailbox<D>) -> Self {
        Self {
            card,
            memory: GuestMemoryAtomic::new(GuestMemoryMmap::new()),
            timer,
            mailbox,
            rings: Vec::new(),
            stopped: false,
            channel: None,
            asked_for_regions: false,
            window: None,
            leftover: None,
            awaited: None,
            faults: 0,
            chain: Chain::default(),
            reply: Reply::default(),
            event: Vec::new(),
        }
    }

    /// Returns the card's configuration space.
    pub fn config(&self) -> Config {
        self.card.config()
    }

    /// Notes that a front end has connected; it will put the guest's memory
    /// into `memory`.
    pub fn connect(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) {
        self.memory = memory;
        self.stopped = false;
        self.faults = 0;
    }

    /// Drops the sessions and the memory of a front end that has disconnected.
    pub fn disconnect(&mut self) {
        // Nobody is there any more to undo mappings.
        let window = self.window.take();
        self.reset();
        self.card.open_region(false);
        self.asked_for_regions = false;
        self.channel = None;
        if let Some(window) = window {
            self.leftover = window.close();
        }
        self.rings.clear();
        self.memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    }

    /// Returns whether the front end may be offered a shared memory region.
    pub fn can_map(&self) -> bool {
        self.card.has_region() && self.leftover.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Notes the channel for requests to the front end.
    pub fn set_channel(&mut self, channel: FrontEndChannel) {
        self.channel = Some(channel);
        self.start_window();
    }

    /// Notes that the front end has asked for the shared memory regions.
    pub fn open_region(&mut self) {
        self.asked_for_regions = true;
        self.start_window();
    }

    fn start_window(&mut self) {
        let Some(channel) = self.channel.as_ref().filter(|_| self.asked_for_regions) else {
            return;
        };
        // A front end may claim what it was not offered.
        if self.window.is_some() || !self.can_map() {
            return;
        }
        match Window::open(channel.clone(), self.mailbox.event()) {
            Ok(window) => {
                self.window = Some(window);
                self.card.open_region(true);
            }
            Err(error) => log::error!("memory cannot be mapped for the guest: {error}"),
        }
    }

    /// Resets the card, because the guest has reset the device.
    pub fn reset(&mut self) {
        self.card.reset();
        self.awaited = None;
        self.pass_on_remaps();
        self.timer.set(None);
    }

    /// Has the front end make the changes of its mappings that the card wants.
    /// Returns the ticket of the one for which a command waits.
    fn pass_on_remaps(&mut self) -> Option<u64> {
        let mut awaited = None;
        while let Some(remap) = self.card.next_remap() {
            if let Some(window) = &mut self.window {
                let ticket = window.ask(remap.change);
                awaited = awaited.or(remap.awaited.then_some(ticket));
            }
        }
        awaited
    }

    /// Notes that the front end has stopped a queue. It may start the queue
    /// again where it was (a machine that was paused), or from zero (another
    /// driver).
    pub fn stop(&mut self, queue: usize) {
        log::debug!("queue {queue} is stopped");
        self.stopped |= queue == COMMAND_QUEUE;
        self.timer.set(None);
        self.card.flush_witness();
    }

    /// Adapts to a change of guest memory.
    pub fn memory_changed(&mut self) {
        let memory = self.memory.memory();
        let bus = Bus {
            memory: &memory,
            forbidden: &self.rings,
        };
        let now = now();
        self.card.memory_changed(now, bus);
        // The next run reports lost buffers to the driver at once.
        self.timer.set(Some(now.monotonic));
    }

    /// Returns the timer; its file descriptor becomes readable when
    /// [`run`](Self::run) must be called.
    pub fn timer(&self) -> &Timer {
        &self.timer
    }

    /// Returns the mailbox with the requests of other threads.
    pub fn mailbox(&self) -> &Mailbox<D> {
        &self.mailbox
    }

    /// Executes the requests of other threads. The [`run`](Self::run) that
    /// follows sends the events and sets the new deadline that result.
    pub fn run_requests(&mut self) {
        self.mailbox.empty(&mut self.card, now);
    }

    /// Executes the waiting commands, makes a frame if one is due, sends
    /// events, and sets the timer to the next deadline.
    pub fn run(&mut self, vrings: &[Vring]) {
        let guard = self.memory.memory();
        let memory: &GuestMemoryMmap = &guard;
        let (Some(commands), Some(events)) = (vrings.get(COMMAND_QUEUE), vrings.get(EVENT_QUEUE))
        else {
            return;
        };
        self.rings.clear();
        for vring in [commands, events] {
            self.rings.extend(rings(&vring.get_ref()));
        }

        if self.stopped && !self.begins(&commands.get_ref()) {
            self.timer.set(None);
            return;
        }
        let mut more = self.run_commands(&mut commands.get_mut(), memory);
        // The front end stops the queues one after the other; frames stop with
        // the first of them.
        let running = is_running(&commands.get_ref()) && is_running(&events.get_ref());
        if running {
            let began = now();
            if self.card.tick(began) {
                let took = now().monotonic.saturating_sub(began.monotonic);
                self.card.frame_took(took);
            }
        }
        more |= self.run_events(&mut events.get_mut(), memory);

        let now = now().monotonic;
        let deadline = if more {
            Some(now)
        } else {
            let due = self.card.next_deadline().filter(|_| running);
            let answer = self.awaited.as_ref().map(|awaited| awaited.until);
            let answer = answer.filter(|_| is_running(&commands.get_ref()));
            due.into_iter().chain(answer).min()
        };
        self.timer.set(deadline);
        if deadline.is_none_or(|deadline| deadline > now) {
            self.card.flush_witness();
        }
    }

    /// Returns whether the front end has started the command queue again after
    /// it stopped it. Until then the waiting events may belong to an earlier
    /// driver.
    fn begins(&mut self, commands: &VringState) -> bool {
        if !is_running(commands) {
            return false;
        }
        self.stopped = false;
        if commands.get_queue().next_avail() == 0 {
            // A driver that starts its ring from zero does not know the earlier
            // sessions. Not every front end sends RESET_DEVICE when the guest
            // resets the device (QEMU 11.1 does not for a generic vhost-user
            // device), and then this is the only sign. A machine that was
            // paused continues at its old index, which is zero once in 65536
            // times.
            log::debug!("another driver has started");
            self.reset();
        }
        true
    }

    /// Executes the waiting commands, for no longer than [`TURN`] and at most a
    /// queue full of them, or until one waits for the front end. Returns whether
    /// to run again without waiting for a kick.
    fn run_commands(&mut self, vring: &mut VringState, memory: &GuestMemoryMmap) -> bool {
        if !is_running(vring) {
            return false;
        }
        let mut answered = self.answer_awaited(vring, memory);
        if self.awaited.is_some() {
            return false;
        }
        let end = now().monotonic + TURN;
        let mut budget = vring.get_queue().size();
        let mut idle = false;
        'queue: loop {
            // The last look at the queue, which finds nothing, is made with
            // notifications enabled: a later command comes with a kick.
            if !idle {
                let _ = vring.disable_notification();
            }
            let before = budget;
            loop {
                if budget == 0 {
                    break 'queue;
                }
                match next_chain(vring, memory) {
                    Ok(Some(chain)) => {
                        budget -= 1;
                        answered |= self.run_command(chain, vring, memory);
                        // A front end that is asked no more has answered.
                        answered |= self.answer_awaited(vring, memory);
                        if self.awaited.is_some() {
                            break 'queue;
                        }
                        if now().monotonic >= end {
                            budget = 0;
                        }
                    }
                    Ok(None) => break,
                    Err(BadQueue) => {
                        self.fault(&"the command queue's available ring is not valid");
                        break;
                    }
                }
            }
            // The queue is empty. It stays empty, or a kick follows, or this
            // loop sees now what was added in between. A ring that claims twice
            // to have chains and has none is not valid.
            let again = matches!(vring.enable_notification(), Ok(true));
            let took_none = budget == before;
            if !again || took_none && idle {
                break;
            }
            idle = took_none;
        }
        if answered {
            notify(vring, memory);
        }
        budget == 0 && self.awaited.is_none()
    }

    /// Answers the command that waits for the front end, if that has answered or
    /// has taken too long. Returns whether the command's chain was returned to
    /// the guest.
    fn answer_awaited(&mut self, vring: &mut VringState, memory: &GuestMemoryMmap) -> bool {
        let (Some(awaited), Some(window)) = (&self.awaited, &mut self.window) else {
            return false;
        };
        let done = match window.answer(awaited.ticket) {
            Some(done) => done,
            None if now().monotonic < awaited.until => return false,
            None => {
                window.give_up();
                false
            }
        };
        let Some(Awaited { head, chain, .. }) = self.awaited.take() else {
            return false;
        };
        self.reply.begin(chain.capacity());
        let result = self.card.remapped(done, &mut self.reply);
        log_command(chain.readable(), result);
        let written = chain.write(self.reply.bytes(), memory);
        self.give_back(vring, head, written)
    }

    /// Executes one command, and returns whether its chain was returned to the
    /// guest.
    fn run_command(
        &mut self,
        chain: DescriptorChain<&GuestMemoryMmap>,
        vring: &mut VringState,
        memory: &GuestMemoryMmap,
    ) -> bool {
        let head = chain.head_index();
        let taken = self.chain.take(chain, memory);
        self.reply.begin(self.chain.capacity());
        match taken {
            Ok(()) => {
                let bus = Bus {
                    memory,
                    forbidden: &self.rings,
                };
                let request = self.chain.readable();
                let result = self.card.command(now(), request, bus, &mut self.reply);
                if result.is_ok()
                    && let Some(ticket) = self.pass_on_remaps()
                {
                    self.awaited = Some(Awaited {
                        head,
                        chain: std::mem::take(&mut self.chain),
                        ticket,
                        until: now().monotonic + PATIENCE,
                    });
                    return false;
                }
                let request = self.chain.readable();
                log_command(request, result);
                if let Err(refused) = result
                    && refused.is_malformed()
                {
                    self.fault(&refused);
                }
            }
            Err(error) => {
                self.reply.fail(Errno::EINVAL);
                self.fault(&error);
            }
        }
        let written = self.chain.write(self.reply.bytes(), memory);
        self.give_back(vring, head, written)
    }

    /// Sends the waiting events, as far as the guest has provided buffers for
    /// them. Returns whether to run again without waiting for a kick.
    fn run_events(&mut self, vring: &mut VringState, memory: &GuestMemoryMmap) -> bool {
        if !is_running(vring) {
            return false;
        }
        let end = now().monotonic + TURN;
        let mut budget = vring.get_queue().size();
        let mut sent = false;
        let mut looked_again = false;
        while self.card.next_event(&mut self.event) {
            if now().monotonic >= end {
                budget = 0;
            }
            if budget == 0 {
                break;
            }
            match next_chain(vring, memory) {
                Ok(Some(chain)) => {
                    budget -= 1;
                    looked_again = false;
                    let head = chain.head_index();
                    let taken = self.chain.take(chain, memory);
                    let written = if taken.is_ok() && self.chain.capacity() >= self.event.len() {
                        self.card.event_sent();
                        self.chain.write(&self.event, memory)
                    } else {
                        match taken {
                            Ok(()) => self.fault(&"a buffer for events is too small"),
                            Err(error) => self.fault(&error),
                        }
                        0
                    };
                    sent |= self.give_back(vring, head, written);
                }
                // The guest has no buffer; it is asked to kick when it adds
                // one.
                Ok(None) => {
                    if looked_again || !matches!(vring.enable_notification(), Ok(true)) {
                        break;
                    }
                    looked_again = true;
                }
                Err(BadQueue) => {
                    self.fault(&"the event queue's available ring is not valid");
                    // As above, the ring may be valid by now, or a kick
                    // follows.
                    let _ = vring.enable_notification();
                    if looked_again {
                        break;
                    }
                    looked_again = true;
                }
            }
        }
        if sent {
            notify(vring, memory);
        }
        budget == 0
    }

    /// Puts a chain on the used ring, and returns whether that succeeded.
    fn give_back(&mut self, vring: &mut VringState, head: u16, written: u32) -> bool {
        if head >= vring.get_queue().size() {
            self.fault(&"a chain begins beyond the descriptor table");
            return false;
        }
        match vring.add_used(head, written) {
            Ok(()) => true,
            Err(error) => {
                self.fault(&error);
                false
            }
        }
    }

    /// Logs an error of the guest, unless the guest has made too many.
    fn fault(&mut self, what: &dyn std::fmt::Display) {
        self.faults = self.faults.saturating_add(1);
        if self.faults <= FAULTS_LOGGED {
            log::warn!("malformed request: {what}");
        }
        if self.faults == FAULTS_LOGGED {
            log::warn!("further malformed requests of this guest are not mentioned");
        }
    }
}

/// Returns whether the front end lets the device use the queue.
fn is_running(vring: &VringState) -> bool {
    vring.is_enabled() && vring.get_queue().ready()
}

/// Returns the next chain that the guest has made available.
fn next_chain<'m>(
    vring: &mut VringState,
    memory: &'m GuestMemoryMmap,
) -> Result<Option<DescriptorChain<&'m GuestMemoryMmap>>, BadQueue> {
    let mut chains = vring.get_queue_mut().iter(memory).map_err(|_| BadQueue)?;
    Ok(chains.next())
}

/// Interrupts the guest if it wants an interrupt.
fn notify(vring: &mut VringState, memory: &GuestMemoryMmap) {
    if vring.needs_notification().unwrap_or(true)
        && !forbids_interrupts(vring.get_queue(), memory)
        && let Err(error) = interrupt(vring)
    {
        log::debug!("the front end cannot be signalled: {error}");
    }
}

/// Returns whether the guest wants no interrupts, which it says in the available
/// ring's flags unless EVENT_IDX is negotiated (VIRTIO 1.4, 2.7.7); the queue's
/// own check does not look at them. That check has a barrier between the used
/// index and what is read of the available ring from then on.
fn forbids_interrupts(queue: &Queue, memory: &GuestMemoryMmap) -> bool {
    let flags = || memory.load::<u16>(GuestAddress(queue.avail_ring()), Ordering::Relaxed);
    !queue.event_idx_enabled()
        && flags().is_ok_and(|flags| u16::from_le(flags) & VRING_AVAIL_F_NO_INTERRUPT as u16 != 0)
}

/// Returns the address ranges of a queue's descriptor table and its two rings
/// (VIRTIO 1.4, 2.7), if the queue is set up.
fn rings(vring: &VringState) -> impl Iterator<Item = Range<u64>> + use<> {
    let queue = vring.get_queue();
    let size = u64::from(queue.size());
    let ready = queue.ready();
    [
        (queue.desc_table(), 16 * size),
        (queue.avail_ring(), 6 + 2 * size),
        (queue.used_ring(), 6 + 8 * size),
    ]
    .into_iter()
    .filter(move |_| ready)
    .map(|(start, len)| start..start.saturating_add(len))
}

fn log_command(request: &[u8], result: Result<(), Refused>) {
    if log::log_enabled!(log::Level::Debug) {
        let request = Request::parse(request);
        match result {
            Ok(()) => log::debug!("{request:?}"),
            Err(refused) => log::debug!("{request:?}: {}: {refused}", refused.errno()),
        }
    }
}
