//! Where the streaming program writes the frames, or has those that it plays.
//!
//! In a file system in the guest's memory a frame costs one copy, by the
//! program's write(2). The host then reads the frames where they are, in the
//! memory that it shares with the guest. A disk takes as much again: its pages
//! are written back through virtio-blk while the stream runs, on the same
//! processors. It needs no memory for all frames, though.

use std::fs::File;
use std::io;
use std::time::Duration;

use crate::agent::protocol::{Call, Locate, Location, Run, Segment, Write};
use crate::vm::channel::{Agent, AgentError};
use crate::vm::command_line::Hardware;
use crate::vm::machine::Machine;
use crate::vm::memory::GuestMemory;

/// Which of the two to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// The guest's memory where this machine has room for all frames, else the
    /// disk
    #[default]
    Auto,
    /// The guest's memory, which is made larger by as much as the frames take
    Memory,
    /// A disk, which is slower
    Disk,
}

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Home {
    /// A file in the guest's memory.
    Memory,
    /// The first disk.
    Disk,
}

/// Why the frames cannot be stored in the guest's memory, or taken from there.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The host has too little memory.
    #[error(
        "the frames and the guest take {wanted} MiB of memory, and {available} MiB are free: \
         --store disk takes less, or fewer frames"
    )]
    TooLittle {
        /// Memory needed, in MiB.
        wanted: u64,
        /// Memory that is free, in MiB.
        available: u64,
    },
    /// The guest failed to execute a request.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The file system could not be mounted.
    #[error("the guest cannot mount a tmpfs: {0}")]
    Mount(String),
    /// The frames could not be copied from the disk into the guest's memory.
    #[error("the guest cannot copy the frames from the disk: {0}")]
    Copy(String),
    /// What the guest wrote is not at the address that it names.
    #[error("the guest's memory is not where its kernel says")]
    Elsewhere,
    /// The guest names more memory than the file may have.
    #[error("the guest says that its file of frames has more bytes than it may have")]
    TooLong,
    /// The file's pages moved each time that they were read.
    #[error("the pages of the frames were moved each of {TRIES} times that they were read")]
    Moved,
    /// The guest's memory could not be read, or the frames not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

const MIB: u64 = 1 << 20;

/// Size of a huge page, in which the file grows where the kernel has them.
const HUGE: u64 = 2 * MIB;

/// Memory that is left to the host's other processes, in MiB.
const MARGIN: u64 = 512;

/// The mount point of the file system, and the files in it.
const MOUNT: &str = "/mnt";
const FRAMES: &str = "/mnt/frames.raw";
const TOKEN: &str = "/mnt/token";

/// The disk.
const DISK: &str = "/dev/vda";

/// How many bytes of the file the guest is asked for at a time; this bounds its
/// answer.
const WINDOW: u64 = 1 << 30;

/// How often pages that were moved meanwhile are read again.
const TRIES: u32 = 5;

/// How long the guest may take for a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns how many MiB the guest needs beyond its own memory for `room` bytes
/// of frames; 0 if the disk takes them.
///
/// # Errors
///
/// [`StoreError::TooLittle`] if the memory is insisted on and this machine has
/// too little of it.
pub fn spare_mib(store: Store, room: u64, ram_mib: Option<u32>) -> Result<u32, StoreError> {
    if store == Store::Disk {
        return Ok(0);
    }
    let available = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available(&text))
        .unwrap_or(0);
    let ram = ram_mib.unwrap_or_else(|| Hardware::default().memory_mib);
    match plan(room, ram.into(), available) {
        Ok(mib) => Ok(mib),
        Err(error) if store == Store::Memory => Err(error),
        Err(error) => {
            log::warn!("a disk takes the frames, which makes the stream slower: {error}");
            Ok(0)
        }
    }
}

fn plan(room: u64, ram: u64, available: u64) -> Result<u32, StoreError> {
    // A page's own descriptor (struct page) has 64 bytes.
    let bytes = room.next_multiple_of(HUGE) + room / 64 + HUGE;
    let spare = bytes.div_ceil(MIB);
    let wanted = ram + spare + MARGIN;
    match u32::try_from(spare) {
        Ok(spare) if wanted <= available => Ok(spare),
        _ => Err(StoreError::TooLittle { wanted, available }),
    }
}

