use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::encoding::Form;
use super::queue::MEMORIES;
use super::target::Target;
use super::writer::Writer;
use super::*;
use crate::source::{Layout, PixelFormat};

mod streams;
#[cfg(feature = "films")]
mod y4m;

/// Frames of 384 bytes.
fn layout() -> Layout {
    Layout::new(PixelFormat::Nv12, 16, 16)
}

fn output(target: impl Target, form: Form) -> Output {
    Output {
        name: "test".into(),
        writer: Some(Writer::new("test", target, form)),
        file: None,
    }
}

fn display(target: impl Target, form: Form) -> Display {
    Display::new(vec![output(target, form)])
}

/// Returns pseudorandom bytes.
fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Shows a frame, in pages, as soon as the display is ready.
fn show(display: &mut Display, frame: &[u8]) {
    await_that(|| display.is_ready());
    display.begin();
    for (page, bytes) in frame.chunks(4096).enumerate() {
        display.take(page * 4096, bytes);
    }
    display.finish();
}

fn await_that(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The bytes that a test and its target share, and how many of them there may
/// be.
#[derive(Clone)]
struct Disk(Arc<Mutex<Vec<u8>>>, usize);

impl Disk {
    fn of(room: usize) -> Self {
        Self(Arc::default(), room)
    }

    fn content(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().unwrap();
        match bytes.len().min(self.1 - disk.len()) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            fits => {
                disk.extend_from_slice(&bytes[..fits]);
                Ok(fits)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Disk {
    fn cut(&mut self, bytes: u64) {
        let mut disk = self.0.lock().unwrap();
        let length = disk.len() - bytes as usize;
        disk.truncate(length);
    }
}

/// A target that takes nothing until it is told to.
#[derive(Clone)]
struct Gate {
    disk: Disk,
    is_open: Arc<Mutex<bool>>,
}

impl Gate {
    fn new() -> Self {
        Self {
            disk: Disk::of(usize::MAX),
            is_open: Arc::default(),
        }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while !*self.is_open.lock().unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.disk.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Gate {
    fn cut(&mut self, bytes: u64) {
        self.disk.cut(bytes);
    }
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}
