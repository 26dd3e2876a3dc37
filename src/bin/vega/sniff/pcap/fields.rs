//! The fields of a packet as JSON, under the names that Wireshark has for them. Layer: bin. Without the
//! `vega.` in front, and with the values as `tshark -T fields` prints them, so that both can be compared and a value
//! can go into a display filter. What says what something is has its name instead of a number.

use std::net::IpAddr;

use serde_json::{Map, Value};
use vega::inspect::{
    Announce, Body, BodyPrefix, Change, Changes, Frame, Heard, Locator, Packet, Range, Roll,
    Sender, SessionId, Status, TopicHash, TopicNames,
};
use vega::{InstanceId, Side, Transport};

use crate::output::hex;

/// All fields of a packet.
pub(super) fn fields(packet: &Packet<'_>, names: &TopicNames) -> Map<String, Value> {
    let mut fields = Fields { map: Map::new(), names };
    fields.put("version", packet.version);
    if packet.version == Packet::VERSION {
        if let Some(kind) = packet.kind {
            fields.put("kind", kind.name());
        }
        fields.put("length", packet.length);
        fields.put("flags", format!("{:#06x}", packet.flags));
    }
    if let Some(body) = &packet.body {
        fields.body(body);
    }
    if !packet.ignored.is_empty() {
        fields.put("ignored", hex(packet.ignored));
    }
    fields.map
}

struct Fields<'n> {
    map: Map<String, Value>,
    names: &'n TopicNames,
}

