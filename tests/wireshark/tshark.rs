//! Capture files as the tests make them, `tshark` with the dissector, and what it says. Tests.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// Of a capture file: packets begin with the header of IPv4 or IPv6.
const LINKTYPE_RAW: u32 = 101;
const MAX_CAPTURED_BYTES: usize = 0x4_0000;
const UDP: u8 = 17;

/// A folder of this test, which has the captures and is what `tshark` takes for its user's home: nobody's own
/// settings and plug-ins matter.
pub(crate) struct Tshark {
    folder: TempDir,
}

impl Tshark {
    /// `None` where there is none that runs scripts: the reason has been shown, and the test has nothing to do.
    pub(crate) fn new() -> Option<Self> {
        static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
        let tshark = Self { folder: tempfile::tempdir().unwrap() };
        if let Some(reason) = OBSTACLE.get_or_init(|| tshark.obstacle()) {
            skipped(reason);
            return None;
        }
        Some(tshark)
    }

    fn obstacle(&self) -> Option<String> {
        const SIGN: &str = "scripts run here";
        let script = self.file("sign.lua");
        fs::write(&script, format!("print('{SIGN}')")).unwrap();
        match self.command(&["-G", "protocols"], &script).output() {
            Err(error) => Some(format!("tshark, of Wireshark, does not start: {error}")),
            Ok(output) if text(&output.stdout).contains(SIGN) => None,
            Ok(_) => Some("this tshark runs no Lua scripts, or not as this user".to_owned()),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `tshark` that resolves no names and asks dissectors such as ours first, whatever the ports are.
    fn command(&self, arguments: &[&str], script: &Path) -> Command {
        let mut command = Command::new("tshark");
        // First, since `-G` has to be.
        command.args(arguments).args(["-n", "-o", "udp.try_heuristic_first:TRUE"]);
        command.arg("-X").arg(format!("lua_script:{}", script.display()));
        for place in ["HOME", "XDG_CONFIG_HOME", "WIRESHARK_CONFIG_DIR"] {
            command.env(place, self.folder.path());
        }
        command
    }

    /// What `tshark` prints with a script.
    pub(crate) fn run(&self, script: &Path, arguments: &[&str]) -> String {
        let output = self.command(arguments, script).output().unwrap();
        let (printed, complaints) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {complaints}");
        assert!(!complaints.contains("Lua"), "{complaints}");
        printed
    }

    /// What it prints with the dissector about a capture.
    pub(crate) fn read(&self, capture: &Path, arguments: &[&str]) -> String {
        self.run(&dissector(), &[&["-r", capture.to_str().unwrap()], arguments].concat())
    }

    /// The values of some fields: a line for each packet, and in it for each field all values that it has.
    pub(crate) fn fields(&self, capture: &Path, names: &[&str]) -> Vec<Vec<String>> {
        let mut arguments = vec!["-T", "fields", "-E", "separator=|"];
        arguments.extend(names.iter().flat_map(|name| ["-e", name]));
        let printed = self.read(capture, &arguments);
        printed.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }

    /// One line for each packet that a display filter lets through.
    pub(crate) fn matching(&self, capture: &Path, filter: &str) -> Vec<String> {
        self.read(capture, &["-Y", filter]).lines().map(str::to_owned).collect()
    }

    /// Asserts that every byte of every datagram is in a field that has a name of its own.
    pub(crate) fn assert_all_bytes_are_shown(&self, capture: &Path, filter: &str) {
        let printed =
            self.read(capture, &["-Y", filter, "-T", "json", "-x", "--no-duplicate-keys"]);
        let packets: Vec<Value> = serde_json::from_str(&printed).unwrap();
        for packet in &packets {
            let layers = &packet["_source"]["layers"];
            let datagram = place(&layers["udp"]["udp.payload_raw"]).unwrap();
            let mut shown = BTreeSet::new();
            let layers = layers.as_object().unwrap();
            let ours = layers.iter().filter(|(name, _)| name.starts_with("vega"));
            let ours = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
            collect_leaves(&Value::Object(ours), &mut shown);
            let hidden: Vec<_> = datagram.filter(|at| !shown.contains(at)).collect();
            assert!(hidden.is_empty(), "{hidden:?} in {packet:#}");
        }
        assert!(!packets.is_empty());
    }

    /// Writes a capture of datagrams.
    pub(crate) fn capture<'a>(&self, datagrams: impl IntoIterator<Item = &'a [u8]>) -> PathBuf {
        self.capture_cut(datagrams.into_iter().map(|datagram| (datagram, usize::MAX)))
    }

    /// The same with so many bytes captured of each at most, headers included.
    pub(crate) fn capture_cut<'a>(
        &self,
        datagrams: impl IntoIterator<Item = (&'a [u8], usize)>,
    ) -> PathBuf {
        let packets = datagrams.into_iter().map(|(datagram, cut)| (over_ipv4(datagram), cut));
        self.write(packets.collect())
    }

    pub(crate) fn write(&self, packets: Vec<(Vec<u8>, usize)>) -> PathBuf {
        let mut file =
            tempfile::Builder::new().suffix(".pcap").tempfile_in(self.folder.path()).unwrap();
        let mut bytes = Vec::new();
        let limit = u32::try_from(MAX_CAPTURED_BYTES).unwrap();
        // Magic and version of the format, two words about time zones that nobody uses.
        for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, limit, LINKTYPE_RAW] {
            bytes.extend_from_slice(&u32::to_le_bytes(word));
        }
        for (second, (packet, cut)) in (0..).zip(&packets) {
            let captured = packet.len().min(*cut);
            let [captured_bytes, sent_bytes] =
                [captured, packet.len()].map(|it| u32::try_from(it).unwrap());
            for word in [second, 0, captured_bytes, sent_bytes] {
                bytes.extend_from_slice(&u32::to_le_bytes(word));
            }
            bytes.extend_from_slice(&packet[..captured]);
        }
        file.write_all(&bytes).unwrap();
        file.keep().unwrap().1
    }
}

