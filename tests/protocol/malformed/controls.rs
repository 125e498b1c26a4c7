//! Controls in numbers, sizes and places that are none.

use super::Storm;
use super::buffers::bad_segments;
use crate::harness::Options;
use crate::harness::memory::{HIGH, Segment};
use crate::harness::v4l2::*;

const EXT: [Ioctl; 3] = [G_EXT_CTRLS, S_EXT_CTRLS, TRY_EXT_CTRLS];

impl Storm {
    /// Controls with payloads in those places are refused.
    fn controls_refused(
        &mut self,
        ioctl: Ioctl,
        which: u32,
        controls: &[(u32, u32, u64)],
        list: &[Segment],
        case: &str,
    ) {
        let mut given = ext_controls(which, controls);
        given.extend(scatter_list(list));
        let command = ioctl_command(self.session, ioctl.code, &given);
        let case = format!("{ioctl:?}: {case}");
        self.refused(&command, RESPONSE + ext_answer(controls.len()), &case);
    }
}

#[test]
fn text_that_leads_astray_is_neither_read_nor_written() {
    let mut storm = Storm::new(Options::default());
    let good = (HIGH, 20);
    for (why, bad) in bad_segments(&storm.driver) {
        let lists: [&[Segment]; 3] = [&[bad], &[bad, good], &[good, bad]];
        for (place, list) in lists.into_iter().enumerate() {
            // All of the bad one counts; what is beyond a text's size does not.
            let sum: u64 = list.iter().map(|(_, len)| u64::from(*len)).sum();
            let size = u32::try_from(sum).unwrap_or(u32::MAX).max(21);
            let ioctl = EXT[storm.cases % 3];
            let text = [(HUE, 0, 1), (TEXT, size, 0)];
            storm.controls_refused(ioctl, 0, &text, list, &format!("{why}, {place}"));
        }
    }
    assert!(storm.end() > 300);
}

#[test]
fn counts_and_lists_that_do_not_agree_are_refused() {
    let mut storm = Storm::new(Options::default());
    for ioctl in EXT {
        for count in [1025, 2000, 0x8000_0000, u32::MAX] {
            let given = ext_controls(0, &[(HUE, 0, 0); 8]).with(4, count);
            let command = ioctl_command(storm.session, ioctl.code, &given);
            storm.refused(&command, RESPONSE + (64 << 10), "too many");
        }
        // These are all there.
        let many = vec![(HUE, 0, 0); 1025];
        storm.controls_refused(ioctl, 0, &many, &[], "one too many");
        for count in 9..60 {
            let given = ext_controls(0, &[(HUE, 0, 0); 8]).with(4, count);
            let command = ioctl_command(storm.session, ioctl.code, &given);
            storm.refused(&command, RESPONSE + 4096, "more than there are");
        }
        // The entries of a text stop too early, or its last one is cut.
        let whole = [(HIGH, 9), (HIGH + 100, 9)];
        for size in [19, 20, 64, 4096, u32::MAX] {
            storm.controls_refused(ioctl, 0, &[(TEXT, size, 0)], &whole, "too short");
        }
        let mut given = ext_controls(0, &[(TEXT, 18, 0)]);
        let least = given.len();
        given.extend(scatter_list(&whole));
        for len in least..given.len() {
            let command = ioctl_command(storm.session, ioctl.code, &given[..len]);
            storm.refused(&command, RESPONSE + ext_answer(1), "a list that is cut");
        }
        // Two texts, of which the second has none left.
        let two = [(TEXT, 9, 0), (TEXT, 10, 0)];
        storm.controls_refused(ioctl, 0, &two, &whole, "the second is short");
    }
    assert!(storm.end() > 200);
}

#[test]
fn classes_ids_and_flags_that_are_none_are_refused() {
    let mut storm = Storm::new(Options::default());
    for ioctl in EXT {
        let bits = (0..32).map(|bit| 1 << bit);
        for which in bits.chain([0x0f01_0000, 0x0f00_0001, 0x0098_0001, u32::MAX]) {
            storm.controls_refused(ioctl, which, &[(HUE, 0, 0)], &[], "another class");
            storm.controls_refused(ioctl, which, &[], &[], "no such class");
        }
        for bit in 0..28 {
            let id = HUE ^ 1 << bit;
            // Other controls of its class.
            if (0x0098_0900..0x0098_0920).contains(&id) {
                continue;
            }
            storm.controls_refused(ioctl, 0, &[(HUE, 0, 0), (id, 0, 0)], &[], "another id");
        }
    }
    for flags in [0x4000_0000u32, 0x5000_0000, 0x1000_0000 | 1] {
        for id in [0, HUE, 0x0fff_ffff] {
            for ioctl in [QUERYCTRL, QUERY_EXT_CTRL] {
                let given = payload(ioctl).with(0, id | flags);
                let command = ioctl_command(storm.session, ioctl.code, &given);
                if flags == 0x1000_0001 && id == HUE {
                    continue;
                }
                storm.refused(&command, RESPONSE + ioctl.size, "no such control");
            }
        }
    }
    for (kind, id) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 0),
        (3, HUE | 1 << 31),
        (5, 2),
        (6, 0),
    ] {
        let command = ioctl_command(
            storm.session,
            SUBSCRIBE_EVENT.code,
            &subscription(kind, id, 0),
        );
        storm.refused(&command, RESPONSE, "no such event");
    }
    for target in (3..0x100).step_by(7).chain([0x104, 0x1000, u32::MAX]) {
        for ioctl in [G_SELECTION, S_SELECTION] {
            let given = payload(ioctl).with(0, CAPTURE).with(4, target);
            let command = ioctl_command(storm.session, ioctl.code, &given);
            storm.refused(&command, RESPONSE + ioctl.size, "no such selection");
        }
    }
    assert!(storm.end() > 300);
}

#[test]
fn as_many_texts_as_there_may_be_take_no_memory() {
    let mut storm = Storm::new(Options::default());
    storm.driver.memory.write(HIGH, &[b'x'; 40]);
    storm.driver.memory.write(HIGH + 40, &[0]);
    for entries in [1, 41] {
        let texts = vec![(TEXT, 41, 0); 1024];
        let mut given = ext_controls(0, &texts);
        let one: Vec<Segment> = match entries {
            1 => vec![(HIGH, 41)],
            _ => (0..41).map(|i| (HIGH + i, 1)).collect(),
        };
        for _ in 0..1024 {
            given.extend(scatter_list(&one));
        }
        let command = ioctl_command(storm.session, S_EXT_CTRLS.code, &given);
        let reply = storm.driver.command(&command, RESPONSE + ext_answer(1024));
        assert_eq!(reply.status(), Some(0));
        storm.survived("a thousand texts");
    }
    let none = ext_controls(0, &[(TEXT, 1, 0)]);
    storm.driver.memory.write(HIGH, &[0]);
    let given = [none, scatter_list(&[(HIGH, 1)])].concat();
    let command = ioctl_command(storm.session, S_EXT_CTRLS.code, &given);
    let reply = storm.driver.command(&command, RESPONSE + ext_answer(1));
    assert_eq!(reply.status(), Some(0));
    storm.end();
}
