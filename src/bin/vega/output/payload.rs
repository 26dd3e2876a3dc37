//! Payloads, which are bytes, as text, as hexadecimal digits, and in JSON. Layer: bin.

use std::fmt::Write;

use serde::Serialize;

/// How payloads are printed. The variants have no doc comments: `clap` would spread every option of
/// the help over several lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    // Text on one line; what is not printable UTF-8 is escaped.
    Text,
    // Hexadecimal digits.
    Hex,
    // The payload alone, byte for byte, and a line feed.
    Raw,
}

/// The payload's part of a JSON object: `payload` when it is UTF-8, `payload_hex` otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct PayloadJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

impl<'a> PayloadJson<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        let text = str::from_utf8(payload).ok();
        Self { payload: text, payload_hex: text.is_none().then(|| hex(payload)) }
    }

    /// In hexadecimal digits, even if it is text.
    pub(crate) fn in_hex(payload: &[u8]) -> Self {
        Self { payload: None, payload_hex: Some(hex(payload)) }
    }
}

/// Two lower-case digits per byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Text on one line that does to a terminal what text does: control characters, which payloads of
/// strangers may contain, are escaped, and so are bytes that are not UTF-8.
pub(crate) fn one_line(payload: &[u8]) -> String {
    let mut line = String::with_capacity(payload.len());
    for chunk in payload.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_text_has_no_control_characters() {
        assert_eq!(one_line("1,0842 € \"bid\"".as_bytes()), "1,0842 € \"bid\"");
        assert_eq!(one_line(b"a\nb\x1b[31m\xff\xc3"), r"a\nb\u{1b}[31m\xff\xc3");
        assert_eq!(one_line(b""), "");
    }

    #[test]
    fn json_has_text_or_digits() {
        let json = |payload: PayloadJson<'_>| serde_json::to_string(&payload).unwrap();
        assert_eq!(json(PayloadJson::new(b"bid")), r#"{"payload":"bid"}"#);
        assert_eq!(json(PayloadJson::new(b"\x00\xff")), r#"{"payload_hex":"00ff"}"#);
        assert_eq!(json(PayloadJson::in_hex(b"bid")), r#"{"payload_hex":"626964"}"#);
    }
}
