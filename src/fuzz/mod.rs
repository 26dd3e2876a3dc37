//! What `fuzz/` feeds with arbitrary bytes: every decoder, and whole sessions driven by bytes that
//! are read as a program. Beside `lib.rs`, above all layers; only for tests and with the feature
//! `internals`, and no part of the public API. Called on one thread at a time.
//!
//! An entry point panics when bytes break a promise of the code, and does nothing else. Plain
//! `cargo test` calls them, too, with everything under `fuzz/corpus`.

mod counters;
mod inspect;
mod program;
mod receive;
#[cfg(test)]
mod seeds;
mod send;
#[cfg(test)]
mod tests;

pub use counters::counters;
pub use receive::receive;
pub use send::send;

use crate::config::{Config, Problem};
use crate::id::InstanceId;
use crate::wire::advert::daemon::{self, DaemonView};
use crate::wire::advert::{Add, ChangesWriter, DiscoveryView, Entry, add_digest, parse};
use crate::wire::control::{Feedback, Heartbeat, Welcome, encode_gone};
use crate::wire::frame::{FRAME_HEADER_LENGTH, Frames, RequestPrefix, ResponsePrefix};
use crate::wire::locator::Locator;
use crate::wire::packet::{PACKET_HEADER_LENGTH, PREFIX_LENGTH, PacketHeader, PacketKind, Prefix};
use crate::wire::roll::Roll;

/// Reads a datagram as an endpoint, a control socket or discovery does. What is understood is
/// written and read again, and must not have changed. What is said about it to people must agree.
///
/// # Panics
///
/// When the decoders and encoders contradict each other, or the description does.
pub fn packet(bytes: &[u8]) {
    inspect::described(bytes);
    let Ok(prefix) = Prefix::decode(bytes) else { return };
    let packet = &bytes[..prefix.length];
    match prefix.kind {
        PacketKind::Status | PacketKind::Nak => feedback(&prefix, packet),
        PacketKind::Announce | PacketKind::Changes | PacketKind::Ask | PacketKind::Goodbye => {
            advert(packet);
        }
        PacketKind::Register
        | PacketKind::Ticket
        | PacketKind::Relay
        | PacketKind::Heard
        | PacketKind::Who => daemon_packet(packet),
        PacketKind::Call | PacketKind::Present => roll(packet),
        PacketKind::Data | PacketKind::Heartbeat | PacketKind::Welcome | PacketKind::Gone => {
            if let Ok(header) = PacketHeader::decode(packet) {
                session_packet(&prefix, &header, packet);
            }
        }
    }
}

fn roll(packet: &[u8]) {
    let Ok(roll) = Roll::decode(packet) else { return };
    let mut again = Vec::new();
    roll.encode(&mut again);
    assert_eq!(again.len(), packet.len());
    assert_eq!(Roll::decode(&again), Ok(roll));
}

fn feedback(prefix: &Prefix, packet: &[u8]) {
    let (mut missing, mut missing_again) = (Vec::new(), Vec::new());
    let Ok(feedback) = Feedback::decode(prefix, packet, &mut missing) else { return };
    let mut again = Vec::new();
    if prefix.kind == PacketKind::Nak {
        feedback.status.encode_nak(feedback.missing, &mut again);
        assert!(feedback.missing.iter().all(|range| range.first >= feedback.status.consumed));
        assert!(again.len() <= packet.len(), "no longer than what was read");
    } else {
        again.extend_from_slice(&feedback.status.encode());
    }
    let read = Prefix::decode(&again)
        .and_then(|prefix| Feedback::decode(&prefix, &again, &mut missing_again));
    assert_eq!(read, Ok(feedback));
}

fn session_packet(prefix: &Prefix, header: &PacketHeader, packet: &[u8]) {
    let again = match prefix.kind {
        PacketKind::Heartbeat => {
            let Ok(heartbeat) = Heartbeat::decode(prefix, header, packet) else { return };
            let again = heartbeat.encode(*header);
            assert_eq!(Heartbeat::decode(prefix, header, &again), Ok(heartbeat));
            again.to_vec()
        }
        PacketKind::Welcome => {
            let Ok(welcome) = Welcome::decode(header, packet) else { return };
            let again = welcome.encode(*header);
            assert_eq!(Welcome::decode(header, &again), Ok(welcome));
            again.to_vec()
        }
        PacketKind::Gone => encode_gone(*header, header.sequence).to_vec(),
        _ => {
            frames(&packet[PACKET_HEADER_LENGTH..]);
            header.encode(prefix.kind, prefix.flags).to_vec()
        }
    };
    assert_eq!(PacketHeader::decode(&again), Ok(*header));
    assert_eq!(Prefix::decode(&again).map(|prefix| prefix.kind), Ok(prefix.kind));
}

