//! What clients and the card say to each other: one JSON object a line.

use serde::{Deserialize, Serialize};

use crate::card::controls::{ControlInfo, Value};
use crate::card::inputs::InputInfo;
use crate::card::statistics::Snapshot;

/// Bytes of a request at most, without the end of its line.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Bytes of an answer at most that a client takes.
pub const MAX_ANSWER: usize = 4 << 20;

/// What a client asks for, such as `{"request":"statistics"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What the card has counted.
    Statistics {},
    /// The controls and their values; without names, all.
    Get {
        /// As `v4l2-ctl` writes them.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Sets controls, one after the other; those before one that cannot be set
    /// are set.
    Set {
        /// What to set.
        controls: Vec<Setting>,
    },
    /// Makes an error happen.
    Inject {
        /// A control of the class "Error Injection".
        name: String,
        /// What to set it to, such as how often; 1 if it is left out.
        count: Option<i64>,
    },
    /// The inputs.
    Inputs {},
    /// Selects an input.
    Select {
        /// Its number.
        input: u32,
    },
    /// Plugs another source into the selected input.
    Source {
        /// As `pinhole device --source` takes it: a pattern, a file or a FIFO. A
        /// relative path is one of the card's folder.
        spec: String,
    },
}

/// What a control is to be set to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The control, as `v4l2-ctl` writes it.
    pub name: String,
    /// A number, or text that is one; the name of a menu's item; text.
    pub value: Value,
}

/// What it is told, such as `{"error":"there is no such request"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The request was not executed, and why.
    Error(String),
    /// What the card has counted.
    Statistics(Box<Snapshot>),
    /// The controls that were asked for, or set, as they are now.
    Controls(Vec<ControlInfo>),
    /// The inputs as they are now.
    Inputs(Vec<InputInfo>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_they_are_documented() {
        for (line, request) in [
            (r#"{"request":"statistics"}"#, Request::Statistics {}),
            (
                r#"{"request":"get","names":["gain"]}"#,
                Request::Get {
                    names: vec!["gain".into()],
                },
            ),
            (
                r#"{"request":"set","controls":[{"name":"gain","value":5},{"name":"text","value":"x"}]}"#,
                Request::Set {
                    controls: vec![
                        Setting {
                            name: "gain".into(),
                            value: Value::Integer(5),
                        },
                        Setting {
                            name: "text".into(),
                            value: Value::Text("x".into()),
                        },
                    ],
                },
            ),
            (
                r#"{"request":"inject","name":"stall","count":20}"#,
                Request::Inject {
                    name: "stall".into(),
                    count: Some(20),
                },
            ),
            (r#"{"request":"inputs"}"#, Request::Inputs {}),
            (
                r#"{"request":"select","input":1}"#,
                Request::Select { input: 1 },
            ),
            (
                r#"{"request":"source","spec":"pattern"}"#,
                Request::Source {
                    spec: "pattern".into(),
                },
            ),
        ] {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
        let all = serde_json::from_str::<Request>(r#"{"request":"get"}"#).unwrap();
        assert_eq!(all, Request::Get { names: Vec::new() });
        for line in [
            "",
            "{}",
            "[]",
            "null",
            r#""statistics""#,
            r#"{"request":"no"}"#,
            r#"{"request":"statistics","more":1}"#,
            r#"{"request":"statistics"} x"#,
            r#"{"request":"set"}"#,
            r#"{"request":"set","controls":[{"name":"gain"}]}"#,
            r#"{"request":"set","controls":[{"name":"gain","value":1.5}]}"#,
            r#"{"request":"select","input":-1}"#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }
}
