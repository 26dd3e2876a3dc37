//! What commands print: results on standard output, as JSON for machines or as text for people,
//! and remarks on standard error. Layer: bin.

mod payload;
mod progress;
mod table;

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

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

    /// Hands everything printed so far to the reader.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A remark for people, on standard error. One that nobody can read is no reason to fail.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "vega: {text}");
}

/// Whether the reader of our output has gone away, which is no failure of ours.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
