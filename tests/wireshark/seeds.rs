//! Packets as the code writes them: the seeds of `fuzz/corpus`, which a unit test holds to the code. Tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::tshark::{Tshark, dissector, over_ipv6};

/// Of most seeds.
const INSTANCE: &str = "30313233-3435-3637-3839-616263646566";

/// What is in the packets, in the order of the kinds: for each a seed, and fields with all their values. `ID`
/// is the instance.
const PACKETS: &[(&str, &str)] = &[
    (
        "data-messages",
        "vega.kind=1 vega.version=1 vega.length=232 vega.session=0x0000000000000007 vega.sequence=0 \
         vega.stream=3 vega.instance=ID vega.frame.length=24,25,124 vega.frame.kind=1,1,1 \
         vega.frame.flags=0x03,0x03,0x03 vega.frame.publisher=0,0,0 vega.frame.sequence=1,2,3 \
         vega.topic.hash=0xa0be4c6184dd6a17,0xa0be4c6184dd6a17,0xa0be4c6184dd6a17 vega.frame.total=",
    ),
    (
        "data-fragments",
        "vega.kind=1 vega.length=512 vega.frame.length=464 vega.frame.flags=0x01 vega.frame.begin=1 \
         vega.frame.end=0 vega.frame.sequence=1 vega.frame.total=700 vega.frame.offset=0",
    ),
    (
        "data-request",
        "vega.kind=1 vega.frame.kind=2 vega.request=0x0000000000000001 vega.request.timeout=500000000 \
         vega.locator.family=4 vega.locator.ipv4=127.0.0.1 vega.locator.port=35004 vega.locator.stream=7 \
         vega.payload=776861743f",
    ),
    (
        "data-response",
        "vega.kind=1 vega.frame.kind=3,3 vega.request=0x0000000000000001,0x0000000000000001 \
         vega.response.requester=ID,ID vega.payload=74686973,616e642074686973",
    ),
    (
        "heartbeat",
        "vega.kind=2 vega.flags=0x0001 vega.flags.status_wanted=1 vega.session=0x0000000000000007 \
         vega.heartbeat.next=9 vega.stream=3 vega.instance=ID vega.heartbeat.round_trip=25000 \
         vega.heartbeat.receivers=3 vega.heartbeat.probe=2 vega.sequence=",
    ),
    (
        "status",
        "vega.kind=3 vega.flags.joining=0 vega.session=0x0000000000000007 vega.status.consumed=5 \
         vega.status.window=64 vega.status.echo=2 vega.instance=ID vega.status.tag=0 \
         vega.status.port=35001",
    ),
    ("status-joining", "vega.kind=3 vega.flags.joining=1 vega.status.consumed=5"),
    (
        "nak",
        "vega.kind=4 vega.session=0x0000000000000007 vega.status.consumed=5 vega.nak.distance=0,3 \
         vega.nak.packets=1,3 vega.nak.first=5,8",
    ),
    (
        "welcome",
        "vega.kind=5 vega.welcome.start=4 vega.instance=ID vega.target=ID vega.welcome.port=35001",
    ),
    ("gone", "vega.kind=6 vega.gone.oldest=4 vega.stream=3 vega.instance=ID"),
    (
        "announce",
        "vega.kind=16 vega.instance=ID vega.locator.port=35001,35002 vega.announce.host=0x0000000000000005 \
         vega.head=9 vega.digest=0x00000000000000dd vega.announce.interval=1000 \
         vega.announce.timeout=10000 vega.announce.direct=0 vega.announce.name_length=6 \
         vega.announce.name=pricer",
    ),
    (
        "changes",
        "vega.kind=17 vega.instance=ID vega.changes.from=4 vega.changes.to=9 vega.head=9 \
         vega.changes.reset=0 vega.changes.end=1 vega.changes.count=4 vega.change.operation=1,1,1,2 \
         vega.change.key=5,6,7,1 vega.advert.kind=2,1,2 vega.advert.transport=1,2,3 \
         vega.advert.parts=0x01,0x01,0x02 vega.locator.ipv4=239.1.2.3,239.1.2.3 \
         vega.session=0x0000000000000008 vega.topic=prices.eur,prices.eur,prices.eur",
    ),
    (
        "changes-reset",
        "vega.kind=17 vega.changes.from=0 vega.changes.reset=1 vega.change.key=1,2,3",
    ),
    (
        "ask",
        "vega.kind=18 vega.instance=ID vega.locator.port=35001 vega.target=ID vega.ask.have=3 \
         vega.ask.horizon=2",
    ),
    ("goodbye", "vega.kind=19 vega.instance=ID"),
    ("register", "vega.kind=20 vega.instance=ID vega.reserved=0000000000000000"),
    ("ticket", "vega.kind=21 vega.daemon=ID vega.ticket=0x000000000000000b"),
    ("relay", "vega.kind=22,19 vega.length=40,24 vega.ticket=0x000000000000000b vega.instance=ID"),
    (
        "heard",
        "vega.kind=23 vega.daemon=ID vega.listed=ID,ID vega.head=9,9 \
         vega.digest=0x00000000000000dd,0x00000000000000dd",
    ),
    ("who", "vega.kind=24 vega.ticket=0x000000000000000b vega.listed=ID,ID"),
    (
        "call",
        "vega.kind=25 vega.instance=ID vega.target=ID \
         vega.topic.hash=0xa0be4c6184dd6a17,0xa0be4c6184dd6a17 \
         vega.roll.number=0x0000000000000007,0x0000000000000008",
    ),
    (
        "present",
        "vega.kind=26 vega.instance=ID vega.target=ID \
         vega.roll.number=0x0000000000000007,0x0000000000000008",
    ),
];

