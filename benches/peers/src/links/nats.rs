//! NATS: core publish and subscribe through a `nats-server` of our own, with the official client.
//! Layer: peers.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::{Client, ConnectOptions, Message, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Runtime};

use crate::clock;
use crate::console::{Console, Report};
use crate::part::{Part, Role};
use crate::polled::{self, Channel, Inlet, Link, MEETING, Outlet};
use crate::setups::Details;

const SERVER: &str = "nats-server";
/// Messages that wait in the client before it stops reading: more than ever come at once. Beyond
/// that, the client loses them.
const CAPACITY: usize = 1 << 22;
/// Who waits for a message looks up so often.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Messages handed over at once.
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(5);

/// Plays a part.
pub(super) fn play(part: &Part, console: &Console) -> anyhow::Result<()> {
    match part.role {
        Role::Broker => serve(part, console),
        _ => polled::play(&Nats::connect(part)?, part, console),
    }
}

struct Nats {
    runtime: Rc<Runtime>,
    client: Client,
}

struct Sender {
    runtime: Rc<Runtime>,
    client: Client,
    subject: Subject,
}

struct Receiver {
    runtime: Rc<Runtime>,
    subscriber: Subscriber,
    batch: Vec<Message>,
}

/// The server's own word, such as `nats-server 2.9.10`.
pub(super) fn server_version() -> Option<String> {
    let output = Command::new(SERVER).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().replace(": v", " "))
}

pub(super) fn absence() -> Option<String> {
    server_version().is_none().then(|| format!("no {SERVER} in the path"))
}

/// Runs the server until it is time to leave.
fn serve(part: &Part, console: &Console) -> anyhow::Result<()> {
    let port = part.place.port(0);
    let mut server = Command::new(SERVER)
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {SERVER}"))?;
    let deadline = clock::now() + MEETING;
    let mut result = Ok(());
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if clock::now() > deadline || console.is_over() {
            result = Err(anyhow::anyhow!("{SERVER} takes no connections"));
            break;
        }
        std::thread::sleep(PAUSE);
    }
    if result.is_ok() {
        result = console.report(&Report::Ready);
        console.wait_for_the_end();
    }
    server.kill()?;
    server.wait()?;
    result
}

impl Nats {
    fn connect(part: &Part) -> anyhow::Result<Self> {
        let Details::Nats { worker } = part.setup.details else { bail!("no setup of NATS") };
        let mut builder = match worker {
            true => Builder::new_multi_thread(),
            false => Builder::new_current_thread(),
        };
        let runtime = Rc::new(builder.worker_threads(1).enable_all().build()?);
        let address = format!("127.0.0.1:{}", part.place.port(0));
        let options = ConnectOptions::new().subscription_capacity(CAPACITY);
        let client = runtime.block_on(options.connect(address))?;
        Ok(Self { runtime, client })
    }
}

impl Link for Nats {
    type Outlet = Sender;
    type Inlet = Receiver;

    fn outlet(&self, channel: Channel) -> anyhow::Result<Sender> {
        let (runtime, client) = (Rc::clone(&self.runtime), self.client.clone());
        Ok(Sender { runtime, client, subject: subject(channel) })
    }

    fn inlet(&self, channel: Channel) -> anyhow::Result<Receiver> {
        let subscriber = self.runtime.block_on(async {
            let subscriber = self.client.subscribe(subject(channel)).await?;
            // The server knows of it when this is back.
            self.client.flush().await?;
            anyhow::Ok(subscriber)
        })?;
        let runtime = Rc::clone(&self.runtime);
        Ok(Receiver { runtime, subscriber, batch: Vec::with_capacity(BATCH) })
    }
}

fn subject(channel: Channel) -> Subject {
    match channel {
        Channel::Ping => "ping".into(),
        Channel::Pong => "pong".into(),
    }
}

impl Outlet for Sender {
    fn send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        let payload = message.to_vec().into();
        self.runtime.block_on(self.client.publish(self.subject.clone(), payload))?;
        Ok(true)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.runtime.block_on(self.client.flush())?)
    }
}

impl Inlet for Receiver {
    fn poll(&mut self, mut on_message: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        let Self { runtime, subscriber, batch } = self;
        runtime.block_on(async {
            let first = tokio::time::timeout(LONGEST_WAIT, subscriber.next()).await;
            let mut next = first.ok().flatten();
            while let Some(message) = next {
                batch.push(message);
                next = match batch.len() < BATCH {
                    true => subscriber.next().now_or_never().flatten(),
                    false => None,
                };
            }
        });
        let came = batch.len();
        batch.drain(..).for_each(|message| on_message(&message.payload));
        Ok(came)
    }
}
