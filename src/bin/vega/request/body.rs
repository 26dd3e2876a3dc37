//! The body of the responses of `vega respond`: text with placeholders. Layer: bin.

use std::convert::Infallible;
use std::str::FromStr;

const PAYLOAD: &str = "{payload}";
const NUMBER: &str = "{n}";

/// A text that is cut where something is filled in. Other braces are text: bodies may be JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// What the requester sent.
    Payload,
    /// Number of the response, from 1.
    Number,
}

impl FromStr for Body {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, length) = if rest.starts_with(PAYLOAD) {
                (Part::Payload, PAYLOAD.len())
            } else if rest.starts_with(NUMBER) {
                (Part::Number, NUMBER.len())
            } else {
                let end = [PAYLOAD, NUMBER].iter().filter_map(|mark| rest.find(mark)).min();
                let end = end.unwrap_or(rest.len());
                (Part::Text(rest[..end].to_owned()), end)
            };
            parts.push(part);
            rest = &rest[length..];
        }
        Ok(Self { parts })
    }
}

impl Body {
    /// The body of response `number` to a request with this payload.
    pub(super) fn fill(&self, payload: &[u8], number: u64) -> Vec<u8> {
        let mut filled = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Part::Payload => filled.extend_from_slice(payload),
                Part::Number => filled.extend_from_slice(number.to_string().as_bytes()),
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(body: &str) -> Vec<u8> {
        let Ok(body) = body.parse::<Body>();
        body.fill(b"EUR\xff{n}", 7)
    }

    #[test]
    fn placeholders_are_filled_in_and_payloads_are_not_read_again() {
        assert_eq!(filled("quote {n} of {payload}!"), b"quote 7 of EUR\xff{n}!");
        assert_eq!(filled("{n}{n}"), b"77");
        assert_eq!(filled(""), b"");
    }

    #[test]
    fn other_braces_are_text() {
        assert_eq!(filled(r#"{"bid":{n},"x":{}}"#), br#"{"bid":7,"x":{}}"#);
        assert_eq!(filled("{{n}} {payload {N}"), b"{7} {payload {N}");
    }
}