/// Reads the frames of a packet, and their bodies as those of requests and responses.
///
/// # Panics
///
/// When there are more frames than the bytes have room for, or a prefix changes when it is written
/// and read again.
pub fn frames(bytes: &[u8]) {
    let (mut count, mut body_bytes) = (0, 0);
    for frame in Frames::new(bytes) {
        count += 1;
        let Ok(frame) = frame else { break };
        body_bytes += frame.body.len();
        if let Some(fragment) = frame.fragment {
            let end = fragment.offset as usize + frame.body.len();
            assert!(end <= fragment.total as usize, "a part lies within its message");
        }
        if let Ok((request, payload)) = RequestPrefix::decode(frame.body) {
            let mut again = request.encode().to_vec();
            again.extend_from_slice(payload);
            assert_eq!(RequestPrefix::decode(&again), Ok((request, payload)));
        }
        if let Ok((response, payload)) = ResponsePrefix::decode(frame.body) {
            let mut again = response.encode().to_vec();
            again.extend_from_slice(payload);
            assert_eq!(again, frame.body, "a response has no spare bytes");
        }
    }
    assert!(count <= bytes.len() / FRAME_HEADER_LENGTH + 1);
    assert!(body_bytes <= bytes.len());
}

/// Reads a discovery packet, all entries of it included.
///
/// # Panics
///
/// When what was read changes when it is written and read again, or keys are out of order.
pub fn advert(bytes: &[u8]) {
    match parse(bytes) {
        Ok(DiscoveryView::Announce(announce)) => {
            let mut again = Vec::new();
            announce.encode(&mut again);
            let Ok(DiscoveryView::Announce(read)) = parse(&again) else {
                panic!("an announce that was read can be written")
            };
            assert_eq!(read, announce);
        }
        Ok(DiscoveryView::Changes(changes)) => {
            let mut latest = changes.from;
            for entry in changes.entries() {
                match entry {
                    Entry::Add { add, .. } => {
                        assert!(latest < add.key && add.key <= changes.to);
                        latest = add.key;
                        written_again(changes.instance, &add);
                    }
                    Entry::Remove { key } => assert!(key > 0 && key <= changes.from),
                }
            }
        }
        Ok(DiscoveryView::Ask(ask)) => {
            let mut again = Vec::new();
            ask.encode(&mut again);
            assert!(matches!(parse(&again), Ok(DiscoveryView::Ask(read)) if read == ask));
        }
        Ok(DiscoveryView::Goodbye(_)) | Err(_) => {}
    }
}

/// Reads a packet between an instance and a discovery daemon, and what a RELAY carries.
///
/// # Panics
///
/// When what was read changes when it is written and read again.
fn daemon_packet(bytes: &[u8]) {
    let Ok(view) = daemon::parse(bytes) else { return };
    let mut again = Vec::new();
    match view {
        // What stands in its reserved field is not read.
        DaemonView::Register { .. } => return,
        DaemonView::Ticket { daemon, ticket } => daemon::encode_ticket(daemon, ticket, &mut again),
        DaemonView::Relay { ticket, packet } => {
            advert(packet);
            daemon::encode_relay(ticket, packet, &mut again);
        }
        DaemonView::Heard(heard) => {
            daemon::encode_heard(heard.daemon, heard.entries(), &mut again);
        }
        DaemonView::Who(who) => daemon::encode_who(who.ticket, who.instances(), &mut again),
    }
    assert_eq!(again[PREFIX_LENGTH..], bytes[PREFIX_LENGTH..]);
}

/// An advert on a page of its own is the same advert.
fn written_again(instance: InstanceId, add: &Add<'_>) {
    let Ok(entry) = add.encode() else { panic!("an advert that was read can be written") };
    let mut page = Vec::new();
    let mut writer = ChangesWriter::begin(&mut page, instance, add.key - 1, add.key, false);
    assert!(writer.add(&entry), "a page has room for every advert");
    writer.finish(add.key, true);
    let Ok(DiscoveryView::Changes(changes)) = parse(&page) else {
        panic!("an advert that was written can be read")
    };
    let again: Vec<_> = changes.entries().collect();
    assert_eq!(again, [Entry::Add { add: *add, digest: add_digest(&entry) }]);
}

/// Reads a locator.
///
/// # Panics
///
/// When it changes when it is written and read again.
pub fn locator(bytes: &[u8]) {
    if let Ok(locator) = Locator::decode(bytes) {
        assert_ne!(locator.address.port(), 0);
        assert_eq!(Locator::decode(&locator.encode()), Ok(locator));
    }
}

/// Reads a configuration file and looks up a topic in it, or prints what is wrong.
///
/// # Panics
///
/// When text is refused without a problem, when a problem is about a line that the text does not
/// have, or when a topic is sent to a port that is none.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text) {
        Ok(config) => {
            assert!(!config.pollers.is_empty() && !config.templates.is_empty());
            let topic = text.lines().next().unwrap_or_default();
            for route in ["a.topic", topic].into_iter().filter_map(|topic| config.route(topic).ok())
            {
                assert_ne!(route.port(), Some(0), "nobody can listen there");
            }
        }
        Err(error) => {
            let lines = 1..=text.split('\n').count();
            assert!(!error.problems().is_empty() && !error.to_string().is_empty());
            let mut named = error.problems().iter().filter_map(Problem::line);
            assert!(named.all(|line| lines.contains(&line)), "{error}");
        }
    }
}
