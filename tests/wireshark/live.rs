//! What instances and a daemon say to each other on loopback, captured: there is nothing in it that the
//! dissector does not know. Tests. They need `dumpcap` and the right to capture, and say SKIPPED without.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use vega::{
    Config, ConnectionListener, DisconnectReason, DiscoveryDaemon, HeartbeatParameters, Instance,
    InstanceId, Listener, Message, Request,
};

use crate::support::{Place, Settings, WAIT, eventually, next, socket_at};
use crate::tshark::{Tshark, skipped};

const MESSAGES: u64 = 400;
/// Travels in fragments.
const LARGE_BYTES: usize = 20_000;
/// The last datagram of a capture.
const LAST: &[u8] = b"that was the last one";

/// A running `dumpcap` on the loopback interface.
struct Capture {
    process: Child,
    file: PathBuf,
    /// Open as long as it may have something to say.
    _said: BufReader<ChildStderr>,
}

impl Capture {
    /// Captures what a place sends and receives. `None` where that is not possible; the reason has been shown.
    fn start(tshark: &Tshark, place: &Place) -> Option<Self> {
        let file = tshark.file("live.pcap");
        let filter = format!("udp and host {}", place.address());
        let mut command = Command::new("dumpcap");
        command.args(["-q", "-i", "lo", "-P", "-B", "64", "-f", &filter, "-w"]).arg(&file);
        let mut process = match command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn() {
            Ok(process) => process,
            Err(error) => {
                skipped(&format!("dumpcap, of Wireshark, does not start: {error}"));
                return None;
            }
        };
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut reason = String::new();
        while said.read_line(&mut reason).unwrap() > 0 {
            // Said when the capture runs.
            if reason.contains("File: ") {
                return Some(Self { process, file, _said: said });
            }
        }
        process.wait().unwrap();
        skipped(&format!("dumpcap captures nothing: {}", reason.trim()));
        None
    }

    /// Ends the capture when all that was sent before is in the file.
    fn finish(mut self, place: &Place) -> PathBuf {
        let socket = socket_at(place.address());
        socket.send_to(LAST, socket.local_addr().unwrap()).unwrap();
        eventually("the last datagram is captured", || {
            fs::read(&self.file).unwrap().windows(LAST.len()).any(|bytes| bytes == LAST)
        });
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
        std::mem::take(&mut self.file)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Fails when it has ended, as it should.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers requests, and tells of every message.
struct Echo(mpsc::Sender<usize>);

impl Listener for Echo {
    fn on_message(&mut self, message: &Message<'_>) {
        let _ = self.0.send(message.payload().len());
    }

    fn on_request(&mut self, request: &Request<'_>) {
        request.respond(request.payload()).unwrap();
    }
}

/// Tells who has answered a heartbeat.
struct Connected(crossbeam_channel::Sender<InstanceId>);

impl ConnectionListener for Connected {
    fn on_connected(&mut self, _: &str, subscriber: InstanceId) {
        let _ = self.0.send(subscriber);
    }

    fn on_disconnected(&mut self, _: &str, _: InstanceId, _: DisconnectReason) {}
}

/// An instance that meets others by the group and by the daemon, and loses some of what it receives.
fn start(place: &Place, daemon: &DiscoveryDaemon, name: &str) -> Instance {
    let keys = format!("[discovery]\nkind = 'both'\ndaemons = ['{}']\n", daemon.address());
    let text = place.config_text().replace("[discovery]\n", &keys);
    let config = Config::parse(&format!("{text}[fault]\nseed = 7\nloss = '5%'\n")).unwrap();
    Instance::builder().name(name).config(config).start().unwrap()
}

/// Messages, fragments, a request and its response, heartbeats of the publisher.
fn talk(sender: &Instance, receiver: &Instance, topic: &str) {
    let (heard, hearing) = mpsc::channel();
    let _subscription = receiver.subscribe(topic, Echo(heard)).unwrap();
    let mut publisher = sender.publisher(topic).unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let (told, connected) = crossbeam_channel::unbounded();
    publisher.activate_heartbeats(Connected(told), HeartbeatParameters::default()).unwrap();
    assert_eq!(next(&connected, "an answer to a heartbeat"), receiver.id());
    for number in 0..MESSAGES {
        let bytes = if number % 50 == 7 { LARGE_BYTES } else { 700 };
        publisher.send_blocking(&vec![1; bytes], WAIT).unwrap();
    }
    for _ in 0..MESSAGES {
        hearing.recv_timeout(WAIT).expect("all messages arrive");
    }
    let (answered, answers) = crossbeam_channel::unbounded();
    let on_response = move |_: &vega::SentRequest, response: &vega::Response<'_>| {
        let _ = answered.send(response.payload().to_vec());
    };
    let _request = publisher.request(b"quote?", Duration::from_secs(60), on_response).unwrap();
    assert_eq!(next(&answers, "a response"), b"quote?");
}

fn kinds(tshark: &Tshark, file: &Path) -> Vec<String> {
    let lines = tshark.fields(file, &["vega.kind"]).concat();
    let mut kinds: Vec<_> =
        lines.iter().flat_map(|line| line.split(',')).map(str::to_owned).collect();
    kinds.sort_by_key(|kind| kind.parse::<u8>().unwrap_or_default());
    kinds.dedup();
    kinds
}

#[test]
fn nothing_that_instances_say_is_unknown() {
    let Some(tshark) = Tshark::new() else { return };
    let place = Place::with(Settings::default());
    let Some(capture) = Capture::start(&tshark, &place) else { return };
    let daemon = DiscoveryDaemon::builder().interface(place.address().to_string()).port(0);
    let daemon = daemon.start().unwrap();
    let (sender, receiver) = (start(&place, &daemon, "sender"), start(&place, &daemon, "receiver"));
    for topic in ["unicast.orders", "multicast.prices"] {
        talk(&sender, &receiver, topic);
    }
    sender.close().unwrap();
    receiver.close().unwrap();
    daemon.close();
    let file = capture.finish(&place);

    let strangers = tshark.matching(&file, "udp && !vega");
    assert_eq!(strangers.len(), 1, "the last datagram alone is not ours: {strangers:#?}");
    assert_eq!(tshark.matching(&file, "_ws.expert || _ws.malformed"), [""; 0]);
    tshark.assert_all_bytes_are_shown(&file, "vega");
    #[cfg(feature = "cli")]
    crate::sniff::assert_both_agree(&tshark, &file);
    let kinds = kinds(&tshark, &file);
    // Data, heartbeat, status, NAK; ANNOUNCE, CHANGES, GOODBYE; REGISTER to HEARD; CALL and PRESENT.
    for kind in ["1", "2", "3", "4", "16", "17", "19", "20", "21", "22", "23", "25", "26"] {
        assert!(kinds.iter().any(|it| it == kind), "{kind} is not in {kinds:?}");
    }
    for (filter, what) in [
        ("vega.kind == \"data\" && vega.topic == \"unicast.orders\"", "data has names of topics"),
        ("vega.frame.begin == 0", "fragments"),
        ("vega.request.reply_to && vega.payload == 71:75:6f:74:65:3f", "the request"),
        ("vega.response.requester", "the response"),
    ] {
        assert_ne!(tshark.matching(&file, filter), [""; 0], "{what}: {filter}");
    }
}