/// A seed by its name; its target is `packet` or another one.
pub(crate) fn seed(target: &str, name: &str) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/corpus/{target}/seed-{name}"));
    fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// All seeds of packets that are whole, in the order of the table.
pub(crate) fn packets() -> Vec<Vec<u8>> {
    PACKETS.iter().map(|(name, _)| seed("packet", name)).collect()
}

/// The names of the kinds by their numbers, in lower case.
type Kinds = BTreeMap<u8, String>;

fn kinds_of_the_code() -> Kinds {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/packet.rs");
    let source = fs::read_to_string(source).unwrap();
    let (_, rest) = source.split_once("enum PacketKind {").unwrap();
    let (variants, _) = rest.split_once('}').unwrap();
    let variants = variants.lines().filter_map(|line| line.trim().strip_suffix(','));
    variants
        .map(|variant| {
            let (name, number) = variant.split_once(" = ").unwrap();
            (number.parse().unwrap(), name.to_lowercase())
        })
        .collect()
}

fn kinds_of_the_dissector(tshark: &Tshark) -> Kinds {
    let printed = tshark.run(&dissector(), &["-G", "values"]);
    let values = printed.lines().filter_map(|line| line.strip_prefix("V\tvega.kind\t"));
    values
        .map(|value| {
            let (number, name) = value.split_once('\t').unwrap();
            (number.parse().unwrap(), name.to_lowercase())
        })
        .collect()
}

#[test]
fn the_kinds_are_those_of_the_code_and_each_has_a_packet_here() {
    let Some(tshark) = Tshark::new() else { return };
    let kinds = kinds_of_the_code();
    assert_eq!(kinds_of_the_dissector(&tshark), kinds);
    let here: BTreeSet<_> = packets().iter().map(|packet| packet[3]).collect();
    assert_eq!(here, kinds.into_keys().collect());
}

#[test]
fn the_fields_of_every_packet_are_read() {
    let Some(tshark) = Tshark::new() else { return };
    let packets = packets();
    let capture = tshark.capture(packets.iter().map(Vec::as_slice));
    let expected: Vec<Vec<(&str, String)>> = PACKETS
        .iter()
        .map(|(_, fields)| {
            let fields =
                fields.split_ascii_whitespace().map(|field| field.split_once('=').unwrap());
            fields.map(|(name, value)| (name, value.replace("ID", INSTANCE))).collect()
        })
        .collect();
    let names: BTreeSet<_> = expected.iter().flatten().map(|(name, _)| *name).collect();
    let names: Vec<_> = names.into_iter().collect();
    let found = tshark.fields(&capture, &names);
    assert_eq!(found.len(), PACKETS.len());
    for ((seed, _), (expected, found)) in PACKETS.iter().zip(expected.iter().zip(&found)) {
        for (name, value) in expected {
            let column = names.iter().position(|it| it == name).unwrap();
            assert_eq!(&found[column], value, "{name} of {seed}");
        }
    }
}

#[test]
fn every_byte_is_shown_and_nothing_is_called_wrong() {
    let Some(tshark) = Tshark::new() else { return };
    let packets = packets();
    let capture = tshark.capture(packets.iter().map(Vec::as_slice));
    tshark.assert_all_bytes_are_shown(&capture, "vega");
    assert_eq!(tshark.matching(&capture, "vega").len(), packets.len());
    assert_eq!(tshark.matching(&capture, "_ws.expert || _ws.malformed"), [""; 0]);
}

/// A line says what a packet is. Topics have names once an advert has told them.
#[test]
fn the_lines_say_what_packets_are() {
    let Some(tshark) = Tshark::new() else { return };
    let changes = seed("packet", "changes");
    let mut message = seed("packet", "data-messages");
    // The topic's hash, in the first advert and in the first frame.
    message[48 + 8..48 + 16].copy_from_slice(&changes[52 + 13..52 + 21]);
    let capture = tshark.capture([&*changes, &message, &seed("packet", "nak")]);
    let lines = tshark.fields(&capture, &["_ws.col.Protocol", "_ws.col.Info"]);
    let expected = [
        "CHANGES of 30313233, 4 to 9 of 9, end: +subscriber prices.eur, +publisher prices.eur, \
         +subscriber prices.eur, -key 1",
        "data #0 of 0000000000000007, stream 3: message #1 on prices.eur (0 bytes), \
         message #2 on a0be4c6184dd6a17 (1 byte), message #3 on a0be4c6184dd6a17 (100 bytes)",
        "NAK of 0000000000000007, consumed below #5, window 64, echo 2, missing #5, #8-#10",
    ];
    assert_eq!(lines, expected.map(|line| ["vega".to_owned(), line.to_owned()]));
    assert_eq!(
        tshark.matching(&capture, "vega.kind == 1 && vega.topic == \"prices.eur\"").len(),
        1
    );
    assert_eq!(tshark.matching(&capture, "vega.kind == \"nak\" && vega.session == 7").len(), 1);
}

