//! Allocations that fail: the cell repeats the same transfer. In each repetition
//! the kernel makes an allocation of one call fail: the first, then the second,
//! and so on until there is none left.
//!
//! Only allocations of the task itself, and its copies to or from the process,
//! fail while it makes the call; those of interrupts and work queues do not.
//! After each failure the call is made again, the capture continues to its end,
//! and everything is freed. The calls that bind and load the driver are an
//! exception, because they are refused hundreds of times: after them the
//! capture continues only once for each place in the kernel where a failure was
//! injected.
//!
//! | file | what is in it |
//! |---|---|
//! | [`life`] | the calls, and the lives that consist of them |
//! | [`fault`] | the kernel's fault injection |
//! | [`dump`] | the reports of failures in the kernel's log |
//! | [`abilities`] | the abilities of a device |
//! | [`driver`] | the driver of the device |

mod abilities;
mod driver;
mod dump;
mod fault;
mod life;

use std::collections::BTreeSet;
use std::io;

use crate::agent::cell::evidence::{Evidence, InjectedSeen, Moment};
use crate::agent::cell::{Cell, FrameSize, Point};
use crate::agent::protocol::LogAnswer;
use crate::card::Direction;

pub use self::fault::FaultSettings;

use self::abilities::Abilities;
use self::driver::Driver;
use self::dump::Dump;
use self::fault::Fault;
use self::life::{Life, LifeContext, Step};
use super::evidence_writer::EvidenceWriter;
use super::memory;
use super::memory::layout::{Layout, Want};
use super::span::MemoryAccess;
use super::{Stop, pagemap};
use crate::guest::kmsg;

/// Upper bound of the number of allocations in a call.
const MOST: u32 = 5000;

/// Number of failures with an aftermath after which the cell stops: by then it
/// is known that something is wrong, and each takes time.
const ENOUGH: usize = 8;

/// The context of a cell.
pub struct CellContext<'a> {
    pub cell: &'a Cell,
    pub writer: &'a EvidenceWriter,
    pub access: &'a MemoryAccess,
    pub want: Want,
    pub size: FrameSize,
    /// The memory; if pinning changes it, each life lays out its own.
    pub layout: &'a Layout,
}

/// Makes every allocation of the cell's call fail once. The device is not open.
pub fn run(cell_context: &CellContext<'_>) -> Result<(), Stop> {
    let Cell {
        device: node,
        point,
        flow,
        ..
    } = cell_context.cell;
    let fault = Fault::open()?;
    let abilities = Abilities::of(node, flow.subject())
        .map_err(|error| Stop::Failed(format!("{node}: {error}")))?;
    check(*point, &abilities)?;
    let dmabuf = match point {
        Point::QbufDmabuf => Some(memory::dmabuf(cell_context.size.bytes())?),
        _ => None,
    };
    let context = LifeContext {
        writer: cell_context.writer,
        access: cell_context.access,
        node,
        size: cell_context.size,
        abilities,
        driver: Driver::of(node)?,
        dmabuf,
    };
    let mut trials = Trials {
        cell_context,
        context: &context,
        steps: life::with(*point),
        log: kmsg::Tail::open().map_err(failed)?,
        turns: 0,
        dump: None,
        refused_at: BTreeSet::new(),
    };
    // This first life loads into memory all parts of this process that the
    // calls use. If memory is refused without a failure, the rest of the cell
    // reports it.
    match trials.live(&trials.steps.clone(), None) {
        Err(Broken {
            step: "VIDIOC_QBUF",
            ..
        }) => return Ok(()),
        other => other.map_err(|broken| Stop::Failed(format!("without a failure: {broken}")))?,
    };
    trials.read_log()?;
    let ran = trials.run(*point, &fault);
    if !context.driver.is_bound() {
        let renewed = context.driver.renew();
        renewed.map_err(|error| Stop::Failed(format!("bind the driver anew: {error}")))?;
    }
    ran
}

