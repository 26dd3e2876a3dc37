//! `vega sniff --pcap`: the packets of a capture, one line each, and what became of them. Layer: bin.

mod fields;
mod file;
mod link;
mod sessions;
mod time;
mod totals;
mod wanted;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value};
use vega::TopicPattern;
use vega::inspect::{self, Cause, Packet, PacketKind, TopicNames};

use self::fields::fields;
use self::file::{Frame, Sink};
use self::link::{Content, Datagram};
use self::totals::Totals;
use self::wanted::Wanted;
use crate::answer;
use crate::args::Common;
use crate::output::{Output, milliseconds};
use crate::signals::{self, StopFlag};

/// Which packets are shown, and whether only totals are.
pub(super) struct View {
    pub(super) kinds: Vec<PacketKind>,
    pub(super) topic: Option<TopicPattern>,
    pub(super) instance: Option<TopicPattern>,
    pub(super) has_totals_only: bool,
}

/// A kind by its name, in whatever case.
///
/// # Errors
///
/// All names, when there is no such kind.
pub(super) fn kind(name: &str) -> Result<PacketKind, String> {
    let is_it = |kind: &&PacketKind| kind.name().eq_ignore_ascii_case(name);
    PacketKind::ALL.iter().find(is_it).copied().ok_or_else(|| {
        let names: Vec<_> = PacketKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("kinds are {}", names.join(", "))
    })
}

/// Shows the capture in a file, or with `-` on standard input.
///
/// # Errors
///
/// When it cannot be read to its end, after what came before has been shown, or standard output cannot be
/// written.
pub(super) fn show(common: &Common, path: &Path, view: View) -> anyhow::Result<ExitCode> {
    let mut viewer = Viewer {
        output: Output::new(common),
        wanted: Wanted::new(view.kinds, view.topic, view.instance),
        has_totals_only: view.has_totals_only,
        names: TopicNames::new(),
        totals: Totals::default(),
        begin: None,
        stop: signals::stop_flag()?,
    };
    let is_standard_input = path == Path::new("-");
    let outcome = if is_standard_input {
        file::read(io::stdin(), &mut viewer)
    } else {
        File::open(path).map_err(Into::into).and_then(|file| file::read(file, &mut viewer))
    };
    // Of what is no capture at all there is nothing to tell.
    let has_packets =
        if outcome.is_err() && viewer.totals.frames == 0 { false } else { viewer.end()? };
    let name = if is_standard_input { "standard input".into() } else { path.display().to_string() };
    outcome.with_context(|| name)?;
    Ok(answer(has_packets))
}

/// One line of JSON about a packet, or about what hides some.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Packet {
        #[serde(flatten)]
        place: Place,
        vega: Map<String, Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<FaultJson>,
    },
    Fragment {
        #[serde(flatten)]
        place: Place,
    },
}

/// Where in the capture, and between whom.
#[derive(Serialize)]
struct Place {
    /// Of the frame in the capture, from 1, as Wireshark counts.
    number: u64,
    time: Option<String>,
    at_ms: Option<f64>,
    from: String,
    to: String,
}

#[derive(Serialize)]
struct FaultJson {
    offset: usize,
    reason: String,
    /// Whether only the capture lacks something.
    is_cut: bool,
}

struct Viewer {
    output: Output,
    wanted: Wanted,
    has_totals_only: bool,
    names: TopicNames,
    totals: Totals,
    /// Time of the first frame that has one.
    begin: Option<SystemTime>,
    stop: StopFlag,
}

impl Sink for Viewer {
    fn frame(&mut self, frame: &Frame<'_>) -> io::Result<bool> {
        self.totals.frames += 1;
        self.begin = self.begin.or(frame.time);
        match link::content(frame) {
            Content::Udp(datagram) => self.datagram(frame.time, &datagram)?,
            Content::Fragment { from, to } => {
                self.totals.fragments += 1;
                if self.wanted.is_everything() && !self.has_totals_only {
                    let place = self.place(frame.time, from.to_string(), to.to_string());
                    let text = format!("{} a fragment of UDP over IP: not read", place.text());
                    self.output.result(&Line::Fragment { place }, text)?;
                }
            }
            Content::Other => self.totals.other += 1,
            Content::Cut => self.totals.cut += 1,
            Content::Damaged => self.totals.damaged += 1,
            Content::UnknownLink(link) => self.totals.unknown_link(link),
        }
        Ok(!self.stop.is_raised())
    }

    fn before_waiting(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl Viewer {
    fn datagram(&mut self, time: Option<SystemTime>, datagram: &Datagram<'_>) -> io::Result<()> {
        let Some(found) = inspect::captured(datagram.payload, datagram.sent_bytes) else {
            self.totals.foreign += 1;
            return Ok(());
        };
        self.totals.datagrams += 1;
        self.totals.ignored += u64::from(!found.ignored.is_empty());
        for packet in &found.packets {
            self.names.learn(packet);
            if self.wanted.admits(packet, &self.names) {
                self.totals.count(packet, datagram.to);
                if !self.has_totals_only {
                    self.packet(time, packet, (datagram.from, datagram.to))?;
                }
            }
        }
        Ok(())
    }

    fn packet(
        &mut self,
        time: Option<SystemTime>,
        packet: &Packet<'_>,
        (from, to): (SocketAddr, SocketAddr),
    ) -> io::Result<()> {
        let place = self.place(time, from.to_string(), to.to_string());
        if !self.output.is_json() {
            return self.output.text(format_args!("{} {}", place.text(), packet.line(&self.names)));
        }
        let fault = packet.fault.map(|fault| FaultJson {
            offset: fault.offset,
            reason: fault.cause.to_string(),
            is_cut: fault.cause == Cause::Cut,
        });
        self.output.json(&Line::Packet { place, vega: fields(packet, &self.names), fault })
    }

    fn place(&self, time: Option<SystemTime>, from: String, to: String) -> Place {
        Place {
            number: self.totals.frames,
            time: time.map(|time| humantime::format_rfc3339_nanos(time).to_string()),
            at_ms: time.zip(self.begin).map(|(time, begin)| since(begin, time)),
            from,
            to,
        }
    }

    /// Says what there was in all. Returns whether there were packets that are wanted.
    fn end(&mut self) -> io::Result<bool> {
        if self.output.is_json() {
            self.output.json(&self.totals.json(&self.names))?;
        } else {
            if !self.has_totals_only && self.totals.packets() > 0 {
                self.output.text("")?;
            }
            self.output.text(self.totals.text(&self.names))?;
        }
        self.output.flush()?;
        Ok(self.totals.packets() > 0)
    }
}

impl Place {
    /// `   0.001204s 10.0.0.1:1 > 10.0.0.2:2`, with the time since the capture began.
    fn text(&self) -> String {
        let at = self.at_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.6}s", ms / 1e3));
        format!("{at:>12} {} > {}", self.from, self.to)
    }
}

/// Milliseconds from one time to another, which may be before.
fn since(begin: SystemTime, time: SystemTime) -> f64 {
    match time.duration_since(begin) {
        Ok(after) => milliseconds(after),
        Err(before) => -milliseconds(before.duration()),
    }
}

/// A count that people read, and nothing when there is none.
fn remark(count: u64, text: impl FnOnce(u64) -> String) -> Option<String> {
    (count > 0).then(|| text(count))
}
