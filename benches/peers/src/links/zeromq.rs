//! ZeroMQ: PUSH to PULL, which blocks instead of losing, over TCP or its own `ipc`. Layer: peers.

use zmq::{Context, Message, SocketType};

use crate::cases::Transport;
use crate::console::Console;
use crate::part::Part;
use crate::polled::{self, Channel, Inlet, Link, Outlet};
use crate::setups::Wait;

/// Messages that may wait on either side. Ten times the default: enough for neither side to stop
/// for the other's scheduling.
const HIGH_WATER: i32 = 10_000;
/// Who blocks looks up so often.
const LONGEST_WAIT_MS: i32 = 20;

/// Plays a part.
pub(super) fn play(part: &Part, console: &Console) -> anyhow::Result<()> {
    polled::play(&ZeroMq::new(part), part, console)
}

struct ZeroMq {
    context: Context,
    endpoints: [String; 2],
    blocks: bool,
}

struct Sender(zmq::Socket, i32);

struct Receiver(zmq::Socket, i32, Message);

impl ZeroMq {
    fn new(part: &Part) -> Self {
        let endpoints = match part.case.transport {
            Transport::Ipc => ["ping", "pong"]
                .map(|name| format!("ipc://{}", part.place.directory.join(name).display())),
            _ => [0, 1].map(|port| format!("tcp://127.0.0.1:{}", part.place.port(port))),
        };
        Self { context: Context::new(), endpoints, blocks: part.setup.wait == Wait::Block }
    }

    fn socket(&self, kind: SocketType) -> zmq::Result<(zmq::Socket, i32)> {
        let socket = self.context.socket(kind)?;
        socket.set_sndhwm(HIGH_WATER)?;
        socket.set_rcvhwm(HIGH_WATER)?;
        socket.set_linger(0)?;
        socket.set_sndtimeo(LONGEST_WAIT_MS)?;
        socket.set_rcvtimeo(LONGEST_WAIT_MS)?;
        Ok((socket, if self.blocks { 0 } else { zmq::DONTWAIT }))
    }
}

impl Link for ZeroMq {
    type Outlet = Sender;
    type Inlet = Receiver;

    fn outlet(&self, channel: Channel) -> anyhow::Result<Sender> {
        let (socket, flags) = self.socket(zmq::PUSH)?;
        socket.connect(&self.endpoints[channel as usize])?;
        Ok(Sender(socket, flags))
    }

    fn inlet(&self, channel: Channel) -> anyhow::Result<Receiver> {
        let (socket, flags) = self.socket(zmq::PULL)?;
        socket.bind(&self.endpoints[channel as usize])?;
        Ok(Receiver(socket, flags, Message::new()))
    }
}

impl Outlet for Sender {
    #[inline]
    fn send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        match self.0.send(message, self.1) {
            Ok(()) => Ok(true),
            Err(zmq::Error::EAGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Inlet for Receiver {
    #[inline]
    fn poll(&mut self, mut on_message: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        match self.0.recv(&mut self.2, self.1) {
            Ok(()) => {
                on_message(&self.2);
                Ok(1)
            }
            Err(zmq::Error::EAGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
