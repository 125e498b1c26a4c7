//! Runs a cell for the host: starts its process, and collects its evidence.

use std::io::Read;
use std::mem;
use std::time::Instant;

use crate::agent::cell::evidence::{Ended, HOLD, Moment};
use crate::agent::cell::phases::{self, Phase};
use crate::agent::cell::{Cell, CellAnswer, Hazard, Point};
use crate::agent::protocol::{OUTPUT_MAX, Run, Status};
use crate::card::CardKind;
use rustix::process::Pid;

use super::device::Device;
use super::process::ARGUMENT;
use super::{borrowed, fail_nth, mappings, pagemap};
use crate::guest::children::Children;
use crate::guest::failure::Failure;
use crate::guest::{health, kmemleak, kmsg, run};

/// Runs a cell; `started` gets its process.
pub fn run(
    children: &Children,
    id: u64,
    cell: &Cell,
    started: impl FnOnce(Pid),
) -> Result<CellAnswer, Failure> {
    let begun = Instant::now();
    let stdin = serde_json::to_string(cell)
        .map_err(|error| Failure::new(format!("tell the cell: {error}")))?;
    let mappings = mappings::Before::look(&cell.device);
    let jiffies = kmemleak::is_there().then(health::jiffies).flatten();
    // Who may not read the log has the cell without it; a guest's agent may.
    let log = kmsg::start_new_records();
    if cell.scope.is_guest() {
        log?;
    }
    // The settings are undone even if the process dies. The process refuses the hazard
    // where they must not be made.
    let injects = cell.hazard == Hazard::FailNth && cell.scope.is_guest();
    let fault_settings = injects.then(fail_nth::FaultSettings::make);
    // The process writes to a file: who reads a pipe is woken by every line.
    let failed = |error| Failure::io("keep the evidence", error);
    let evidence = run::file_of(b"").map_err(failed)?;
    let request = Run {
        stdin,
        timeout_ms: Some(cell.limit_ms),
        stdout_path: Some(run::path_of(&evidence)),
        ..Run::new(["/proc/self/exe", ARGUMENT])
    };
    let starts = Instant::now();
    let mut process = None;
    let note = |pid: Pid| {
        process = Some(pid.as_raw_nonzero().get());
        started(pid);
    };
    let ran = run::run(children, id, request, note, |_| {})?;
    let ended = Instant::now();
    drop(fault_settings);
    let mut text = Vec::new();
    let read = evidence.take(OUTPUT_MAX as u64 + 1).read_to_end(&mut text);
    read.map_err(failed)?;
    let mut answer = collect_some(&text, OUTPUT_MAX)?;
    answer.elapsed_ms = ran.elapsed_ms;
    answer.left = process.filter(|_| ran.stuck);
    let process = (ended - starts).saturating_sub(phases::total(&answer.phases));
    phases::spend(&mut answer.phases, Phase::Prepare, starts - begun);
    phases::spend(&mut answer.phases, Phase::Process, process);
    answer.jiffies = jiffies;
    answer.ended = match ran.status {
        _ if ran.stuck => Ended::Stuck,
        _ if ran.timed_out => Ended::TimedOut,
        Status::Exit(0) => Ended::Finished,
        status => Ended::Early(status),
    };
    if !ran.stderr.trim().is_empty() {
        answer.failed = Some(ran.stderr.trim().to_owned());
    }
    // What a session of a mem-to-mem card holds back ended with it. Another device holds
    // nothing back.
    let holds = cell.flow.card() != CardKind::M2m && cell.subject.is_none();
    if holds && may_be_held(&answer) {
        release(cell, &mut answer);
    }
    if let Some(before) = mappings {
        answer.mappings = mem::take(&mut answer.mappings)
            .into_iter()
            .map(|seen| before.beyond(seen))
            .collect();
        answer.mappings.extend(before.after());
    }
    if let Some(mut last) = answer.pages.last().cloned() {
        last.moment = Moment::Ended;
        pagemap::look_again(&mut last)
            .map_err(|error| Failure::io("look at the pages once more", error))?;
        answer.pages.push(last);
    }
    let counters = pagemap::counters(Moment::Ended)
        .map_err(|error| Failure::io("read the counters", error))?;
    answer.counters.push(counters);
    if cell.scope.is_guest()
        && let Err(error) = borrowed::give_back()
    {
        answer
            .notes
            .push(format!("what the cell has set is not undone: {error}"));
    }
    match kmsg::new_records() {
        Ok(records) => answer.add_log(match answer.log_told {
            Some(told) => records.since(told),
            None => records,
        }),
        Err(failure) if cell.scope.is_guest() => return Err(failure),
        Err(_) => {}
    }
    phases::spend(&mut answer.phases, Phase::Conclude, ended.elapsed());
    Ok(answer)
}

