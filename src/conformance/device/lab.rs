//! What a test works with.

use std::thread;
use std::time::{Duration, Instant};

use super::Settings;
use super::layout::Layout;
use super::stop::Stop;
use super::subject::Subject;
use super::survey::Survey;
use crate::scripted::driver::queue::Queue;
use crate::scripted::driver::{Driver, Fault, Log, Memory, Options};

/// What the test of a clause works with.
pub struct Lab<'a> {
    /// The back end.
    pub subject: &'a mut Subject,
    /// What the device has.
    pub survey: &'a Survey,
    /// How the suite is run.
    pub settings: &'a Settings,
    /// The exchange.
    pub log: Log,
}

impl Lab<'_> {
    /// The options of a driver that has whatever the device offers.
    pub fn options(&self) -> Options {
        Options {
            region: self.survey.region.is_some(),
            limit: self.settings.limit,
            event_buffers: 16,
            ..Options::default()
        }
    }

    /// Connects, and tells the device of no memory and no ring yet.
    pub fn connect(&mut self, options: Options) -> Result<Driver, Stop> {
        connect(self.subject, self.survey.memory(), options, &self.log)
    }

    /// Connects a driver that is ready for commands.
    pub fn attach(&mut self, options: Options) -> Result<Driver, Stop> {
        let mut driver = self.connect(options)?;
        driver.start()?;
        Ok(driver)
    }

    /// Connects a driver like any other, which is ready for commands.
    pub fn driver(&mut self) -> Result<Driver, Stop> {
        self.attach(self.options())
    }

    /// The buffer type that the device has, and the layout of its structures.
    pub fn layout(&self) -> Result<Layout, Stop> {
        self.survey
            .layout
            .ok_or_else(|| Stop::NotOffered("device_caps names no type of buffers".into()))
    }

    /// Waits as long as nothing may happen, and tells whether it did.
    pub fn is_quiet(&self, mut happens: impl FnMut() -> bool) -> bool {
        let until = Instant::now() + self.settings.quiet;
        while Instant::now() < until {
            if happens() {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        !happens()
    }

    /// Waits until the device has used a chain, without telling it that anybody
    /// waits. Returns whether it has.
    pub fn wait_used(&self, queue: &Queue, memory: &Memory) -> bool {
        let deadline = Instant::now() + self.settings.limit;
        while queue.used_index(memory) == queue.next_used() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_micros(200));
        }
        true
    }
}

/// Connects a driver with so many bytes of memory for frames.
pub fn connect(
    subject: &mut Subject,
    memory: u64,
    options: Options,
    log: &Log,
) -> Result<Driver, Stop> {
    let deadline = Instant::now() + options.limit;
    loop {
        let stream = subject
            .connect(options.limit)
            .map_err(|error| Stop::NotReached(error.to_string()))?;
        let memory = Memory::new(memory).map_err(|error| Fault::system("guest memory", error))?;
        match Driver::connect(stream, memory, options, log.clone()) {
            // Nobody has served it: the back end ended when the connection before
            // did, and may be there again.
            Err(Fault::Message { message, .. })
                if FIRST.contains(&message.as_str()) && Instant::now() < deadline =>
            {
                thread::sleep(PAUSE);
            }
            connected => return Ok(connected?),
        }
    }
}

/// The first messages of a connection.
const FIRST: [&str; 2] = ["SET_OWNER", "GET_FEATURES"];

/// How soon a connection is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// What a device-writable buffer holds before the device writes it.
pub const FILL: u8 = crate::scripted::driver::session::UNWRITTEN;
