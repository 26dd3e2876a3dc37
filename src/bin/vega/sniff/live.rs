//! One line for each event, until somebody ends it. Layer: bin.

use std::io;
use std::time::Duration;

use crossbeam_channel::{never, select};
use vega::{Sniffer, SnifferEvent};

use super::filter::Filter;
use super::line::{Line, json, snapshot_text, text};
use crate::inbox::Outlet;
use crate::output::{Output, count, note};
use crate::signals::StopFlag;

/// Prints what happens, and at the end what there is.
pub(super) fn print(
    sniffer: &Sniffer,
    filter: Filter,
    output: Output,
    (outlet, stop, duration): (&Outlet<(Duration, SnifferEvent)>, &StopFlag, Option<Duration>),
) -> io::Result<()> {
    let mut log = Log { output, filter };
    log.begin(sniffer)?;
    let time_is_up = duration.map_or_else(never, crossbeam_channel::after);
    loop {
        if outlet.receiver.is_empty() {
            log.output.flush()?;
        }
        select! {
            recv(outlet.receiver) -> event => match event {
                Ok((at, event)) => log.event(at, &event)?,
                Err(_) => break,
            },
            recv(stop.raised()) -> _ => break,
            recv(time_is_up) -> _ => break,
        }
        log.skipped(outlet.take_skipped())?;
    }
    // What had happened before the end.
    for (at, event) in outlet.receiver.try_iter() {
        log.event(at, &event)?;
    }
    log.end(sniffer)
}

struct Log {
    output: Output,
    filter: Filter,
}

impl Log {
    fn begin(&mut self, sniffer: &Sniffer) -> io::Result<()> {
        let group = sniffer.group().map(|group| group.to_string());
        let (id, address) = (sniffer.id().to_string(), sniffer.address().to_string());
        let said = match &group {
            Some(group) => format!("listening to {group}, asking from {address}"),
            None => format!("a client of discovery daemons, at {address}"),
        };
        self.output.result(&Line::SnifferUp { id, address, group }, said)
    }

    fn event(&mut self, at: Duration, event: &SnifferEvent) -> io::Result<()> {
        self.filter.learn(event);
        if self.filter.admits(event)
            && let Some(line) = json(at, event, &self.filter)
            && let Some(text) = text(at, event, &self.filter)
        {
            self.output.result(&line, text)?;
        }
        self.filter.forget(event);
        Ok(())
    }

    fn skipped(&mut self, events: u64) -> io::Result<()> {
        match events {
            0 => Ok(()),
            _ if self.output.is_json() => self.output.json(&Line::Skipped { events }),
            _ => {
                note(format_args!("{} not shown: the output is too slow", count(events, "event")));
                Ok(())
            }
        }
    }

    fn end(&mut self, sniffer: &Sniffer) -> io::Result<()> {
        let snapshot = self.filter.snapshot(&sniffer.snapshot());
        if self.output.is_json() {
            self.output.json(&Line::Snapshot(&snapshot))?;
        } else {
            self.output.text(snapshot_text(&snapshot).lines().next().unwrap_or_default())?;
        }
        self.output.flush()
    }
}
