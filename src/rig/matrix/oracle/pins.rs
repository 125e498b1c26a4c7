//! The pin oracle: every page of a queued buffer is pinned, and afterwards none
//! is.
//!
//! The kernel counts pins since its boot (nr_foll_pin_acquired and
//! nr_foll_pin_released of /proc/vmstat, since 5.10), so the difference of two
//! readings shows the pins between them. Nothing else in the guest pins pages
//! for longer than a reading takes.

use super::super::expectation::fail_nth::told;
use super::super::observation::Observation;
use super::evidence::CellEvidence;
use crate::agent::cell::evidence::{CountersSeen, Memory, Moment};
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to pages of a queued buffer that are not pinned, and to pins that
/// outlive it.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let answer = evidence.answer;
    let pinned = |moment| answer.counters_at(moment).and_then(CountersSeen::pinned);
    let Some(before) = pinned(Moment::LaidOut) else {
        return;
    };
    if let (Some(pinning), Some(memory)) = (pinned(Moment::Pinning), answer.memory) {
        let (half, grown) = (memory.pages() as i64 / 2, pinning.saturating_sub(before));
        if grown != half {
            let severity = match grown < half {
                true => evidence.trespass(),
                false => Severity::Leaked,
            };
            let what =
                format!("{grown} pages were pinned while QBUF waited for the one after {half}");
            objections.push(severity, what);
        }
    }
    // A buffer that the card may give back may be unpinned, too.
    let taken = answer.is_held() && !matches!(evidence.observation, Observation::Refused(_));
    if let (Some(queued), true) = (pinned(Moment::Queued), taken) {
        let looks = answer.looks_at_buffers();
        let looks = looks.flat_map(|(memory, looks)| looks.iter().map(move |seen| (memory, seen)));
        let looks = looks.filter(|(_, seen)| seen.moment == Moment::Queued);
        // Whoever made a dma-buf has pinned its pages before, or need not.
        let due = |memory: Option<Memory>, pages| match memory {
            Some(memory) if memory.is_dmabuf => 0,
            _ => pages,
        };
        let mut buffers: Vec<_> = looks
            .map(|(memory, seen)| due(memory, seen.pagemap.len() as i64))
            .collect();
        // The page frames may be hidden from the process.
        if let (Some(memory), true) = (answer.memory, buffers.is_empty()) {
            buffers.push(due(Some(memory), memory.pages() as i64));
        }
        let pages: i64 = buffers.iter().sum();
        let grown = queued.saturating_sub(before);
        if grown != pages {
            // Pages without a pin can get another owner while the card has them.
            let severity = match grown < pages {
                true => evidence.trespass(),
                false => Severity::Leaked,
            };
            let queued = match buffers.len() {
                1 => format!("the buffer of {pages} was queued"),
                buffers => format!("{buffers} buffers of {pages} were queued"),
            };
            objections.push(
                severity,
                format!("{grown} pages were pinned while {queued}"),
            );
        }
    }
    // The failure after which the number is first larger than before is the one
    // that leaks.
    let mut known = 0;
    for failure in &answer.injected {
        let more = failure.pinned.unwrap_or(known);
        if more != known {
            objections.push(
                Severity::Leaked,
                format!(
                    "after {} {} pages more are pinned than before it",
                    told(failure),
                    more.saturating_sub(known)
                ),
            );
            known = more;
        }
    }
    // The process may end before its stream does; then the agent has read the
    // counters. Memory that holds pins itself has got them since the process began, and
    // holds none any more then.
    let (before, after) = match evidence.expectation.holds_pins {
        true => (pinned(Moment::Begun), pinned(Moment::Ended)),
        false => {
            let ended = pinned(Moment::Ended);
            (Some(before), ended.or_else(|| pinned(Moment::Stopped)))
        }
    };
    let leaks = evidence.expectation.leaks_dmabuf;
    if let (Some(before), Some(after), true) = (before, after, leaks)
        && after <= before
    {
        objections.push(
            Severity::WrongError,
            "no page stays pinned, which this kernel was known to lose".to_owned(),
        );
    }
    if let (Some(before), Some(after), false) = (before, after, leaks)
        && after != before
        && !evidence.expectation.failing.keeps_pins(&answer.injected)
    {
        // Fewer than before: pins of somebody else are gone.
        let severity = match after < before {
            true => Severity::MemoryWritten,
            false => Severity::Leaked,
        };
        objections.push(
            severity,
            format!("{before} pages were pinned before the cell and {after} after it"),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::cell::Flow;
    use crate::rig::matrix::expectation::Expectation;

    use super::super::tests::{captured, evidence, objections, said};
    use super::*;
    use crate::agent::cell::evidence::{InjectedSeen, PagesSeen};

    #[test]
    fn pins_come_with_the_buffer_and_go_with_it() {
        let (mut answer, card_frames) = captured();
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        let acquired = |answer: &mut crate::agent::cell::CellAnswer, look: usize, pins| {
            let values = &mut answer.counters[look].values;
            values.insert("nr_foll_pin_acquired".into(), pins);
        };
        acquired(&mut answer, 1, 101);
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["1 pages were pinned while the buffer of 2 was queued"]
        );
        // What is looked at without a hold may be given back already.
        let held = answer.calls.pop();
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.calls.extend(held);
        let other = answer.pages[0].clone();
        answer.pages.push(PagesSeen { buffer: 1, ..other });
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["1 pages were pinned while 2 buffers of 4 were queued"]
        );
        answer.pages.pop();
        acquired(&mut answer, 1, 102);
        acquired(&mut answer, 2, 103);
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["0 pages were pinned before the cell and 1 after it"]
        );
        acquired(&mut answer, 2, 102);
        answer.injected = [(1, 0), (2, 16), (3, 16)]
            .map(|(nth, pinned)| InjectedSeen {
                nth,
                pinned: Some(pinned),
                ..InjectedSeen::default()
            })
            .into();
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["after failure 2 16 pages more are pinned than before it"]
        );
        answer.injected.clear();
        // A dma-buf is not pinned.
        answer.memory.as_mut().unwrap().is_dmabuf = true;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["2 pages were pinned while the buffer of 0 was queued"]
        );
        acquired(&mut answer, 1, 100);
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        acquired(&mut answer, 1, 102);
        answer.memory.as_mut().unwrap().is_dmabuf = false;
        // An older kernel does not count pins.
        let counters = std::mem::take(&mut answer.counters);
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        // Who does not see the page frames knows how many there are.
        answer.counters = counters;
        answer.pages.clear();
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        acquired(&mut answer, 1, 101);
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["1 pages were pinned while the buffer of 2 was queued"]
        );
    }

    #[test]
    fn a_pin_that_waits_has_half_of_the_pages() {
        let (mut answer, card_frames) = captured();
        let pages = answer.memory.unwrap().pages();
        let mut said = |pins: Option<u64>| {
            answer
                .counters
                .retain(|seen| seen.moment != Moment::Pinning);
            let values = pins.map(|pins| {
                [("nr_foll_pin_acquired", pins), ("nr_foll_pin_released", 0)]
                    .map(|(name, value)| (name.to_owned(), value))
                    .into()
            });
            answer.counters.push(CountersSeen {
                moment: Moment::Pinning,
                values: values.unwrap_or_default(),
            });
            objections(judge, &answer, &card_frames)
        };
        assert_eq!(said(None), [""; 0]);
        assert_eq!(said(Some(pages / 2)), [""; 0]);
        for pins in [0, pages] {
            let half = pages / 2;
            let what =
                format!("{pins} pages were pinned while QBUF waited for the one after {half}");
            assert_eq!(said(Some(pins)), [what]);
        }
    }

    #[test]
    fn memory_that_holds_pins_itself_has_none_when_its_process_has_ended() {
        let (mut answer, card_frames) = captured();
        answer.memory.as_mut().unwrap().is_dmabuf = true;
        let counters = |moment, pins| CountersSeen {
            moment,
            values: [("nr_foll_pin_acquired", pins), ("nr_foll_pin_released", 0)]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        };
        answer.counters = vec![
            counters(Moment::Begun, 5),
            counters(Moment::LaidOut, 22),
            counters(Moment::Queued, 22),
            counters(Moment::Stopped, 22),
            counters(Moment::Ended, 5),
        ];
        let objections = |answer: &_, leaks_dmabuf| {
            let expectation = Expectation {
                holds_pins: true,
                leaks_dmabuf,
                ..Expectation::data(Flow::Capture)
            };
            let evidence = evidence(Flow::Capture, answer, &card_frames, &expectation);
            let said = said(judge, &evidence).into_iter();
            said.map(|(_, what)| what).collect::<Vec<_>>()
        };
        assert_eq!(objections(&answer, false), [""; 0]);
        answer.counters[4] = counters(Moment::Ended, 7);
        let leaks = "5 pages were pinned before the cell and 7 after it";
        assert_eq!(objections(&answer, false), [leaks]);
        assert_eq!(objections(&answer, true), [""; 0]);
        answer.counters[4] = counters(Moment::Ended, 5);
        let mended = "no page stays pinned, which this kernel was known to lose";
        assert_eq!(objections(&answer, true), [mended]);
    }
}
