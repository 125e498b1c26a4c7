//! USB/IP on the wire, as the device's end has it: transfers that the kernel submits or
//! takes back, and what became of them (Documentation/usb/usbip_protocol.rst). Numbers
//! are big-endian, but for those in a SETUP packet, which are USB's.

use std::io::{self, Read, Write};

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

const DIR_IN: u32 = 1;

/// Most bytes of a transfer to the device that are read.
const DATA_MAX: u32 = 64 << 10;

/// Most packets of an isochronous transfer; `uvcvideo` has 32.
const PACKETS_MAX: u32 = 1024;

/// `struct usbip_header` of each of the four messages. What follows the first five
/// fields is different in each.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    command: U32,
    seqnum: U32,
    devid: U32,
    direction: U32,
    endpoint: U32,
    fields: [U32; 5],
    setup: [u8; 8],
}

/// `struct usbip_iso_packet_descriptor`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct IsoPacket {
    offset: U32,
    length: U32,
    actual_length: U32,
    status: U32,
}

/// A message of the kernel's.
#[derive(Debug)]
pub enum Message {
    /// A transfer is to be carried out.
    Submit(Transfer),
    /// The transfer of that number is to be given up.
    Unlink {
        /// Number of this message.
        seqnum: u32,
        /// Number of the transfer.
        transfer: u32,
    },
}

/// A transfer that the kernel has submitted.
#[derive(Debug)]
pub struct Transfer {
    /// Its number.
    pub seqnum: u32,
    /// Number of the endpoint, without its direction.
    pub endpoint: u32,
    /// Whether it is to the host.
    pub is_in: bool,
    /// Length of its buffer in bytes.
    pub length: u32,
    /// The SETUP packet, if it is a control transfer (USB 2.0, 9.3).
    pub setup: [u8; 8],
    /// The data, if it is to the device.
    pub data: Vec<u8>,
    /// Lengths in bytes of the packets, if it is an isochronous transfer.
    packets: Vec<IsoPacket>,
}

impl Transfer {
    /// Returns the greatest lengths of the packets, of an isochronous transfer.
    pub fn packet_lengths(&self) -> impl Iterator<Item = usize> {
        self.packets
            .iter()
            .map(|packet| packet.length.get() as usize)
    }
}

/// Reads the next message; `None` if the kernel has unplugged the device.
///
/// # Errors
///
/// [`io::Error`] if the socket cannot be read, or that is no message.
pub fn read(socket: &mut impl Read) -> io::Result<Option<Message>> {
    let mut header = Header::new_zeroed();
    match socket.read_exact(header.as_mut_bytes()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let seqnum = header.seqnum.get();
    match header.command.get() {
        CMD_SUBMIT => {}
        CMD_UNLINK => {
            let transfer = header.fields[0].get();
            return Ok(Some(Message::Unlink { seqnum, transfer }));
        }
        other => return Err(unknown(format!("the command {other}"))),
    }
    let [_, length, _, packets, _] = header.fields.map(U32::get);
    let endpoint = header.endpoint.get();
    let is_in = header.direction.get() == DIR_IN;
    let mut data = Vec::new();
    if !is_in {
        if length > DATA_MAX {
            return Err(unknown(format!("{length} bytes for the device")));
        }
        data.resize(length as usize, 0);
        socket.read_exact(&mut data)?;
    }
    // Other transfers have none, or this many.
    let packets = match packets {
        u32::MAX => 0,
        more if more > PACKETS_MAX => return Err(unknown(format!("{more} packets"))),
        packets => packets,
    };
    let mut packets = vec![IsoPacket::new_zeroed(); packets as usize];
    for packet in &mut packets {
        socket.read_exact(packet.as_mut_bytes())?;
    }
    Ok(Some(Message::Submit(Transfer {
        seqnum,
        endpoint,
        is_in,
        length,
        setup: header.setup,
        data,
        packets,
    })))
}

fn unknown(what: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} in USB/IP, which the camera does not know"),
    )
}

