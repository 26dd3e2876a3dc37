//! What one receiver has got of one session, held against what was sent. Layer: sim. Owned by the
//! host that receives.
//!
//! Messages: those of one publisher in order, none twice, byte by byte, and every jump reported
//! before it, exactly. Packets: delivered and lost together are those since the beginning, after
//! every step. Losses: none without a reason.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::station::{Sent, digest};
use crate::protocol::delivery::{Arrival, Loss};
use crate::protocol::receiver::{ReceiveSession, ReceiveSettings};
use crate::protocol::timing::retry_delay;
use crate::time::Timestamp;

/// What a publisher's messages have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// First message that was delivered.
    pub(super) first: u64,
    /// Last message that was delivered.
    pub(super) last: u64,
    pub(super) reported: u64,
    /// Reported since the last message.
    unsettled: u64,
}

/// The account of one receiver for one session.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) streams: BTreeMap<usize, Stream>,
    pub(super) delays: Vec<Duration>,
    /// First packet of the session, as far as this receiver knows.
    pub(super) begin: Option<u64>,
    opened_at: Timestamp,
    /// When it was first heard that all packets before which one had been sent.
    announced: VecDeque<(Timestamp, u64)>,
    known: u64,
    /// Packets before this one could be asked for, if they were missing.
    sight: u64,
    /// Times that `sight` has grown.
    news: u64,
    naks: u64,
    fastest_retry: Duration,
    /// Time with something missing.
    open_time: Duration,
    checked_at: Timestamp,
    /// Something was missing after the step before.
    was_open: bool,
    lost: u64,
    /// Next packet that was missing after the step before.
    expected: u64,
    /// It had to do without the sender's word about where the session begins.
    pub(super) was_guest: bool,
    /// The sender has said goodbye: what is missing does not come any more.
    pub(super) is_orphan: bool,
}

