//! The poller: a named thread that receives and runs user callbacks. Layer: engine.
//!
//! It owns its sockets, rings, sessions and listeners outright; others talk to it through
//! [`PollerHandle`] only. With few sockets it asks each of them directly, with many it asks the
//! kernel which have something.

mod attendance;
mod handle;
mod inbox;
mod rings;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};

use self::attendance::{Attendance, Care};
use self::handle::WAKE;
#[cfg(test)]
pub(super) use self::handle::stalled;
pub(crate) use self::handle::{Command, PollerHandle, Reports};
pub(super) use self::inbox::Inbox;
use self::rings::Rings;
use super::callback::{self, CallbackThread};
use super::dispatch::{Added, Dispatch};
use super::endpoint::{Context, EndpointId, SocketEndpoint};
use super::idle::{Idle, Pause};
use super::request_processor::RequestProcessor;
use super::stopwatch::Stopwatch;
use super::tending::Tending;
use crate::config::PollerConfig;
use crate::counters::{Counter, Counters};
use crate::id::InstanceId;
use crate::listener::Respond;
use crate::time::{Clock, Timestamp};
use crate::transport::udp::{ReceiveBuffer, UdpSocket};
use crate::transport::{Alarm, barrier_in_all_processes};

/// Up to this many sockets are asked directly, one system call each; beyond, one call asks the
/// kernel which of them are ready.
const DIRECT_SOCKETS: usize = 3;
/// A socket that has been empty for a while is asked only in every so many cycles, so that it does
/// not slow down the others.
const COLD_EVERY: u32 = 8;
/// The same while rings have something in each cycle: to ask takes longer than a message takes from one
/// process to the other and back.
const COLD_PAUSE_NS: u64 = 50_000;
/// How often a poller that spins looks at its hot sockets in one cycle that finds nothing, unless it
/// has rings to look at.
const SOCKET_LOOKS: usize = 4;
/// A blocked poller looks around at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Shorter waits are not worth a system call.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// How long a blocked poller waits when writers of rings cannot be relied upon to wake it.
const UNRELIABLE_WAIT: Duration = Duration::from_millis(1);

const RING_WAKE: Token = Token(usize::MAX - 1);
const ALARM: Token = Token(usize::MAX - 2);

/// What a poller needs from its instance.
pub(crate) struct PollerParts {
    pub(crate) instance: InstanceId,
    pub(crate) counters: Arc<Counters>,
    pub(crate) requests: Arc<RequestProcessor>,
    pub(crate) responder: Arc<dyn Respond>,
    pub(crate) reports: Arc<dyn Reports>,
    /// The sending side, for pollers that spin.
    pub(crate) tending: Arc<Tending>,
    /// Bound to loopback; woken through it by writers of shared rings.
    pub(crate) ring_wake: UdpSocket,
    pub(crate) clock: Clock,
}

impl PollerParts {
    /// What endpoints work with. Not a method of [`Poller`]: its endpoints are borrowed meanwhile.
    #[inline]
    fn context<'a>(
        &'a self,
        buffer: &'a mut ReceiveBuffer,
        dispatch: &'a mut Dispatch,
    ) -> Context<'a> {
        Context {
            buffer,
            dispatch,
            requests: &self.requests,
            counters: &self.counters,
            clock: &self.clock,
        }
    }
}

/// Starts a poller's thread.
///
/// # Errors
///
/// What the operating system says when it gives no epoll instance or no thread.
pub(crate) fn start(
    index: usize,
    config: &PollerConfig,
    parts: PollerParts,
) -> io::Result<(PollerHandle, JoinHandle<()>)> {
    let (instance, core) = (parts.instance, config.core);
    let (handle, poller) = Poller::open(index, config, parts)?;
    let thread = thread::Builder::new().name(format!("vega-{}", config.name)).spawn(move || {
        callback::adopt_thread(instance, CallbackThread::Poller(index));
        if let Some(id) = core
            && !core_affinity::set_for_current(core_affinity::CoreId { id })
        {
            tracing::warn!(core = id, "cannot pin the poller to this core");
        }
        poller.run();
    })?;
    Ok((handle, thread))
}

