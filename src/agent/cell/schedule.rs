//! Schedules: the order in which the steps of two buffers of one queue come, and where
//! the hazard stands among them.
//!
//! A buffer has four steps: QBUF, by which its memory is pinned; the DMA; the card's
//! word that it is done; and DQBUF. A queue is first in, first out, so that each step of
//! the first buffer comes before the same step of the second. That leaves 14 orders, and
//! eight places of the hazard in each: after every step, as it is to the memory of the
//! first buffer, whose QBUF comes first of all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Point;

/// What happens to a buffer in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// VIDIOC_QBUF: the memory is pinned, and the card is given the buffer.
    Queue,
    /// The card writes the frame, or reads it.
    Dma,
    /// The card tells the driver that it has done with the buffer.
    Done,
    /// VIDIOC_DQBUF.
    Dequeue,
}

impl Act {
    /// The acts in the order in which they come to a buffer.
    pub const ALL: [Self; 4] = [Self::Queue, Self::Dma, Self::Done, Self::Dequeue];

    const fn letter(self) -> char {
        match self {
            Self::Queue => 'q',
            Self::Dma => 'd',
            Self::Done => 'r',
            Self::Dequeue => 'x',
        }
    }

    fn of_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.letter() == letter)
    }
}

/// A step of one of the two buffers. Its letter is small for the first buffer, and
/// capital for the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// Number of the buffer in its queue: 0 or 1.
    pub buffer: usize,
    /// What happens to it.
    pub act: Act,
}

impl Step {
    fn of_letter(letter: char) -> Option<Self> {
        Some(Self {
            buffer: usize::from(letter.is_ascii_uppercase()),
            act: Act::of_letter(letter.to_ascii_lowercase())?,
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = self.act.letter();
        match self.buffer {
            0 => write!(f, "{letter}"),
            _ => write!(f, "{}", letter.to_ascii_uppercase()),
        }
    }
}

/// Stands for the hazard in the text of a schedule.
const HAZARD: char = '!';

/// Returns the text of a step of a schedule's course, or of the hazard, which is `None`.
pub fn letter(step: Option<Step>) -> String {
    step.map_or_else(|| HAZARD.into(), |step| step.to_string())
}

/// Number of steps of both buffers.
const STEPS: usize = 8;

/// The order of the steps of two buffers, and the place of the hazard. Its text is the
/// letters of the steps, with `!` where the hazard is: `qQ!dDrRxX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schedule {
    /// Bit n is set if step n is the second buffer's.
    second: u8,
    /// Number of steps before the hazard: 1 to 8.
    before: u8,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchSchedule {
    /// A letter stands for nothing.
    #[error(
        "\"{0}\" is no step: a buffer has q (QBUF), d (DMA), r (done) and x (DQBUF), the \
             second in capitals, and ! is the hazard"
    )]
    Letter(char),
    /// Something is there twice.
    #[error("{0} is there twice")]
    Twice(char),
    /// Something is not there.
    #[error("{0} is missing")]
    Missing(char),
    /// A step comes before another that must come first.
    #[error("{0} comes before {1}: {2}")]
    Early(char, char, &'static str),
}

const OWN_ORDER: &str = "the steps of a buffer are q, d, r and x in this order";
const QUEUE: &str = "a queue is first in, first out";
const NO_BUFFER: &str = "the hazard is to the memory of a buffer that was queued";

impl Schedule {
    /// Returns all schedules: each order, with the hazard at each of its places.
    pub fn all() -> Vec<Self> {
        let orders = (0..=u8::MAX).filter(|second| is_order(*second));
        let all =
            orders.flat_map(|second| (1..=STEPS as u8).map(move |before| Self { second, before }));
        all.collect()
    }

    /// Returns the steps in their order.
    pub fn steps(self) -> [Step; STEPS] {
        let mut made = [0; 2];
        std::array::from_fn(|place| {
            let buffer = usize::from(self.second >> place & 1);
            let act = Act::ALL[made[buffer] % Act::ALL.len()];
            made[buffer] += 1;
            Step { buffer, act }
        })
    }

    /// Returns how many steps come before the hazard, at least one.
    pub const fn steps_before_hazard(self) -> usize {
        self.before as usize
    }

    /// Returns the steps in their order with the hazard among them, which is `None`.
    pub fn course(self) -> impl Iterator<Item = Option<Step>> {
        let steps = self.steps().into_iter().map(Some);
        let before = steps.clone().take(self.steps_before_hazard());
        let after = steps.skip(self.steps_before_hazard());
        before.chain([None]).chain(after)
    }

    /// Returns the point in the life of the first buffer at which the hazard comes;
    /// `None` if it comes when the process has its frame already.
    pub fn point(self) -> Option<Point> {
        let before = &self.steps()[..self.steps_before_hazard()];
        let was = |act| before.contains(&Step { buffer: 0, act });
        match (was(Act::Dma), was(Act::Dequeue)) {
            (_, true) => None,
            (true, false) => Some(Point::AfterDma),
            (false, false) => Some(Point::BeforeDma),
        }
    }
}

/// Returns whether no step of the second buffer comes before the same of the first, and
/// each has all of its steps.
fn is_order(second: u8) -> bool {
    let ahead = (0..STEPS).try_fold(0i32, |ahead, place| {
        let ahead = ahead + 1 - 2 * i32::from(second >> place & 1);
        (ahead >= 0).then_some(ahead)
    });
    ahead == Some(0)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.course().map(letter).collect::<String>())
    }
}

impl FromStr for Schedule {
    type Err = NoSuchSchedule;