/// Returns the free memory in MiB, given the text of /proc/meminfo.
fn available(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let value = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

impl Home {
    /// Mounts a file system for `room` bytes in the guest's memory, and checks
    /// that the host can read a file of it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if either does not work on this guest.
    pub fn in_memory(machine: &Machine, room: u64) -> Result<Self, StoreError> {
        let agent = machine.agent();
        let size = room.next_multiple_of(HUGE) + HUGE;
        let mount = |huge: &str| {
            let options = format!("size={size}{huge}");
            let argv = ["mount", "-t", "tmpfs", "-o", &options, "frames", MOUNT];
            call(agent, Run::new(argv))
        };
        // A 6.12 kernel touches the next 2 MiB of the program's memory before it
        // copies a page of the file (fault_in_iov_iter_readable() in
        // generic_perform_write()). Under TCG 4 KiB written in small pages took
        // 37 us of the host's processor, and in huge ones 10.
        let mut answer = mount(",huge=always")?;
        if !answer.status.success() {
            answer = mount("")?;
        }
        if !answer.status.success() {
            return Err(StoreError::Mount(answer.stderr.trim().to_owned()));
        }
        let token = format!("{:?} {}", std::time::SystemTime::now(), std::process::id());
        let write = Write {
            path: TOKEN.to_owned(),
            text: token.clone(),
            append: false,
        };
        call(agent, write)?;
        let location = locate(agent, TOKEN, 0, MIB)?;
        let mut seen = vec![0; token.len()];
        match location.segments.as_slice() {
            [Segment { start, bytes }] if *bytes == token.len() as u64 => {
                machine.memory().read(*start, &mut seen)?;
            }
            _ => {}
        }
        match seen == token.as_bytes() {
            true => Ok(Self::Memory),
            false => Err(StoreError::Elsewhere),
        }
    }

    /// Returns the path in the guest to which the program writes the frames.
    pub fn path(self) -> &'static str {
        match self {
            Self::Memory => FRAMES,
            Self::Disk => DISK,
        }
    }
}

/// Copies the frames from the disk to the file in the guest's memory, within
/// that time.
///
/// # Errors
///
/// [`StoreError`] if the guest cannot copy them.
pub fn put_in(agent: &Agent, limit: Duration) -> Result<(), StoreError> {
    let (from, to) = (format!("if={DISK}"), format!("of={FRAMES}"));
    let argv = ["dd", &from, &to, "bs=1M"];
    let run = Run {
        timeout_ms: Some(limit.as_millis() as u64),
        ..Run::new(argv)
    };
    let answer = agent.call(run, limit + PATIENCE)?;
    match answer.status.success() {
        true => Ok(()),
        false => Err(StoreError::Copy(answer.stderr.trim().to_owned())),
    }
}

/// Copies the frames, up to `room` bytes, from the guest's memory to a file.
///
/// # Errors
///
/// [`StoreError`] if they cannot be read or written.
pub fn take_out(machine: &Machine, room: u64, to: &File) -> Result<(), StoreError> {
    let locate = |from, limit| locate(machine.agent(), FRAMES, from, limit);
    let mut from = 0;
    while from < room {
        let limit = WINDOW.min(room - from);
        let bytes = copy_still(machine.memory(), from, limit, to, locate)?;
        if bytes < limit {
            break;
        }
        from += bytes;
    }
    Ok(())
}

fn call<C: Call>(agent: &Agent, request: C) -> Result<C::Answer, AgentError> {
    agent.call(request, PATIENCE)
}

fn locate(agent: &Agent, path: &str, from: u64, limit: u64) -> Result<Location, StoreError> {
    let path = path.to_owned();
    Ok(call(agent, Locate { path, from, limit })?)
}

/// Copies at most `limit` bytes of the file from `from` on, again and again
/// until its pages were at the same addresses before and after. Returns the
/// number of bytes copied.
fn copy_still(
    memory: &GuestMemory,
    from: u64,
    limit: u64,
    to: &File,
    locate: impl Fn(u64, u64) -> Result<Location, StoreError>,
) -> Result<u64, StoreError> {
    let mut location = locate(from, limit)?;
    for _ in 0..TRIES {
        let bytes = copy(memory, &location, from, limit, to)?;
        let now = locate(from, limit)?;
        if now == location {
            return Ok(bytes);
        }
        location = now;
    }
    Err(StoreError::Moved)
}