/// Checks that the device has what the call needs.
fn check(point: Point, abilities: &Abilities) -> Result<(), Stop> {
    let lacks = match point {
        Point::Read if abilities.direction() == Direction::Output => "frame that could be read",
        Point::SubscribeEvent if !abilities.tells_of_frames() => "event that tells of a frame",
        Point::SCtrl if abilities.number().is_none() => "control that is a number",
        Point::SExtCtrls if abilities.text().is_none() => "control that is a text",
        _ => return Ok(()),
    };
    Err(Stop::Impossible(format!("the device has no {lacks}")))
}

/// The repetitions of the capture.
struct Trials<'a> {
    cell_context: &'a CellContext<'a>,
    context: &'a LifeContext<'a>,
    steps: Vec<Step>,
    log: kmsg::Tail,
    /// Number of lives so far.
    turns: usize,
    /// The log's report of this life's failure, if it was read already.
    dump: Option<Dump>,
    /// The stacks of the failures after which a life that may end was
    /// continued.
    refused_at: BTreeSet<Vec<String>>,
}

/// A failure to inject into a call.
struct Injection<'a> {
    fault: &'a Fault,
    point: Point,
    nth: u32,
}

/// The result of an injected failure.
struct Injected {
    errno: Option<i32>,
}

/// A life that did not reach its end.
struct Broken {
    /// The failure that was injected before.
    injected: Option<Injected>,
    step: &'static str,
    why: io::Error,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.why)
    }
}

