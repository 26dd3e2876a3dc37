//! What fuzzing starts from: packets as the code writes them, cut short and altered, and programs
//! for the sessions. Beside `lib.rs`, above all layers.

use crate::config::{Config, Transport};
use crate::id::{InstanceId, ReceiverId, RequestId, SessionId, TopicHash};
use crate::random::SplitMix64;
use crate::ring::Layout;
use crate::ring::append::{Appender, Entry};
use crate::ring::storage::Slots;
use crate::wire::advert::daemon::{self, Heard, Ticket};
use crate::wire::advert::{Add, AdvertKind, Announce, Ask, ChangesWriter, encode_goodbye};
use crate::wire::control::{Heartbeat, Range, Status, Welcome, encode_gone};
use crate::wire::frame::{FrameKind, RequestPrefix, ResponsePrefix};
use crate::wire::locator::Locator;
use crate::wire::packet::{PACKET_HEADER_LENGTH, PacketHeader};
use crate::wire::roll::{Roll, RollEntry};

const INSTANCE: InstanceId = InstanceId::from_bytes(*b"0123456789abcdef");
const RECEIVER: ReceiverId = ReceiverId { instance: INSTANCE, port: 35_001 };
const HEADER: PacketHeader =
    PacketHeader { session: SessionId(7), sequence: 9, stream: 3, instance: INSTANCE };

/// Altered copies of each packet.
const MUTANTS: u64 = 2;
/// Random programs for each session, and their longest length in bytes.
const PROGRAMS: u64 = 40;
const MAX_PROGRAM_BYTES: u64 = 400;

/// Target, file name and content of every seed; the same in every run.
pub(super) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut random = SplitMix64::new(1);
    let mut add = |target, name: &str, bytes: &[u8], alters: bool| {
        seeds.push((target, format!("seed-{name}"), bytes.to_vec()));
        if !alters {
            return;
        }
        let cut = bytes.len() - 1 - index(&mut random, bytes.len() / 2);
        seeds.push((target, format!("seed-{name}-cut"), bytes[..cut].to_vec()));
        for nth in 0..MUTANTS {
            let name = format!("seed-{name}-altered-{nth}");
            seeds.push((target, name, altered(bytes, &mut random)));
        }
    };
    for (name, bytes) in session_packets() {
        add("packet", name, &bytes, true);
        if name.starts_with("data") {
            add("frames", name, &bytes[PACKET_HEADER_LENGTH..], true);
        }
    }
    for (name, bytes) in discovery_packets() {
        add("packet", name, &bytes, false);
        add("advert", name, &bytes, true);
    }
    for (name, bytes) in daemon_packets() {
        add("packet", name, &bytes, true);
    }
    for (name, address) in [("v4", "127.0.0.1:35004"), ("v6", "[::1]:1"), ("any", "0.0.0.0:65535")]
    {
        add("locator", name, &locator(address).encode(), true);
    }
    for (name, text) in CONFIGURATIONS {
        add("config", name, text.as_bytes(), true);
    }
    add("config", "default", Config::default_toml().as_bytes(), false);
    for nth in 0..PROGRAMS {
        for target in ["receive", "send"] {
            let mut random = SplitMix64::new(nth);
            let length = random.below(MAX_PROGRAM_BYTES);
            let program: Vec<_> = (0..length).map(|_| random.draw().to_le_bytes()[0]).collect();
            add(target, &format!("random-{nth:02}"), &program, false);
        }
    }
    for (name, is_answer) in [("call", false), ("present", true)] {
        let entry = RollEntry { topic: TopicHash::of("seeds"), number: 7 };
        let entries = vec![entry, RollEntry { number: 8, ..entry }];
        let mut bytes = Vec::new();
        Roll { is_answer, sender: INSTANCE, target: INSTANCE, entries }.encode(&mut bytes);
        add("packet", name, &bytes, true);
    }
    for (name, bytes) in counter_files() {
        add("counters", name, &bytes, true);
    }
    // At the end: those before keep what was drawn for them.
    for (name, address) in [("link", "[fe80::7]:35004"), ("mapped", "[::ffff:127.0.0.1]:35004")] {
        add("locator", name, &locator(address).encode(), true);
    }
    add("config", "ipv6", IPV6.as_bytes(), true);
    seeds
}

