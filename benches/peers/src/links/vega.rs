//! Vega itself, through its public API: listeners on a poller, as its users have them. Layer:
//! peers. Callbacks run on the poller; the main thread sends streams, and waits.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context, bail};
use vega::{Config, Instance, Listener, Message, Publisher, SendError};

use crate::cases::Transport;
use crate::clock;
use crate::console::{Command, Console, Report};
use crate::part::{Part, Role};
use crate::polled::{MEETING, QUIET};
use crate::round_trips::RoundTrips;
use crate::setups::{Details, Wait, Window};
use crate::stream::{Incoming, Outgoing};

/// Without an end for so long beyond the time that is measured, something is wrong.
const STALL: Duration = Duration::from_secs(10);
/// Pause between two looks at whether it is time to leave.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Plays a part.
///
/// # Errors
///
/// What the instance refuses, and when the other side does not turn up or answer.
pub(super) fn play(part: &Part, console: &Console) -> anyhow::Result<()> {
    let config = Config::parse(&configuration(part))?;
    let instance = Instance::builder().name("vega-peers").config(config).start()?;
    match part.role {
        Role::Ping => ping(part, console, &instance)?,
        Role::Pong => pong(part, console, &instance)?,
        Role::Send => send(part, console, &instance)?,
        Role::Count => count(part, console, &instance)?,
        Role::Broker => bail!("vega has no broker"),
    }
    Ok(instance.close()?)
}

/// Everything that is not about this machine is as in the built-in configuration, as in `vega
/// bench`, but for the pages of rings, which are brought in before, as Aeron's clients do with their logs. Its patterns make transports of the prefixes `ipc.` and `unicast.`.
fn configuration(part: &Part) -> String {
    // Who sends a stream is not called back, and leaves the core to the thread that sends.
    let receives = part.role != Role::Send;
    let (idle, core) = match (receives, part.setup.wait, part.core()) {
        (true, Wait::Spin, Some(core)) => ("busy_spin", format!("core = {core}")),
        (true, Wait::Yield, Some(core)) => ("yield", format!("core = {core}")),
        (true, Wait::Spin, None) => ("busy_spin", String::new()),
        (true, Wait::Yield, None) => ("yield", String::new()),
        _ => ("block", String::new()),
    };
    let (port, ports) = (part.place.port(0), part.place.port_range());
    let rings = part.place.directory.join("rings");
    let rings = rings.to_string_lossy();
    let packet_bytes = part.case.packet_bytes;
    let window = match part.setup.details {
        Details::Vega(Window::FourMebibytes) => "window_bytes = \"4MiB\"",
        _ => "",
    };
    format!(
        r#"
[[poller]]
name = "data"
idle = "{idle}"
{core}
[[poller]]
name = "background"
idle = "block"
[responses]
poller = "background"
ports = "{ports}"
[control]
ports = "{ports}"
[discovery]
port = {port}
[ipc]
directory = {rings:?}
pages = "prefault"
[[template]]
name = "multicast"
transport = "multicast"
ports = "{port}"
packet_bytes = {packet_bytes}
[[template]]
name = "unicast"
transport = "unicast"
ports = "{ports}"
packet_bytes = {packet_bytes}
[[template]]
name = "ipc"
transport = "ipc"
{window}
"#
    )
}

fn topic(transport: Transport, name: &str) -> String {
    format!("{transport}.peers.{name}")
}

fn publisher(instance: &Instance, part: &Part, name: &str) -> anyhow::Result<Publisher> {
    Ok(instance.publisher(&topic(part.case.transport, name))?)
}

/// Waits for somebody who listens.
fn meet(publisher: &Publisher) -> anyhow::Result<()> {
    if !publisher.wait_for_subscribers(1, MEETING) {
        bail!("nobody listened to {} after {MEETING:?}", publisher.topic());
    }
    Ok(())
}

/// Sends a ping for every pong.
struct Pings {
    trips: RoundTrips,
    /// Comes when somebody listens to it.
    publisher: Receiver<Publisher>,
    own: Option<Publisher>,
    done: Sender<anyhow::Result<Vec<(u64, u64)>>>,
}