impl Account {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            streams: BTreeMap::new(),
            delays: Vec::new(),
            begin: None,
            opened_at: now,
            announced: VecDeque::new(),
            known: 0,
            sight: 0,
            news: 0,
            naks: 0,
            fastest_retry: retry_delay(Duration::ZERO),
            open_time: Duration::ZERO,
            checked_at: now,
            was_open: false,
            lost: 0,
            expected: 0,
            was_guest: false,
            is_orphan: false,
        }
    }

    /// A message arrived: it has to be the next one, but for those reported as lost.
    pub(super) fn deliver(
        &mut self,
        now: Timestamp,
        arrival: &Arrival<'_>,
        books: &[Vec<Sent>],
    ) -> Result<(), String> {
        let publisher = arrival.publisher as usize;
        let name = format_args!("message {} of publisher {publisher}", arrival.sequence);
        let sent = usize::try_from(arrival.sequence.wrapping_sub(1)).ok().and_then(|at| {
            let book = books.get(publisher)?;
            book.get(at)
        });
        let Some(sent) = sent else { return Err(format!("{name} was never sent")) };
        if (sent.bytes, sent.digest) != (arrival.body.len(), digest(arrival.body)) {
            return Err(format!("{name} has other bytes than were sent"));
        }
        let stream = self.streams.entry(publisher).or_default();
        // Who was there from the first packet on knows that the first message is number 1.
        let is_any_first = stream.first == 0 && self.begin != Some(0);
        if !is_any_first && arrival.sequence != stream.last + 1 + stream.unsettled {
            let (last, lost) = (stream.last, stream.unsettled);
            return Err(format!("{name} after {last}, with {lost} reported as lost"));
        }
        if stream.first == 0 {
            stream.first = arrival.sequence;
        }
        stream.last = arrival.sequence;
        stream.unsettled = 0;
        self.delays.push(now.since(sent.at));
        Ok(())
    }

    pub(super) fn lose(&mut self, loss: Loss) -> Result<(), String> {
        let publisher = loss.publisher as usize;
        if self.begin != Some(0) && !self.streams.contains_key(&publisher) {
            return Err(format!("{loss:?} of a publisher that was not heard"));
        }
        let stream = self.streams.entry(publisher).or_default();
        stream.unsettled += loss.messages;
        stream.reported += loss.messages;
        Ok(())
    }

    /// The sender says, in a packet that is about to be handled, that all before `next` is sent.
    pub(super) fn note_announced(&mut self, now: Timestamp, first: u64, next: u64) {
        self.begin.get_or_insert(first);
        if next > self.known {
            self.known = next;
            self.announced.push_back((now, next));
        }
    }

    pub(super) fn note_welcome(&mut self, start: u64) {
        self.begin = Some(self.begin.map_or(start, |begin| begin.min(start)));
        // What lies before the first packet heard is a gap, too, and the window begins with it.
        self.sight = 0;
    }

    pub(super) fn note_rtt(&mut self, rtt: Duration) {
        self.fastest_retry = self.fastest_retry.min(retry_delay(rtt));
    }

    pub(super) fn note_nak(&mut self) {
        self.naks += 1;
    }

    /// Checks the session after a step. What was sent before `owed_from` is not owed to it;
    /// `may_lack` when its sender has left it out.
    pub(super) fn check(
        &mut self,
        now: Timestamp,
        session: &ReceiveSession,
        (owed_from, may_lack): (u64, bool),
        settings: &ReceiveSettings,
    ) -> Result<(), String> {
        let state = session.state();
        let (patience, window) = (settings.repair_timeout, u64::from(settings.window_packets));
        let Some(begin) = self.begin else { return Ok(()) };
        let counters = session.counters();
        self.was_guest |= state.is_guest && !self.is_orphan;
        if !state.is_joining && counters.packets + counters.packets_lost != state.expected - begin {
            return Err(format!(
                "{} packets delivered and {} lost, of {begin} to {}",
                counters.packets, counters.packets_lost, state.expected
            ));
        }
        if self.was_guest && now.since(self.opened_at) < settings.join_timeout() {
            return Err("did not wait to be told where the session begins".to_owned());
        }
        if counters.packets_lost > self.lost {
            self.lost = counters.packets_lost;
            let may_lack =
                may_lack || self.expected < owed_from || self.was_guest || self.is_orphan;
            // The announcements of what had been delivered before are forgotten: the first one left
            // is that of the oldest packet that was missing.
            let missed_since = self.announced.front().map_or(now, |(at, _)| *at);
            if !may_lack && now.since(missed_since) < patience {
                return Err(format!("packet before {} given up too early", state.expected));
            }
        }
        self.expected = state.expected;
        // A NAK looks no further than a window: what comes into its sight is asked for.
        let sight = self.known.min(state.expected + window);
        if sight > self.sight {
            self.sight = sight;
            self.news += 1;
        }
        // Who joins may learn that what was announced before its first packet is missing, too.
        if !state.is_joining {
            self.forget_before(state.expected);
        }
        self.check_naks(now, state.has_gaps)?;
        session.check_bounds()
    }

    fn forget_before(&mut self, expected: u64) {
        while self.announced.front().is_some_and(|(_, known)| *known <= expected) {
            self.announced.pop_front();
        }
    }

    /// A gap is asked for once when it is seen, and then no faster than round trips allow.
    fn check_naks(&mut self, now: Timestamp, is_open: bool) -> Result<(), String> {
        if self.was_open {
            self.open_time += now.since(self.checked_at);
        }
        self.was_open = is_open;
        self.checked_at = now;
        let retries = self.open_time.as_nanos() / self.fastest_retry.as_nanos() + 1;
        if u128::from(self.naks) > u128::from(self.news) + retries {
            let Self { naks, news, open_time, fastest_retry, .. } = self;
            return Err(format!(
                "{naks} NAKs for {news} gaps in {open_time:?}, retried after {fastest_retry:?}"
            ));
        }
        Ok(())
    }
}
