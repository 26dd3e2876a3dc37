//! What there was in a capture in all. Layer: bin.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use serde::Serialize;
use vega::inspect::{Body, Cause, FrameKind, Packet, TopicHash, TopicNames};

use super::remark;
use super::sessions::{SessionJson, Sessions};
use crate::output::{Table, count, one_line};

/// Topics that are counted one by one.
const MAX_TOPICS: usize = 65_536;

/// Counts while a capture is read.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// In the whole capture, whatever they are.
    pub(super) frames: u64,
    /// UDP datagrams with packets of vega, which can be runs of them.
    pub(super) datagrams: u64,
    /// UDP datagrams that do not begin like a packet of vega.
    pub(super) foreign: u64,
    /// Datagrams with bytes behind their last packet that are none.
    pub(super) ignored: u64,
    /// Parts of UDP datagrams.
    pub(super) fragments: u64,
    /// Frames without UDP.
    pub(super) other: u64,
    /// Frames of which the capture has not even the headers.
    pub(super) cut: u64,
    /// Frames with headers that contradict themselves.
    pub(super) damaged: u64,
    unknown_link_frames: u64,
    /// The first link that is not read.
    unknown_link: Option<u32>,
    kinds: BTreeMap<&'static str, u64>,
    refused_packets: u64,
    cut_packets: u64,
    topics: BTreeMap<TopicHash, Topic>,
    sessions: Sessions,
}

#[derive(Debug, Default)]
struct Topic {
    messages: u64,
    requests: u64,
    responses: u64,
    bytes: u64,
}

/// The same at the end, for machines.
#[derive(Serialize)]
#[serde(tag = "type", rename = "totals")]
pub(super) struct TotalsJson {
    frames: u64,
    datagrams: u64,
    foreign: u64,
    ignored: u64,
    fragments: u64,
    other: u64,
    cut: u64,
    damaged: u64,
    unknown_link: u64,
    packets: u64,
    cut_packets: u64,
    refused_packets: u64,
    kinds: BTreeMap<&'static str, u64>,
    topics: Vec<TopicJson>,
    sessions: Vec<SessionJson>,
    untracked: u64,
}

#[derive(Serialize)]
struct TopicJson {
    topic: Option<String>,
    hash: String,
    messages: u64,
    requests: u64,
    responses: u64,
    bytes: u64,
}

impl Totals {
    pub(super) fn unknown_link(&mut self, link: u32) {
        self.unknown_link_frames += 1;
        self.unknown_link.get_or_insert(link);
    }

    /// Counts a packet that was sent to an address.
    pub(super) fn count(&mut self, packet: &Packet<'_>, to: SocketAddr) {
        let kind = packet.kind.map_or("unknown", |kind| kind.name());
        *self.kinds.entry(kind).or_default() += 1;
        match packet.fault.map(|fault| fault.cause) {
            None => {}
            Some(Cause::Cut) => self.cut_packets += 1,
            Some(_) => self.refused_packets += 1,
        }
        self.sessions.follow(packet, to);
        let Some(Body::Data { frames, .. }) = &packet.body else { return };
        for frame in frames {
            if self.topics.len() >= MAX_TOPICS && !self.topics.contains_key(&frame.topic) {
                continue;
            }
            let topic = self.topics.entry(frame.topic).or_default();
            topic.bytes += frame.body_bytes() as u64;
            // Of one in fragments, the last one counts.
            let count = match frame.kind {
                FrameKind::Message => &mut topic.messages,
                FrameKind::Request => &mut topic.requests,
                FrameKind::Response => &mut topic.responses,
                _ => continue,
            };
            *count += u64::from(frame.ends());
        }
    }

    pub(super) fn packets(&self) -> u64 {
        self.kinds.values().sum()
    }

    fn topic_rows(&self, names: &TopicNames) -> Vec<TopicJson> {
        let row = |(hash, topic): (&TopicHash, &Topic)| TopicJson {
            topic: names.name(*hash).map(str::to_owned),
            hash: format!("{:#018x}", hash.as_u64()),
            messages: topic.messages,
            requests: topic.requests,
            responses: topic.responses,
            bytes: topic.bytes,
        };
        self.topics.iter().map(row).collect()
    }

    pub(super) fn json(&self, names: &TopicNames) -> TotalsJson {
        TotalsJson {
            frames: self.frames,
            datagrams: self.datagrams,
            foreign: self.foreign,
            ignored: self.ignored,
            fragments: self.fragments,
            other: self.other,
            cut: self.cut,
            damaged: self.damaged,
            unknown_link: self.unknown_link_frames,
            packets: self.packets(),
            cut_packets: self.cut_packets,
            refused_packets: self.refused_packets,
            kinds: self.kinds.clone(),
            topics: self.topic_rows(names),
            sessions: self.sessions.rows(),
            untracked: self.sessions.untracked(),
        }
    }

    /// For people: what there was, what could not be read, then tables.
    pub(super) fn text(&self, names: &TopicNames) -> String {
        let (packets, frames) = (self.packets(), self.frames);
        let mut text = format!("{} in {}", count(packets, "packet"), count(frames, "frame"));
        let kinds: Vec<_> =
            self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if !kinds.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(text, ": {}", kinds.join(", "));
        }
        for remark in self.remarks() {
            let _ = write!(text, "\n! {remark}");
        }
        let mut add = |table: Table| {
            let _ = write!(text, "\n\n{table}");
        };
        let topics = self.topic_rows(names);
        if !topics.is_empty() {
            let mut table = Table::new(&["topic", "messages", "requests", "responses", "bytes"]);
            for topic in topics {
                let name = topic.topic.map_or(topic.hash, |name| one_line(name.as_bytes()));
                let numbers = [topic.messages, topic.requests, topic.responses, topic.bytes];
                let [messages, requests, responses, bytes] = numbers.map(|it| it.to_string());
                table.row([name, messages, requests, responses, bytes]);
            }
            add(table.right(&[1, 2, 3, 4]));
        }
        let sessions = self.sessions.rows();
        if !sessions.is_empty() {
            let mut table = Table::new(&[
                "session", "to", "packets", "first", "last", "missing", "late", "repeated", "NAKs",
                "asked",
            ]);
            sessions.iter().for_each(|row| table.row(row.cells()));
            add(table.right(&[2, 3, 4, 5, 6, 7, 8, 9]).spare(&[3, 4]));
        }
        text
    }

    fn remarks(&self) -> impl Iterator<Item = String> {
        let link = self.unknown_link.unwrap_or_default();
        [
            remark(self.refused_packets, |it| {
                format!("{} with something that receivers refuse", count(it, "packet"))
            }),
            remark(self.cut_packets, |it| {
                format!("{} of which the capture has not all bytes", count(it, "packet"))
            }),
            remark(self.foreign, |it| format!("{} of others", count(it, "UDP datagram"))),
            remark(self.ignored, |it| {
                format!("{} with bytes behind the last packet", count(it, "datagram"))
            }),
            remark(self.fragments, |it| {
                format!("{} of IP, in which packets may be hidden", count(it, "fragment"))
            }),
            remark(self.cut, |it| {
                format!("{} of which the capture has not even the headers", count(it, "frame"))
            }),
            remark(self.damaged, |it| {
                format!("{} with headers that contradict themselves", count(it, "frame"))
            }),
            remark(self.unknown_link_frames, |it| {
                format!("{} of links that are not read, such as type {link}", count(it, "frame"))
            }),
            remark(self.sessions.untracked(), |it| {
                format!("{} of more sessions than are followed", count(it, "packet"))
            }),
        ]
        .into_iter()
        .flatten()
    }
}
