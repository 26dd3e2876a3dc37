//! A packet in one line, as Wireshark shows it with `tools/wireshark/vega.lua`. Layer: inspect.

use std::fmt::{self, Display, Formatter, Write};

use super::{
    Advert, Announce, Body, BodyPrefix, Change, Changes, Frame, Packet, Range, Roll, Status,
    TopicHash, TopicNames,
};
use crate::id::InstanceId;
use crate::listener::Side;

/// How many entries of a list are shown.
const MAX_LISTED: usize = 4;

impl Packet<'_> {
    /// The packet in one line, with names of topics where they are known. What strangers have written in it can
    /// neither end the line nor do anything else to a terminal.
    #[must_use]
    pub fn line<'p>(&'p self, names: &'p TopicNames) -> impl Display + use<'p> {
        let line: Line<'p> = Line { packet: self, names: Some(names) };
        line
    }
}

impl Display for Packet<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Line { packet: self, names: None }.fmt(f)
    }
}

struct Line<'p> {
    packet: &'p Packet<'p>,
    names: Option<&'p TopicNames>,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.packet.kind {
            Some(kind) => f.write_str(kind.name())?,
            None => f.write_str("packet")?,
        }
        if let Some(body) = &self.packet.body {
            f.write_char(' ')?;
            self.body(f, body)?;
        }
        match (&self.packet.fault, &self.packet.body) {
            // The packet inside has said it.
            (None, _) | (_, Some(Body::Relay { .. })) => Ok(()),
            (Some(fault), _) => write!(f, " [{fault}]"),
        }
    }
}

impl Line<'_> {
    fn body(&self, f: &mut Formatter<'_>, body: &Body<'_>) -> fmt::Result {
        match body {
            Body::Data { sender, sequence, frames } => {
                write!(f, "#{sequence} of {}, stream {}: ", sender.session, sender.stream)?;
                listing(f, frames, |f, frame| self.frame(f, frame))
            }
            Body::Heartbeat { sender, next, status_wanted, receivers, probe, .. } => {
                write!(f, "of {}, next #{next}, ", sender.session)?;
                plural(f, *receivers as usize, "receiver")?;
                if *status_wanted {
                    write!(f, ", wants status for probe {probe}")?;
                }
                Ok(())
            }
            Body::Status(it) => status(f, it),
            Body::Nak { status: it, missing } => {
                status(f, it)?;
                f.write_str(", missing ")?;
                listing(f, missing, range)
            }
            Body::Welcome { sender, start, receiver, port } => {
                let receiver = Short(*receiver);
                write!(f, "to {} of {receiver} port {port}: begins at #{start}", sender.session)
            }
            Body::Gone { sender, oldest } => {
                write!(f, "of {}: all before #{oldest}", sender.session)
            }
            Body::Announce(it) => announce(f, it),
            Body::Changes(it) => changes(f, it),
            Body::Ask(it) => {
                let (asker, target) = (Short(it.instance), Short(it.target));
                write!(f, "of {asker} for what {target} has after {}", it.have)
            }
            Body::Goodbye { instance } | Body::Register { instance } => {
                write!(f, "of {}", Short(*instance))
            }
            Body::Ticket { daemon, ticket } => {
                write!(f, "of daemon {}: {ticket:016x}", Short(*daemon))
            }
            Body::Relay { packet, .. } => Line { packet, names: self.names }.fmt(f),
            Body::Heard { daemon, entries } => {
                write!(f, "by daemon {}: ", Short(*daemon))?;
                listing(f, entries, |f, it| write!(f, "{} at {}", Short(it.instance), it.head))
            }
            Body::Who { instances, .. } => {
                f.write_str("is ")?;
                listing(f, instances, |f, it| Short(*it).fmt(f))
            }
            Body::Call(it) | Body::Present(it) => self.roll(f, it),
        }
    }

    fn frame(&self, f: &mut Formatter<'_>, frame: &Frame<'_>) -> fmt::Result {
        f.write_str(frame.kind.name())?;
        match frame.prefix {
            Some(BodyPrefix::Request { request, .. }) => write!(f, " {request}")?,
            Some(BodyPrefix::Response { request, .. }) => write!(f, " to {request}")?,
            None => {}
        }
        write!(f, " #{} on ", frame.sequence)?;
        self.topic(f, frame.topic)?;
        f.write_str(" (")?;
        match frame.fragment {
            Some(part) => {
                let end = u64::from(part.offset) + frame.body_bytes() as u64;
                write!(f, "bytes {}-{end} of {}", part.offset, part.total)?;
            }
            None if frame.begins() && frame.ends() => {
                plural(f, frame.body_bytes().saturating_sub(frame.prefix_bytes()), "byte")?;
            }
            None => f.write_str("a part")?,
        }
        f.write_char(')')
    }

    fn roll(&self, f: &mut Formatter<'_>, roll: &Roll) -> fmt::Result {
        write!(f, "of {} for {}: ", Short(roll.instance), Short(roll.target))?;
        listing(f, &roll.entries, |f, entry| self.topic(f, entry.topic))
    }

    /// The name, or the hash.
    fn topic(&self, f: &mut Formatter<'_>, topic: TopicHash) -> fmt::Result {
        match self.names.and_then(|names| names.name(topic)) {
            Some(name) => clean(f, name),
            None => topic.fmt(f),
        }
    }
}

