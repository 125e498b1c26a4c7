//! What vhost-user-backend asks of a device.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};

use vhost::vhost_user::Backend as FrontEndChannel;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::VhostUserBackend;
use virtio_bindings::bindings::virtio_config::{VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1};
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use vm_memory::{
    GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};
use zerocopy::IntoBytes;

use super::bus_error;
use super::device::Device;
use super::engine::{Engine, MAILBOX_EVENT};
use super::fair::Fair;
use super::stop::Stop;
use super::vring::Vring;
use crate::wire::protocol::QUEUES;

/// Descriptors a queue may have; QEMU's own limit.
const MAX_QUEUE_SIZE: usize = 1024;

/// The engine, shared by the daemon's threads: whoever holds the lock is the
/// only one to touch the card, so that commands, ticks, resets and changes of
/// memory come one after the other.
///
/// A panic with the card in hand cannot leave it in a state that matters: the
/// connection ends with that thread, and the card is reset.
pub type SharedEngine<D> = Arc<Fair<Engine<D>>>;

thread_local! {
    /// Dropped when the thread ends, for whatever reason.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// The thread that serves a connection's queues. vhost-user-backend does not
/// look at it before the connection ends, so that one which has died would
/// leave the front end waiting: the connection ends with it.
struct Worker(Stop);

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing, where it ends because the connection has.
        self.0.fail("the thread that serves its queues has ended");
    }
}

/// The device of one connection.
pub struct Backend<D> {
    engine: SharedEngine<D>,
    stop: Stop,
    /// The end of the worker's exit event that the worker waits on.
    exit: Mutex<Option<RawFd>>,
    /// The channel for requests to the front end. The card makes none, but
    /// QEMU wants the channel before it gives out VIRTIO_F_ACCESS_PLATFORM,
    /// and complains if it is closed.
    requests: Mutex<Option<FrontEndChannel>>,
}

impl<D> Backend<D> {
    /// A device whose connection can be ended by `stop`.
    pub fn new(engine: SharedEngine<D>, stop: Stop) -> Self {
        Self {
            engine,
            stop,
            exit: Mutex::new(None),
            requests: Mutex::new(None),
        }
    }

    /// Closes what the worker waited on.
    ///
    /// # Safety
    /// The worker must have ended: its event loop gives the file descriptor
    /// away (`into_raw_fd`) and never closes it.
    pub unsafe fn close_exit_event(&self) {
        let fd = self.exit.lock().ok().and_then(|mut fd| fd.take());
        if let Some(fd) = fd {
            // SAFETY: vhost-user-backend has given up the ownership of `fd`,
            // and by the caller's promise nobody waits on it any more.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

impl<D: Device> VhostUserBackend for Backend<D> {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        // ACCESS_PLATFORM makes the guest use its DMA API, so that bounce
        // buffers (swiotlb) work. An IOMMU in front of the device would need
        // IOTLB messages, which vhost-user-backend does not handle.
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_F_ACCESS_PLATFORM
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn reset_device(&self) {
        log::debug!("the device is reset");
        self.engine.lock().reset();
    }

    fn set_event_idx(&self, _enabled: bool) {
        // The queues have been told; nothing else depends on it.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        // Beyond the structure, which the front end may have made room for,
        // the space reads as zero.
        let mut space = self.engine.lock().config().as_bytes().to_vec();
        let (offset, size) = (offset as usize, size as usize);
        space.resize(offset + size, 0);
        space.split_off(offset)
    }

    fn update_memory(&self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        let checked = check_files(&memory.memory());
        if checked.is_err()
            && let Ok(memory) = memory.lock()
        {
            memory.replace(GuestMemoryMmap::new());
        }
        self.engine.lock().memory_changed();
        checked.inspect_err(|error| self.stop.fail(error.to_string()))
    }

    fn set_backend_req_fd(&self, channel: FrontEndChannel) {
        if let Ok(mut requests) = self.requests.lock() {
            *requests = Some(channel);
        }
    }

    fn exit_event(&self, _thread_index: usize) -> Option<(EventConsumer, EventNotifier)> {
        let pair = new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC)
            .inspect_err(|error| log::error!("an event cannot be created: {error}"))
            .ok()?;
        *self.exit.lock().ok()? = Some(pair.0.as_raw_fd());
        Some(pair)
    }

    fn stop_vring(&self, queue_index: u32) -> io::Result<()> {
        self.engine.lock().stop(queue_index as usize);
        Ok(())
    }

    fn handle_event(
        &self,
        device_event: u16,
        _events: EventSet,
        vrings: &[Vring],
        _thread_id: usize,
    ) -> io::Result<()> {
        WORKER.with_borrow_mut(|worker| {
            worker.get_or_insert_with(|| Worker(self.stop.clone()));
        });
        if vrings.iter().any(Vring::is_refused) {
            self.stop
                .fail("what wakes a queue, or its guest, is no eventfd");
            return Ok(());
        }
        let mut engine = self.engine.lock();
        if u64::from(device_event) == MAILBOX_EVENT {
            engine.run_requests();
        }
        // A kick of either queue or the timer: which one makes no difference.
        engine.run(vrings);
        if bus_error::take_lost() {
            self.stop
                .fail("guest memory has gone away: its file was cut, or could not grow");
        }
        Ok(())
    }
}

/// That no region is longer than its file, of which a part could then not be
/// touched. What is no regular file says nothing of its length.
fn check_files(memory: &GuestMemoryMmap) -> io::Result<()> {
    for region in memory.iter() {
        let Some(file) = region.file_offset() else {
            continue;
        };
        let found = file.file().metadata()?;
        let end = file.start().saturating_add(region.len());
        if found.is_file() && found.len() < end {
            let (start, len) = (region.start_addr().0, region.len());
            return Err(io::Error::other(format!(
                "the memory region of {len} bytes at {start:#x} ends beyond its file"
            )));
        }
    }
    Ok(())
}
