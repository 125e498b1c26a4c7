//! The camera: it waits for transfers, and for the time of its next frame.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use super::descriptors::ENDPOINT;
use super::frames::Frames;
use super::requests::{Requests, Stream};
use super::usbip::{self, Message, Transfer};
use crate::vm::wait::{WaitResult, readable_regardless};

/// Most transfers that wait for a frame; `uvcvideo` has five.
const WAITING_MAX: usize = 64;

/// A camera, and its end of the socket.
#[derive(Debug)]
pub struct Camera<S> {
    socket: S,
    requests: Requests,
    streaming: Option<Streaming>,
    /// The transfers that wait for a frame, in their order.
    waiting: VecDeque<Transfer>,
    /// Number of the transfer that came last; they come in the order of their numbers.
    newest: u32,
    /// Messages that take back what has not come yet, with the transfer's number.
    early: Vec<(u32, u32)>,
}

/// A stream that is on.
#[derive(Debug)]
struct Streaming {
    stream: Stream,
    frames: Frames,
    /// When the frame begins that is the next; one that is being sent has begun.
    due: Instant,
}

impl<S: Read + Write + AsFd> Camera<S> {
    /// Returns a camera that was just plugged in.
    pub fn new(socket: S) -> Self {
        Self {
            socket,
            requests: Requests::new(),
            streaming: None,
            waiting: VecDeque::new(),
            newest: 0,
            early: Vec::new(),
        }
    }

    /// Returns whether the kernel has chosen its configuration.
    pub fn is_configured(&self) -> bool {
        self.requests.is_configured()
    }

    /// Waits for a transfer or for the time of the next frame, and sees to it. Returns
    /// whether the camera is still plugged in.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if the socket cannot be used.
    pub fn step(&mut self) -> io::Result<bool> {
        // Without a transfer there is nothing to send it with.
        let due = match self.waiting.is_empty() {
            true => None,
            false => self.streaming.as_ref().map(|streaming| streaming.due),
        };
        if let WaitResult::Ready(_) = readable_regardless(&[self.socket.as_fd()], due)? {
            match usbip::read(&mut self.socket)? {
                None => return Ok(false),
                Some(Message::Submit(transfer)) => self.take(transfer)?,
                Some(Message::Unlink { seqnum, transfer }) => self.give_up(seqnum, transfer)?,
            }
        }
        self.send_frames(Instant::now())?;
        Ok(true)
    }

    fn take(&mut self, transfer: Transfer) -> io::Result<()> {
        self.newest = transfer.seqnum;
        let early = self.early.iter();
        let mut early = early.filter(|(_, taken_back)| *taken_back == transfer.seqnum);
        if let Some(&(seqnum, _)) = early.next() {
            self.early
                .retain(|(_, taken_back)| *taken_back != transfer.seqnum);
            return usbip::answer_unlink(&mut self.socket, seqnum, true);
        }
        let is_ours = transfer.endpoint == u32::from(ENDPOINT) && transfer.is_in;
        match transfer.endpoint {
            0 => self.answer(&transfer),
            _ if is_ours && self.streaming.is_some() && self.waiting.len() < WAITING_MAX => {
                self.waiting.push_back(transfer);
                Ok(())
            }
            _ => usbip::answer(&mut self.socket, &transfer, Err(-libc::EPIPE)),
        }
    }

    /// Answers a request at endpoint 0.
    fn answer(&mut self, transfer: &Transfer) -> io::Result<()> {
        let answer = self.requests.answer(transfer.setup, &transfer.data);
        let before = self.streaming.as_ref().map(|streaming| streaming.stream);
        let stream = self.requests.stream();
        if stream != before {
            self.streaming = stream.map(|stream| Streaming {
                stream,
                frames: Frames::new(stream.length),
                due: Instant::now(),
            });
        }
        let answer = answer.as_deref().ok_or(-libc::EPIPE);
        usbip::answer(&mut self.socket, transfer, answer)
    }

