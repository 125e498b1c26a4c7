//! The mapping oracle: while a buffer is queued, the DMA API maps exactly its
//! segments, for the card to write to or to read; afterwards it maps none of it.

use super::super::observation::Observation;
use super::evidence::CellEvidence;
use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{Memory, Moment, PagesSeen};
use crate::agent::cell::instruments::{Mapping, MappingsSeen};
use crate::card::{CardKind, Direction};
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to mappings of a queued buffer that are not its segments, and to
/// mappings that outlive it.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let answer = evidence.answer;
    let refused = matches!(evidence.observation, Observation::Refused(_));
    if let Some(seen) = answer.mappings_at(Moment::Queued)
        && !refused
        && !evidence.expectation.many_frames
    {
        for direction in [Direction::Output, Direction::Capture] {
            if let Some(buffers) = buffers(evidence, direction) {
                match is_imported(evidence, direction) {
                    true => imported(evidence, direction, seen, &buffers, objections),
                    false => queued(evidence, direction, seen, &buffers, objections),
                }
            }
        }
    }
    if let Some(seen) = answer.mappings_at(Moment::Ended) {
        // A driver that was bound again has mapped its queues again.
        let more = seen.mappings.len().saturating_sub(seen.gone);
        if let (true, Some(first)) = (more > 0, seen.mappings.first()) {
            objections.push(
                Severity::Leaked,
                format!(
                    "there are {more} DMA mappings more than before the cell, among them {}",
                    told(first)
                ),
            );
        }
    }
}

/// Returns the physical ranges of all of the cell's buffers whose frames go that way;
/// `None` if there are none, or one of them was not seen, or does not show its pages.
fn buffers(evidence: &CellEvidence<'_>, direction: Direction) -> Option<Vec<Range>> {
    let ends = evidence.ends().iter().enumerate();
    let buffers = ends.filter(|(_, end)| end.direction == direction);
    let of_each = buffers.map(|(number, _)| {
        let answer = evidence.cell.of_buffer(number);
        let memory = answer.memory.filter(|memory| !memory.is_hidden)?;
        Some(ranges(memory, answer.pages_at(Moment::Queued)?))
    });
    let ranges = of_each.collect::<Option<Vec<_>>>()?;
    (!ranges.is_empty()).then(|| merged(ranges.concat()))
}

/// Returns whether one of the cell's buffers whose frames go that way is a dma-buf.
fn is_imported(evidence: &CellEvidence<'_>, direction: Direction) -> bool {
    let mut ends = evidence.ends().iter().enumerate();
    ends.any(|(number, end)| {
        let memory = evidence.cell.of_buffer(number).memory;
        end.direction == direction && memory.is_some_and(|memory| memory.is_dmabuf)
    })
}

/// Judges the mappings of dma-bufs: it is their exporters that map them, always, and as
/// a whole, however long the buffers are.
fn imported(
    evidence: &CellEvidence<'_>,
    direction: Direction,
    seen: &MappingsSeen,
    buffer: &[Range],
    objections: &mut Objections,
) {
    let mappings = seen.mappings.iter();
    let suited = mappings.filter(|mapping| mapping.suits(direction));
    let mapped = merged(suited.map(range_of).collect());
    let is_within = |part: &Range| {
        let mut mapped = mapped.iter();
        mapped.any(|whole| whole.0 <= part.0 && part.1 <= whole.1)
    };
    if !buffer.iter().all(is_within) {
        objections.push(evidence.trespass(), unlike(buffer, &mapped));
    }
}

/// Says that something else is mapped than the buffer.
fn unlike(buffer: &[Range], mapped: &[Range]) -> String {
    format!(
        "the buffer is {}, mapped is {}",
        shown(buffer),
        shown(mapped)
    )
}

/// Judges the mappings of the buffers whose frames go that way. Of a mem-to-mem card
/// these are the mappings of that direction: both ends may be the same memory.
fn queued(
    evidence: &CellEvidence<'_>,
    direction: Direction,
    seen: &MappingsSeen,
    buffer: &[Range],
    objections: &mut Objections,
) {
    let touches = |mapping: &&Mapping| {
        let range = range_of(mapping);
        buffer
            .iter()
            .any(|part| part.0 < range.1 && range.0 < part.1)
    };
    let both = evidence.flow.card() == CardKind::M2m;
    let mappings = seen.mappings.iter();
    let of_them = mappings.filter(|mapping| !both || mapping.suits(direction));
    let (ours, others): (Vec<_>, Vec<_>) = of_them.partition(touches);
    // Commands in progress are mapped too, each in one piece.
    for other in others.iter().filter(|one| one.kind == "scatter-gather") {
        objections.push(
            evidence.trespass(),
            format!(
                "while the buffer was queued memory beside it was mapped: {}",
                told(other)
            ),
        );
    }
    match evidence.mapped(seen.translated) {
        None => {}
        Some(false) => {
            if let Some(first) = ours.first() {
                objections.push(
                    Severity::Leaked,
                    format!(
                        "the card is given no DMA addresses, but the buffer is mapped: {}",
                        told(first)
                    ),
                );
            }
        }
        Some(true) => {
            let mapped = merged(ours.iter().map(|mapping| range_of(mapping)).collect());
            if mapped != buffer {
                objections.push(evidence.trespass(), unlike(buffer, &mapped));
            }
        }
    }
    if let Some(wrong) = ours.iter().find(|mapping| !mapping.suits(direction)) {
        let cannot = match direction {
            Direction::Capture => "write to",
            Direction::Output => "read",
        };
        objections.push(
            Severity::DataLost,
            format!(
                "the card cannot {cannot} the buffer as it is mapped: {}",
                told(wrong)
            ),
        );
    }
}

