//! Every kind of packet, described; runs, cuts, and bytes that are none. Tests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Transport;
use crate::listener::Side;

/// A packet as the code writes it: a seed of fuzzing.
fn seed(name: &str) -> Vec<u8> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/packet");
    fs::read(corpus.join(format!("seed-{name}"))).unwrap()
}

fn only(payload: &[u8]) -> Packet<'_> {
    let mut datagram = datagram(payload).unwrap();
    assert_eq!((datagram.packets.len(), datagram.ignored), (1, &[][..]));
    datagram.packets.remove(0)
}

/// What each kind says in one line.
const LINES: &[(&str, &str)] = &[
    (
        "data-messages",
        "data #0 of 0000000000000007, stream 3: message #1 on a0be4c6184dd6a17 (0 bytes), \
         message #2 on a0be4c6184dd6a17 (1 byte), message #3 on a0be4c6184dd6a17 (100 bytes)",
    ),
    (
        "data-fragments",
        "data #0 of 0000000000000007, stream 3: message #1 on a0be4c6184dd6a17 (bytes 0-432 of 700)",
    ),
    (
        "data-request",
        "data #0 of 0000000000000007, stream 3: request 0000000000000001 #1 on a0be4c6184dd6a17 \
         (5 bytes)",
    ),
    (
        "data-response",
        "data #0 of 0000000000000007, stream 3: response to 0000000000000001 #1 on \
         a0be4c6184dd6a17 (4 bytes), response to 0000000000000001 #2 on a0be4c6184dd6a17 (8 bytes)",
    ),
    ("heartbeat", "heartbeat of 0000000000000007, next #9, 3 receivers, wants status for probe 2"),
    ("status", "status of 0000000000000007, consumed below #5, window 64, echo 2"),
    ("status-joining", "status of 0000000000000007, consumed below #5, window 64, echo 2, joining"),
    ("nak", "NAK of 0000000000000007, consumed below #5, window 64, echo 2, missing #5, #8-#10"),
    ("welcome", "welcome to 0000000000000007 of 30313233 port 35001: begins at #4"),
    ("gone", "gone of 0000000000000007: all before #4"),
    ("announce", "ANNOUNCE of 30313233 \"pricer\", control 127.0.0.1:35001, stream 7, head 9"),
    (
        "changes",
        "CHANGES of 30313233, 4 to 9 of 9, end: +subscriber prices.eur, +publisher prices.eur, \
         +subscriber prices.eur, -key 1",
    ),
    (
        "changes-reset",
        "CHANGES of 30313233, 0 to 9 of 9, reset, end: +subscriber prices.eur, \
         +publisher prices.eur, +subscriber prices.eur",
    ),
    ("ask", "ASK of 30313233 for what 30313233 has after 3"),
    ("goodbye", "GOODBYE of 30313233"),
    ("register", "REGISTER of 30313233"),
    ("ticket", "TICKET of daemon 30313233: 000000000000000b"),
    ("relay", "RELAY GOODBYE of 30313233"),
    ("heard", "HEARD by daemon 30313233: 30313233 at 9, 30313233 at 9"),
    ("who", "WHO is 30313233, 30313233"),
    ("call", "CALL of 30313233 for 30313233: a0be4c6184dd6a17, a0be4c6184dd6a17"),
    ("present", "PRESENT of 30313233 for 30313233: a0be4c6184dd6a17, a0be4c6184dd6a17"),
];

#[test]
fn every_kind_is_described() {
    let mut kinds = Vec::new();
    for (name, line) in LINES {
        let payload = seed(name);
        let packet = only(&payload);
        assert_eq!((packet.fault, packet.length), (None, payload.len()), "{name}");
        assert_eq!(packet.to_string(), *line);
        kinds.push(packet.kind.unwrap());
    }
    kinds.dedup();
    assert_eq!(kinds, PacketKind::ALL);
}

