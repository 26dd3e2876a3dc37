//! Packets that no sender sends, and captures that have not all of them. Tests. The same in every run.

use std::fs;
use std::path::Path;

use crate::seeds::{packets, seed};
use crate::tshark::Tshark;

/// Altered copies of each seed.
const MUTANTS: usize = 60;
/// The largest payload of UDP over IPv4.
const MAX_DATAGRAM: usize = 65_507;

/// Numbers of a fixed sequence (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.draw() % end as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        // Ends of ranges are where mistakes are.
        match self.below(4) {
            0 => 0,
            1 => 0xff,
            _ => self.draw().to_le_bytes()[0],
        }
    }
}

/// Packets with some other bytes, some of them cut or made longer. Magic and version stay, or it would not be
/// this dissector that reads them.
fn mutants(numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let mut mutants = Vec::new();
    for packet in packets() {
        for _ in 0..MUTANTS {
            let mut mutant = packet.clone();
            for _ in 0..=numbers.below(4) {
                let at = 3 + numbers.below(mutant.len() - 3);
                mutant[at] = numbers.byte();
            }
            match numbers.below(3) {
                0 => mutant.truncate(numbers.below(mutant.len() + 1)),
                1 => mutant.extend_from_slice(&packet[..numbers.below(packet.len())]),
                _ => {}
            }
            mutants.push(mutant);
        }
    }
    mutants
}

/// A packet of a kind that goes on with the same bytes over and over.
fn monster(kind: u8, head: &[u8], repeated: &[u8]) -> Vec<u8> {
    let [low, high] = u16::try_from(MAX_DATAGRAM).unwrap().to_le_bytes();
    let mut packet = vec![b'V', b'G', 1, kind, low, high, 0, 0];
    packet.extend_from_slice(head);
    let rest =
        repeated.iter().cycle().take(MAX_DATAGRAM - packet.len()).copied().collect::<Vec<_>>();
    packet.extend(rest);
    packet
}

/// As large as datagrams get, with as many parts as they have room for.
fn monsters() -> Vec<Vec<u8>> {
    let frame = [&[24, 0, 1, 3][..], &[1; 20]].concat();
    let empty = b"VG\x01\x01\x08\x00\x00\x00";
    let endless = b"VG\x01\x13\x00\x00\x00\x00";
    let mut monsters = vec![
        monster(1, &[1; 40], &frame),
        empty.repeat(MAX_DATAGRAM / empty.len()),
        endless.repeat(MAX_DATAGRAM / endless.len()),
    ];
    for kind in 0..=u8::MAX {
        monsters.push(monster(kind, &[], &[0]));
    }
    // RELAY in RELAY in RELAY.
    monsters.push(monster(22, &[], b"\0\0\0\0\0\0\0\0VG\x01\x16\x90\x00\x00\x00"));
    // As many changes as can be told, none of which is there.
    let mut changes = vec![0; 44];
    changes[42..].copy_from_slice(&[0xff; 2]);
    monsters.push(monster(17, &changes, &[2]));
    monsters
}

/// Asserts that `tshark` shows each of so many packets, in full, and that the script did not fail.
fn assert_survived(tshark: &Tshark, capture: &Path, packets: usize) {
    let shown = tshark.read(capture, &["-V"]);
    assert_eq!(shown.matches("User Datagram Protocol").count(), packets);
    for failure in ["Lua Error", "Malformed Packet", "Dissector bug"] {
        assert!(!shown.contains(failure), "{failure}: {}", around(&shown, failure));
    }
    assert_eq!(tshark.fields(capture, &["_ws.col.Info"]).len(), packets);
}

fn around<'a>(text: &'a str, what: &str) -> &'a str {
    let at = text.find(what).unwrap();
    let from = text[..at].rfind("\nFrame ").unwrap_or_default();
    let to = text[at..].find("\n\n").map_or(text.len(), |length| at + length);
    &text[from..to]
}

