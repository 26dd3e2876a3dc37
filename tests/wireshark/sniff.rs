//! `vega sniff --pcap` against `tshark` with the dissector: two readers of the same captures that share no
//! code. Tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::seeds::{packets, seed};
use crate::tshark::{Tshark, dissector};

/// Fields that the dissector shows byte by byte and that say nothing of their own: what is reserved or padding,
/// lengths of what follows, flags whose bits are fields, and lines that have fields below them.
const WITHOUT_COUNTERPART: &[&str] = &[
    "vega.magic",
    "vega.reserved",
    "vega.frame.padding",
    "vega.announce.flags",
    "vega.announce.name_length",
    "vega.changes.flags",
    "vega.advert.parts",
    "vega.advert.has_locator",
    "vega.advert.has_session",
    "vega.advert.topic_length",
    "vega.frame",
    "vega.change",
    "vega.nak.range",
    "vega.heard",
    "vega.roll",
    "vega.relayed",
    "vega.control",
    "vega.announce.responses",
    "vega.request.reply_to",
    "vega.advert.locator",
];

/// All values of each field of one frame, in order.
type Fields = BTreeMap<String, Vec<String>>;

/// What `vega sniff` prints.
fn printed(capture: &Path, options: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vega"));
    let output = command.args(["sniff", "--pcap"]).arg(capture).args(options).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    String::from_utf8(output.stdout).unwrap()
}

fn collect(value: &Value, fields: &mut Fields) {
    for (name, value) in value.as_object().unwrap() {
        let mut add = |value: &Value| match value {
            Value::Object(_) => collect(value, fields),
            Value::String(text) => {
                fields.entry(format!("vega.{name}")).or_default().push(text.clone())
            }
            // As `tshark` prints what is so or not.
            Value::Bool(is_so) => {
                fields
                    .entry(format!("vega.{name}"))
                    .or_default()
                    .push(u8::from(*is_so).to_string());
            }
            other => fields.entry(format!("vega.{name}")).or_default().push(other.to_string()),
        };
        match value {
            Value::Array(values) => values.iter().for_each(&mut add),
            value => add(value),
        }
    }
}

/// The fields of each frame that has packets, by its number, and whether something in it is refused.
fn ours(capture: &Path) -> BTreeMap<u64, (Fields, bool)> {
    let mut frames: BTreeMap<u64, (Fields, bool)> = BTreeMap::new();
    for line in printed(capture, &["--json"]).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["type"] == "packet" {
            let (fields, is_refused) = frames.entry(line["number"].as_u64().unwrap()).or_default();
            collect(&line["vega"], fields);
            *is_refused |= line.get("fault").is_some_and(|fault| fault["is_cut"] == false);
        }
    }
    frames
}

/// The same by `tshark`.
fn theirs(tshark: &Tshark, capture: &Path) -> BTreeMap<u64, (Fields, bool)> {
    let names = field_names(tshark);
    let meanings = meanings(tshark);
    let mut arguments =
        vec!["-Y", "vega", "-T", "fields", "-E", "separator=|", "-E", "aggregator=;"];
    arguments.extend(["-e", "frame.number", "-e", "vega.malformed"]);
    arguments.extend(names.iter().flat_map(|name| ["-e", name]));
    let mut frames = BTreeMap::new();
    for line in tshark.read(capture, &arguments).lines() {
        let columns: Vec<_> = line.split('|').collect();
        let mut fields = Fields::new();
        for (name, column) in names.iter().zip(&columns[2..]) {
            let meaning = |value: &str| match value {
                "True" => "1".to_owned(),
                "False" => "0".to_owned(),
                value => {
                    let key = (name.clone(), value.to_owned());
                    meanings.get(&key).map_or(value, String::as_str).to_owned()
                }
            };
            if !column.is_empty() {
                fields.insert(name.clone(), column.split(';').map(meaning).collect());
            }
        }
        frames.insert(columns[0].parse().unwrap(), (fields, !columns[1].is_empty()));
    }
    frames
}

