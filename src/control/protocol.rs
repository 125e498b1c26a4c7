//! The messages between clients and the card: one JSON object per line.

use serde::{Deserialize, Serialize};

use crate::card::controls::{ControlInfo, Value};
use crate::card::inputs::InputInfo;
use crate::card::statistics::Snapshot;

/// Largest size of a request in bytes, without its newline.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Largest size of an answer in bytes that a client accepts.
pub const MAX_ANSWER: usize = 4 << 20;

/// A client's request, such as `{"request":"statistics"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Asks for the card's statistics.
    Statistics {},
    /// Asks for controls and their values; without names, for all.
    Get {
        /// Names as `v4l2-ctl` writes them.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Sets controls, one after the other. If one cannot be set, those before
    /// it are set.
    Set {
        /// The controls and their new values.
        controls: Vec<Setting>,
    },
    /// Makes an error happen.
    Inject {
        /// Name of a control of the class "Error Injection".
        name: String,
        /// The control's new value, such as a number of times; 1 if absent.
        count: Option<i64>,
    },
    /// Asks for the inputs.
    Inputs {},
    /// Selects an input.
    Select {
        /// Index of the input.
        input: u32,
    },
    /// Plugs another source into the selected input.
    Source {
        /// The source, as `pinhole device --source` takes it: a pattern, a file
        /// or a FIFO. A relative path is resolved in the card's working
        /// directory.
        spec: String,
    },
}

/// A control and its new value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Name of the control, as `v4l2-ctl` writes it.
    pub name: String,
    /// A number, possibly as text; the name of a menu item; or text.
    pub value: Value,
}

/// The card's answer, such as `{"error":"there is no such request"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The reason for which the request was not executed.
    Error(String),
    /// The card's statistics.
    Statistics(Box<Snapshot>),
    /// The requested controls, or those that were set, with their current
    /// values.
    Controls(Vec<ControlInfo>),
    /// The inputs in their current state.
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