#[test]
fn altered_packets_are_shown_without_an_error_of_the_script() {
    let Some(tshark) = Tshark::new() else { return };
    let mutants = mutants(&mut Numbers(1));
    let capture = tshark.capture(mutants.iter().map(Vec::as_slice));
    assert_survived(&tshark, &capture, mutants.len());
    // Neither everything nor nothing of them is still right.
    let wrong = tshark.matching(&capture, "vega.malformed").len();
    assert!((mutants.len() / 10..mutants.len() * 9 / 10).contains(&wrong), "{wrong}");
}

#[test]
fn captures_that_cut_packets_are_shown_without_an_error_of_the_script() {
    let Some(tshark) = Tshark::new() else { return };
    let packets = packets();
    // Headers of IPv4 and UDP are 28 bytes, which are there.
    let cuts =
        packets.iter().flat_map(|packet| (0..packet.len()).map(move |cut| (&**packet, 28 + cut)));
    let cuts: Vec<_> = cuts.collect();
    let capture = tshark.capture_cut(cuts.iter().copied());
    let shown = tshark.read(&capture, &["-V"]);
    for failure in ["Lua Error", "Dissector bug"] {
        assert!(!shown.contains(failure), "{failure}: {}", around(&shown, failure));
    }
    // Whose first eight bytes are there is recognized, and what is missing is no fault of the sender.
    let recognized = packets.iter().map(|packet| packet.len() - 8).sum::<usize>();
    assert_eq!(tshark.matching(&capture, "vega && vega.cut").len(), recognized);
    assert_eq!(tshark.matching(&capture, "vega.malformed"), [""; 0]);
}

#[test]
fn the_largest_datagrams_are_shown_without_an_error_of_the_script() {
    let Some(tshark) = Tshark::new() else { return };
    let monsters = monsters();
    let capture = tshark.capture(monsters.iter().map(Vec::as_slice));
    assert_survived(&tshark, &capture, monsters.len());
}

/// What is not ours is left to others.
#[test]
fn strangers_are_not_taken_for_ours() {
    let Some(tshark) = Tshark::new() else { return };
    let mut numbers = Numbers(2);
    let mut strangers: Vec<Vec<u8>> = (0..500_usize)
        .map(|length| (0..length).map(|_| numbers.draw().to_le_bytes()[0]).collect())
        .collect();
    strangers.push(b"VG".to_vec());
    strangers.push(b"VG\x02\x01\x08\x00\x00\x00".to_vec());
    strangers.push(b"VG\x01\x63\x07\x00\x00\x00".to_vec());
    strangers.push(b"GV\x01\x01\x08\x00\x00\x00".to_vec());
    let capture = tshark.capture(strangers.iter().map(Vec::as_slice));
    assert_eq!(tshark.matching(&capture, "vega"), [""; 0]);
    assert_survived(&tshark, &capture, strangers.len());
}

/// Everything in the corpus that its makers have cut is called wrong.
#[test]
fn cut_seeds_are_called_truncated_or_malformed() {
    let Some(tshark) = Tshark::new() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/packet");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with("-cut"));
    paths.sort();
    assert!(!paths.is_empty());
    let cut: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let capture = tshark.capture(cut.iter().map(Vec::as_slice));
    let refused = tshark.matching(&capture, "vega.malformed");
    assert_eq!(refused.len(), cut.len(), "{paths:?}");
}