#[test]
fn parts_have_their_values() {
    let payload = seed("data-request");
    let packet = only(&payload);
    let Some(Body::Data { frames, sender, .. }) = &packet.body else { panic!("{packet:?}") };
    assert_eq!((sender.stream, packet.session()), (3, Some(SessionId(7))));
    let Some(BodyPrefix::Request { request, timeout, reply_to }) = frames[0].prefix else {
        panic!("{frames:?}")
    };
    assert_eq!((request.as_u64(), timeout), (1, Duration::from_millis(500)));
    assert_eq!(reply_to.to_string(), "127.0.0.1:35004, stream 7");
    assert_eq!((frames[0].payload, frames[0].topic), (&b"what?"[..], TopicHash::of("seeds")));

    let payload = seed("changes");
    let packet = only(&payload);
    let Some(Body::Changes(changes)) = &packet.body else { panic!("{packet:?}") };
    let Change::Add(advert) = &changes.entries[1] else { panic!("{changes:?}") };
    assert_eq!((advert.side, advert.transport), (Side::Publisher, Transport::Unicast));
    assert_eq!(changes.entries[3], Change::Remove { key: 1 });
    assert_eq!(packet.instance(), Some(changes.instance));
}

#[test]
fn names_come_from_adverts_also_from_those_in_relays() {
    let mut relay = seed("relay");
    relay.truncate(16);
    relay.extend(seed("changes"));
    let length = u16::try_from(relay.len()).unwrap();
    relay[4..6].copy_from_slice(&length.to_le_bytes());
    let mut names = TopicNames::new();
    names.learn(&only(&relay));
    let topic = TopicHash::of("prices.eur");
    assert_eq!((names.len(), names.name(topic)), (1, Some("prices.eur")));
    let mut call = seed("call");
    call[40..48].copy_from_slice(&topic.as_u64().to_le_bytes());
    let line = only(&call).line(&names).to_string();
    assert_eq!(line, "CALL of 30313233 for 30313233: prices.eur, a0be4c6184dd6a17");
}

/// What is wrong, where, and what stands before it.
#[test]
fn faults_name_the_place() {
    let altered = |name: &str, at: usize, bytes: &[u8]| {
        let mut payload = seed(name);
        payload[at..at + bytes.len()].copy_from_slice(bytes);
        payload
    };
    for (name, at, bytes, fault) in [
        ("goodbye", 2, &[2][..], "version 2 is not read, at byte 2"),
        ("goodbye", 4, &[7, 0], "malformed packet length, at byte 4"),
        ("goodbye", 4, &[25, 0], "truncated packet, at byte 4"),
        ("data-messages", 4, &[47, 0], "truncated packet header, at byte 47"),
        ("data-messages", 23, &[0x80], "malformed packet sequence, at byte 16"),
        ("data-messages", 48, &[23, 0], "malformed frame length, at byte 48"),
        ("data-messages", 74, &[9], "malformed frame kind, at byte 72"),
        ("data-request", 88, &[5], "malformed address family of a locator, at byte 72"),
        ("heartbeat", 4, &[63, 0], "truncated heartbeat, at byte 63"),
        ("welcome", 4, &[71, 0], "truncated welcome, at byte 71"),
        ("status", 23, &[0x80], "malformed packet sequence, at byte 16"),
        ("nak", 60, &[0, 0, 0, 0], "malformed range, at byte 56"),
        ("announce", 48, &[9], "malformed address family of a locator, at byte 48"),
        ("heard", 4, &[24, 0], "malformed length of a discovery packet, at byte 4"),
        ("relay", 19, &[18], "malformed kind of a relayed packet, at byte 3"),
        ("relay", 16, b"x", "malformed magic, at byte 0"),
        ("call", 4, &[40, 0], "malformed length of a roll, at byte 4"),
    ] {
        let payload = altered(name, at, bytes);
        assert_eq!(only(&payload).fault.unwrap().to_string(), fault, "{name} at {at}");
    }
    let second = altered("data-messages", 74, &[9]);
    let packet = only(&second);
    let Some(Body::Data { frames, .. }) = &packet.body else { panic!("{packet:?}") };
    assert_eq!(frames.len(), 1, "what a receiver delivers");
    assert!(packet.fault.unwrap().is_refusal());

    let unknown = [&b"VG\x01\x63\x09\x00\x00\x00"[..], b"?"].concat();
    let packet = only(&unknown);
    assert_eq!((packet.kind, packet.length), (None, 9));
    assert_eq!(packet.to_string(), "packet [kind 99 is not known, at byte 3]");
}