/// Answers a transfer: how many bytes went to the device, or the data that go to the
/// host. `Err` is a status, as -EPIPE for an endpoint that stalls.
pub fn answer(
    socket: &mut impl Write,
    transfer: &Transfer,
    result: Result<&[u8], i32>,
) -> io::Result<()> {
    let (status, data) = match result {
        Ok(data) => (0, data),
        Err(status) => (status, &[][..]),
    };
    let length = match (status, transfer.is_in) {
        (0, false) => transfer.length,
        _ => data.len() as u32,
    };
    let mut message = Vec::with_capacity(size_of::<Header>() + data.len());
    message.extend_from_slice(returned(transfer, status, length, 0).as_bytes());
    message.extend_from_slice(data);
    socket.write_all(&message)
}

/// Answers an isochronous transfer: `data` are those of all packets, and `lengths` how
/// many of them each packet has.
pub fn answer_packets(
    socket: &mut impl Write,
    transfer: &Transfer,
    data: &[u8],
    lengths: &[usize],
) -> io::Result<()> {
    let packets = transfer.packets.len() as u32;
    let header = returned(transfer, 0, data.len() as u32, packets);
    let mut message = [header.as_bytes(), data].concat();
    for (packet, length) in transfer.packets.iter().zip(lengths) {
        let packet = IsoPacket {
            actual_length: (*length as u32).into(),
            status: 0.into(),
            ..packet.clone()
        };
        message.extend_from_slice(packet.as_bytes());
    }
    socket.write_all(&message)
}

/// Answers that a transfer was given up, or that there was none any more.
pub fn answer_unlink(socket: &mut impl Write, seqnum: u32, was_there: bool) -> io::Result<()> {
    let status = match was_there {
        true => -libc::ECONNRESET,
        false => 0,
    };
    let header = Header {
        command: RET_UNLINK.into(),
        seqnum: seqnum.into(),
        fields: [status as u32, 0, 0, 0, 0].map(U32::new),
        ..Header::new_zeroed()
    };
    socket.write_all(header.as_bytes())
}