/// Returns whether the card may still hold something back: the process may have
/// died before it could release it, or between the call and its evidence.
fn may_be_held(answer: &CellAnswer) -> bool {
    let succeeded = |name: &str| {
        let calls = answer.calls.iter();
        calls
            .filter(|call| call.name == name && call.errno.is_none())
            .count()
    };
    answer.ended != Ended::Finished || succeeded(HOLD) > succeeded("release")
}

/// Releases what the card still holds.
fn release(cell: &Cell, answer: &mut CellAnswer) {
    let released = Device::open(&cell.device, cell.flow.subject()).and_then(|device| {
        for point in Point::DMA {
            device.hold(*point, false)?;
        }
        Ok(())
    });
    if let Err(error) = released {
        answer
            .notes
            .push(format!("the card's holds could not be released: {error}"));
    }
}

/// Parses the first `most` bytes of evidence; if there is more, the cell has failed.
fn collect_some(text: &[u8], most: usize) -> Result<CellAnswer, Failure> {
    let mut answer = collect(&String::from_utf8_lossy(&text[..text.len().min(most)]))?;
    if text.len() > most {
        let what = format!("the cell's evidence is longer than {most} bytes, the rest is lost");
        answer.failed.get_or_insert(what);
    }
    Ok(answer)
}

/// Parses the evidence that the cell's process wrote. A last line without a
/// newline is incomplete, because the process died, and is ignored.
fn collect(output: &str) -> Result<CellAnswer, Failure> {
    let mut answer = CellAnswer::default();
    for line in output.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        let evidence = serde_json::from_str(line)
            .map_err(|error| Failure::new(format!("no evidence: {error}: {}", start(line))))?;
        answer.add(evidence);
    }
    Ok(answer)
}

/// Returns the start of a line for a message. A card that writes where it must not
/// may have put anything into it.
fn start(line: &str) -> String {
    const MOST: usize = 80;
    line.chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_released_is_held() {
        let call = |name: &str, errno: Option<i32>| {
            let errno = errno.map_or("null".to_owned(), |errno| errno.to_string());
            format!(
                "{{\"call\":{{\"name\":\"{name}\",\"errno\":{errno},\"at_us\":1,\"took_us\":1}}}}\n"
            )
        };
        let held = |calls: &[String], ended| {
            let mut answer = collect(&calls.concat()).unwrap();
            answer.ended = ended;
            may_be_held(&answer)
        };
        let hold = || call(HOLD, None);
        assert!(held(&[hold()], Ended::Finished));
        assert!(held(&[hold(), call("release", Some(5))], Ended::Finished));
        assert!(!held(&[hold(), call("release", None)], Ended::Finished));
        assert!(held(&[hold(), call("release", None)], Ended::TimedOut));
        assert!(!held(&[call(HOLD, Some(22))], Ended::Finished));
        assert!(held(&[], Ended::Early(Status::Signal(9))));
    }

    #[test]
    fn evidence_is_collected_up_to_where_the_process_died() {
        let answer =
            collect("{\"note\":\"one\"}\n{\"impossible\":\"why\"}\n{\"note\":\"tw").unwrap();
        assert_eq!(answer.notes, ["one"]);
        assert_eq!(answer.impossible.as_deref(), Some("why"));
        assert!(collect("garbage\n").is_err());
    }

    #[test]
    fn evidence_that_is_cut_is_a_failure() {
        let text = b"{\"note\":\"one\"}\n{\"note\":\"two\"}\n";
        let whole = collect_some(text, text.len()).unwrap();
        assert_eq!((whole.notes.len(), whole.failed), (2, None));
        let cut = collect_some(text, text.len() - 1).unwrap();
        assert_eq!(cut.notes, ["one"]);
        let why = cut.failed.unwrap();
        assert!(
            why.ends_with("longer than 29 bytes, the rest is lost"),
            "{why}"
        );
    }
}
