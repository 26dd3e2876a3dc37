//! What is said about datagrams, against what receivers do with them. Beside `lib.rs`, above all layers.

use crate::inspect::{self, Body, Cause, Datagram, Packet, TopicNames};
use crate::wire::advert::{DiscoveryView, daemon, parse};
use crate::wire::packet::{PacketKind, Prefix};
use crate::wire::roll::Roll;

/// Describes a datagram, and one that a capture has cut off in the middle.
///
/// # Panics
///
/// When the description contradicts the views, or has something that is not in the datagram.
pub(super) fn described(bytes: &[u8]) {
    let Some(whole) = inspect::datagram(bytes) else {
        assert!(Prefix::decode(bytes).is_err(), "a packet is described");
        return;
    };
    consistent(&whole, bytes);
    if let [packet] = &*whole.packets {
        agrees(packet, bytes);
    }
    let cut = &bytes[..bytes.len() / 2];
    if let Some(cut_datagram) = inspect::captured(cut, bytes.len()) {
        consistent(&cut_datagram, cut);
    }
}

fn consistent(datagram: &Datagram<'_>, bytes: &[u8]) {
    let mut names = TopicNames::new();
    let mut end = 0;
    for packet in &datagram.packets {
        assert!(packet.offset >= end, "packets follow each other");
        end = packet.offset + 1;
        assert!(packet.offset < bytes.len());
        names.learn(packet);
        let line = packet.line(&names).to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
        let room = bytes.len() - packet.offset;
        assert!(packet.fault.is_none_or(|fault| fault.offset <= room));
        if let Some(Body::Data { frames, .. }) = &packet.body {
            let bytes = frames.iter().map(|frame| frame.payload.len()).sum::<usize>();
            assert!(bytes <= room);
            assert!(frames.iter().all(|frame| frame.offset < room));
        }
    }
}

/// What receivers take has no fault, and what they refuse has one.
fn agrees(packet: &Packet<'_>, bytes: &[u8]) {
    let taken = match Prefix::decode(bytes).map(|prefix| (prefix.kind, prefix.length)) {
        Err(_) => false,
        Ok((kind, _)) if kind < PacketKind::Announce => return,
        Ok((PacketKind::Call | PacketKind::Present, _)) => Roll::decode(bytes).is_ok(),
        Ok((kind, _)) if kind < PacketKind::Register => parse(bytes).is_ok(),
        Ok(_) => match daemon::parse(bytes) {
            Ok(daemon::DaemonView::Relay { packet, .. }) => {
                !matches!(parse(packet), Err(_) | Ok(DiscoveryView::Ask(_)))
            }
            other => other.is_ok(),
        },
    };
    assert_eq!(packet.fault.is_none(), taken, "{packet:?}");
    assert!(packet.fault.is_none_or(|fault| fault.cause != Cause::Cut), "nothing was cut");
}