#[test]
fn what_does_not_begin_like_a_packet_is_foreign() {
    for payload in [&b""[..], b"VG", b"VG\x01\x01\x08\x00\x00", b"GV\x01\x01\x08\x00\x00\x00"] {
        assert_eq!(datagram(payload), None);
    }
    assert_eq!(datagram(b"VG\x01\x63\x07\x00\x00\x00"), None, "neither kind nor length");
}

/// All packets of a run but the last have the length of the sender's slots.
#[test]
fn runs_are_taken_apart() {
    let (message, fragment) = (seed("data-messages"), seed("data-fragments"));
    let mut slot = message.clone();
    slot.resize(512, 7);
    let slots = [&*slot, &slot, &fragment, &message].concat();
    let run = datagram(&slots).unwrap();
    let places: Vec<_> = run.packets.iter().map(|it| (it.offset, it.length)).collect();
    assert_eq!(places, [(0, 232), (512, 232), (1024, 512), (1536, 232)]);
    assert_eq!(run.packets[0].ignored, [7; 280]);
    assert!(run.packets.iter().all(|packet| packet.fault.is_none()));

    let joined = [&*message, &message, &seed("heartbeat"), b"rest"].concat();
    let run = datagram(&joined).unwrap();
    let kinds: Vec<_> = run.packets.iter().map(|it| it.kind.unwrap().name()).collect();
    assert_eq!(kinds, ["data", "data", "heartbeat"]);
    assert_eq!((run.packets[2].ignored, run.ignored), (&b"rest"[..], &[][..]));
}

/// A capture that has not all of a packet is no fault of the sender.
#[test]
fn what_a_capture_has_cut_is_told_apart() {
    for (name, _) in LINES {
        let payload = seed(name);
        for length in 8..payload.len() {
            let datagram = captured(&payload[..length], payload.len()).unwrap();
            let [packet] = &*datagram.packets else { panic!("{name}, {length} bytes") };
            let fault = packet.fault.unwrap();
            assert_eq!(fault.cause, Cause::Cut, "{name}, {length} bytes");
            assert!(fault.offset <= length);
            let short = only(&payload[..length]);
            assert!(short.fault.unwrap().is_refusal(), "{name}, {length} bytes");
        }
    }
    let payload = seed("data-messages");
    let datagram = captured(&payload[..140], payload.len()).unwrap();
    let Some(Body::Data { frames, .. }) = &datagram.packets[0].body else { panic!() };
    let parts: Vec<_> =
        frames.iter().map(|it| (it.sequence, it.length, it.payload.len())).collect();
    assert_eq!(parts, [(1, 24, 0), (2, 25, 1), (3, 124, 0)], "the header of the last one is there");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        kind in any::<u8>(),
        length in 0..400_u16,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        lost in 0..400_usize,
    ) {
        let [low, high] = length.to_le_bytes();
        let payload = [&[b'V', b'G', 1, kind, low, high, 0, 0][..], &bytes].concat();
        for payload in [&payload[..], &bytes] {
            for datagram in [datagram(payload), captured(payload, payload.len() + lost)] {
                for packet in datagram.iter().flat_map(|it| &it.packets) {
                    prop_assert!(!packet.to_string().contains(char::is_control));
                }
            }
        }
    }
}
