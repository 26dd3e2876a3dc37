//! A program that knows nothing but `docs/wire-protocol.md` is heard and answered. Tests.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use vega::{Config, Instance, Listener, Message, Request};

use crate::markdown::read;

const PATIENCE: Duration = Duration::from_secs(20);

/// The bytes of an example: what stands in pairs of hexadecimal digits before each comment.
fn example(name: &str) -> Vec<u8> {
    let document = read("docs/wire-protocol.md");
    let marker = format!("<!-- example: {name} -->\n```text\n");
    let (_, rest) = document.split_once(&marker).expect("the example is marked");
    let (block, _) = rest.split_once("\n```").expect("the block ends");
    let columns = block.lines().map(|line| line.split("   ").next().unwrap_or_default());
    columns
        .flat_map(str::split_ascii_whitespace)
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// Answers every request with its payload, and reports what it has heard.
struct Echo(mpsc::Sender<(u64, Vec<u8>)>);

impl Listener for Echo {
    fn on_message(&mut self, message: &Message<'_>) {
        let _ = self.0.send((message.sequence(), message.payload().to_vec()));
    }

    fn on_request(&mut self, request: &Request<'_>) {
        assert_eq!(request.timeout(), Duration::from_secs(1));
        assert_eq!(request.request_id().as_u64(), 0x0102_0304_0506_0708);
        request.respond(request.payload()).unwrap();
    }
}

fn free_port() -> (UdpSocket, u16) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the other side of the wire, without the library"
    )]
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// The next data packet; heartbeats may come between.
fn receive_data(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    loop {
        let (length, source) = socket.recv_from(&mut buffer).expect("a data packet");
        if buffer[..4] == *b"VG\x01\x01" {
            return (buffer[..length].to_vec(), source);
        }
    }
}

#[test]
fn the_example_datagrams_are_heard_and_answered() {
    // Topics by unicast, so that the subscriber's socket can be written to; the port of discovery
    // is one that was free a moment ago, so that nobody else is met.
    let (_, discovery_port) = free_port();
    let config = Config::parse(&format!(
        "[discovery]\nport = {discovery_port}\n\
         [[topic]]\npattern = '.*'\ntemplate = 'unicast'\n"
    ))
    .unwrap();
    let instance = Instance::builder().config(config).start().unwrap();
    let (heard, hearing) = mpsc::channel();
    let subscription = instance.subscribe("orders", Echo(heard)).unwrap();
    let to = subscription.address().unwrap();

    let (socket, port) = free_port();
    socket.send_to(&example("message"), to).unwrap();
    assert_eq!(hearing.recv_timeout(PATIENCE).unwrap(), (1, b"hi".to_vec()));

    let mut request = example("request");
    let reply_to = 48 + 24 + 16;
    assert_eq!(request[reply_to..reply_to + 4], [4, 0, 0xbc, 0x88], "the locator of the example");
    request[reply_to + 2..reply_to + 4].copy_from_slice(&port.to_le_bytes());
    socket.send_to(&request, to).unwrap();

    let (packet, source) = receive_data(&socket);
    assert!(source.ip().is_loopback());
    let length = usize::from(u16::from_le_bytes([packet[4], packet[5]]));
    assert_eq!(length, packet.len());
    assert_eq!(packet[16..24], [0; 8], "the first packet of its session");
    assert_eq!(packet[24..28], [7, 0, 0, 0], "the stream of the locator");
    assert_eq!(packet[32..48], instance.id().to_bytes(), "the responder");
    let frame = &packet[48..];
    assert_eq!(frame[..8], [54, 0, 3, 3, 0, 0, 0, 0], "length, response, whole, publisher");
    assert_eq!(frame[8..16], request[56..64], "the topic of the request");
    assert_eq!(frame[16..24], [1, 0, 0, 0, 0, 0, 0, 0], "the first response");
    assert_eq!(frame[24..32], [8, 7, 6, 5, 4, 3, 2, 1], "the request");
    assert_eq!(frame[32..48], request[32..48], "the requester");
    assert_eq!(&frame[48..54], b"quote?");
    instance.close().unwrap();
}