/// The script that is tested.
pub(crate) fn dissector() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/wireshark/vega.lua")
}

/// Says that a test has nothing to do here.
pub(crate) fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not by a macro: the harness would keep that to itself.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {reason}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where a field is in its packet, by what JSON has under the field's name with `_raw`.
fn place(raw: &Value) -> Option<Range<u64>> {
    let (at, length) = (raw.get(1)?.as_u64()?, raw.get(2)?.as_u64()?);
    Some(at..at + length)
}

/// Whether there are fields inside a field, and not only remarks about it.
fn has_fields(tree: &Value) -> bool {
    tree.as_object().is_none_or(|fields| fields.keys().any(|name| name != "_ws.expert"))
}

/// The bytes of all fields that have no others inside.
fn collect_leaves(value: &Value, shown: &mut BTreeSet<u64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_leaves(value, shown)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let Some(of) = name.strip_suffix("_raw") else {
                    collect_leaves(value, shown);
                    continue;
                };
                let inside = fields.get(&format!("{of}_tree"));
                if fields[of].is_object() || inside.is_some_and(has_fields) {
                    continue;
                }
                // A field that occurs once is its place, one that occurs more often a list of them.
                match (place(value), value.as_array()) {
                    (Some(range), _) => shown.extend(range),
                    (None, Some(places)) => shown.extend(places.iter().filter_map(place).flatten()),
                    (None, None) => {}
                }
            }
        }
        _ => {}
    }
}

fn over_udp(datagram: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + datagram.len()).unwrap();
    let mut bytes = Vec::new();
    // The last is the checksum: there is none.
    for word in [35_001, 35_002, length, 0] {
        bytes.extend_from_slice(&u16::to_be_bytes(word));
    }
    bytes.extend_from_slice(datagram);
    bytes
}

fn over_ipv4(datagram: &[u8]) -> Vec<u8> {
    let udp = over_udp(datagram);
    let length = u16::try_from(20 + udp.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, UDP, 0, 0];
    bytes.extend_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1]);
    bytes.extend_from_slice(&udp);
    bytes
}

/// A datagram from `::1` to `::1`.
pub(crate) fn over_ipv6(datagram: &[u8]) -> Vec<u8> {
    let udp = over_udp(datagram);
    let length = u16::try_from(udp.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], UDP, 64];
    for _ in 0..2 {
        bytes.extend_from_slice(&1_u128.to_be_bytes());
    }
    bytes.extend_from_slice(&udp);
    bytes
}
