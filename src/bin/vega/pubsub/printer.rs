//! How `vega sub` prints what it hears, and what it counts. Layer: bin.

use std::fmt;
use std::io;

use indicatif::HumanCount;
use serde::Serialize;

use super::arrival::{Arrival, Event};
use crate::output::{Format, Output, PayloadJson, count, hex, milliseconds, note, one_line};

/// Prints arrivals until there are as many as wanted.
#[derive(Debug)]
pub(super) struct Printer {
    output: Output,
    format: Format,
    wanted: Option<u64>,
    /// Messages and requests printed.
    printed: u64,
    /// Messages lost on the way here.
    lost: u64,
    /// What came faster than it could be printed.
    skipped: u64,
}

impl Printer {
    pub(super) const fn new(output: Output, format: Format, wanted: Option<u64>) -> Self {
        Self { output, format, wanted, printed: 0, lost: 0, skipped: 0 }
    }

    pub(super) fn wants_more(&self) -> bool {
        self.wanted.is_none_or(|wanted| self.printed < wanted)
    }

    /// Whether nothing is missing of what was asked for.
    pub(super) fn has_all(&self) -> bool {
        self.wanted.is_none_or(|wanted| self.printed >= wanted)
    }

    pub(super) fn print(&mut self, arrival: &Arrival) -> io::Result<()> {
        match &arrival.event {
            Event::Message { .. } | Event::Request { .. } => self.printed += 1,
            Event::Lost { messages } => self.lost += messages,
        }
        if self.output.is_json() {
            return self.output.json(&Line::new(arrival, self.format));
        }
        match &arrival.event {
            Event::Message { sequence, payload } => self.text(arrival, *sequence, "", payload),
            Event::Request { sequence, payload, .. } => {
                self.text(arrival, *sequence, "request ", payload)
            }
            Event::Lost { messages } => {
                let Arrival { topic, sender, .. } = arrival;
                let lost = count(*messages, "message");
                self.remark(format_args!("{lost} lost on {topic} from {sender}"))
            }
        }
    }

    fn text(
        &mut self,
        arrival: &Arrival,
        sequence: u64,
        mark: &str,
        payload: &[u8],
    ) -> io::Result<()> {
        let shown = match self.format {
            Format::Raw => return self.output.line(payload),
            Format::Text => one_line(payload),
            Format::Hex => hex(payload),
        };
        self.output.text(format_args!("{} #{sequence} {mark}{shown}", arrival.topic))
    }

    /// Says that arrivals were skipped because the inbox was full.
    pub(super) fn skipped(&mut self, messages: u64) -> io::Result<()> {
        if messages == 0 {
            return Ok(());
        }
        self.skipped += messages;
        if self.output.is_json() {
            return self.output.json(&Line::Skipped { messages });
        }
        let skipped = count(messages, "message");
        self.remark(format_args!("{skipped} skipped: standard output is slower than they come"))
    }

    /// Standard output first, so that a terminal shows both in order.
    fn remark(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.output.flush()?;
        note(text);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    pub(super) fn summary(&self) -> String {
        let mut text = format!("{} received", count(self.printed, "message"));
        for (number, what) in [(self.lost, "lost"), (self.skipped, "skipped")] {
            if number > 0 {
                text.push_str(&format!(", {} {what}", HumanCount(number)));
            }
        }
        text
    }
}

/// One line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Message(Numbered<'a>),
    Request {
        request: String,
        timeout_ms: f64,
        #[serde(flatten)]
        arrived: Numbered<'a>,
    },
    Lost {
        #[serde(flatten)]
        origin: Origin<'a>,
        messages: u64,
    },
    Skipped {
        messages: u64,
    },
}

#[derive(Debug, Serialize)]
struct Origin<'a> {
    topic: &'a str,
    sender: String,
    publisher: String,
}

/// What messages and requests have in common.
#[derive(Debug, Serialize)]
struct Numbered<'a> {
    #[serde(flatten)]
    origin: Origin<'a>,
    sequence: u64,
    #[serde(flatten)]
    payload: PayloadJson<'a>,
}

impl<'a> Line<'a> {
    fn new(arrival: &'a Arrival, format: Format) -> Self {
        let origin = Origin {
            topic: &arrival.topic,
            sender: arrival.sender.to_string(),
            publisher: arrival.publisher.to_string(),
        };
        let numbered = |origin, sequence: &u64, payload: &'a [u8]| Numbered {
            origin,
            sequence: *sequence,
            payload: match format {
                Format::Hex => PayloadJson::in_hex(payload),
                Format::Text | Format::Raw => PayloadJson::new(payload),
            },
        };
        match &arrival.event {
            Event::Message { sequence, payload } => {
                Self::Message(numbered(origin, sequence, payload))
            }
            Event::Request { sequence, payload, request, timeout } => Self::Request {
                request: request.to_string(),
                timeout_ms: milliseconds(*timeout),
                arrived: numbered(origin, sequence, payload),
            },
            Event::Lost { messages } => Self::Lost { origin, messages: *messages },
        }
    }
}