fn status(f: &mut Formatter<'_>, it: &Status) -> fmt::Result {
    let (session, consumed, window) = (it.session, it.consumed, it.window_packets);
    write!(f, "of {session}, consumed below #{consumed}, window {window}")?;
    if it.echo != 0 {
        write!(f, ", echo {}", it.echo)?;
    }
    if it.is_joining { f.write_str(", joining") } else { Ok(()) }
}

fn range(f: &mut Formatter<'_>, range: &Range) -> fmt::Result {
    match range.packets {
        1 => write!(f, "#{}", range.first),
        _ => write!(f, "#{}-#{}", range.first, range.end() - 1),
    }
}

fn announce(f: &mut Formatter<'_>, it: &Announce<'_>) -> fmt::Result {
    write!(f, "of {} \"", Short(it.instance))?;
    clean(f, it.name)?;
    write!(f, "\", control {}, head {}", it.control, it.head)?;
    if it.is_direct { f.write_str(", direct") } else { Ok(()) }
}

fn changes(f: &mut Formatter<'_>, it: &Changes<'_>) -> fmt::Result {
    write!(f, "of {}, {} to {} of {}", Short(it.instance), it.from, it.to, it.head)?;
    if it.is_reset {
        f.write_str(", reset")?;
    }
    if it.is_end {
        f.write_str(", end")?;
    }
    if it.entries.is_empty() {
        return Ok(());
    }
    f.write_str(": ")?;
    listing(f, &it.entries, |f, change| match change {
        Change::Add(Advert { side, topic, .. }) => {
            f.write_str(match side {
                Side::Publisher => "+publisher ",
                Side::Subscriber => "+subscriber ",
            })?;
            clean(f, topic)
        }
        Change::Remove { key } => write!(f, "-key {key}"),
    })
}

/// Enough of an instance's id to tell it from others.
struct Short(InstanceId);

impl Display for Short {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0.to_bytes();
        write!(f, "{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}

/// Text of strangers, without what a terminal acts on.
fn clean(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| f.write_char(if c.is_control() { '.' } else { c }))
}

fn plural(f: &mut Formatter<'_>, count: usize, noun: &str) -> fmt::Result {
    write!(f, "{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The first few, and how many more there are.
fn listing<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    show: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (nth, item) in items.iter().take(MAX_LISTED).enumerate() {
        if nth > 0 {
            f.write_str(", ")?;
        }
        show(f, item)?;
    }
    match items.len().saturating_sub(MAX_LISTED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
