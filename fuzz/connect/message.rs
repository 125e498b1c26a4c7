//! Messages of vhost-user (QEMU's docs/interop/vhost-user.rst).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::memory::{REGION, REGIONS, ring};
use crate::script::Script;

pub const GET_FEATURES: u32 = 1;
pub const SET_FEATURES: u32 = 2;
pub const SET_OWNER: u32 = 3;
pub const RESET_OWNER: u32 = 4;
pub const SET_MEM_TABLE: u32 = 5;
pub const SET_VRING_NUM: u32 = 8;
pub const SET_VRING_ADDR: u32 = 9;
pub const SET_VRING_BASE: u32 = 10;
pub const GET_VRING_BASE: u32 = 11;
pub const SET_VRING_KICK: u32 = 12;
pub const SET_VRING_CALL: u32 = 13;
pub const SET_VRING_ERR: u32 = 14;
pub const GET_PROTOCOL_FEATURES: u32 = 15;
pub const SET_PROTOCOL_FEATURES: u32 = 16;
pub const GET_QUEUE_NUM: u32 = 17;
pub const SET_VRING_ENABLE: u32 = 18;
pub const GET_CONFIG: u32 = 24;
pub const SET_CONFIG: u32 = 25;
pub const RESET_DEVICE: u32 = 34;
pub const GET_MAX_MEM_SLOTS: u32 = 36;
pub const ADD_MEM_REG: u32 = 37;
pub const REM_MEM_REG: u32 = 38;
/// VERSION_1, PROTOCOL_FEATURES, EVENT_IDX and INDIRECT_DESC.
pub const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 29 | 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;
/// MQ, REPLY_ACK, BACKEND_REQ, CONFIG, RESET_DEVICE and CONFIGURE_MEM_SLOTS.
pub const PROTOCOL_FEATURES: u64 = 1 << 0 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 13 | 1 << 15;

/// Returns the `struct vhost_vring_addr` of a queue, moved by that many bytes.
pub fn addresses(queue: u32, by: u64) -> Vec<u8> {
    let base = REGIONS[0].1 + ring((queue & 1) as usize) + by;
    let mut bytes = words(&[queue, 0]);
    for at in [base, base + 0x800, base + 0x400, 0] {
        bytes.extend(at.to_le_bytes());
    }
    bytes
}

fn area(region: usize) -> Vec<u8> {
    let (guest, process) = REGIONS[region];
    let fields = [guest, REGION, process, region as u64 * REGION];
    fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect()
}

pub fn region(region: usize) -> Vec<u8> {
    [0u64.to_le_bytes().to_vec(), area(region)].concat()
}

pub fn table(regions: usize) -> (u32, Vec<u8>, usize) {
    let mut payload = words(&[regions as u32, 0]);
    (0..regions).for_each(|region| payload.extend(area(region)));
    (SET_MEM_TABLE, payload, regions)
}

pub fn config(script: &mut Script<'_>) -> Vec<u8> {
    let size = script.below(40) as u32 + 1;
    let mut payload = words(&[script.below(8) as u32, size, 0]);
    payload.resize(12 + size as usize, 0);
    payload
}

/// Sends a message with file descriptors; returns whether the connection
/// exists.
pub fn send(
    socket: &UnixStream,
    number: u32,
    flags: u32,
    size: u32,
    payload: &[u8],
    fds: &[BorrowedFd<'_>],
) -> bool {
    let mut message = words(&[number, flags, size]);
    message.extend(payload);
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    let slices = [IoSlice::new(&message)];
    sendmsg(socket, &slices, &mut ancillary, SendFlags::NOSIGNAL).is_ok()
}

pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