impl Trials<'_> {
    fn run(&mut self, point: Point, fault: &Fault) -> Result<(), Stop> {
        let steps = self.steps.clone();
        let pinned_before = pinned()?;
        let mut bad = 0;
        for nth in 1..=MOST {
            let injection = Injection { fault, point, nth };
            let (injected, broken) = match self.live(&steps, Some(&injection)) {
                Ok(injected) => (injected, None),
                Err(broken) => {
                    let sentence = format!("the capture went no further: {broken}");
                    (broken.injected, Some(sentence))
                }
            };
            let Some(injected) = injected else {
                // The failure that is left over may have occurred after the
                // call.
                self.read_log()?;
                return broken.map_or(Ok(()), |sentence| {
                    Err(Stop::Failed(format!(
                        "with no failure any more, {sentence}"
                    )))
                });
            };
            let mut seen = InjectedSeen {
                nth,
                errno: injected.errno,
                ..InjectedSeen::default()
            };
            let mended = match broken {
                None => Ok(()),
                Some(sentence) => {
                    seen.aftermath.push(sentence);
                    bad += 1;
                    self.mend(&mut seen.aftermath)
                }
            };
            seen.pinned = pinned()?
                .zip(pinned_before)
                .map(|(now, before)| now - before);
            let heard = self.read_log()?;
            if let Some(dump) = self.dump.take().or(heard) {
                seen.fault = Some(dump.fault);
                seen.stack = dump.stack;
            }
            self.cell_context.writer.write(&Evidence::Injected(seen));
            mended?;
            if bad >= ENOUGH {
                return Err(Stop::Failed(format!(
                    "{bad} failures had an aftermath: no more are tried"
                )));
            }
        }
        Err(Stop::Failed(format!(
            "after {MOST} failures the call had more to fail"
        )))
    }

    /// Executes the steps. Returns the result of the injected failure, if the
    /// call reached it.
    fn live(
        &mut self,
        steps: &[Step],
        injection: Option<&Injection<'_>>,
    ) -> Result<Option<Injected>, Broken> {
        let mut injected = None;
        let mut due = injection;
        let broken = |injected, step, why| Broken {
            injected,
            step,
            why,
        };
        let layout = self
            .lay_out()
            .map_err(|why| broken(None, "laying memory out", why))?;
        let CellContext { cell, access, .. } = self.cell_context;
        let laid_out = layout.as_ref().unwrap_or(self.cell_context.layout);
        let sent = laid_out.sent(cell.flow.subject(), access);
        self.turns += 1;
        let mut life = Life::new(self.context, laid_out.buffer, sent, self.turns);
        for step in steps {
            let result = match due.take_if(|due| step.point == Some(due.point)) {
                None => (step.make)(&mut life),
                Some(Injection { fault, point, nth }) => {
                    let during = fault.during(*nth, || (step.make)(&mut life));
                    let (result, came) = during.map_err(|why| broken(None, "fail-nth", why))?;
                    match (came, result) {
                        (false, result) => result,
                        (true, Ok(())) => {
                            injected = Some(Injected { errno: None });
                            Ok(())
                        }
                        (true, Err(why)) => {
                            let errno = Some(why.raw_os_error().unwrap_or(libc::EIO));
                            injected = Some(Injected { errno });
                            if life::may_end_with(*point) {
                                let new = self.is_refused_anew();
                                let log = "a look at the kernel's log";
                                match new.map_err(|why| broken(injected.take(), log, why))? {
                                    true => {}
                                    false => break,
                                }
                            }
                            (step.again)(&mut life)
                        }
                    }
                }
            };
            result.map_err(|why| broken(injected.take(), step.name, why))?;
        }
        drop(life);
        match self.lay_down(layout) {
            Ok(()) => Ok(injected),
            Err(why) => Err(broken(injected, "giving memory back", why)),
        }
    }

    /// Returns whether the failure was at a place in which no earlier life had
    /// one, as far as the log tells.
    fn is_refused_anew(&mut self) -> io::Result<bool> {
        self.dump = self.read_log().map_err(|stop| match stop {
            Stop::Impossible(why) | Stop::Failed(why) => io::Error::other(why),
        })?;
        let Some(dump) = &self.dump else {
            return Ok(true);
        };
        Ok(self.refused_at.insert(dump.stack.clone()))
    }

    /// Finds out how serious the damage is: whether another capture succeeds,
    /// or needs the driver to be bound again.
    fn mend(&mut self, aftermath: &mut Vec<String>) -> Result<(), Stop> {
        let Err(broken) = self.live(&life::plain(), None) else {
            return Ok(());
        };
        aftermath.push(format!("nor did the next: {broken}"));
        self.context
            .driver
            .renew()
            .map_err(|error| Stop::Failed(format!("bind the driver anew: {error}")))?;
        match self.live(&life::plain(), None) {
            Ok(_) => {
                aftermath.push("it took to bind the driver anew".into());
                Ok(())
            }
            Err(broken) => Err(Stop::Failed(format!(
                "with the driver bound anew: {broken}"
            ))),
        }
    }

    /// Lays out new memory for the life if pinning changes the memory;
    /// otherwise refills the existing memory and returns `None`.
    fn lay_out(&self) -> io::Result<Option<Layout>> {
        let CellContext {
            cell,
            want,
            access,
            layout,
            ..
        } = self.cell_context;
        if let Some((_, span)) = &self.context.dmabuf {
            memory::refill(access, *span)?;
        }
        if memory::is_changed_by_a_pin(cell.kind) {
            return match memory::lay_out(cell.kind, *want, access) {
                Ok(layout) => Ok(Some(layout)),
                Err(Stop::Impossible(why) | Stop::Failed(why)) => Err(io::Error::other(why)),
            };
        }
        memory::refill(access, layout.buffer)?;
        Ok(None)
    }

    /// Frees the memory, after it has checked the canaries around it.
    fn lay_down(&self, layout: Option<Layout>) -> io::Result<()> {
        let Some(layout) = layout else {
            return Ok(());
        };
        for canary in layout.canaries(self.cell_context.access) {
            self.cell_context.writer.write(&Evidence::Canary(canary));
        }
        let whole = layout.whole();
        drop(layout);
        super::span::unmap(whole)
    }

    /// Writes the new records of the kernel's log as evidence, and returns the
    /// report of the first failure.
    fn read_log(&mut self) -> Result<Option<Dump>, Stop> {
        let LogAnswer {
            records,
            next,
            lost,
        } = self.log.read().map_err(failed)?;
        let (dumps, records) = dump::part(records);
        if next > 0 {
            self.cell_context.writer.write(&Evidence::Log(LogAnswer {
                records,
                next,
                lost,
            }));
        }
        Ok(dumps.into_iter().next())
    }
}

/// Returns how many pages are pinned, if the kernel counts them.
fn pinned() -> io::Result<Option<i64>> {
    Ok(pagemap::counters(Moment::Stopped)?.pinned())
}

fn failed(failure: crate::guest::failure::Failure) -> Stop {
    Stop::Failed(failure.message)
}
