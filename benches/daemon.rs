//! What a card takes that runs as people run it, at the other end of a socket:
//! the time of an exchange, processor time and memory.
//!
//! Prints Markdown, which `make performance-doc` puts into docs/performance.md.
//! With numbers of processes and of clocks there is nothing for Criterion to
//! sample.

#[allow(dead_code, unused_imports, reason = "the protocol tests use the rest")]
#[path = "../tests/protocol/harness/mod.rs"]
mod harness;
#[path = "../tests/program/mod.rs"]
mod program;

use std::fs;
use std::time::{Duration, Instant};

use harness::stream::pages;
use harness::v4l2::ioctl_command;
use harness::{Card, Driver, Options, Stream, guest_memory};
use pinhole::source::PixelFormat;

/// Number of exchanges that are measured.
const EXCHANGES: usize = 4000;
/// How long a card streams while its processor time is measured.
const STREAMS: Duration = Duration::from_secs(5);
/// An ioctl that V4L2 does not have.
const UNKNOWN: u32 = 0xff;

fn main() {
    exchanges();
    processor_time();
    memory();
}

/// Times of exchanges, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut exchange: impl FnMut()) -> Self {
        let mut times: Vec<_> = (0..EXCHANGES)
            .map(|_| {
                let began = Instant::now();
                exchange();
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        Self(times)
    }

    fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() - 1) * percent / 100].as_secs_f64() * 1e6
    }
}

/// Returns a card without a witness, whose thread would want a third processor
/// for each frame.
fn unwitnessed(args: &[&str]) -> Card {
    Card::start_fed(args).0
}

/// Measures a frame of 256 bytes from QBUF to its event, and an ioctl that the
/// card does not know.
fn exchanges() {
    let card = &mut unwitnessed(&["--rate", "max"]);
    let driver = &mut Driver::attach(card, guest_memory(2 << 20), Options::default());
    let stream = Stream::new(driver, (PixelFormat::Grey.fourcc(), 16, 16), 1);
    driver.streamon(stream.session).expect("STREAMON");
    let unknown = ioctl_command(stream.session, UNKNOWN, &[]);
    let empty = Times::of(|| {
        driver.command(&unknown, 256);
    });
    let frame = Times::of(|| {
        stream.queue(driver, 0);
        driver.dqbuf(stream.session);
    });
    println!("| exchange | median | 99th percentile | in empty ones |");
    println!("|---|--:|--:|--:|");
    for (name, times) in [
        ("an ioctl that the card does not know", &empty),
        ("QBUF of 256 bytes, to the event", &frame),
    ] {
        println!(
            "| {name} | {:.1} us | {:.1} us | {:.2} |",
            times.percentile(50),
            times.percentile(99),
            times.percentile(50) / empty.percentile(50)
        );
    }
    println!();
}

/// Measures the processor time of cards that stream.
fn processor_time() {
    println!("| 1920x1080 NV12, the test card | processor time a frame | switches a frame |");
    println!("|---|--:|--:|");
    for rate in [60, 240] {
        let card = &mut unwitnessed(&[]);
        let driver = &mut Driver::attach(card, guest_memory(16 << 20), Options::default());
        let stream = Stream::new(driver, (PixelFormat::Nv12.fourcc(), 1920, 1080), 4);
        driver.set_rate(stream.session, rate);
        stream.start(driver);
        let mut turn = || {
            let buffer = driver.dqbuf(stream.session);
            stream.queue(driver, buffer.index);
        };
        turn();
        let (time, switches) = usage(card.id());
        let began = Instant::now();
        let mut frames = 0;
        while began.elapsed() < STREAMS {
            turn();
            frames += 1;
        }
        let (after, more) = usage(card.id());
        println!(
            "| at {rate} a second ({:.1}) | {:.0} us | {:.1} |",
            f64::from(frames) / began.elapsed().as_secs_f64(),
            (after - time).as_secs_f64() * 1e6 / f64::from(frames),
            (more - switches) as f64 / f64::from(frames)
        );
    }
    println!();
}

/// Returns the processor time of a process, and how often its threads waited.
fn usage(process: u32) -> (Duration, u64) {
    let (mut time, mut switches) = (0, 0);
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    for task in tasks {
        let task = task.expect("a thread").path();
        let read = |file: &str| fs::read_to_string(task.join(file)).expect("a file of /proc");
        let first = |text: &str| text.split_whitespace().next().and_then(|n| n.parse().ok());
        time += first(&read("schedstat")).unwrap_or(0);
        let status = read("status");
        let waits = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches += waits.and_then(first).unwrap_or(0);
    }
    (Duration::from_nanos(time), switches)
}

/// Measures the memory of cards that stream pictures of the largest size.
fn memory() {
    println!(
        "| format, at 3840x2160, with 32 buffers | memory | of that the program's own | with a witness |"
    );
    println!("|---|--:|--:|--:|");
    for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_separate()) {
        let (memory, allocated) = memory_of(&mut unwitnessed(&["--rate", "max"]), format);
        let (witnessed, _) = memory_of(&mut Card::fast(), format);
        let [memory, program, witnessed] =
            [memory, memory - allocated, witnessed].map(|kib| kib as f64 / 1024.0);
        println!("| {format} | {memory:.1} MiB | {program:.1} MiB | {witnessed:.1} MiB |");
    }
}

/// Returns the most memory that a card takes while it streams pictures of that format, and
/// what of it is not its program's, in KiB.
fn memory_of(card: &mut Card, format: PixelFormat) -> (u64, u64) {
    // All buffers share the same 2 MiB.
    let driver = &mut Driver::attach(card, guest_memory(2 << 20), Options::default());
    let session = driver.open();
    let picture = driver.set_picture(session, format.fourcc(), 3840, 2160);
    driver.reqbufs(session, 32).expect("REQBUFS");
    let start = driver.memory.high().start;
    let list: Vec<_> = (0..)
        .zip(pages(0, picture.sizeimage))
        .map(|(i, (_, len))| (start + i * 211 % 512 * 4096, len))
        .collect();
    for index in 0..32 {
        driver.qbuf(session, index, &list).expect("QBUF");
    }
    driver.streamon(session).expect("STREAMON");
    let (mut resident, mut allocated) = (0, 0);
    for _ in 0..40 {
        let buffer = driver.dqbuf(session);
        let now = card.resident_kib();
        if now > resident {
            (resident, allocated) = (now, card.allocated_kib());
        }
        driver.qbuf(session, buffer.index, &list).expect("QBUF");
    }
    driver.streamoff(session).expect("STREAMOFF");
    (resident, allocated)
}