    /// Gives a transfer up that the kernel takes back. The kernel may say so before it
    /// sends the transfer, if it was submitted while others were being sent
    /// (`vhci_tx_loop()`, drivers/usb/usbip/vhci_tx.c): it is given up when it comes.
    /// An answer before that would be to a transfer that the kernel then has answered
    /// twice, upon which it unplugs the camera.
    fn give_up(&mut self, seqnum: u32, transfer: u32) -> io::Result<()> {
        if transfer > self.newest && self.early.len() < WAITING_MAX {
            self.early.push((seqnum, transfer));
            return Ok(());
        }
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.seqnum != transfer);
        let was_there = self.waiting.len() < before;
        usbip::answer_unlink(&mut self.socket, seqnum, was_there)
    }

    /// Sends what is due of the frames, as far as transfers wait for them.
    fn send_frames(&mut self, now: Instant) -> io::Result<()> {
        let Some(streaming) = &mut self.streaming else {
            return Ok(());
        };
        while (streaming.frames.is_begun() || streaming.due <= now)
            && let Some(transfer) = self.waiting.pop_front()
        {
            if !streaming.frames.is_begun() {
                // One that is late is not made up for by the next.
                streaming.due = now + streaming.stream.interval();
            }
            let (data, lengths) = streaming.frames.packets(transfer.packet_lengths());
            usbip::answer_packets(&mut self.socket, &transfer, &data, &lengths)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use super::super::usbip::tests::{Answered, answered, submitted, unlinked};
    use super::*;

    /// Length of a frame of the first size in bytes, and of what is beside its data in
    /// packets of 3 KiB.
    const FRAME: usize = 160 * 120 * 2;
    const HEADERS: usize = FRAME.div_ceil(3070) * 2;

    /// The kernel's end of a camera that a thread runs.
    struct Kernel(UnixStream);

    impl Kernel {
        fn plug_in() -> (Self, thread::JoinHandle<io::Result<()>>) {
            let (kernel, socket) = UnixStream::pair().unwrap();
            kernel
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let run = || {
                let mut camera = Camera::new(socket);
                while camera.step()? {}
                Ok(())
            };
            (Self(kernel), thread::spawn(run))
        }

        fn set(&mut self, request: u8, value: u8, interface: u8) {
            let setup = [1, request, value, 0, interface, 0, 0, 0];
            let transfer = submitted((1, 0, false), setup, 0, &[]);
            self.0.write_all(&transfer).unwrap();
            assert_eq!(answered(&mut self.0).status, 0);
        }

        /// Turns the stream on, or off.
        fn stream(&mut self, is_on: bool) {
            self.set(11, u8::from(is_on), 1);
        }

        fn submit(&mut self, seqnum: u32, packets: &[u32]) {
            let length = packets.iter().sum();
            let transfer = submitted((seqnum, 1, true), [0; 8], length, packets);
            self.0.write_all(&transfer).unwrap();
        }
    }

    #[test]
    fn frames_come_in_their_time_each_in_transfers_of_its_own() {
        let (mut kernel, camera) = Kernel::plug_in();
        kernel.stream(true);
        let begin = Instant::now();
        for seqnum in 10..14 {
            kernel.submit(seqnum, &[3072; 8]);
        }
        for (seqnum, frame_id) in [(10, 0), (12, 1)] {
            let (first, second) = (answered(&mut kernel.0), answered(&mut kernel.0));
            assert_eq!((first.seqnum, second.seqnum), (seqnum, seqnum + 1));
            assert_eq!(first.data[..2], [2, 0x80 | frame_id]);
            assert_eq!(first.data.len() + second.data.len(), FRAME + HEADERS);
            assert_eq!(
                second.lengths[4..],
                [FRAME as u32 + 26 - 12 * 3072, 0, 0, 0]
            );
        }
        assert!(begin.elapsed() >= Duration::from_millis(33));
        // A stream that is turned on again begins with a frame.
        kernel.submit(14, &[3072; 2]);
        assert_eq!(answered(&mut kernel.0).lengths, [3072; 2]);
        kernel.stream(false);
        kernel.stream(true);
        kernel.submit(15, &[3072; 13]);
        assert_eq!(answered(&mut kernel.0).data.len(), FRAME + HEADERS);
        drop(kernel);
        camera.join().unwrap().unwrap();
    }

    #[test]
    fn what_waits_can_be_taken_back_and_what_does_not_stalls() {
        let (mut kernel, socket) = UnixStream::pair().unwrap();
        let limit = Some(Duration::from_secs(20));
        kernel.set_read_timeout(limit).unwrap();
        let mut camera = Camera::new(socket);
        // No frame is sent but where the test says so.
        let say = |camera: &mut Camera<UnixStream>, bytes: Vec<u8>| {
            let message = usbip::read(&mut &bytes[..]).unwrap().unwrap();
            match message {
                Message::Submit(transfer) => camera.take(transfer).unwrap(),
                Message::Unlink { seqnum, transfer } => camera.give_up(seqnum, transfer).unwrap(),
            }
        };
        let iso = |seqnum| submitted((seqnum, 1, true), [0; 8], 39_936, &[3072; 13]);
        let answer = |seqnum, status| Answered {
            seqnum,
            status,
            data: Vec::new(),
            lengths: Vec::new(),
        };
        say(&mut camera, iso(2));
        assert_eq!(answered(&mut kernel), answer(2, -libc::EPIPE));
        let on = submitted((3, 0, false), [1, 11, 1, 0, 1, 0, 0, 0], 0, &[]);
        say(&mut camera, on);
        assert_eq!(answered(&mut kernel), answer(3, 0));
        say(&mut camera, iso(4));
        say(&mut camera, unlinked(5, 4));
        assert_eq!(answered(&mut kernel), answer(5, -libc::ECONNRESET));
        say(&mut camera, unlinked(6, 4));
        assert_eq!(answered(&mut kernel), answer(6, 0));
        // Taken back before it comes.
        say(&mut camera, unlinked(8, 7));
        say(&mut camera, iso(7));
        assert_eq!(answered(&mut kernel), answer(8, -libc::ECONNRESET));
        say(&mut camera, iso(9));
        camera.send_frames(Instant::now()).unwrap();
        assert_eq!(answered(&mut kernel).seqnum, 9);
    }
}
