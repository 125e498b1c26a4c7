//! The oracles that cannot be asked about a device without a witness.

use super::Oracle;
use crate::agent::survey::{Powers, SurveyAnswer};
use crate::card::CardKind;

impl Oracle {
    /// Returns whether the oracle has nothing to say without the device's witness.
    pub const fn needs_witness(self) -> bool {
        matches!(self, Self::Address)
    }

    /// Returns whether the oracle takes the place of a witness, and has nothing to say
    /// where there is one.
    pub const fn replaces_witness(self) -> bool {
        matches!(self, Self::Untouched | Self::Order)
    }
}

/// Returns the oracles that cannot be asked about the device that was surveyed, or not
/// wholly, each with the reason. What the kernel would have to be built with
/// ([`Oracle::check`]) is not among them.
pub fn missing(survey: &SurveyAnswer) -> Vec<(Oracle, String)> {
    let reason = |oracle: &Oracle| Some((*oracle, reason(*oracle, survey)?));
    Oracle::ALL.iter().filter_map(reason).collect()
}

fn reason(oracle: Oracle, survey: &SurveyAnswer) -> Option<String> {
    let Powers {
        no_frames,
        no_page_flags,
        no_pin_counters,
        no_log,
        no_mappings,
    } = &survey.powers;
    let writes = survey.kind != Some(CardKind::Output);
    let said = |why: &str| Some(why.to_owned());
    match oracle {
        Oracle::Address => said("nobody tells which pages the device was given"),
        Oracle::Data if !writes => said("nobody tells what the device reads"),
        Oracle::Data if survey.picture.is_none() && survey.kind == Some(CardKind::M2m) => said(
            "it is not known what the device makes of a frame: that it writes is seen, and not what",
        ),
        Oracle::Data if survey.picture.is_none() => {
            said("the device shows no still picture: that it writes is seen, and not what")
        }
        Oracle::Untouched if !writes => said("the device only reads"),
        Oracle::Pins => no_pin_counters.clone(),
        Oracle::Dirty => no_frames.clone().or_else(|| no_page_flags.clone()),
        Oracle::Idle => said("no cell of such a device looks at idle pages"),
        Oracle::Mappings => no_mappings.clone(),
        Oracle::Log => no_log.clone(),
        Oracle::Outcome
        | Oracle::Data
        | Oracle::Fences
        | Oracle::Untouched
        | Oracle::Order
        | Oracle::Leaks => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::picture::Picture;

    fn survey(kind: CardKind) -> SurveyAnswer {
        SurveyAnswer {
            driver: "vivid".into(),
            card: "vivid".into(),
            bus: "platform:vivid-000".into(),
            version: "6.12.107".into(),
            kind: Some(kind),
            subject: None,
            notes: Vec::new(),
            picture: None,
            powers: Powers::default(),
        }
    }

    fn oracles(survey: &SurveyAnswer) -> Vec<Oracle> {
        missing(survey)
            .into_iter()
            .map(|(oracle, _)| oracle)
            .collect()
    }

    #[test]
    fn an_oracle_is_missing_for_a_reason() {
        use Oracle::*;
        let mut capture = survey(CardKind::Capture);
        assert_eq!(oracles(&capture), [Data, Address, Idle]);
        capture.picture = Some(Picture {
            bytes: 1,
            digests: Vec::new(),
        });
        assert_eq!(oracles(&capture), [Address, Idle]);
        assert_eq!(
            oracles(&survey(CardKind::Output)),
            [Data, Address, Idle, Untouched]
        );
        let mut m2m = survey(CardKind::M2m);
        assert_eq!(oracles(&m2m), [Data, Address, Idle]);
        assert!(
            missing(&m2m)[0]
                .1
                .contains("what the device makes of a frame")
        );
        m2m.picture = capture.picture.clone();
        assert_eq!(oracles(&m2m), [Address, Idle]);
        let no = |why: &str| Some(why.to_owned());
        capture.powers = Powers {
            no_frames: no("page frames take CAP_SYS_ADMIN"),
            no_page_flags: no("root alone reads page flags"),
            no_pin_counters: no("no pins"),
            no_log: no("no log"),
            no_mappings: no("no debugfs"),
        };
        let all = [Address, Pins, Mappings, Dirty, Idle, Log];
        assert_eq!(oracles(&capture), all);
        let why = &missing(&capture)[3].1;
        assert_eq!(why, "page frames take CAP_SYS_ADMIN");
        capture.powers.no_frames = None;
        assert_eq!(oracles(&capture), all);
    }

    #[test]
    fn what_is_missing_without_a_witness_says_why() {
        let missing = oracles(&survey(CardKind::Capture));
        for oracle in Oracle::ALL.iter().filter(|oracle| oracle.needs_witness()) {
            assert!(missing.contains(oracle), "{oracle}");
        }
    }
}