impl Fields<'_> {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.map.insert(name.to_owned(), value.into());
    }

    fn number(&mut self, name: &str, number: u64) {
        self.put(name, format!("{number:#018x}"));
    }

    fn id(&mut self, name: &str, id: InstanceId) {
        self.put(name, id.to_string());
    }

    /// A part that has fields of its own.
    fn part(&self, fill: impl FnOnce(&mut Self)) -> Value {
        let mut part = Self { map: Map::new(), names: self.names };
        fill(&mut part);
        part.map.into()
    }

    fn parts<T>(&mut self, name: &str, items: &[T], mut fill: impl FnMut(&mut Self, &T)) {
        let parts: Vec<_> = items.iter().map(|item| self.part(|part| fill(part, item))).collect();
        self.put(name, parts);
    }

    fn locator(&mut self, name: &str, locator: Locator) {
        let value = self.part(|part| {
            let address = locator.address;
            let (family, field) = match address.ip() {
                IpAddr::V4(_) => ("IPv4", "locator.ipv4"),
                IpAddr::V6(_) => ("IPv6", "locator.ipv6"),
            };
            part.put("locator.family", family);
            part.put("locator.port", address.port());
            part.put("locator.stream", locator.stream);
            part.put(field, address.ip().to_string());
        });
        self.put(name, value);
    }

    fn topic(&mut self, topic: TopicHash) {
        self.number("topic.hash", topic.as_u64());
        if let Some(name) = self.names.name(topic) {
            self.put("topic", name);
        }
    }

    fn session(&mut self, session: SessionId) {
        self.number("session", session.as_u64());
    }

    fn sender(&mut self, sender: &Sender) {
        self.session(sender.session);
        self.put("stream", sender.stream);
        self.id("instance", sender.instance);
    }

    fn body(&mut self, body: &Body<'_>) {
        match body {
            Body::Data { sender, sequence, frames, .. } => {
                self.sender(sender);
                self.put("sequence", *sequence);
                self.parts("frame", frames, Self::frame);
            }
            Body::Heartbeat {
                sender, next, status_wanted, round_trip, receivers, probe, ..
            } => {
                self.sender(sender);
                self.put("flags.status_wanted", *status_wanted);
                self.put("heartbeat.next", *next);
                self.put("heartbeat.round_trip", nanoseconds(*round_trip));
                self.put("heartbeat.receivers", *receivers);
                self.put("heartbeat.probe", *probe);
            }
            Body::Status(status) => self.status(status),
            Body::Nak { status, missing, .. } => {
                self.status(status);
                self.parts("nak.range", missing, |part, range: &Range| {
                    part.put("nak.distance", range.first.saturating_sub(status.consumed));
                    part.put("nak.packets", range.packets);
                    part.put("nak.first", range.first);
                });
            }
            Body::Welcome { sender, start, receiver, port, .. } => {
                self.sender(sender);
                self.put("welcome.start", *start);
                self.id("target", *receiver);
                self.put("welcome.port", *port);
            }
            Body::Gone { sender, oldest, .. } => {
                self.sender(sender);
                self.put("gone.oldest", *oldest);
            }
            Body::Call(roll) | Body::Present(roll) => self.roll(roll),
            discovery => self.discovery(discovery),
        }
    }

    fn discovery(&mut self, body: &Body<'_>) {
        match body {
            Body::Announce(announce) => self.announce(announce),
            Body::Changes(changes) => self.changes(changes),
            Body::Ask(ask) => {
                self.id("instance", ask.instance);
                self.locator("control", ask.control);
                self.id("target", ask.target);
                self.put("ask.have", ask.have);
                self.put("ask.horizon", ask.horizon);
            }
            Body::Goodbye { instance, .. } | Body::Register { instance, .. } => {
                self.id("instance", *instance);
            }
            Body::Ticket { daemon, ticket, .. } => {
                self.id("daemon", *daemon);
                self.number("ticket", *ticket);
            }
            Body::Relay { ticket, packet, .. } => {
                self.number("ticket", *ticket);
                self.put("relayed", fields(packet, self.names));
            }
            Body::Heard { daemon, entries, .. } => {
                self.id("daemon", *daemon);
                self.parts("heard", entries, |part, entry: &Heard| {
                    part.id("listed", entry.instance);
                    part.put("head", entry.head);
                    part.number("digest", entry.digest);
                });
            }
            Body::Who { ticket, instances, .. } => {
                self.number("ticket", *ticket);
                let listed: Vec<_> = instances.iter().map(ToString::to_string).collect();
                self.put("listed", listed);
            }
            _ => {}
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        self.put("frame.length", frame.length);
        self.put("frame.kind", frame.kind.name());
        self.put("frame.flags", format!("{:#04x}", frame.flags));
        self.put("frame.begin", frame.begins());
        self.put("frame.end", frame.ends());
        self.put("frame.publisher", frame.publisher);
        self.topic(frame.topic);
        self.put("frame.sequence", frame.sequence);
        if let Some(fragment) = frame.fragment {
            self.put("frame.total", fragment.total);
            self.put("frame.offset", fragment.offset);
        }
        match frame.prefix {
            Some(BodyPrefix::Request { request, timeout, reply_to, .. }) => {
                self.number("request", request.as_u64());
                self.put("request.timeout", nanoseconds(timeout));
                self.locator("request.reply_to", reply_to);
            }
            Some(BodyPrefix::Response { request, requester, .. }) => {
                self.number("request", request.as_u64());
                self.id("response.requester", requester);
            }
            _ => {}
        }
        if !frame.payload.is_empty() {
            self.put("payload", hex(frame.payload));
        }
    }

    fn status(&mut self, status: &Status) {
        self.session(status.session);
        self.put("flags.joining", status.is_joining);
        self.put("status.consumed", status.consumed);
        self.put("status.window", status.window_packets);
        self.put("status.echo", status.echo);
        self.id("instance", status.instance);
        self.put("status.tag", status.tag);
        self.put("status.port", status.port);
    }

    fn announce(&mut self, announce: &Announce<'_>) {
        self.id("instance", announce.instance);
        self.locator("control", announce.control);
        self.locator("announce.responses", announce.responses);
        self.number("announce.host", announce.host);
        self.put("head", announce.head);
        self.number("digest", announce.digest);
        self.put("announce.interval", milliseconds(announce.interval));
        self.put("announce.timeout", milliseconds(announce.timeout));
        self.put("announce.direct", announce.is_direct);
        if !announce.name.is_empty() {
            self.put("announce.name", announce.name);
        }
    }

    fn changes(&mut self, changes: &Changes<'_>) {
        self.id("instance", changes.instance);
        self.put("changes.from", changes.from);
        self.put("changes.to", changes.to);
        self.put("head", changes.head);
        self.put("changes.reset", changes.is_reset);
        self.put("changes.end", changes.is_end);
        self.put("changes.count", changes.entries.len());
        self.parts("change", &changes.entries, Self::change);
    }

    fn change(&mut self, change: &Change<'_>) {
        match change {
            Change::Add(advert) => {
                self.put("change.operation", "add");
                self.put("advert.kind", side(advert.side));
                self.put("advert.transport", transport(advert.transport));
                self.put("change.key", advert.key);
                self.number("topic.hash", advert.topic_hash.as_u64());
                if let Some(locator) = advert.locator {
                    self.locator("advert.locator", locator);
                }
                if let Some(session) = advert.session {
                    self.session(session);
                }
                self.put("topic", advert.topic);
            }
            Change::Remove { key, .. } => {
                self.put("change.operation", "remove");
                self.put("change.key", *key);
            }
            _ => {}
        }
    }

    fn roll(&mut self, roll: &Roll) {
        self.id("instance", roll.instance);
        self.id("target", roll.target);
        self.parts("roll", &roll.entries, |part, entry| {
            part.topic(entry.topic);
            part.number("roll.number", entry.number);
        });
    }
}

const fn side(side: Side) -> &'static str {
    match side {
        Side::Publisher => "publisher",
        Side::Subscriber => "subscriber",
        _ => "other",
    }
}

/// As the wire protocol calls it.
const fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Multicast => "multicast",
        Transport::Unicast => "unicast",
        Transport::Ipc => "shared memory",
        _ => "other",
    }
}

/// What has travelled as a number of 64 bits.
fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