/// What the code refuses: a seed, where other bytes are put into it, and what is said about it.
const REFUSED: &[(&str, usize, &[u8], &str)] = &[
    ("goodbye", 4, &[7, 0], "packet length"),
    ("data-messages", 4, &[47, 0], "truncated"),
    ("data-messages", 4, &[49, 0], "truncated frame header"),
    ("data-messages", 23, &[0x80], "a sequence that no session reaches"),
    ("data-messages", 48, &[23, 0], "frame length"),
    ("data-messages", 48, &[0xff, 0xff], "frame length"),
    ("data-messages", 50, &[4], "frame kind"),
    ("data-messages", 51, &[1], "truncated"),
    ("data-messages", 71, &[0x80], "a sequence that no session reaches"),
    ("data-fragments", 51, &[0], "fragment position"),
    ("data-fragments", 72, &[0, 0], "fragment position"),
    ("data-fragments", 76, &[1], "fragment position"),
    ("data-request", 88, &[5], "address family of a locator"),
    ("data-request", 90, &[0, 0], "port of a locator"),
    ("data-response", 48, &[40, 0], "truncated"),
    ("heartbeat", 4, &[63, 0], "truncated"),
    ("status", 23, &[0x80], "a sequence that no session reaches"),
    ("nak", 4, &[56, 0], "number of entries"),
    ("nak", 4, &[65, 0], "number of entries"),
    ("nak", 60, &[0, 0, 0, 0], "empty range"),
    ("welcome", 4, &[71, 0], "truncated"),
    ("announce", 105, &[7], "truncated"),
    ("announce", 105, &[5], "end of a discovery packet"),
    ("announce", 106, &[0xff], "text that is not UTF-8"),
    ("changes", 24, &[10], "range of CHANGES"),
    ("changes", 48, &[3], "range of CHANGES"),
    ("changes", 50, &[3], "end of a discovery packet"),
    ("changes", 50, &[5], "truncated"),
    ("changes", 52, &[3], "operation of a change"),
    ("changes", 53, &[3], "kind of an advert"),
    ("changes", 54, &[4], "transport of an advert"),
    ("changes", 56, &[0], "topic of an advert"),
    ("changes", 57, &[4], "key of an added advert"),
    ("changes", 57, &[10], "key of an added advert"),
    ("changes", 202, &[0], "key of a removed advert"),
    ("changes", 202, &[5], "key of a removed advert"),
    ("ask", 24, &[0], "address family of a locator"),
    ("relay", 16, b"x", "magic"),
    ("relay", 19, &[18], "kind of a relayed packet"),
    ("relay", 20, &[23], "truncated"),
    ("heard", 4, &[24, 0], "number of entries"),
    ("who", 4, &[24, 0], "number of entries"),
    ("call", 4, &[40, 0], "number of entries"),
];

#[test]
fn what_receivers_refuse_is_called_wrong() {
    let Some(tshark) = Tshark::new() else { return };
    let altered: Vec<_> = REFUSED
        .iter()
        .map(|(name, at, bytes, _)| {
            let mut packet = seed("packet", name);
            packet[*at..at + bytes.len()].copy_from_slice(bytes);
            packet
        })
        .collect();
    let capture = tshark.capture(altered.iter().map(Vec::as_slice));
    let lines = tshark.fields(&capture, &["_ws.expert.message", "vega.malformed"]);
    assert_eq!(lines.len(), REFUSED.len());
    for ((name, at, _, reason), line) in REFUSED.iter().zip(&lines) {
        assert_eq!(line[0], *reason, "{name} with other bytes at {at}");
        assert!(!line[1].is_empty(), "{name} with other bytes at {at}");
    }
}

/// More entries than a packet may have.
#[test]
fn lists_that_are_too_long_are_called_wrong() {
    let Some(tshark) = Tshark::new() else { return };
    let lists =
        [("nak", 56, 8, 64), ("heard", 24, 32, 43), ("who", 16, 16, 87), ("call", 40, 16, 80)];
    let list = |(name, head, entry, most): (&str, usize, usize, usize), more: usize| {
        let mut packet = seed("packet", name);
        packet.resize(head + (most + more) * entry, 1);
        let length = u16::try_from(packet.len()).unwrap();
        packet[4..6].copy_from_slice(&length.to_le_bytes());
        packet
    };
    let packets: Vec<_> = lists.iter().flat_map(|it| [list(*it, 0), list(*it, 1)]).collect();
    let capture = tshark.capture(packets.iter().map(Vec::as_slice));
    let lines = tshark.fields(&capture, &["_ws.expert.message"]).concat();
    let too_long = ["", "number of entries"];
    let of_discovery = ["", "length of a discovery packet"];
    assert_eq!(lines, [too_long, of_discovery, of_discovery, too_long].concat());
}