fn index(random: &mut SplitMix64, below: usize) -> usize {
    usize::try_from(random.below(below as u64)).unwrap()
}

/// A few bytes are others.
fn altered(bytes: &[u8], random: &mut SplitMix64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..3 {
        let at = index(random, bytes.len());
        bytes[at] = random.draw().to_le_bytes()[0];
    }
    bytes
}

fn session_packets() -> Vec<(&'static str, Vec<u8>)> {
    let status = Status {
        session: SessionId(7),
        consumed: 5,
        window_packets: 64,
        echo: 2,
        receiver: RECEIVER,
        tag: 0,
        is_joining: false,
    };
    let mut nak = Vec::new();
    status.encode_nak(&[Range { first: 5, packets: 1 }, Range { first: 8, packets: 3 }], &mut nak);
    let heartbeat =
        Heartbeat { next: 9, status_wanted: true, rtt_ns: 25_000, receivers: 3, probe: 2 };
    vec![
        ("data-messages", data(FrameKind::Message, &[], &[b"", b"a", &[7; 100]])),
        ("data-request", data(FrameKind::Request, &request(), &[b"what?"])),
        ("data-response", data(FrameKind::Response, &response(), &[b"this", b"and this"])),
        ("data-fragments", data(FrameKind::Message, &[], &[&[9; 700]])),
        ("status", status.encode().to_vec()),
        ("status-joining", Status { is_joining: true, ..status }.encode().to_vec()),
        ("nak", nak),
        ("heartbeat", heartbeat.encode(HEADER).to_vec()),
        ("welcome", Welcome { receiver: RECEIVER, start: 4 }.encode(HEADER).to_vec()),
        ("gone", encode_gone(HEADER, 4).to_vec()),
    ]
}

fn request() -> Vec<u8> {
    let reply_to = locator("127.0.0.1:35004");
    RequestPrefix { request: RequestId(1), timeout_ns: 500_000_000, reply_to }.encode().to_vec()
}

fn response() -> Vec<u8> {
    ResponsePrefix { request: RequestId(1), requester: INSTANCE }.encode().to_vec()
}

/// A packet as a ring closes it; a payload that is too large for it is there with its first part.
fn data(kind: FrameKind, prefix: &[u8], payloads: &[&[u8]]) -> Vec<u8> {
    let layout = Layout::packets(512, 4);
    let mut appender = Appender::new(Slots::heap(layout), &HEADER);
    for (sequence, payload) in (1..).zip(payloads) {
        let entry =
            Entry { kind, publisher: 0, topic: TopicHash::of("seeds"), sequence, prefix, payload };
        if entry.body_bytes() <= layout.whole_body_bytes() {
            appender.append(&entry).unwrap();
        } else {
            appender.append_fragment(&entry, 0).unwrap();
        }
    }
    appender.close();
    appender.closed_run(0, 1).0.to_vec()
}

fn discovery_packets() -> Vec<(&'static str, Vec<u8>)> {
    let announce = Announce {
        instance: INSTANCE,
        control: locator("127.0.0.1:35001"),
        responses: locator("127.0.0.1:35002"),
        host: 5,
        head: 9,
        digest: 0xdd,
        interval_ms: 1_000,
        timeout_ms: 10_000,
        direct: false,
        name: "pricer",
    };
    let ask = Ask {
        asker: INSTANCE,
        control: locator("127.0.0.1:35001"),
        target: INSTANCE,
        have: 3,
        horizon: 2,
    };
    let (mut announced, mut asked, mut goodbye) = (Vec::new(), Vec::new(), Vec::new());
    announce.encode(&mut announced);
    ask.encode(&mut asked);
    encode_goodbye(INSTANCE, &mut goodbye);
    vec![
        ("announce", announced),
        ("changes", changes(4, 9)),
        ("changes-reset", changes(0, 9)),
        ("ask", asked),
        ("goodbye", goodbye),
    ]
}

