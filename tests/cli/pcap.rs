//! `vega sniff --pcap`: captures of every format and link, whole, cut and damaged. Tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use vega::inspect::TopicHash;

use crate::world::{Finished, World};

/// What follows Ethernet, or any other link: from 10.0.0.1:35001 to 10.0.0.2:35002.
fn over_ipv4(payload: &[u8]) -> Vec<u8> {
    let udp = over_udp(payload);
    let length = u16::try_from(20 + udp.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 17, 0, 0];
    bytes.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(udp);
    bytes
}

fn over_ipv6(payload: &[u8]) -> Vec<u8> {
    let udp = over_udp(payload);
    let length = u16::try_from(udp.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], 17, 64];
    for host in [1_u128, 2] {
        bytes.extend_from_slice(&(0xfd00 << 112 | host).to_be_bytes());
    }
    bytes.extend(udp);
    bytes
}

fn over_udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let words = [35_001, 35_002, length, 0].map(u16::to_be_bytes).concat();
    [&words[..], payload].concat()
}

const RAW: u32 = 101;

/// A captured frame: time in nanoseconds, what is there, and how much there was.
struct Frame {
    at_ns: u64,
    bytes: Vec<u8>,
    sent_bytes: usize,
}

impl Frame {
    fn new(at_ns: u64, bytes: Vec<u8>) -> Self {
        Self { at_ns, sent_bytes: bytes.len(), bytes }
    }
}

/// Numbers in one of the two orders.
#[derive(Clone, Copy)]
struct Order {
    is_big: bool,
}

