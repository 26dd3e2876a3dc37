//! Golden bytes of every discovery packet, and the promise that no bytes can hurt the reader.

use proptest::prelude::*;

use super::changes::REMOVE_LENGTH;
use super::*;
use crate::id::{SessionId, TopicHash};

const INSTANCE: InstanceId = InstanceId::from_bytes([0xa1; 16]);
const TARGET: InstanceId = InstanceId::from_bytes([0xb2; 16]);

fn locator(port: u16) -> Locator {
    Locator { address: ([127, 0, 0, 1], port).into(), stream: 7 }
}

fn locator_bytes(port: u16) -> Vec<u8> {
    let mut bytes = vec![4, 0];
    bytes.extend_from_slice(&port.to_le_bytes());
    bytes.extend_from_slice(&[7, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn announce(name: &str) -> Announce<'_> {
    Announce {
        instance: INSTANCE,
        control: locator(0x8901),
        responses: locator(0x8902),
        host: 0x0102_0304_0506_0708,
        head: 9,
        digest: 0xdd,
        interval_ms: 1_000,
        timeout_ms: 10_000,
        direct: true,
        name,
    }
}

fn add(key: u64, topic: &str) -> Add<'_> {
    Add {
        key,
        kind: AdvertKind::Publisher,
        transport: Transport::Ipc,
        hash: TopicHash::of(topic),
        topic,
        locator: Some(locator(5)),
        session: Some(SessionId(0x1122)),
    }
}

fn changes(from: u64, to: u64, adds: &[Add<'_>], removes: &[u64]) -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut writer = ChangesWriter::begin(&mut buffer, INSTANCE, from, to, from == 0);
    for add in adds {
        assert!(writer.add(&add.encode().unwrap()));
    }
    for &key in removes {
        assert!(writer.remove(key));
    }
    writer.finish(to, true);
    buffer
}

/// Overwrites bytes and seals the length again, so that only the field in question is wrong.
fn with(mut packet: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

fn refusal(packet: &[u8]) -> WireError {
    parse(packet).expect_err("must be refused")
}

/// `docs/wire-protocol.md`, "ANNOUNCE".
#[test]
fn golden_announce() {
    let mut buffer = vec![0xff; 3];
    announce("ab").encode(&mut buffer);
    let mut expected = vec![b'V', b'G', 1, 16, 108, 0, 0, 0];
    expected.extend_from_slice(&[0xa1; 16]);
    expected.extend(locator_bytes(0x8901));
    expected.extend(locator_bytes(0x8902));
    expected.extend_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
    expected.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[0xdd, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[0xe8, 3, 0, 0, 0x10, 0x27, 0, 0, 1, 2, b'a', b'b']);
    assert_eq!(buffer, expected);
    match parse(&buffer) {
        Ok(DiscoveryView::Announce(view)) => assert_eq!(view, announce("ab")),
        other => panic!("{other:?}"),
    }
}

/// `docs/wire-protocol.md`, "CHANGES".
#[test]
fn golden_changes() {
    let buffer = changes(0, 3, &[add(2, "t")], &[]);
    let mut expected = vec![b'V', b'G', 1, 17, 106, 0, 0, 0];
    expected.extend_from_slice(&[0xa1; 16]);
    expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0]);
    expected.extend_from_slice(&[1, 1, 3, 3, 1, 2, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&TopicHash::of("t").0.to_le_bytes());
    expected.extend(locator_bytes(5));
    expected.extend_from_slice(&[0x22, 0x11, 0, 0, 0, 0, 0, 0, b't']);
    assert_eq!(buffer, expected);
    let Ok(DiscoveryView::Changes(view)) = parse(&buffer) else { panic!("not CHANGES") };
    assert_eq!((view.instance, view.from, view.to, view.head), (INSTANCE, 0, 3, 3));
    assert!(view.reset && view.end);
    let digest = add_digest(&expected[52..]);
    assert_eq!(view.entries().collect::<Vec<_>>(), [Entry::Add { add: add(2, "t"), digest }]);
}

/// `docs/wire-protocol.md`, "CHANGES".
#[test]
fn golden_removal() {
    let buffer = changes(4, 6, &[], &[3, 4]);
    assert_eq!(buffer[48..52], [2, 0, 2, 0]);
    assert_eq!(buffer[52..], [2, 3, 0, 0, 0, 0, 0, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 0]);
    let Ok(DiscoveryView::Changes(view)) = parse(&buffer) else { panic!("not CHANGES") };
    let removed = [Entry::Remove { key: 3 }, Entry::Remove { key: 4 }];
    assert_eq!(view.entries().collect::<Vec<_>>(), removed);
}

/// `docs/wire-protocol.md`, "ASK" and "GOODBYE".
#[test]
fn golden_ask_and_goodbye() {
    let ask =
        Ask { asker: INSTANCE, control: locator(5), target: TARGET, have: 0x0a0b, horizon: 0x0c };
    let mut buffer = Vec::new();
    ask.encode(&mut buffer);
    let mut expected = vec![b'V', b'G', 1, 18, 80, 0, 0, 0];
    expected.extend_from_slice(&[0xa1; 16]);
    expected.extend(locator_bytes(5));
    expected.extend_from_slice(&[0xb2; 16]);
    expected.extend_from_slice(&[0x0b, 0x0a, 0, 0, 0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(buffer, expected);
    assert!(matches!(parse(&buffer), Ok(DiscoveryView::Ask(view)) if view == ask));

    encode_goodbye(INSTANCE, &mut buffer);
    let mut expected = vec![b'V', b'G', 1, 19, 24, 0, 0, 0];
    expected.extend_from_slice(&[0xa1; 16]);
    assert_eq!(buffer, expected);
    assert!(matches!(parse(&buffer), Ok(DiscoveryView::Goodbye(INSTANCE))));
}

#[test]
fn a_foreign_or_newer_packet_is_told_apart() {
    let mut goodbye = Vec::new();
    encode_goodbye(INSTANCE, &mut goodbye);
    assert_eq!(refusal(&with(goodbye.clone(), 0, b"X")), WireError::Foreign);
    assert_eq!(refusal(&with(goodbye.clone(), 2, &[2])), WireError::Version { found: 2 });
    assert_eq!(refusal(&with(goodbye, 3, &[99])), WireError::Kind { found: 99 });
    assert!(matches!(refusal(&[]), WireError::Truncated { .. }));
}

/// Who looks at packets is told where to look.
#[test]
fn a_refusal_names_the_place() {
    let mut packet = Vec::new();
    announce("ab").encode(&mut packet);
    let place = |packet: &[u8]| parse_located(packet).map(drop).unwrap_err().at;
    assert_eq!(place(&with(packet.clone(), 4, &[1])), 4, "length");
    assert_eq!(place(&with(packet.clone(), 48, &[9])), 48, "response locator");
    assert_eq!(place(&with(packet.clone(), 105, &[3])), 106, "name that ends too early");
    assert_eq!(place(&with(packet, 105, &[1])), 107, "what is behind the name");
    let page = changes(4, 9, &[add(5, "a"), add(6, "b")], &[1]);
    let second = page.len() - 9 - (page.len() - 52 - 9) / 2;
    assert_eq!(place(&with(page.clone(), 32, &[10])), 48, "range, once all of it is read");
    assert_eq!(place(&with(page.clone(), 53, &[7])), 53, "kind of the first advert");
    assert_eq!(place(&with(page.clone(), second + 5, &[5])), second, "key of the second one");
    let at = page.len() - 9;
    assert_eq!(place(&with(page, at + 1, &[5])), at, "key of the removal");
}

#[test]
fn the_length_field_must_be_the_length_of_the_datagram() {
    let mut buffer = Vec::new();
    announce("ab").encode(&mut buffer);
    buffer.push(0);
    assert!(matches!(refusal(&buffer), WireError::Malformed { .. }));
    seal(&mut buffer);
    assert_eq!(refusal(&buffer), WireError::Malformed { what: "end of a discovery packet" });
    let huge = with(vec![0; 2_000], 0, &[b'V', b'G', 1, 16, 0xd0, 0x07]);
    assert!(matches!(refusal(&huge), WireError::Malformed { .. }));
}

#[test]
fn every_truncation_is_refused() {
    let mut packets = vec![changes(1, 9, &[add(2, "topic"), add(9, "other")], &[1])];
    packets.push(Vec::new());
    announce("name").encode(&mut packets[1]);
    for packet in packets {
        for length in 0..packet.len() {
            let mut short = packet[..length].to_vec();
            assert!(parse(&short).is_err(), "{length} bytes, length field too large");
            if length >= PREFIX_LENGTH {
                seal(&mut short);
                assert!(parse(&short).is_err(), "{length} bytes, length field adjusted");
            }
        }
    }
}

#[test]
fn ranges_and_keys_must_make_sense() {
    let good = changes(3, 9, &[add(4, "a"), add(9, "b")], &[3]);
    assert!(parse(&good).is_ok());
    let u64_at = |at, value: u64| with(good.clone(), at, &value.to_le_bytes());
    assert_eq!(refusal(&u64_at(24, 10)), WireError::Malformed { what: "range of CHANGES" });
    assert_eq!(refusal(&u64_at(40, 8)), WireError::Malformed { what: "range of CHANGES" });
    assert_eq!(refusal(&with(good.clone(), 48, &[1])), refusal(&u64_at(40, 8)));
    for key in [0, 3, 10, u64::MAX] {
        let error = refusal(&u64_at(52 + 5, key));
        assert_eq!(error, WireError::Malformed { what: "key of an added advert" });
    }
    // The second add may not repeat the key of the first.
    let descending = changes(3, 9, &[add(5, "a"), add(5, "b")], &[]);
    assert_eq!(refusal(&descending), WireError::Malformed { what: "key of an added advert" });
    for key in [0, 4] {
        let error = refusal(&changes(3, 9, &[], &[key]));
        assert_eq!(error, WireError::Malformed { what: "key of a removed advert" });
    }
}

#[test]
fn fields_of_an_add_are_checked() {
    let good = changes(0, 1, &[add(1, "topic")], &[]);
    for (at, what) in [
        (52, "operation of a change"),
        (53, "kind of an advert"),
        (54, "transport of an advert"),
        (52 + 13, "topic hash of an advert"),
        (52 + 21, "address family of a locator"),
    ] {
        let error = refusal(&with(good.clone(), at, &[0x77]));
        assert_eq!(error, WireError::Malformed { what });
    }
    let last = good.len() - 1;
    let error = refusal(&with(good, last, &[0xff]));
    assert_eq!(error, WireError::Malformed { what: "topic of an advert" });
}

#[test]
fn a_count_that_disagrees_with_the_entries_is_refused() {
    let good = changes(0, 1, &[add(1, "topic")], &[]);
    assert!(matches!(refusal(&with(good.clone(), 50, &[0, 0])), WireError::Malformed { .. }));
    assert!(matches!(refusal(&with(good, 50, &[0xff, 0xff])), WireError::Truncated { .. }));
}

#[test]
fn texts_are_limited_to_what_a_length_byte_can_say() {
    let longest = "é".repeat(127) + "x";
    assert_eq!(longest.len(), MAX_TEXT_BYTES);
    assert!(add(1, &longest).encode().is_ok());
    assert!(add(1, &(longest.clone() + "y")).encode().is_err());
    assert!(add(1, "").encode().is_err());

    let long_name = "é".repeat(200);
    let mut buffer = Vec::new();
    announce(&long_name).encode(&mut buffer);
    let Ok(DiscoveryView::Announce(view)) = parse(&buffer) else { panic!("not ANNOUNCE") };
    assert_eq!(view.name, "é".repeat(127));
}

#[test]
fn a_full_page_refuses_what_does_not_fit() {
    let mut buffer = Vec::new();
    let mut writer = ChangesWriter::begin(&mut buffer, INSTANCE, 1_000, 1_000, false);
    let mut removed = 0;
    while writer.remove(removed + 1) {
        removed += 1;
    }
    assert!(!writer.add(&add(1, "t").encode().unwrap()));
    writer.finish(1_000, false);
    assert_eq!(removed, 148);
    assert!(buffer.len() <= MAX_SHARED_BYTES);
    let Ok(DiscoveryView::Changes(view)) = parse(&buffer) else { panic!("not CHANGES") };
    assert_eq!(view.entries().count(), 148);
}

/// What discovery sends, and one kind that it does not.
const KINDS: &[PacketKind] = &[
    PacketKind::Announce,
    PacketKind::Changes,
    PacketKind::Ask,
    PacketKind::Goodbye,
    PacketKind::Data,
];

fn read_everything(bytes: &[u8]) {
    if let Ok(DiscoveryView::Changes(view)) = parse(bytes) {
        assert!(view.entries().count() <= bytes.len() / REMOVE_LENGTH);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        read_everything(&bytes);
    }

    #[test]
    fn arbitrary_bodies_never_panic(
        kind in proptest::sample::select(KINDS),
        body in proptest::collection::vec(any::<u8>(), 0..1_400),
    ) {
        let mut packet = Vec::new();
        begin(&mut packet, kind);
        packet.extend_from_slice(&body);
        seal(&mut packet);
        read_everything(&packet);
    }

    #[test]
    fn mutated_packets_never_panic(
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut packet = changes(3, 99, &[add(4, "a"), add(9, "topic"), add(99, "b")], &[1, 2]);
        for (index, value) in mutations {
            let at = index.index(packet.len());
            packet[at] = value;
        }
        read_everything(&packet);
    }

    #[test]
    fn what_is_written_is_read(
        topic in "[a-zé.]{1,60}",
        key in 1_u64..,
        publisher in any::<bool>(),
        port in proptest::option::of(1_u16..),
        session in proptest::option::of(any::<u64>()),
    ) {
        let written = Add {
            key,
            kind: if publisher { AdvertKind::Publisher } else { AdvertKind::Subscriber },
            transport: if publisher { Transport::Multicast } else { Transport::Unicast },
            hash: TopicHash::of(&topic),
            topic: &topic,
            locator: port.map(locator),
            session: session.map(SessionId),
        };
        let packet = changes(0, u64::MAX, &[written], &[]);
        let Ok(DiscoveryView::Changes(view)) = parse(&packet) else { panic!("not CHANGES") };
        let digest = add_digest(&written.encode().unwrap());
        prop_assert_eq!(view.entries().next(), Some(Entry::Add { add: written, digest }));
    }
}