impl Listener for Pings {
    fn on_message(&mut self, pong: &Message<'_>) {
        if !self.trips.pong(pong.payload()) {
            return;
        }
        if self.trips.is_over() {
            let _ = self.done.send(Ok(self.trips.values()));
            return;
        }
        if self.own.is_none() {
            self.own = self.publisher.recv().ok();
        }
        if let Some(publisher) = &mut self.own
            && let Err(error) = publisher.send(self.trips.ping())
        {
            let _ = self.done.send(Err(error.into()));
        }
    }
}

fn ping(part: &Part, console: &Console, instance: &Instance) -> anyhow::Result<()> {
    let mut pings = publisher(instance, part, "ping")?;
    let (hand_over, handed) = mpsc::channel();
    let (done, outcome) = mpsc::channel();
    let mut trips = RoundTrips::new(part.case.size, part.duration)?;
    let first = trips.ping().to_vec();
    let listener = Pings { trips, publisher: handed, own: None, done };
    let _subscription = instance.subscribe(&topic(part.case.transport, "pong"), listener)?;
    meet(&pings)?;
    pings.send(&first)?;
    hand_over.send(pings).ok().context("the listener is gone")?;
    let values = outcome.recv_timeout(part.duration + STALL).context("no pong came back")??;
    console.report(&Report::RoundTrips(values))?;
    console.wait_for_the_end();
    Ok(())
}

struct Pongs(Publisher);

impl Listener for Pongs {
    fn on_message(&mut self, ping: &Message<'_>) {
        if let Err(error) = self.0.send(ping.payload()) {
            eprintln!("a pong was not sent: {error}");
        }
    }
}

fn pong(part: &Part, console: &Console, instance: &Instance) -> anyhow::Result<()> {
    let pongs = publisher(instance, part, "pong")?;
    // The other side is there already, or is about to be: it pings when it has seen this one.
    console.report(&Report::Ready)?;
    meet(&pongs)?;
    let _subscription = instance.subscribe(&topic(part.case.transport, "ping"), Pongs(pongs))?;
    console.wait_for_the_end();
    Ok(())
}

fn send(part: &Part, console: &Console, instance: &Instance) -> anyhow::Result<()> {
    if let Some(id) = part.core() {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
    let mut publisher = publisher(instance, part, "ping")?;
    meet(&publisher)?;
    let mut outgoing = Outgoing::new(part.case.size, part.duration);
    while let Some(message) = outgoing.next() {
        insist(part.setup.wait, console, || publisher.send(message).map(drop))?;
    }
    insist(part.setup.wait, console, || publisher.flush())?;
    console.report(&Report::Sent(outgoing.counted()))?;
    console.wait_for_the_end();
    Ok(())
}

/// Tries until receivers have made room.
#[inline]
fn insist(
    wait: Wait,
    console: &Console,
    mut attempt: impl FnMut() -> Result<(), SendError>,
) -> anyhow::Result<()> {
    loop {
        match attempt() {
            Err(SendError::BackPressured) if !console.is_over() => wait.idle(),
            result => return Ok(result?),
        }
    }
}

struct Counter(Incoming);

impl Listener for Counter {
    fn on_message(&mut self, message: &Message<'_>) {
        self.0.take(message.payload());
    }
}

fn count(part: &Part, console: &Console, instance: &Instance) -> anyhow::Result<()> {
    let incoming = Incoming::new(part.case.size);
    let tally = incoming.tally();
    let _subscription =
        instance.subscribe(&topic(part.case.transport, "ping"), Counter(incoming))?;
    console.report(&Report::Ready)?;
    let mut end = None;
    let mut last = (0, clock::now());
    while !console.is_over() && end.is_none_or(|end| tally.received() < end) {
        if let Some(Command::Sent(sent)) = console.command(LOOK_INTERVAL) {
            end = Some(sent);
        }
        let now = clock::now();
        if tally.received() != last.0 || end.is_none() {
            last = (tally.received(), now);
        } else if now - last.1 > QUIET {
            break;
        }
    }
    console.report(&Report::Counted(tally.counted()))?;
    console.wait_for_the_end();
    Ok(())
}