    fn from_str(text: &str) -> Result<Self, NoSuchSchedule> {
        let place_of = |letter| text.chars().position(|other| other == letter);
        for (place, letter) in text.chars().enumerate() {
            if letter != HAZARD && Step::of_letter(letter).is_none() {
                return Err(NoSuchSchedule::Letter(letter));
            }
            if place_of(letter) != Some(place) {
                return Err(NoSuchSchedule::Twice(letter));
            }
        }
        let find = |letter| place_of(letter).ok_or(NoSuchSchedule::Missing(letter));
        let follows = |first, then, why| match find(first)? < find(then)? {
            true => Ok(()),
            false => Err(NoSuchSchedule::Early(then, first, why)),
        };
        let letters = Act::ALL.map(Act::letter);
        for letter in letters {
            find(letter)?;
            find(letter.to_ascii_uppercase())?;
        }
        for pair in letters.windows(2) {
            follows(pair[0], pair[1], OWN_ORDER)?;
            let [one, next] = [pair[0], pair[1]].map(|letter| letter.to_ascii_uppercase());
            follows(one, next, OWN_ORDER)?;
        }
        for letter in letters {
            follows(letter, letter.to_ascii_uppercase(), QUEUE)?;
        }
        follows(letters[0], HAZARD, NO_BUFFER)?;
        let steps = text.chars().filter(|letter| *letter != HAZARD);
        let second = steps.enumerate().fold(0, |second, (place, letter)| {
            second | u8::from(letter.is_ascii_uppercase()) << place
        });
        // There are nine letters.
        let before = find(HAZARD)? as u8;
        Ok(Self { second, before })
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let letter = char::deserialize(deserializer)?;
        let step = Self::of_letter(letter).ok_or(NoSuchSchedule::Letter(letter));
        step.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_orders_of_two_buffers_with_the_hazard_at_every_place_are_there_once() {
        let all = Schedule::all();
        let names: BTreeSet<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!((all.len(), names.len()), (112, 112));
        let orders: BTreeSet<_> = names.iter().map(|name| name.replace('!', "")).collect();
        assert_eq!(orders.len(), 14);
        for name in ["qQ!dDrRxX", "qdrx!QDRX", "qQdDrRxX!", "q!QdrxDRX"] {
            assert!(names.contains(name), "{name}");
        }
        for schedule in all {
            assert_eq!(schedule.to_string().parse(), Ok(schedule));
            let text = serde_json::to_string(&schedule).unwrap();
            assert_eq!(text, format!("\"{schedule}\""));
            assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
        }
    }

    #[test]
    fn every_order_that_keeps_the_rules_is_among_them() {
        // Each arrangement of eight places, by what the rules say and not by how
        // the orders are made.
        let texts = (0..=u8::MAX)
            .filter(|bits| bits.count_ones() == 4)
            .map(|bits| {
                let (mut small, mut capital) = ("qdrx".chars(), "QDRX".chars());
                let letters = (0..8).map(|place| match bits >> place & 1 {
                    0 => small.next().unwrap(),
                    _ => capital.next().unwrap(),
                });
                letters.collect::<String>()
            });
        let keeps = |text: &&String| {
            let place = |letter| text.find(letter).unwrap();
            "qdrx"
                .chars()
                .all(|one| place(one) < place(one.to_ascii_uppercase()))
        };
        let texts: Vec<_> = texts.collect();
        let kept = texts.iter().filter(keeps).count();
        let read = texts
            .iter()
            .filter(|text| format!("{}!", text).parse::<Schedule>().is_ok());
        assert_eq!((texts.len(), kept, read.count()), (70, 14, 14));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        let why = |text: &str| text.parse::<Schedule>().unwrap_err();
        assert_eq!(why("qQ!dDrRxY"), NoSuchSchedule::Letter('Y'));
        assert_eq!(why("qQ!dDrRxXx"), NoSuchSchedule::Twice('x'));
        assert_eq!(why("qQ!dDrR!xX"), NoSuchSchedule::Twice('!'));
        assert_eq!(why(""), NoSuchSchedule::Missing('q'));
        assert_eq!(why("qQ!dDrRx"), NoSuchSchedule::Missing('X'));
        assert_eq!(why("qQdDrRxX"), NoSuchSchedule::Missing('!'));
        for (text, told) in [
            (
                "qQ!DdrRxX",
                "D comes before d: a queue is first in, first out",
            ),
            (
                "qQ!rdDRxX",
                "r comes before d: the steps of a buffer are q, d, r and x in this order",
            ),
            (
                "qD!QdrRxX",
                "D comes before Q: the steps of a buffer are q, d, r and x in this order",
            ),
            (
                "!qQdDrRxX",
                "! comes before q: the hazard is to the memory of a buffer that was queued",
            ),
        ] {
            assert_eq!(why(text).to_string(), told);
        }
        assert!(
            why("before-dma")
                .to_string()
                .starts_with("\"b\" is no step")
        );
        assert!(serde_json::from_str::<Step>("\"y\"").is_err());
        assert!(serde_json::from_str::<Schedule>("\"q\"").is_err());
    }

    #[test]
    fn where_the_hazard_stands_in_the_first_buffers_life_is_its_point() {
        let point = |text: &str| text.parse::<Schedule>().unwrap().point();
        assert_eq!(point("q!QdDrRxX"), Some(Point::BeforeDma));
        assert_eq!(point("qQ!dDrRxX"), Some(Point::BeforeDma));
        assert_eq!(point("qQd!DrRxX"), Some(Point::AfterDma));
        assert_eq!(point("qQdDrR!xX"), Some(Point::AfterDma));
        assert_eq!(point("qQdDrRx!X"), None);
        assert_eq!(point("qdrx!QDRX"), None);
        let steps = "qQd!DrRxX".parse::<Schedule>().unwrap().steps();
        let letters: String = steps.iter().map(ToString::to_string).collect();
        assert_eq!(letters, "qQdDrRxX");
    }
}
