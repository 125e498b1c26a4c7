//! The connection to a back end: messages with a time limit.
//!
//! The library waits for an answer without end. So a thread cuts the connection
//! when one takes too long.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vhost::VhostBackend;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};

use super::fault::Fault;
use super::log::Log;

/// VIRTIO_F_VERSION_1.
pub const VERSION_1: u64 = 1 << 32;
/// VHOST_USER_F_PROTOCOL_FEATURES.
pub const PROTOCOL_FEATURES: u64 = 1 << 30;
/// VIRTIO_F_EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_INDIRECT_DESC.
pub const INDIRECT_DESC: u64 = 1 << 28;

/// What the other end is given to answer, and until when.
#[derive(Default)]
struct Watch {
    deadline: Option<Instant>,
    expired: bool,
    ends: bool,
}

#[derive(Default)]
struct Shared {
    watch: Mutex<Watch>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, deadline: Option<Instant>) -> bool {
        let mut watch = self.lock();
        watch.deadline = deadline;
        self.changed.notify_all();
        watch.expired
    }

    fn guard(&self, stream: &UnixStream) {
        let mut watch = self.lock();
        while !watch.ends {
            let Some(deadline) = watch.deadline else {
                let waited = self.changed.wait(watch);
                watch = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                watch.expired = true;
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
            let waited = self.changed.wait_timeout(watch, left);
            watch = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A front end of vhost-user.
pub struct Front {
    /// The library's front end, without a limit of time.
    pub front: Frontend,
    /// What it speaks over.
    pub stream: UnixStream,
    /// The virtio features that the back end offers.
    pub features: u64,
    /// The protocol features that it offers, as bits.
    pub offered: u64,
    /// The protocol features that both ends have.
    pub protocol: VhostUserProtocolFeatures,
    limit: Duration,
    log: Log,
    shared: Arc<Shared>,
    guard: Option<JoinHandle<()>>,
}

/// The protocol features that the driver makes use of.
const USED: VhostUserProtocolFeatures = VhostUserProtocolFeatures::MQ
    .union(VhostUserProtocolFeatures::CONFIG)
    .union(VhostUserProtocolFeatures::RESET_DEVICE)
    .union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS)
    .union(VhostUserProtocolFeatures::REPLY_ACK);

/// The protocol features of a shared memory region.
const REGION: VhostUserProtocolFeatures =
    VhostUserProtocolFeatures::BACKEND_REQ.union(VhostUserProtocolFeatures::SHMEM);

impl Front {
    /// Becomes the owner of the back end at the other end of `stream`, and
    /// agrees on the protocol features; with `region`, also those of a shared
    /// memory region, if the back end has both.
    ///
    /// # Errors
    /// A message fails, or has no answer within `limit`.
    pub fn new(stream: UnixStream, region: bool, limit: Duration, log: Log) -> Result<Self, Fault> {
        let system = |error| Fault::system("the connection", error);
        let front = Frontend::from_stream(stream.try_clone().map_err(system)?, 2);
        let shared = Arc::new(Shared::default());
        let guard = {
            let (shared, stream) = (Arc::clone(&shared), stream.try_clone().map_err(system)?);
            thread::Builder::new()
                .spawn(move || shared.guard(&stream))
                .map_err(|error| Fault::system("a thread", error))?
        };
        let mut this = Self {
            front,
            stream,
            features: 0,
            offered: 0,
            protocol: VhostUserProtocolFeatures::empty(),
            limit,
            log,
            shared,
            guard: Some(guard),
        };
        this.message("SET_OWNER", |front| front.set_owner())?;
        this.features = this.message("GET_FEATURES", |front| front.get_features())?;
        let features = this.features;
        this.log.note(|| format!("GET_FEATURES: {features:#x}"));
        if this.features & PROTOCOL_FEATURES != 0 {
            let offered = this.message("GET_PROTOCOL_FEATURES", |front| {
                front.get_protocol_features()
            })?;
            this.offered = offered.bits();
            this.log
                .note(|| format!("GET_PROTOCOL_FEATURES: {:#x}", offered.bits()));
            this.protocol = offered & USED;
            if region && offered.contains(REGION) {
                this.protocol |= REGION;
            }
            let protocol = this.protocol;
            this.message("SET_PROTOCOL_FEATURES", |front| {
                front.set_protocol_features(protocol)
            })?;
        }
        if this.has(VhostUserProtocolFeatures::REPLY_ACK) {
            this.front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        Ok(this)
    }

    /// Returns whether both ends have a protocol feature.
    pub fn has(&self, feature: VhostUserProtocolFeatures) -> bool {
        self.protocol.contains(feature)
    }

    /// Returns whether both ends have what a shared memory region takes.
    pub fn has_region(&self) -> bool {
        self.has(REGION)
    }

    /// Sends a message, and waits for its answer if it has one.
    ///
    /// # Errors
    /// [`Fault::Message`] if it is refused or the connection ends,
    /// [`Fault::NoAnswer`] if that takes too long; the connection is cut then.
    pub fn message<T>(
        &self,
        name: &str,
        send: impl FnOnce(&mut Frontend) -> vhost::Result<T>,
    ) -> Result<T, Fault> {
        self.shared.set(Some(Instant::now() + self.limit));
        let result = send(&mut self.front.clone());
        let expired = self.shared.set(None);
        result.map_err(|error| match expired {
            true => Fault::NoAnswer {
                what: format!("answer to {name}"),
                limit: self.limit,
            },
            false => {
                let error = error.to_string();
                self.log.note(|| format!("{name}: {error}"));
                Fault::Message {
                    message: name.into(),
                    error,
                }
            }
        })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.changed.notify_all();
        if let Some(guard) = self.guard.take() {
            // It waits for nothing but this.
            let _ = guard.join();
        }
    }
}
