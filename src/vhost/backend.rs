//! The device side of vhost-user-backend: features, configuration, events.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};

use vhost::vhost_user::Backend as FrontEndChannel;
use vhost::vhost_user::message::{
    VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserVirtioFeatures,
};
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
use super::window;
use crate::wire::protocol::QUEUES;

/// Largest number of descriptors in a queue; QEMU's own limit.
const MAX_QUEUE_SIZE: usize = 1024;

/// The engine, shared by the daemon's threads. Only the holder of the lock
/// touches the card, so that commands, ticks, resets and changes of memory come
/// one after the other.
///
/// A panic of the holder cannot leave the card in a state that matters: the
/// connection ends with that thread, and the card is reset.
pub type SharedEngine<D> = Arc<Fair<Engine<D>>>;

thread_local! {
    /// The guard of the worker thread, dropped when the thread ends for any
    /// reason.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Ends the connection when the thread that serves its queues ends.
/// vhost-user-backend does not check the thread before the connection ends, so
/// a thread that died would leave the front end waiting.
struct Worker(Stop);

impl Drop for Worker {
    fn drop(&mut self) {
        // This has no effect if the thread ends because the connection has
        // ended.
        self.0.fail("the thread that serves its queues has ended");
    }
}

/// The device of one connection.
pub struct Backend<D> {
    engine: SharedEngine<D>,
    stop: Stop,
    /// File descriptor of the exit event on which the worker waits.
    exit: Mutex<Option<RawFd>>,
}

impl<D> Backend<D> {
    /// Returns a device whose connection `stop` can end.
    pub fn new(engine: SharedEngine<D>, stop: Stop) -> Self {
        Self {
            engine,
            stop,
            exit: Mutex::new(None),
        }
    }

    /// Closes the exit event of the worker.
    ///
    /// # Safety
    /// The worker must have ended. Its event loop gives up the ownership of the
    /// file descriptor (`into_raw_fd`) and never closes it.
    pub unsafe fn close_exit_event(&self) {
        let fd = self.exit.lock().ok().and_then(|mut fd| fd.take());
        if let Some(fd) = fd {
            // SAFETY: vhost-user-backend has given up the ownership of `fd`,
            // and the caller promises that no thread waits on it any more.
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
        let region = match self.engine.lock().can_map() {
            true => VhostUserProtocolFeatures::SHMEM,
            false => VhostUserProtocolFeatures::empty(),
        };
        region
            | VhostUserProtocolFeatures::MQ
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
        // The vrings have been told; nothing else depends on the setting.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        // Bytes beyond the structure read as zero; the front end may have made
        // room for them.
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
        self.engine.lock().set_channel(channel);
    }

    fn get_shmem_config(&self) -> io::Result<VhostUserShMemConfig> {
        self.engine.lock().open_region();
        Ok(window::config())
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
        // The event is a kick of either queue, or the timer; the engine does
        // the same for all.
        engine.run(vrings);
        if bus_error::take_lost() {
            self.stop
                .fail("guest memory has gone away: its file was cut, or could not grow");
        }
        Ok(())
    }
}

/// Checks that no region is longer than its file, since the part beyond the end
/// of the file cannot be accessed. A file that is not regular has no meaningful
/// length.
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