/// Every field of the dissector that has a value of its own.
fn field_names(tshark: &Tshark) -> Vec<String> {
    let printed = tshark.run(&dissector(), &["-G", "fields"]);
    let fields = printed.lines().filter(|line| line.starts_with("F\t"));
    let names = fields.filter_map(|line| line.split('\t').nth(2));
    let ours = names.filter(|name| name.starts_with("vega."));
    let is_remark = |name: &str| ["vega.malformed", "vega.cut", "vega.unknown"].contains(&name);
    let names: Vec<_> = ours
        .filter(|name| !is_remark(name) && !WITHOUT_COUNTERPART.contains(name))
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 60, "{names:?}");
    names
}

/// What numbers of a field stand for.
fn meanings(tshark: &Tshark) -> BTreeMap<(String, String), String> {
    let printed = tshark.run(&dissector(), &["-G", "values"]);
    let values = printed.lines().filter_map(|line| {
        let columns: Vec<_> = line.split('\t').collect();
        let ["V", name, number, meaning] = columns[..] else { return None };
        let is_ours = name.starts_with("vega.");
        is_ours.then(|| ((name.to_owned(), number.to_owned()), meaning.to_owned()))
    });
    values.collect()
}

/// Asserts that both read the same values of the same fields in the same frames.
pub(crate) fn assert_both_agree(tshark: &Tshark, capture: &Path) {
    let (ours, theirs) = (ours(capture), theirs(tshark, capture));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (number, (fields, is_refused)) in &ours {
        let (expected, is_refused_there) = &theirs[number];
        assert_eq!(fields, expected, "frame {number}");
        assert_eq!(is_refused, is_refused_there, "frame {number}: {fields:?}");
    }
}

#[test]
fn both_read_the_same_in_every_kind_of_packet() {
    let Some(tshark) = Tshark::new() else { return };
    let mut packets = packets();
    // Once without names of topics, once with them.
    packets.extend(packets.clone());
    let mut call = seed("packet", "call");
    // The topic of the adverts.
    call[40..48].copy_from_slice(&seed("packet", "changes")[65..73]);
    packets.push(call);
    let capture = tshark.capture(packets.iter().map(Vec::as_slice));
    assert_eq!(ours(&capture).len(), packets.len());
    assert_both_agree(&tshark, &capture);
    assert_eq!(ours(&capture)[&(packets.len() as u64)].0["vega.topic"], ["prices.eur"]);

    // And they say the same in a line.
    let lines = tshark.fields(&capture, &["_ws.col.Info"]).concat();
    let shown = printed(&capture, &[]);
    let shown = shown.lines().take(packets.len());
    let texts = shown.map(|line| line.split_once(" > ").unwrap().1.split_once(' ').unwrap().1);
    assert!(texts.eq(lines.iter().map(String::as_str)), "{lines:#?}");
}

#[test]
fn both_take_runs_apart_in_the_same_places() {
    let Some(tshark) = Tshark::new() else { return };
    let (message, fragment) = (seed("packet", "data-messages"), seed("packet", "data-fragments"));
    let mut slot = message.clone();
    slot.resize(512, 7);
    let runs = [
        [&*slot, &slot, &fragment, &message].concat(),
        [&*message, &message, &seed("packet", "heartbeat")].concat(),
        [&*slot, &slot[..100]].concat(),
        [&*fragment, &message, b"and more"].concat(),
        [&*seed("packet", "status"), b"rest"].concat(),
    ];
    let capture = tshark.capture(runs.iter().map(Vec::as_slice));
    let (ours, theirs) = (ours(&capture), theirs(&tshark, &capture));
    assert_eq!((ours.len(), theirs.len()), (runs.len(), runs.len()));
    for (number, (fields, is_refused)) in &ours {
        for name in ["vega.kind", "vega.length"] {
            assert_eq!(fields.get(name), theirs[number].0.get(name), "{name} of frame {number}");
        }
        assert_eq!(*is_refused, theirs[number].1, "frame {number}");
    }
    assert_eq!(ours[&1].0["vega.length"], ["232", "232", "512", "232"]);
}
