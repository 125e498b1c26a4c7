//! Between the queues and the card: what happens on a kick or a tick.

use std::ops::Range;
use std::time::Duration;

use vhost_user_backend::{VringState, VringT};
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use super::chain::Chain;
use super::device::Device;
use super::remote::Mailbox;
use super::timer::{Timer, now};
use super::vring::{Vring, interrupt};
use crate::card::Refused;
use crate::dma::Bus;
use crate::wire::protocol::{COMMAND_QUEUE, Config, EVENT_QUEUE, QUEUES};
use crate::wire::{Errno, Reply, Request};

/// Malformed chains and commands of one front end that are worth a line in
/// the log; a guest must not be able to fill a disk with them.
const FAULTS_LOGGED: u32 = 10;

/// How long commands, and then events, are seen to before somebody else gets
/// the card: a frame that is due, or a thread that waits for it. A chain that
/// has begun is finished.
const TURN: Duration = Duration::from_millis(2);

/// What the worker's event loop calls the timer; queues and its own events
/// have the numbers up to [`QUEUES`].
pub(super) const TIMER_EVENT: u64 = QUEUES as u64 + 1;

/// What it calls the mailbox of requests from other threads.
pub(super) const MAILBOX_EVENT: u64 = TIMER_EVENT + 1;

/// A queue that the guest has not set up properly.
struct BadQueue;

/// The card and its connection to one guest.
pub struct Engine<D> {
    card: D,
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    timer: Timer,
    mailbox: Mailbox<D>,
    /// Where the rings are, as of the last kick.
    rings: Vec<Range<u64>>,
    /// The front end has stopped the command queue since the last kick.
    stopped: bool,
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
            faults: 0,
            chain: Chain::default(),
            reply: Reply::default(),
            event: Vec::new(),
        }
    }

    /// The card's configuration space.
    pub fn config(&self) -> Config {
        self.card.config()
    }

    /// A front end has connected, and will put the guest's memory there.
    pub fn connect(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) {
        self.memory = memory;
        self.stopped = false;
        self.faults = 0;
    }

    /// The front end is gone: so are its sessions and its memory.
    pub fn disconnect(&mut self) {
        self.reset();
        self.rings.clear();
        self.memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    }

    /// The guest has reset the device.
    pub fn reset(&mut self) {
        self.card.reset();
        self.timer.set(None);
    }

    /// The front end stops a queue; it may start it again as if nothing had
    /// been (a machine that is paused), or from zero (another driver).
    pub fn stop(&mut self, queue: usize) {
        log::debug!("queue {queue} is stopped");
        self.stopped |= queue == COMMAND_QUEUE;
        self.timer.set(None);
        self.card.flush_witness();
    }

    /// The guest's memory is another now.
    pub fn memory_changed(&mut self) {
        let memory = self.memory.memory();
        let bus = Bus {
            memory: &memory,
            forbidden: &self.rings,
        };
        let now = now();
        self.card.memory_changed(now, bus);
        // Whoever has lost a buffer is told at once.
        self.timer.set(Some(now.monotonic));
    }

    /// The file descriptor that asks for [`run`](Self::run) when the card has
    /// something to do.
    pub fn timer(&self) -> &Timer {
        &self.timer
    }

    /// What other threads want of the card.
    pub fn mailbox(&self) -> &Mailbox<D> {
        &self.mailbox
    }

    /// Executes the requests of other threads. What comes of them, events and
    /// a new deadline, is seen to by the [`run`](Self::run) that follows.
    pub fn run_requests(&mut self) {
        self.mailbox.empty(&mut self.card, now);
    }

    /// Does all there is to do: commands, a frame if one is due, events; and
    /// sets the timer for what comes next.
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
        // The front end stops the queues one after the other; with the first
        // of them frames stop.
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
            self.card.next_deadline().filter(|_| running)
        };
        self.timer.set(deadline);
        if deadline.is_none_or(|deadline| deadline > now) {
            self.card.flush_witness();
        }
    }

    /// Whether the command queue, which the front end has stopped, is started
    /// again. Until then it is not known whose the events are that wait.
    fn begins(&mut self, commands: &VringState) -> bool {
        if !is_running(commands) {
            return false;
        }
        self.stopped = false;
        if commands.get_queue().next_avail() == 0 {
            // A driver that starts its ring anew knows nothing of the
            // sessions before. Not every front end sends RESET_DEVICE when
            // the guest resets the device (QEMU 11.1 does not for a generic
            // vhost-user device); this is then the only sign. A machine that
            // was paused goes on where it was, which is at zero once in 65536
            // times.
            log::debug!("another driver has started");
            self.reset();
        }
        true
    }

    /// Executes the commands that wait, for no longer than [`TURN`] and at most
    /// a queue full of them. Says whether more may be waiting.
    fn run_commands(&mut self, vring: &mut VringState, memory: &GuestMemoryMmap) -> bool {
        if !is_running(vring) {
            return false;
        }
        let end = now().monotonic + TURN;
        let mut budget = vring.get_queue().size();
        let mut answered = false;
        let mut idle = false;
        'queue: loop {
            // The last look, which finds nothing, is one with notifications
            // on: what comes after it comes with a kick.
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
            // The queue is empty; it stays so, or there is a kick, or what
            // came in between is seen now. A ring that says that there is
            // something and has nothing, twice, is not valid.
            let again = matches!(vring.enable_notification(), Ok(true));
            let took_none = budget == before;
            if !again || took_none && idle {
                break;
            }
            idle = took_none;
        }
        if answered {
            notify(vring);
        }
        budget == 0
    }

    /// Executes one command, and says whether its chain went back.
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

    /// Sends the events that wait, as far as the guest has given buffers for
    /// them. Says whether to come back without waiting for a kick.
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
                // The guest has no buffer: it is asked to kick when it has.
                Ok(None) => {
                    if looked_again || !matches!(vring.enable_notification(), Ok(true)) {
                        break;
                    }
                    looked_again = true;
                }
                Err(BadQueue) => {
                    self.fault(&"the event queue's available ring is not valid");
                    // As above: it may be valid by now, or comes with a kick.
                    let _ = vring.enable_notification();
                    if looked_again {
                        break;
                    }
                    looked_again = true;
                }
            }
        }
        if sent {
            notify(vring);
        }
        budget == 0
    }

    /// Puts a chain on the used ring.
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

    /// Mentions what the guest did wrong, unless it has done so often.
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

/// Whether the front end lets the queue be used.
fn is_running(vring: &VringState) -> bool {
    vring.is_enabled() && vring.get_queue().ready()
}

/// The next chain the guest has made available.
fn next_chain<'m>(
    vring: &mut VringState,
    memory: &'m GuestMemoryMmap,
) -> Result<Option<DescriptorChain<&'m GuestMemoryMmap>>, BadQueue> {
    let mut chains = vring.get_queue_mut().iter(memory).map_err(|_| BadQueue)?;
    Ok(chains.next())
}

/// Interrupts the guest if it wants to be.
fn notify(vring: &mut VringState) {
    if vring.needs_notification().unwrap_or(true)
        && let Err(error) = interrupt(vring)
    {
        log::debug!("the front end cannot be signalled: {error}");
    }
}

/// The memory of a queue's descriptor table and its two rings (VIRTIO 1.4,
/// 2.7), if it has any yet.
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