fn daemon_packets() -> Vec<(&'static str, Vec<u8>)> {
    let packet = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        bytes
    };
    let ticket = Ticket(11);
    let heard = Heard { instance: INSTANCE, head: 9, digest: 0xdd };
    let goodbye = packet(&|bytes| encode_goodbye(INSTANCE, bytes));
    vec![
        ("register", packet(&|bytes| daemon::encode_register(INSTANCE, bytes))),
        ("ticket", packet(&|bytes| daemon::encode_ticket(INSTANCE, ticket, bytes))),
        ("relay", packet(&|bytes| daemon::encode_relay(ticket, &goodbye, bytes))),
        ("heard", packet(&|bytes| daemon::encode_heard(INSTANCE, [heard, heard], bytes))),
        ("who", packet(&|bytes| daemon::encode_who(ticket, [INSTANCE, INSTANCE], bytes))),
    ]
}

/// No whole file: that would be another one with every counter that is added. See `counters`.
fn counter_files() -> Vec<(&'static str, Vec<u8>)> {
    let step = |at: u8, word: u64| {
        let mut step = vec![at];
        step.extend_from_slice(&word.to_le_bytes());
        step
    };
    let mut rows = vec![1, 0];
    // How many there are of each, and where they begin.
    for at in 8..13 {
        rows.extend(step(at, 0xfff));
    }
    let elsewhere = [vec![1, 0, 200, 0, 0x40, 0, 0], u64::MAX.to_le_bytes().to_vec()].concat();
    vec![
        ("raw", [vec![0], b"VEGACNTR".to_vec(), vec![1, 0, 0, 0, 0, 0, 0, 0]].concat()),
        ("cut-file", vec![1, 100]),
        ("edition", [vec![1, 0], step(3, 1)].concat()),
        ("numbers", rows),
        ("elsewhere", elsewhere),
    ]
}

/// A page with an advert of each transport, and a removal where there can be one.
fn changes(from: u64, to: u64) -> Vec<u8> {
    let mut page = Vec::new();
    let mut writer = ChangesWriter::begin(&mut page, INSTANCE, from, to, from == 0);
    let transports = [Transport::Multicast, Transport::Unicast, Transport::Ipc];
    for (key, transport) in (from + 1..).zip(transports) {
        let advert = Add {
            key,
            kind: if key % 2 == 0 { AdvertKind::Publisher } else { AdvertKind::Subscriber },
            transport,
            hash: TopicHash::of("prices.eur"),
            topic: "prices.eur",
            locator: (transport != Transport::Ipc).then(|| locator("239.1.2.3:35003")),
            session: (transport == Transport::Ipc).then_some(SessionId(8)),
        };
        assert!(writer.add(&advert.encode().unwrap()));
    }
    if from > 0 {
        assert!(writer.remove(1));
    }
    writer.finish(to, true);
    page
}

fn locator(address: &str) -> Locator {
    Locator { address: address.parse().unwrap(), stream: 7 }
}

const IPV6: &str = "interface = 'fe80::1%eth0'\n[discovery]\naddress = 'ff15::1'\nkind = 'both'\n\
     daemons = ['[::1]:7', '10.0.0.1']\n[[template]]\nname = 'multicast'\ntransport = 'multicast'\n\
     addresses = 'ff12::1-ff12::ffff'\ninterface = 'loopback ipv6'\n";

const CONFIGURATIONS: &[(&str, &str)] = &[
    ("topic", "[[topic]]\npattern = 'prices\\..*'\ntemplate = 'unicast'\n"),
    ("discovery", "[discovery]\nttl = 300\ntimout = '5s'\ninterval = '1s'\n"),
    ("fault", "[fault]\nloss = '5%'\nseed = 7\ndelay = '1ms'\n"),
    ("poller", "[[poller]]\nname = 'fast'\nidle = 'spin'\ncore = 2\n"),
    ("types", "limits = 3\n[ipc]\ndirectory = 1\n[responses]\nports = '1-0'\n"),
    ("syntax", "[[topic]\npattern = \"\\u00e9\n"),
];
