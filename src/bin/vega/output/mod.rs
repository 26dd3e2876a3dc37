//! What commands print: results on standard output, as JSON for machines or as text for people,
//! and remarks on standard error. Layer: bin.

mod cut;
mod figure;
mod page;
mod payload;
mod progress;
mod table;

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};
use std::time::Duration;

use indicatif::HumanCount;
use serde::Serialize;

pub(crate) use cut::{cut, fit};
pub(crate) use figure::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, figure, level};
pub(crate) use page::{Escaped, Page, Rows};
pub(crate) use payload::{Format, PayloadJson, hex, one_line};
pub(crate) use progress::progress;
pub(crate) use table::Table;

use crate::args::Common;

/// Room for results that have not been flushed.
const BUFFER_BYTES: usize = 64 * 1024;

/// Standard output. Buffered: a stream of results calls [`Output::flush`] whenever it has to wait
/// for the next one, so that a reader sees each at once and a fast stream is not slowed down.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(common: &Common) -> Self {
        Self { json: common.json, out: BufWriter::with_capacity(BUFFER_BYTES, io::stdout()) }
    }

    /// Whether only JSON may be printed.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one JSON document on a line of its own.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        // Not straight into the writer: that would hide a broken pipe in an error of `serde_json`.
        let line = serde_json::to_vec(document)?;
        self.line(&line)
    }

    /// Prints a line of text.
    pub(crate) fn text(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Prints a line of bytes as they are.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(b"\n")
    }

    /// Prints a result that has both forms: `document` for machines or `text` for people.
    pub(crate) fn result(
        &mut self,
        document: &impl Serialize,
        text: impl fmt::Display,
    ) -> io::Result<()> {
        if self.json { self.json(document) } else { self.text(text) }
    }

    /// Prints the one and only result, and hands it to the reader.
    pub(crate) fn finish(
        mut self,
        document: &impl Serialize,
        text: impl fmt::Display,
    ) -> io::Result<()> {
        self.result(document, text)?;
        self.flush()
    }

    /// Hands everything printed so far to the reader.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A remark for people, on standard error. One that nobody can read is no reason to fail.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "vega: {text}");
}

/// A number of things for people: `1 message`, `12,345 messages`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", HumanCount(number), if number == 1 { "" } else { "s" })
}

/// A duration for JSON: milliseconds, down to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// An error and its causes on one line. Some errors tell their cause themselves: it is not said
/// twice.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Whether the reader of our output has gone away, which is no failure of ours.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn things_are_counted_as_people_do() {
        assert_eq!(count(0, "message"), "0 messages");
        assert_eq!(count(1, "message"), "1 message");
        assert_eq!(count(12_345, "message"), "12,345 messages");
    }

    #[test]
    fn causes_are_told_once() {
        let error = anyhow!("port 7 is taken").context("socket: port 7 is taken");
        assert_eq!(
            explain(&error.context("cannot start")),
            "cannot start: socket: port 7 is taken"
        );
    }

    #[test]
    fn a_broken_pipe_is_found_below_its_context() {
        let failed = |kind: io::ErrorKind| Err::<(), _>(io::Error::from(kind)).context("printing");
        assert!(is_broken_pipe(&failed(io::ErrorKind::BrokenPipe).unwrap_err()));
        assert!(!is_broken_pipe(&failed(io::ErrorKind::StorageFull).unwrap_err()));
    }
}
