//! The four parts of an exchange over whatever can be sent on and asked for messages: every peer
//! but vega, which calls back. Layer: peers; runs on the process's main thread.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::clock;
use crate::console::{Command, Console, Report};
use crate::part::{Part, Role};
use crate::round_trips::RoundTrips;
use crate::setups::Wait;
use crate::stream::{Incoming, Outgoing};

/// How long two sides may take to find each other.
pub(crate) const MEETING: Duration = Duration::from_secs(10);
/// A ball that has not come back after so long is lost.
const STALL: Duration = Duration::from_secs(5);
/// Once everything was sent and nothing has come for so long, the rest is lost.
pub(crate) const QUIET: Duration = Duration::from_secs(1);
/// Looks in vain between two at the clock.
const LOOKS: u32 = 1 << 10;

/// One way of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// From the side that measures or sends...
    Ping,
    /// ...and back.
    Pong,
}

/// The sending end of a channel.
pub(crate) trait Outlet {
    /// Whether somebody receives.
    fn is_ready(&mut self) -> anyhow::Result<bool> {
        Ok(true)
    }

    /// Sends, unless there is no room: then the same message is tried again.
    fn send(&mut self, message: &[u8]) -> anyhow::Result<bool>;

    /// Whatever was sent leaves now.
    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The receiving end of a channel.
pub(crate) trait Inlet {
    /// Hands over what has come; returns how many messages.
    fn poll(&mut self, on_message: impl FnMut(&[u8])) -> anyhow::Result<usize>;
}

/// What a peer offers: ends of channels.
pub(crate) trait Link {
    type Outlet: Outlet;
    type Inlet: Inlet;

    fn outlet(&self, channel: Channel) -> anyhow::Result<Self::Outlet>;
    fn inlet(&self, channel: Channel) -> anyhow::Result<Self::Inlet>;
}

/// Plays a part over a link.
///
/// # Errors
///
/// Those of the link, and when the other side does not turn up or answer.
pub(crate) fn play(link: &impl Link, part: &Part, console: &Console) -> anyhow::Result<()> {
    let player = Player { part, console };
    match part.role {
        Role::Ping => player.ping(link),
        Role::Pong => player.pong(link),
        Role::Send => player.send(link),
        Role::Count => player.count(link),
        Role::Broker => bail!("this peer needs no broker"),
    }
}

struct Player<'a> {
    part: &'a Part,
    console: &'a Console,
}

impl Player<'_> {
    fn ping(&self, link: &impl Link) -> anyhow::Result<()> {
        let mut pongs = link.inlet(Channel::Pong)?;
        let mut pings = link.outlet(Channel::Ping)?;
        self.meet(&mut pings)?;
        let mut trips = RoundTrips::new(self.part.case.size, self.part.duration)?;
        while !trips.is_over() {
            self.insist(&mut pings, trips.ping())?;
            pings.flush()?;
            let mut patience = self.patience(STALL);
            let mut is_back = false;
            while !is_back {
                if pongs.poll(|pong| is_back |= trips.pong(pong))? == 0 && !patience.goes_on()? {
                    return Ok(());
                }
            }
        }
        self.console.report(&Report::RoundTrips(trips.values()))?;
        self.console.wait_for_the_end();
        Ok(())
    }

    fn pong(&self, link: &impl Link) -> anyhow::Result<()> {
        let mut pings = link.inlet(Channel::Ping)?;
        let mut pongs = link.outlet(Channel::Pong)?;
        self.console.report(&Report::Ready)?;
        self.meet(&mut pongs)?;
        let wait = self.part.setup.wait;
        let mut result = Ok(());
        while !self.console.is_over() && result.is_ok() {
            let came = pings.poll(|ping| {
                if result.is_ok() {
                    result = self.insist(&mut pongs, ping).and_then(|()| pongs.flush());
                }
            })?;
            if came == 0 {
                wait.idle();
            }
        }
        result
    }

    fn send(&self, link: &impl Link) -> anyhow::Result<()> {
        let mut outlet = link.outlet(Channel::Ping)?;
        self.meet(&mut outlet)?;
        let mut outgoing = Outgoing::new(self.part.case.size, self.part.duration);
        while let Some(message) = outgoing.next() {
            self.insist(&mut outlet, message)?;
        }
        outlet.flush()?;
        self.console.report(&Report::Sent(outgoing.counted()))?;
        self.console.wait_for_the_end();
        Ok(())
    }

    fn count(&self, link: &impl Link) -> anyhow::Result<()> {
        let mut inlet = link.inlet(Channel::Ping)?;
        let mut incoming = Incoming::new(self.part.case.size);
        let tally = incoming.tally();
        self.console.report(&Report::Ready)?;
        let wait = self.part.setup.wait;
        // Known when the sender has ended.
        let mut end = None;
        let mut last = (0, clock::now());
        let mut looks = 0_u32;
        while !self.console.is_over() && end.is_none_or(|end| tally.received() < end) {
            if inlet.poll(|message| incoming.take(message))? > 0 {
                continue;
            }
            wait.idle();
            looks = looks.wrapping_add(1);
            if wait != Wait::Block && !looks.is_multiple_of(LOOKS) {
                continue;
            }
            if let Some(Command::Sent(sent)) = self.console.command(Duration::ZERO) {
                end = Some(sent);
            }
            let now = clock::now();
            if tally.received() != last.0 || end.is_none() {
                last = (tally.received(), now);
            } else if now - last.1 > QUIET {
                break;
            }
        }
        self.console.report(&Report::Counted(tally.counted()))?;
        self.console.wait_for_the_end();
        Ok(())
    }

    /// Waits for somebody who receives.
    fn meet(&self, outlet: &mut impl Outlet) -> anyhow::Result<()> {
        let deadline = clock::now() + MEETING;
        while !outlet.is_ready()? && !self.console.is_over() {
            if clock::now() > deadline {
                bail!("nobody received after {MEETING:?}");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Sends as soon as there is room.
    #[inline]
    fn insist(&self, outlet: &mut impl Outlet, message: &[u8]) -> anyhow::Result<()> {
        if outlet.send(message)? {
            return Ok(());
        }
        let mut patience = self.patience(STALL);
        while !outlet.send(message)? {
            if !patience.goes_on()? {
                break;
            }
        }
        Ok(())
    }

    fn patience(&self, limit: Duration) -> Patience<'_> {
        Patience { console: self.console, wait: self.part.setup.wait, looks: 0, limit, since: None }
    }
}

/// Waits as the setup says, for a bounded time.
struct Patience<'a> {
    console: &'a Console,
    wait: Wait,
    looks: u32,
    limit: Duration,
    /// Known after some looks: most waits are shorter.
    since: Option<Instant>,
}

impl Patience<'_> {
    /// Waits a little. False when it is time to leave.
    #[inline]
    fn goes_on(&mut self) -> anyhow::Result<bool> {
        self.wait.idle();
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(LOOKS) || self.wait == Wait::Block {
            let now = clock::now();
            if now - *self.since.get_or_insert(now) > self.limit {
                bail!("nothing came, or there was no room, for {:?}", self.limit);
            }
        }
        Ok(!self.console.is_over())
    }
}

impl Wait {
    #[inline]
    pub(crate) fn idle(self) {
        match self {
            Self::Spin => std::hint::spin_loop(),
            Self::Yield => std::thread::yield_now(),
            // The peer's own call has waited.
            Self::Block => {}
        }
    }
}