struct Poller {
    parts: PollerParts,
    poll: Poll,
    /// The kernel forgets that it was used with the last one to hold it, and others may let go of it
    /// right after they have told this poller to stop.
    _waker: Arc<Waker>,
    alarm: Alarm,
    events: Events,
    inbox: Inbox,
    sockets: Vec<SocketEndpoint>,
    rings: Rings,
    /// Sockets that the kernel said to be readable and that have not been read empty since.
    ready: Vec<EndpointId>,
    /// An empty list to use again.
    spare: Vec<EndpointId>,
    dispatch: Dispatch,
    stopwatch: Stopwatch,
    buffer: ReceiveBuffer,
    idle: Idle,
    spins: bool,
    /// The last cycle found nothing.
    is_idle: bool,
    /// When the last one began that found something, as the stopwatch counts.
    worked_at: u64,
    has_gaps: bool,
    cycle: u32,
    /// When cold sockets were asked, as the stopwatch counts.
    cold_asked: u64,
    attendance: Attendance,
    is_stopping: bool,
}

impl Poller {
    /// # Errors
    ///
    /// Those of [`start`].
    fn open(
        index: usize,
        config: &PollerConfig,
        parts: PollerParts,
    ) -> io::Result<(PollerHandle, Self)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        poll.registry().register(&mut &parts.ring_wake, RING_WAKE, Interest::READABLE)?;
        let alarm = Alarm::open(&poll, ALARM)?;
        let (handle, inbox) = PollerHandle::open(parts.instance, index, Arc::clone(&waker));
        let poller = Self {
            _waker: waker,
            dispatch: Dispatch::new(Arc::clone(&parts.counters), Arc::clone(&parts.responder)),
            stopwatch: Stopwatch::new(parts.counters.row(&config.name, ""), parts.clock),
            parts,
            poll,
            alarm,
            events: Events::with_capacity(256),
            inbox,
            sockets: Vec::new(),
            rings: Rings::new(),
            ready: Vec::new(),
            spare: Vec::new(),
            buffer: ReceiveBuffer::new(),
            idle: Idle::new(config.idle),
            spins: config.idle.spins(),
            is_idle: true,
            worked_at: 0,
            has_gaps: false,
            cycle: 0,
            cold_asked: 0,
            attendance: Attendance::default(),
            is_stopping: false,
        };
        Ok((handle, poller))
    }

    fn run(mut self) {
        loop {
            self.take_commands();
            if self.is_stopping {
                return self.discard_commands();
            }
            let worked = self.work();
            self.is_idle = !worked;
            if worked {
                self.worked_at = self.stopwatch.started();
                self.stopwatch.finish(&mut self.dispatch.timing);
                self.idle.reset();
            } else if self.idle.idle() == Pause::Block {
                self.wait();
            }
        }
    }

    /// One cycle. False when there was nothing to do.
    #[inline]
    fn work(&mut self) -> bool {
        self.cycle = self.cycle.wrapping_add(1);
        // A cycle that found something has read the clock when it ended.
        if self.is_idle {
            self.stopwatch.start();
        }
        self.dispatch.timing.begin_cycle(self.stopwatch.started());
        let mut worked = self.poll_sockets_often();
        worked |= self.rings.poll_often(&mut self.dispatch, &self.parts);
        if self.has_gaps {
            self.handle_timeouts();
        }
        if self.spins {
            self.attend();
        }
        worked
    }

    /// Looks after the sending side, when it is time to.
    #[inline]
    fn attend(&mut self) {
        let Self { stopwatch, attendance, .. } = self;
        let idle_ns = if self.is_idle { stopwatch.since(self.worked_at) } else { 0 };
        let due = attendance
            .take_due(self.cycle, idle_ns, stopwatch.started(), |earlier| stopwatch.since(earlier));
        if let Some(care) = due {
            self.parts.tending.attend(&self.parts.clock, care == Care::Thorough);
        }
    }

    #[inline]
    fn take_commands(&mut self) {
        if self.inbox.is_ready() {
            self.execute_all();
        }
    }

    #[cold]
    fn execute_all(&mut self) {
        self.inbox.begin();
        while !self.is_stopping
            && let Some(command) = self.inbox.take()
        {
            self.execute(command);
        }
    }

    /// Drops what will not be done, listeners one by one: each may panic, or give commands.
    #[cold]
    fn discard_commands(&self) {
        for command in self.inbox.close() {
            if let Command::Subscribe(subscription) = command {
                let topic = Arc::clone(&subscription.topic);
                callback::discard(&self.parts.counters, &topic, subscription);
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::AddSocket(endpoint) => self.add_socket(*endpoint),
            Command::RemoveSocket(id) => self.remove_socket(id),
            Command::Subscribe(subscription) => {
                let (endpoint, stream) = (subscription.endpoint, subscription.stream);
                let (hash, opening) = (subscription.hash, subscription.opening);
                if let Added::Topic { instead_of } = self.dispatch.add(*subscription) {
                    self.expect_nothing_more(instead_of);
                    if let Some(socket) = self.socket(endpoint) {
                        socket.add_stream(stream);
                    }
                }
                self.parts.reports.listening(hash, opening);
            }
            Command::Unsubscribe { hash, ticket, done } => {
                let last = self.dispatch.remove(hash, ticket);
                self.expect_nothing_more(last);
                drop(done);
            }
            Command::Pass(done) => drop(done),
            Command::LookUp(mut call) => {
                call.entries.retain(|entry| self.dispatch.serves(entry.topic));
                self.parts.reports.looked_up(call);
            }
            Command::AttachRing(ring) => self.rings.attach(*ring),
            Command::DropRing(session) => self.rings.drop_ring(session),
            Command::DetachRing(session) => self.rings.close(session),
            Command::ForgetInstance(instance) => {
                for socket in &mut self.sockets {
                    if socket.forget_instance(instance) && !self.ready.contains(&socket.id) {
                        self.ready.push(socket.id);
                    }
                }
            }
            Command::Stop => self.is_stopping = true,
        }
    }

    fn socket(&mut self, id: EndpointId) -> Option<&mut SocketEndpoint> {
        self.sockets.iter_mut().find(|socket| socket.id == id)
    }

    /// A topic of this stream is not listened to any more.
    fn expect_nothing_more(&mut self, place: Option<(EndpointId, u32)>) {
        if let Some((endpoint, stream)) = place
            && let Some(socket) = self.socket(endpoint)
        {
            socket.remove_stream(stream);
        }
    }

    fn add_socket(&mut self, endpoint: SocketEndpoint) {
        let token = Token(endpoint.id.0 as usize);
        let registered =
            self.poll.registry().register(&mut &endpoint.socket, token, Interest::READABLE);
        if let Err(error) = registered {
            tracing::error!(%error, "a socket cannot be polled");
        }
        self.sockets.push(endpoint);
        // Data may have arrived before the registration, and while sockets were asked directly.
        self.ready = self.sockets.iter().map(|socket| socket.id).collect();
    }

    fn remove_socket(&mut self, id: EndpointId) {
        self.ready.retain(|ready| *ready != id);
        if let Some(at) = self.sockets.iter().position(|socket| socket.id == id) {
            let removed = self.sockets.swap_remove(at);
            // The kernel forgets a closed socket by itself.
            let _ = self.poll.registry().deregister(&mut &removed.socket);
        }
    }

    /// What else there is to do in a cycle takes a third of the time of a look at a socket.
    #[inline]
    fn poll_sockets_often(&mut self) -> bool {
        let looks = if self.spins && self.rings.is_empty() { SOCKET_LOOKS } else { 1 };
        (0..looks).any(|_| self.poll_sockets())
    }

    #[inline]
    fn poll_sockets(&mut self) -> bool {
        if self.sockets.len() > DIRECT_SOCKETS {
            return self.poll_ready_sockets();
        }
        let mut worked = false;
        let ask_cold = self.cycle.is_multiple_of(COLD_EVERY) && self.has_time_for_cold();
        let mut context = self.parts.context(&mut self.buffer, &mut self.dispatch);
        for socket in self.sockets.iter_mut().filter(|socket| ask_cold || socket.is_hot()) {
            let (count, _) = socket.poll(&mut context);
            worked |= count > 0;
            self.has_gaps |= socket.has_gaps();
        }
        worked
    }

    /// Whether to ask sockets that have been empty for a while.
    fn has_time_for_cold(&mut self) -> bool {
        let is_busy = !self.is_idle && !self.rings.is_empty();
        if is_busy && self.stopwatch.since(self.cold_asked) < COLD_PAUSE_NS {
            return false;
        }
        self.cold_asked = self.stopwatch.started();
        true
    }

    fn poll_ready_sockets(&mut self) -> bool {
        self.collect_ready(Duration::ZERO);
        let mut ready = std::mem::replace(&mut self.ready, std::mem::take(&mut self.spare));
        let mut worked = false;
        let mut context = self.parts.context(&mut self.buffer, &mut self.dispatch);
        for id in ready.drain(..) {
            let Some(socket) = self.sockets.iter_mut().find(|socket| socket.id == id) else {
                continue;
            };
            let (count, more) = socket.poll(&mut context);
            worked |= count > 0;
            self.has_gaps |= socket.has_gaps();
            if more {
                self.ready.push(id);
            }
        }
        self.spare = ready;
        worked
    }

    /// Asks the kernel which sockets are readable. Readiness is edge-triggered: who was named stays
    /// in `ready` until it has been read empty.
    fn collect_ready(&mut self, timeout: Duration) {
        if let Err(error) = self.alarm.poll(&mut self.poll, &mut self.events, timeout) {
            self.parts.counters.add(Counter::ReceiveErrors, 1);
            tracing::error!(%error, "polling failed");
            return;
        }
        for event in &self.events {
            match event.token() {
                // Who wakes has said before that there are commands.
                WAKE | ALARM => {}
                RING_WAKE => {
                    while matches!(self.parts.ring_wake.recv(&mut self.buffer), Ok(Some(_))) {}
                }
                Token(id) => {
                    #[expect(clippy::cast_possible_truncation, reason = "made from a u32")]
                    let id = EndpointId(id as u32);
                    if !self.ready.contains(&id) {
                        self.ready.push(id);
                    }
                    // Readiness is told once: a cold socket must not wait for its turn now.
                    if let Some(socket) = self.sockets.iter_mut().find(|socket| socket.id == id) {
                        socket.heat();
                    }
                }
            }
        }
    }

    #[cold]
    fn handle_timeouts(&mut self) {
        let now = self.parts.clock.now();
        let mut context = self.parts.context(&mut self.buffer, &mut self.dispatch);
        self.has_gaps = false;
        for socket in &mut self.sockets {
            self.has_gaps |= socket.handle_timeouts(now, &mut context);
        }
    }

    /// Waits in the kernel. Shared rings have no file descriptor: their writers are asked to wake us
    /// first, and everything is looked at once more before the wait.
    fn wait(&mut self) {
        let mut timeout = self.patience();
        if !self.rings.is_empty() {
            let port = self.parts.ring_wake.local_address().port();
            let reliable = self.rings.park(port);
            if !barrier_in_all_processes() || !reliable {
                timeout = timeout.min(UNRELIABLE_WAIT);
            }
            if self.rings.poll(&mut self.dispatch, &self.parts) {
                timeout = Duration::ZERO;
            }
        }
        self.collect_ready(timeout);
        self.rings.unpark();
    }

    /// How long a wait may last in which nothing happens.
    fn patience(&self) -> Duration {
        if self.inbox.is_ready() {
            return Duration::ZERO;
        }
        let mut timeout = LONGEST_WAIT;
        if self.sockets.iter().any(SocketEndpoint::is_holding) {
            timeout = SHORTEST_WAIT;
        }
        if self.has_gaps {
            let now = self.parts.clock.now();
            let deadline = self.sockets.iter().map(SocketEndpoint::next_deadline).min();
            timeout = deadline.unwrap_or(Timestamp::NEVER).since(now).min(timeout);
        }
        timeout
    }
}