#[test]
fn locators_of_ipv6_are_read_and_packets_over_ipv6_recognized() {
    let Some(tshark) = Tshark::new() else { return };
    let announce = |control: &str, responses: &str| {
        let mut packet = seed("packet", "announce");
        packet[24..48].copy_from_slice(&seed("locator", control));
        packet[48..72].copy_from_slice(&seed("locator", responses));
        (over_ipv6(&packet), usize::MAX)
    };
    let capture = tshark.write(vec![announce("link", "v6"), announce("v6", "mapped")]);
    let names = ["vega.locator.family", "vega.control", "vega.announce.responses"];
    let lines = tshark.fields(&capture, &names);
    assert_eq!(lines[0], ["6,6", "[fe80::7]:35004, stream 7", "[::1]:1, stream 7"]);
    let refused = tshark.matching(&capture, "vega.malformed");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].ends_with("ANNOUNCE [IPv4 address of an IPv6 locator]"), "{refused:?}");
}

/// What the kernel has not split yet, or has joined, is one datagram to a capture. All packets but the last have
/// the length of the longest that there can be.
#[test]
fn a_run_of_packets_is_read_packet_by_packet() {
    let Some(tshark) = Tshark::new() else { return };
    let (message, fragment) = (seed("packet", "data-messages"), seed("packet", "data-fragments"));
    let mut slot = message.clone();
    slot.resize(512, 7);
    let slots = [&*slot, &slot, &fragment, &message].concat();
    let joined = [&*message, &message, &seed("packet", "heartbeat")].concat();
    let capture = tshark.capture([&*slots, &joined]);
    let lines = tshark.fields(&capture, &["vega.kind", "vega.length", "vega.frame.sequence"]);
    assert_eq!(lines[0], ["1,1,1,1", "232,232,512,232", "1,2,3,1,2,3,1,1,2,3"]);
    assert_eq!(lines[1], ["1,1,2", "232,232,64", "1,2,3,1,2,3"]);
    tshark.assert_all_bytes_are_shown(&capture, "vega");
    assert_eq!(tshark.matching(&capture, "vega.malformed"), [""; 0]);
}

#[test]
fn bytes_behind_a_packet_are_shown_and_wrong_behind_one_of_discovery() {
    let Some(tshark) = Tshark::new() else { return };
    let longer = |name| [seed("packet", name), vec![7; 5]].concat();
    let capture = tshark.capture([&*longer("status"), &longer("goodbye")]);
    let lines = tshark.fields(&capture, &["vega.kind", "vega.ignored"]);
    assert_eq!(lines, [["3", "0707070707"], ["19", "0707070707"]]);
    tshark.assert_all_bytes_are_shown(&capture, "vega");
    let refused = tshark.matching(&capture, "vega.malformed");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].ends_with("GOODBYE [length of a discovery packet]"), "{refused:?}");
}

/// Of a script that runs another one, and prints the names of globals that this makes, or reads without there
/// being any.
const WATCH: &str = "
    local all = _ENV
    local function made(_, name) print('GLOBAL made: ' .. tostring(name)) end
    local function read(_, name)
        if all[name] == nil then print('GLOBAL read: ' .. tostring(name)) end
        return all[name]
    end
    assert(loadfile(SCRIPT, 't', setmetatable({}, { __newindex = made, __index = read })))()
";

#[test]
fn the_script_makes_no_globals() {
    let Some(tshark) = Tshark::new() else { return };
    let watch = tshark.file("watch.lua");
    let path = format!("{:?}", dissector().to_str().unwrap());
    fs::write(&watch, WATCH.replace("SCRIPT", &path)).unwrap();
    let packets = packets();
    let capture = tshark.capture(packets.iter().map(Vec::as_slice));
    let printed = tshark.run(&watch, &["-r", capture.to_str().unwrap(), "-V"]);
    assert!(printed.contains("Kind: NAK (4)"), "{printed}");
    let globals: Vec<_> = printed.lines().filter(|line| line.starts_with("GLOBAL")).collect();
    assert_eq!(globals, [""; 0]);
}

/// `tshark` says no to a filter with a name that it does not know, or a value that the field cannot have.
#[test]
fn the_display_filters_of_the_documents_are_filters() {
    let Some(tshark) = Tshark::new() else { return };
    let operations = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let operations = fs::read_to_string(operations).unwrap();
    let (_, rest) = operations.split_once("\n## Wireshark\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|'));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let filters: Vec<_> = quoted.filter(|text| text.starts_with("vega.")).collect();
    assert!(filters.len() > 5, "{filters:?}");
    let capture = tshark.capture([&*seed("packet", "nak")]);
    for filter in filters {
        tshark.matching(&capture, filter);
    }
}