/// A range of physical addresses: the first, and the one after the last.
type Range = (u64, u64);

fn range_of(mapping: &Mapping) -> Range {
    (
        mapping.physical,
        mapping.physical.saturating_add(mapping.length),
    )
}

/// Returns the physical ranges of the buffer; none if one of its pages is not
/// present.
fn ranges(memory: Memory, pages: &PagesSeen) -> Vec<Range> {
    let page = PAGE as u64;
    let from = memory.address % page;
    let to = from.saturating_add(memory.length);
    let mut ranges = Vec::new();
    for (place, frame) in (0..).zip(pages.frames()) {
        let Some(frame) = frame else {
            continue;
        };
        let (first, last) = (from.max(place * page), to.min((place + 1) * page));
        let begin = frame.saturating_mul(page);
        ranges.push((
            begin.saturating_add(first - place * page),
            begin.saturating_add(last.saturating_sub(place * page)),
        ));
    }
    merged(ranges)
}

/// Returns the same addresses in as few ranges as possible, in order.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
            _ => merged.push(range),
        }
    }
    merged
}

fn told(mapping: &Mapping) -> String {
    format!(
        "{:#x}+{} by {} {}",
        mapping.physical, mapping.length, mapping.kind, mapping.direction
    )
}

fn shown(ranges: &[Range]) -> String {
    const MOST: usize = 4;
    let mut shown: Vec<_> = ranges
        .iter()
        .take(MOST)
        .map(|(from, to)| format!("{from:#x}+{}", to - from))
        .collect();
    match ranges.len().checked_sub(MOST) {
        None | Some(0) => {}
        Some(more) => shown.push(format!("{more} more")),
    }
    match shown.is_empty() {
        true => "nothing".to_owned(),
        false => shown.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, converted, objections, objections_of, sent};
    use super::*;
    use crate::agent::cell::{CellAnswer, Ends, Flow};

    fn mapping(physical: u64, length: u64) -> Mapping {
        Mapping {
            kind: "scatter-gather".into(),
            physical,
            length,
            direction: "DMA_FROM_DEVICE".into(),
        }
    }

    fn seen(moment: Moment, mappings: &[Mapping]) -> MappingsSeen {
        MappingsSeen {
            moment,
            translated: Some(true),
            mappings: mappings.to_vec(),
            gone: 0,
        }
    }

    /// Returns the objections while the buffer of page frames 3 and 8 is
    /// queued.
    fn queued(mappings: &[Mapping], change: impl Fn(&mut CellAnswer)) -> Vec<String> {
        let (mut answer, card_frames) = captured();
        answer.mappings = vec![seen(Moment::Queued, mappings)];
        change(&mut answer);
        objections(judge, &answer, &card_frames)
    }

    #[test]
    fn a_dmabuf_is_mapped_as_a_whole() {
        let dmabuf = |answer: &mut CellAnswer| {
            answer.memory.as_mut().unwrap().is_dmabuf = true;
            // The card is told addresses that nobody has translated.
            answer.mappings[0].translated = Some(false);
        };
        let longer = [mapping(0x3000, 4096), mapping(0x8000, 8192)];
        assert_eq!(queued(&longer, dmabuf), [""; 0]);
        assert_eq!(
            queued(&longer[1..], dmabuf),
            ["the buffer is 0x3000+4096 0x8000+4096, mapped is 0x8000+8192"]
        );
        let wrong = Mapping {
            direction: "DMA_TO_DEVICE".into(),
            ..mapping(0x3000, 4096)
        };
        assert_eq!(queued(&[wrong, mapping(0x8000, 4096)], dmabuf).len(), 1);
        // Nobody knows which pages it has.
        let hidden = |answer: &mut CellAnswer| {
            dmabuf(answer);
            answer.memory.as_mut().unwrap().is_hidden = true;
        };
        assert_eq!(queued(&[], hidden), [""; 0]);
    }

    #[test]
    fn exactly_the_segments_are_mapped() {
        let command = Mapping {
            kind: "single".into(),
            ..mapping(0x20_0000, 64)
        };
        let whole = [mapping(0x8000, 4096), mapping(0x3000, 4096)];
        assert_eq!(queued(&whole, |_| {}), [""; 0]);
        let pieces = [
            mapping(0x3000, 16),
            mapping(0x3010, 4080),
            mapping(0x8000, 4096),
            command,
        ];
        assert_eq!(queued(&pieces, |_| {}), [""; 0]);
        assert_eq!(
            queued(&whole[1..], |_| {}),
            ["the buffer is 0x3000+4096 0x8000+4096, mapped is 0x3000+4096"]
        );
        assert_eq!(queued(&[], |_| {}).len(), 1);
        let longer = [mapping(0x3000, 4097), mapping(0x8000, 4096)];
        assert_eq!(
            queued(&longer, |_| {}),
            ["the buffer is 0x3000+4096 0x8000+4096, mapped is 0x3000+4097 0x8000+4096"]
        );
        let beside = [&whole[..], &[mapping(0x9_0000, 4096)]].concat();
        assert_eq!(
            queued(&beside, |_| {}),
            [
                "while the buffer was queued memory beside it was mapped: 0x90000+4096 by scatter-gather DMA_FROM_DEVICE"
            ]
        );
        let backwards = whole.clone().map(|mapping| Mapping {
            direction: "DMA_TO_DEVICE".into(),
            ..mapping
        });
        assert_eq!(
            queued(&backwards, |_| {}),
            [
                "the card cannot write to the buffer as it is mapped: 0x8000+4096 by scatter-gather DMA_TO_DEVICE"
            ]
        );
    }

    #[test]
    fn a_card_that_reads_has_the_buffer_mapped_the_other_way() {
        let (mut answer, card_frames) = sent();
        let whole = [mapping(0x3000, 4096), mapping(0x8000, 4096)];
        answer.mappings = vec![seen(Moment::Queued, &whole)];
        let said = |answer: &_| objections_of(Flow::Output, judge, answer, &card_frames);
        let what = "the card cannot read the buffer as it is mapped: 0x3000+4096 by \
                    scatter-gather DMA_FROM_DEVICE";
        assert_eq!(said(&answer), [(Severity::DataLost, what.into())]);
        for mapping in &mut answer.mappings[0].mappings {
            mapping.direction = "DMA_TO_DEVICE".into();
        }
        assert_eq!(said(&answer), []);
    }

    #[test]
    fn an_offset_and_a_tail_count_to_the_byte() {
        let part = |answer: &mut CellAnswer| {
            let memory = answer.memory.as_mut().unwrap();
            memory.address += 100;
            memory.length -= 300;
        };
        let exact = [mapping(0x3064, 3996), mapping(0x8000, 3896)];
        assert_eq!(queued(&exact, part), [""; 0]);
        let whole = [mapping(0x8000, 4096), mapping(0x3000, 4096)];
        assert_eq!(
            queued(&whole, part),
            ["the buffer is 0x3064+3996 0x8000+3896, mapped is 0x3000+4096 0x8000+4096"]
        );
    }

    #[test]
    fn without_dma_addresses_the_driver_maps_nothing() {
        let plain = |answer: &mut CellAnswer| answer.mappings[0].translated = Some(false);
        assert_eq!(queued(&[], plain), [""; 0]);
        assert_eq!(
            queued(&[mapping(0x3000, 4096)], plain),
            [
                "the card is given no DMA addresses, but the buffer is mapped: 0x3000+4096 by scatter-gather DMA_FROM_DEVICE"
            ]
        );
    }

    #[test]
    fn what_outlives_the_cell_is_lost() {
        let (mut answer, card_frames) = captured();
        answer.mappings = vec![seen(Moment::Ended, &[])];
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.mappings = vec![seen(
            Moment::Ended,
            &[mapping(0x3000, 4096), mapping(0x8000, 9)],
        )];
        assert_eq!(
            objections(judge, &answer, &card_frames),
            [
                "there are 2 DMA mappings more than before the cell, among them 0x3000+4096 by scatter-gather DMA_FROM_DEVICE"
            ]
        );
        // The driver was bound again.
        answer.mappings[0].gone = 2;
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
    }

    #[test]
    fn both_buffers_are_mapped_each_in_its_direction() {
        let flow = Flow::M2m(Ends::Read);
        let (mut answer, card_frames) = converted();
        let read = |mapping: Mapping| Mapping {
            direction: "DMA_TO_DEVICE".into(),
            ..mapping
        };
        let whole = [
            read(mapping(0x3000, 4096)),
            read(mapping(0x8000, 4096)),
            mapping(0x5000, 8192),
        ];
        answer.mappings = vec![seen(Moment::Queued, &whole)];
        let said = |answer: &_| objections_of(flow, judge, answer, &card_frames).len();
        assert_eq!(said(&answer), 0);
        // Both ends may be the same memory.
        answer.further[0].pages = answer.pages.clone();
        let both = [&whole[..2], &[mapping(0x3000, 4096), mapping(0x8000, 4096)]];
        answer.mappings = vec![seen(Moment::Queued, &both.concat())];
        assert_eq!(said(&answer), 0);
        answer.mappings[0].mappings.pop();
        assert_eq!(said(&answer), 1);
    }
}