/// Returns the header of an answer. The kernel reads a descriptor for each packet of it,
/// whatever the status (`usbip_recv_iso()`, drivers/usb/usbip/usbip_common.c).
fn returned(transfer: &Transfer, status: i32, length: u32, packets: u32) -> Header {
    Header {
        command: RET_SUBMIT.into(),
        seqnum: transfer.seqnum.into(),
        fields: [status as u32, length, 0, packets, 0].map(U32::new),
        ..Header::new_zeroed()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns a transfer as the kernel sends it, with packets of those lengths.
    pub fn submitted(
        (seqnum, endpoint, is_in): (u32, u32, bool),
        setup: [u8; 8],
        length: u32,
        packets: &[u32],
    ) -> Vec<u8> {
        let header = Header {
            command: CMD_SUBMIT.into(),
            seqnum: seqnum.into(),
            devid: 2.into(),
            direction: u32::from(is_in).into(),
            endpoint: endpoint.into(),
            fields: [0, length, 0, packets.len() as u32, 1].map(U32::new),
            setup,
        };
        let mut bytes = header.as_bytes().to_vec();
        let mut offset = 0;
        for length in packets {
            let packet = [offset, *length, 0, 0].map(U32::new);
            bytes.extend_from_slice(packet.as_bytes());
            offset += length;
        }
        bytes
    }

    /// Returns the message that takes a transfer back.
    pub fn unlinked(seqnum: u32, transfer: u32) -> Vec<u8> {
        let header = Header {
            command: CMD_UNLINK.into(),
            seqnum: seqnum.into(),
            fields: [transfer, 0, 0, 0, 0].map(U32::new),
            ..Header::new_zeroed()
        };
        header.as_bytes().to_vec()
    }

    /// An answer of the device's: its number, status, and what follows the header.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Answered {
        pub seqnum: u32,
        pub status: i32,
        pub data: Vec<u8>,
        pub lengths: Vec<u32>,
    }

    /// Reads the next answer to a transfer to the host, or to one taken back.
    pub fn answered(socket: &mut impl Read) -> Answered {
        let mut header = Header::new_zeroed();
        socket.read_exact(header.as_mut_bytes()).unwrap();
        let [status, length, _, packets, _] = header.fields.map(U32::get);
        let mut data = vec![0; length as usize];
        socket.read_exact(&mut data).unwrap();
        let mut lengths = Vec::new();
        for _ in 0..packets {
            let mut packet = IsoPacket::new_zeroed();
            socket.read_exact(packet.as_mut_bytes()).unwrap();
            assert_eq!(packet.status.get(), 0);
            lengths.push(packet.actual_length.get());
        }
        Answered {
            seqnum: header.seqnum.get(),
            status: status as i32,
            data,
            lengths,
        }
    }

    #[test]
    fn a_transfer_is_read_with_its_packets_and_answered_without_padding() {
        let bytes = submitted((7, 1, true), [0; 8], 300, &[100, 200]);
        let Some(Message::Submit(transfer)) = read(&mut &bytes[..]).unwrap() else {
            panic!("it is a transfer")
        };
        assert_eq!((transfer.seqnum, transfer.endpoint), (7, 1));
        assert_eq!(transfer.packet_lengths().collect::<Vec<_>>(), [100, 200]);
        let mut sent = Vec::new();
        answer_packets(&mut sent, &transfer, &[9; 150], &[100, 50]).unwrap();
        // The header, the data, and where each packet lies.
        assert_eq!(sent.len(), 48 + 150 + 2 * 16);
        assert_eq!(sent[..8], [0, 0, 0, 3, 0, 0, 0, 7]);
        let last: [U32; 4] = [100, 200, 50, 0].map(U32::new);
        assert_eq!(sent[48 + 150 + 16..], *last.as_bytes());
    }

    #[test]
    fn data_for_the_device_are_read() {
        let mut bytes = submitted((1, 0, false), [0x21, 1, 0, 1, 1, 0, 3, 0], 3, &[]);
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(&unlinked(2, 1));
        let mut socket = &bytes[..];
        let Some(Message::Submit(transfer)) = read(&mut socket).unwrap() else {
            panic!("it is a transfer")
        };
        assert_eq!(transfer.data, b"abc");
        let mut sent = Vec::new();
        answer(&mut sent, &transfer, Ok(&[])).unwrap();
        assert_eq!(sent.len(), 48);
        assert_eq!(sent[20..28], [0, 0, 0, 0, 0, 0, 0, 3]);
        let next = read(&mut socket).unwrap();
        assert!(matches!(
            next,
            Some(Message::Unlink {
                seqnum: 2,
                transfer: 1
            })
        ));
        assert!(read(&mut socket).unwrap().is_none());
    }

    #[test]
    fn data_for_the_host_are_sent_and_a_status_alone() {
        let bytes = submitted((3, 0, true), [0x80, 6, 0, 1, 0, 0, 18, 0], 18, &[]);
        let Some(Message::Submit(transfer)) = read(&mut &bytes[..]).unwrap() else {
            panic!("it is a transfer")
        };
        for (result, status, data) in [
            (Ok(&b"abc"[..]), 0, &b"abc"[..]),
            (Err(-libc::EPIPE), -libc::EPIPE, b""),
        ] {
            let mut sent = Vec::new();
            answer(&mut sent, &transfer, result).unwrap();
            let answered = answered(&mut &sent[..]);
            assert_eq!((answered.seqnum, answered.status), (3, status));
            assert_eq!(answered.data, data);
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let refused = |bytes: Vec<u8>| {
            let error = read(&mut &bytes[..]).unwrap_err();
            error.kind() == io::ErrorKind::InvalidData
        };
        assert!(refused([&[0, 0, 0, 9][..], &[0; 44]].concat()));
        assert!(refused(submitted((1, 0, false), [0; 8], DATA_MAX + 1, &[])));
        let mut many = submitted((1, 1, true), [0; 8], 0, &[]);
        many[32..36].copy_from_slice(&(PACKETS_MAX + 1).to_be_bytes());
        assert!(refused(many));
    }
}