fn copy(
    memory: &GuestMemory,
    location: &Location,
    from: u64,
    limit: u64,
    to: &File,
) -> Result<u64, StoreError> {
    let mut copied = 0;
    for segment in &location.segments {
        if segment.bytes > limit - copied {
            return Err(StoreError::TooLong);
        }
        memory.copy_to(segment.start, segment.bytes, to, from + copied)?;
        copied += segment.bytes;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn the_frames_come_on_top_of_the_guests_memory() {
        let spare = |room, available| plan(room, 1024, available).ok();
        assert_eq!(spare(110_592_000, 24_000), Some(110));
        let most = 1024 + 110 + MARGIN;
        assert_eq!(spare(110_592_000, most), Some(110));
        assert_eq!(spare(110_592_000, most - 1), None);
        assert_eq!(spare(u64::MAX / 4, u64::MAX), None);
        let said = plan(3_732_480_000, 1024, 2000).unwrap_err().to_string();
        assert!(said.contains("--store disk"), "{said}");
        assert_eq!(spare_mib(Store::Disk, 1, None).unwrap(), 0);
        assert!(spare_mib(Store::Memory, u64::MAX / 4, None).is_err());
        assert_eq!(spare_mib(Store::Auto, u64::MAX / 4, None).unwrap(), 0);
    }

    #[test]
    fn free_memory_is_what_the_kernel_says() {
        let text = "MemTotal:       24684032 kB\nMemAvailable:    2097152 kB\n";
        assert_eq!(available(text), Some(2048));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    fn segment(start: u64, bytes: u64) -> Segment {
        Segment { start, bytes }
    }

    /// Takes bytes out of memory whose bytes are the numbers of their pages,
    /// and which the guest says to be at one address after the other.
    fn taken(answers: &[&[Segment]], limit: u64) -> Result<Vec<u8>, StoreError> {
        let memory = GuestMemory::make(1).unwrap();
        let mut command = std::process::Command::new("sh");
        let path = memory.pass_to(&mut command);
        let script = format!(
            "for page in 1 2 3 4 5; do printf \"\\\\$page%.0s\" $(seq 4096); done | \
             dd of={} bs=4096 seek=1 conv=notrunc iflag=fullblock",
            path.display()
        );
        assert!(
            command
                .args(["-c", &script])
                .output()
                .unwrap()
                .status
                .success()
        );
        let mut answers = answers.to_vec();
        answers.reverse();
        let answers = RefCell::new(answers);
        let locate = |from, asked| {
            assert_eq!((from, asked), (4096, limit));
            let mut answers = answers.borrow_mut();
            let segments = match answers.len() {
                1 => answers[0],
                _ => answers.pop().unwrap(),
            };
            Ok(Location {
                segments: segments.to_vec(),
            })
        };
        let file = tempfile::tempfile().unwrap();
        let bytes = copy_still(&memory, 4096, limit, &file, locate)?;
        let mut content = vec![0; bytes as usize];
        file.read_exact_at(&mut content, 4096)?;
        let end = if bytes == 0 { 0 } else { 4096 + bytes };
        assert_eq!(file.metadata()?.len(), end);
        content.dedup();
        Ok(content)
    }

    #[test]
    fn segments_come_one_after_the_other() {
        let segments = [segment(3 * 4096, 8192), segment(4096, 100)];
        assert_eq!(taken(&[&segments], 8292).unwrap(), [3, 4, 1]);
        assert_eq!(taken(&[&[]], 8292).unwrap(), [0; 0]);
    }

    #[test]
    fn pages_that_move_meanwhile_are_read_again() {
        let (old, new) = ([segment(4096, 4096)], [segment(8192, 4096)]);
        assert_eq!(taken(&[&old, &new], 4096).unwrap(), [2]);
        let restless = [&old[..], &new].repeat(4);
        let error = taken(&restless, 4096).unwrap_err();
        assert!(matches!(error, StoreError::Moved), "{error}");
    }

    #[test]
    fn a_guest_that_lies_about_its_memory_gets_nothing() {
        let long = [segment(4096, 4096), segment(8192, u64::MAX)];
        let error = taken(&[&long], 8192).unwrap_err();
        assert!(matches!(error, StoreError::TooLong), "{error}");
        for start in [1 << 20, u64::MAX - 4095, 1 << 40] {
            let error = taken(&[&[segment(start, 4096)]], 8192).unwrap_err();
            assert!(matches!(error, StoreError::Io(_)), "{error}");
        }
    }
}
