//! What clients and the card say to each other: one JSON object a line.

use serde::{Deserialize, Serialize};

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
}

/// What it is told, such as `{"error":"there is no such request"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The request was not executed, and why.
    Error(String),
    /// What the card has counted.
    Statistics(Box<Snapshot>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_they_are_documented() {
        let (line, request) = (r#"{"request":"statistics"}"#, Request::Statistics {});
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        for line in [
            "",
            "{}",
            "[]",
            "null",
            r#""statistics""#,
            r#"{"request":"no"}"#,
            r#"{"request":"statistics","more":1}"#,
            r#"{"request":"statistics"} x"#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }
}