impl Order {
    fn u32(self, number: u32) -> [u8; 4] {
        if self.is_big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u16(self, number: u16) -> [u8; 2] {
        if self.is_big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn pcap(self, has_nanoseconds: bool, link: u32, frames: &[Frame]) -> Vec<u8> {
        let magic = if has_nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let unit = if has_nanoseconds { 1 } else { 1000 };
        let versions = [self.u16(2), self.u16(4)].concat();
        let rest = [0, 0, 0x4_0000, link].map(|word| self.u32(word)).concat();
        let mut file = [&self.u32(magic)[..], &versions, &rest].concat();
        for frame in frames {
            let [seconds, rest] = [frame.at_ns / 1_000_000_000, frame.at_ns % 1_000_000_000 / unit]
                .map(|it| u32::try_from(it).unwrap());
            let [captured, sent] =
                [frame.bytes.len(), frame.sent_bytes].map(|it| u32::try_from(it).unwrap());
            file.extend([seconds, rest, captured, sent].map(|word| self.u32(word)).concat());
            file.extend_from_slice(&frame.bytes);
        }
        file
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = self.u32(u32::try_from(12 + body.len()).unwrap());
        [&self.u32(kind)[..], &length, body, &length].concat()
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut option = [self.u16(code), self.u16(u16::try_from(value.len()).unwrap())].concat();
        option.extend_from_slice(value);
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    /// With times in nanoseconds, counted from a thousand seconds after 1970.
    fn pcapng(self, link: u32, frames: &[Frame]) -> Vec<u8> {
        let offset = if self.is_big { 1000_i64.to_be_bytes() } else { 1000_i64.to_le_bytes() };
        let versions = [self.u16(1), self.u16(0)].concat();
        let section = [&self.u32(0x1a2b_3c4d)[..], &versions, &[0xff; 8]].concat();
        let interface = [
            [self.u16(u16::try_from(link).unwrap()), [0; 2]].concat(),
            self.u32(0).to_vec(),
            self.option(9, &[9]),
            self.option(14, &offset),
            self.option(0, &[]),
        ];
        let mut file =
            [self.block(0x0a0d_0d0a, &section), self.block(1, &interface.concat())].concat();
        // Of a type that is not used for frames: to be skipped.
        file.extend(self.block(0x0bad, b"whatever"));
        for frame in frames {
            let ticks = frame.at_ns - 1_000_000_000_000;
            let [high, low] =
                [ticks >> 32, ticks & 0xffff_ffff].map(|it| u32::try_from(it).unwrap());
            let [captured, sent] =
                [frame.bytes.len(), frame.sent_bytes].map(|it| u32::try_from(it).unwrap());
            let mut body = [0, high, low, captured, sent].map(|word| self.u32(word)).concat();
            body.extend_from_slice(&frame.bytes);
            body.resize(body.len().next_multiple_of(4), 0);
            file.extend(self.block(6, &body));
        }
        file
    }
}

const LITTLE: Order = Order { is_big: false };
const BIG: Order = Order { is_big: true };

/// 14 November 2023, 22:13:20 and some nanoseconds.
const AT_NS: u64 = 1_700_000_000_001_234_567;

/// A packet as the code writes it: a seed of fuzzing.
fn seed(name: &str) -> Vec<u8> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/packet");
    fs::read(corpus.join(format!("seed-{name}"))).unwrap()
}

/// Runs the command on a capture that comes by standard input.
fn sniff(world: &World, capture: &[u8], options: &[&str]) -> Finished {
    let arguments = [&["sniff", "--pcap", "-"], options].concat();
    world.start_with_input(&arguments, capture).finish()
}

/// A capture of datagrams, one every microsecond.
fn capture(payloads: &[&[u8]]) -> Vec<u8> {
    let frames: Vec<_> = (0..)
        .zip(payloads)
        .map(|(nth, payload)| Frame::new(AT_NS + nth * 1000, over_ipv4(payload)))
        .collect();
    LITTLE.pcap(true, RAW, &frames)
}

#[test]
fn every_format_is_read() {
    let world = World::new();
    let frames = [Frame::new(AT_NS, over_ipv4(&seed("nak")))];
    for (file, digits) in [
        (LITTLE.pcap(false, RAW, &frames), "001234000"),
        (LITTLE.pcap(true, RAW, &frames), "001234567"),
        (BIG.pcap(false, RAW, &frames), "001234000"),
        (BIG.pcap(true, RAW, &frames), "001234567"),
        (LITTLE.pcapng(RAW, &frames), "001234567"),
        (BIG.pcapng(RAW, &frames), "001234567"),
    ] {
        let finished = sniff(&world, &file, &["--json"]).expect_code(0);
        let packet = finished.of_type("packet").remove(0);
        assert_eq!(packet["time"], format!("2023-11-14T22:13:20.{digits}Z"));
        assert_eq!((&packet["number"], &packet["at_ms"]), (&1.into(), &0.0.into()));
        assert_eq!(packet["vega"]["kind"], "NAK");
        assert_eq!(finished.stderr, "");
    }
    let several = [LITTLE.pcapng(RAW, &frames), BIG.pcapng(RAW, &frames)].concat();
    assert_eq!(sniff(&world, &several, &["--json"]).expect_code(0).of_type("packet").len(), 2);
}

#[test]
fn every_link_is_read() {
    let world = World::new();
    let nak = seed("nak");
    let (v4, v6) = (over_ipv4(&nak), over_ipv6(&nak));
    let ethernet = |tags: &[u8], ether_type: [u8; 2], ip: &[u8]| {
        // What is too short for Ethernet is padded.
        [&[2; 12][..], tags, &ether_type, ip, &[0; 6]].concat()
    };
    let cooked = |ether_type: [u8; 2], ip: &[u8]| [&[0; 14][..], &ether_type, ip].concat();
    let cooked2 = |ether_type: [u8; 2], ip: &[u8]| [&ether_type[..], &[0; 18], ip].concat();
    let (ipv4, ipv6) = ([8, 0], [0x86, 0xdd]);
    let vlan = [0x81, 0, 0, 7];
    let frames: Vec<(u32, Vec<u8>)> = vec![
        (1, ethernet(&[], ipv4, &v4)),
        (1, ethernet(&[], ipv6, &v6)),
        (1, ethernet(&vlan, ipv4, &v4)),
        (1, ethernet(&[[0x88, 0xa8, 0, 9], vlan].concat(), ipv6, &v6)),
        (113, cooked(ipv4, &v4)),
        (113, cooked(ipv6, &v6)),
        (276, cooked2(ipv4, &v4)),
        (276, cooked2(ipv6, &v6)),
        (RAW, v4.clone()),
        (RAW, v6.clone()),
        (12, v4.clone()),
        (228, v4.clone()),
        (229, v6.clone()),
        (0, [&[2, 0, 0, 0][..], &v4].concat()),
        (0, [&[0, 0, 0, 30][..], &v6].concat()),
        (108, [&[0, 0, 0, 2][..], &v4].concat()),
    ];
    for (link, frame) in frames {
        let is_ipv6 = frame.windows(v6.len()).any(|bytes| bytes == v6);
        let file = LITTLE.pcap(false, link, &[Frame::new(AT_NS, frame)]);
        let packet = sniff(&world, &file, &["--json"]).expect_code(0).of_type("packet").remove(0);
        let (from, to) = if is_ipv6 {
            ("[fd00::1]:35001", "[fd00::2]:35002")
        } else {
            ("10.0.0.1:35001", "10.0.0.2:35002")
        };
        assert_eq!((&packet["from"], &packet["to"]), (&from.into(), &to.into()), "link {link}");
        assert_eq!(packet["vega"]["nak.range"][1]["nak.first"], 8, "link {link}");
    }
}

/// Every kind, as people and as machines see it.
#[test]
fn every_kind_is_shown() {
    let world = World::new();
    let names = [
        "announce",
        "changes",
        "ask",
        "goodbye",
        "register",
        "ticket",
        "relay",
        "heard",
        "who",
        "call",
        "present",
        "data-messages",
        "data-request",
        "data-response",
        "data-fragments",
        "heartbeat",
        "status",
        "nak",
        "welcome",
        "gone",
    ];
    let packets = names.map(seed);
    let file = capture(&packets.each_ref().map(Vec::as_slice));
    let finished = sniff(&world, &file, &["--json"]).expect_code(0);
    let shown = finished.of_type("packet");
    let kinds: Vec<_> = shown.iter().map(|it| it["vega"]["kind"].as_str().unwrap()).collect();
    let of = |name: &str| name.split('-').next().unwrap().to_lowercase();
    assert!(kinds.iter().map(|kind| of(kind)).eq(names.iter().map(|name| of(name))), "{kinds:?}");
    assert!(shown.iter().all(|it| it.get("fault").is_none()));
    let request = &shown[12]["vega"]["frame"][0];
    assert_eq!(request["request"], "0x0000000000000001");
    assert_eq!(request["request.reply_to"]["locator.port"], 35_004);
    assert_eq!(request["payload"], "776861743f");
    assert_eq!(shown[6]["vega"]["relayed"]["kind"], "GOODBYE");
    let totals = finished.of_type("totals").remove(0);
    assert_eq!((&totals["packets"], &totals["kinds"]["data"]), (&20.into(), &4.into()));
    assert_eq!(totals["topics"][0]["requests"], 1);

    let text = sniff(&world, &file, &[]).expect_code(0);
    let lines: Vec<_> = text.text().lines().collect();
    assert!(lines[0].starts_with("   0.000000s 10.0.0.1:35001 > 10.0.0.2:35002 ANNOUNCE of "));
    assert!(lines[17].starts_with("   0.000017s ") && lines[17].ends_with("missing #5, #8-#10"));
    assert!(lines[21].starts_with("20 packets in 20 frames: 1 ANNOUNCE, "), "{}", lines[21]);
}

#[test]
fn what_hides_packets_is_said() {
    let world = World::new();
    let message = seed("data-messages");
    let mut slot = message.clone();
    slot.resize(512, 0);
    let run = [&*slot, &slot, &message].concat();
    let mut fragment = over_ipv4(&message);
    fragment[6] = 0x20; // more fragments
    let mut version = seed("goodbye");
    version[2] = 2;
    let cut = Frame {
        sent_bytes: 28 + message.len(),
        ..Frame::new(AT_NS, over_ipv4(&message)[..128].to_vec())
    };
    let tcp = {
        let mut tcp = over_ipv4(b"x");
        tcp[9] = 6;
        tcp
    };
    let unclean = [&*slot, &slot, b"no packet"].concat();
    let frames = [
        Frame::new(AT_NS, over_ipv4(&run)),
        Frame::new(AT_NS, over_ipv4(b"something else")),
        Frame::new(AT_NS, fragment),
        Frame::new(AT_NS, over_ipv4(&version)),
        cut,
        Frame::new(AT_NS, over_ipv4(&message[..100])),
        Frame { sent_bytes: 260, ..Frame::new(AT_NS, over_ipv4(&message)[..10].to_vec()) },
        Frame::new(AT_NS, tcp),
        Frame::new(AT_NS, vec![0x45; 7]),
        Frame::new(AT_NS, over_ipv4(&unclean)),
    ];
    let file = LITTLE.pcapng(RAW, &frames);
    let finished = sniff(&world, &file, &["--json"]).expect_code(0);
    let shown = finished.of_type("packet");
    let numbers: Vec<_> = shown.iter().map(|it| it["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 1, 1, 4, 5, 6, 10, 10]);
    assert_eq!(shown[3]["fault"]["reason"], "version 2 is not read");
    assert_eq!(shown[4]["fault"]["is_cut"], true);
    // The frame whose header the capture still has.
    assert_eq!(shown[4]["vega"]["frame"][1]["frame.sequence"], 2);
    assert_eq!(shown[5]["fault"]["reason"], "truncated packet");
    assert_eq!(shown[5]["fault"]["is_cut"], false);
    let fragment = finished.of_type("fragment").remove(0);
    assert_eq!((&fragment["number"], &fragment["from"]), (&3.into(), &"10.0.0.1".into()));
    let totals = finished.of_type("totals").remove(0);
    for (name, count) in [
        ("frames", 10),
        ("datagrams", 5),
        ("packets", 8),
        ("foreign", 1),
        ("ignored", 1),
        ("fragments", 1),
        ("other", 1),
        ("cut", 1),
        ("damaged", 1),
        ("cut_packets", 1),
        ("refused_packets", 2),
    ] {
        assert_eq!(totals[name], count, "{name} in {totals}");
    }
    let text = sniff(&world, &file, &["--summary"]).expect_code(0);
    assert!(text.text().contains("\n! 1 UDP datagram of others\n"), "{}", text.text());
    assert!(text.text().contains("\n! 1 datagram with bytes behind the last packet\n"));
    assert!(text.text().contains("\n! 1 fragment of IP, in which packets may be hidden\n"));
    let other = LITTLE.pcap(false, 7, &frames);
    let text = sniff(&world, &other, &[]).expect_code(1);
    assert_eq!(
        text.text(),
        "0 packets in 10 frames\n! 10 frames of links that are not read, such as type 7\n"
    );
}

/// Data packets of one session with these numbers.
fn stream(numbers: &[u64]) -> Vec<Vec<u8>> {
    let packet = |number: &u64| {
        let mut packet = seed("data-messages");
        packet[16..24].copy_from_slice(&number.to_le_bytes());
        packet
    };
    numbers.iter().map(packet).collect()
}

#[test]
fn losses_are_added_up() {
    let world = World::new();
    let mut packets = stream(&[3, 4, 7, 10, 8, 4]);
    packets.push(seed("nak"));
    let file = capture(&packets.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let finished = sniff(&world, &file, &["--json", "--summary"]).expect_code(0);
    let lines = finished.json_lines();
    assert_eq!(lines.len(), 1, "totals alone");
    let session = &lines[0]["sessions"][0];
    for (name, value) in [
        ("packets", 6),
        ("first", 3),
        ("last", 10),
        ("missing", 3),
        ("late", 1),
        ("repeated", 1),
        ("naks", 1),
        ("asked", 4),
    ] {
        assert_eq!(session[name], value, "{name} in {session}");
    }
    assert_eq!(
        (&session["session"], &session["to"]),
        (&"0x0000000000000007".into(), &"10.0.0.2:35002".into())
    );
}

#[test]
fn only_what_is_wanted_is_shown() {
    let world = World::new();
    let mut other = seed("data-request");
    other[8] = 9; // another session
    other[56] ^= 1; // another topic
    let packets = [
        seed("status"),
        seed("data-messages"),
        other,
        seed("announce"),
        seed("changes"),
        seed("nak"),
    ];
    let file = capture(&packets.each_ref().map(Vec::as_slice));
    let numbers = |options: &[&str]| -> Vec<u64> {
        let finished = sniff(&world, &file, &[&["--json"], options].concat());
        let has_any = finished.status.code() == Some(0);
        let lines = finished.of_type("packet");
        assert_eq!(has_any, !lines.is_empty());
        lines.iter().map(|it| it["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&["--kind", "NAK,announce"]), [4, 6]);
    assert_eq!(numbers(&["--kind", "gone"]), [0; 0]);
    // The name that no advert tells; then feedback about its session is wanted, too.
    assert_eq!(numbers(&["--topic", "seeds"]), [2, 6]);
    assert_eq!(numbers(&["--topic", "prices\\..*"]), [5]);
    let mut dotted = seed("data-messages");
    let (name, hash) = ("fx.EUR", TopicHash::of("fx.EUR").as_u64().to_le_bytes());
    let known = TopicHash::of("seeds").as_u64().to_le_bytes();
    for at in 0..dotted.len() - 8 {
        if dotted[at..at + 8] == known {
            dotted[at..at + 8].copy_from_slice(&hash);
        }
    }
    for topic in [name, "fx\\.EUR"] {
        let finished = sniff(&world, &capture(&[&dotted]), &["--json", "--topic", topic]);
        assert_eq!(finished.expect_code(0).of_type("packet").len(), 1, "{topic}");
    }
    assert_eq!(numbers(&["--topic", "seeds", "--kind", "nak"]), [6]);
    assert_eq!(numbers(&["--instance", "pri.*"]), [4, 5, 6], "once its name is known");
    assert_eq!(numbers(&["--instance", "30313233-.*"]), [1, 2, 3, 4, 5, 6]);
    let refused = sniff(&world, &file, &["--kind", "nok"]).expect_code(2);
    assert!(refused.stderr.contains("kinds are data, heartbeat"), "{}", refused.stderr);
    for conflict in [&["--once"][..], &["--log"], &["--duration", "1s"]] {
        sniff(&world, &file, conflict).expect_code(2);
    }
    world.start(&["sniff", "--summary"]).finish().expect_code(2);
}

/// Cut at any byte, a file is read up to there, and the rest of it is an error that says so.
#[test]
fn a_file_that_is_cut_short_is_shown_up_to_there() {
    let world = World::new();
    let frames = [1, 2].map(|nth| Frame::new(AT_NS + nth, over_ipv4(&seed("goodbye"))));
    let record = 16 + 28 + 24;
    let pcap = LITTLE.pcap(true, RAW, &frames);
    let pcapng = BIG.pcapng(RAW, &frames);
    let block = 12 + 20 + 52;
    let before = pcapng.len() - 2 * block;
    let whole_at = [
        [24, 24 + record, 24 + 2 * record].map(|at| (&pcap, at)),
        [before, before + block, before + 2 * block].map(|at| (&pcapng, at)),
    ]
    .concat();
    for (file, from) in [(&pcap, 24), (&pcapng, before)] {
        let whole: BTreeSet<_> =
            whole_at.iter().filter(|(of, _)| *of == file).map(|(_, at)| *at).collect();
        for length in (0..file.len()).rev() {
            let finished = sniff(&world, &file[..length], &["--json"]);
            let frames = whole.iter().filter(|at| **at <= length).count().saturating_sub(1);
            assert_eq!(finished.of_type("packet").len(), frames, "{length} bytes");
            if whole.contains(&length) {
                finished.expect_code(if frames > 0 { 0 } else { 1 });
            } else if length > from {
                let finished = finished.expect_code(2);
                assert!(finished.stderr.contains("cut short"), "{length}: {}", finished.stderr);
                assert_eq!(finished.stderr.lines().count(), 1);
            }
        }
    }
    let named = world.start(&["sniff", "--pcap", "/nowhere.pcap"]).finish().expect_code(2);
    assert!(named.stderr.starts_with("vega: /nowhere.pcap: No such file"), "{}", named.stderr);
    for bytes in [&b""[..], b"something else that is long enough"] {
        let finished = sniff(&world, bytes, &[]).expect_code(2);
        assert_eq!((finished.text(), finished.stderr.lines().count()), ("", 1));
    }
}

#[test]
fn damage_is_told_with_its_place() {
    let world = World::new();
    let frames = [1, 2].map(|nth| Frame::new(AT_NS + nth, over_ipv4(&seed("goodbye"))));
    let mut file = LITTLE.pcapng(RAW, &frames);
    let last = file.len() - (12 + 20 + 52);
    file[last + 4] = 8; // a block that is shorter than its header
    let finished = sniff(&world, &file, &["--json"]).expect_code(2);
    assert_eq!(finished.of_type("packet").len(), 1);
    let place = format!("damaged at byte {last}");
    assert!(finished.stderr.contains(&place), "{}", finished.stderr);
    let totals: Vec<Value> = finished.of_type("totals");
    assert_eq!(totals[0]["packets"], 1, "of what came before");

    // Whole blocks in which something claims more than there is room for.
    for order in [LITTLE, BIG] {
        let whole = order.pcapng(RAW, &frames);
        let [first, last] = [2, 1].map(|nth| whole.len() - nth * (12 + 20 + 52));
        for (block, packets) in [(first, 0), (last, 1)] {
            let mut file = whole.clone();
            // Captured bytes of the frame.
            file[block + 20..block + 24].copy_from_slice(&order.u32(53));
            let finished = sniff(&world, &file, &["--json"]).expect_code(2);
            assert_eq!(finished.of_type("packet").len(), packets);
            let said = format!("damaged at byte {block}: lengths that contradict each other");
            assert!(finished.stderr.contains(&said), "{}", finished.stderr);
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let world = World::new();
    let packets = stream(&(0..2000).collect::<Vec<_>>());
    let file = capture(&packets.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let path = world.file_with("");
    fs::write(&path, file).unwrap();
    let command = world.command(&["sniff", "--json", "--pcap", path.to_str().unwrap()]);
    assert_eq!(world.spawn_without_reader(command).finish().expect_code(0).stderr, "");
}
