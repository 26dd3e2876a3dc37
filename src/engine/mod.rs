//! Threads and wiring: the only place where protocol meets transport. Layer: engine, above
//! everything but the public API.
//!
//! | thread | owns | file |
//! |---|---|---|
//! | caller | nothing; frames and transmits under a publication's lock | [`publication`], [`ring_publication`] |
//! | poller, one per `[[poller]]` | sockets, rings, sessions, listeners | [`poller`], [`endpoint`], [`dispatch`] |
//! | conductor | discovery, matches | [`conductor`], [`matching`] |
//! | daemon, of a discovery daemon and no instance | its socket and clients | [`daemon`] |
//! | sniffer, of a sniffer and no instance | its sockets, what it sees | [`sniffer`] |
//! | resolver, where daemons are configured by name | nothing | [`resolver`] |
//! | request processor | expiry; runs timeout callbacks and instance events | [`request_processor`] |
//! | patterns, with the first pattern subscription | which topics they match | [`patterns`] |
//!
//! [`Engine`] is what the public API holds: it starts and stops the threads, and opens what topics
//! need.

mod audience;
pub(crate) mod callback;
pub(crate) mod conductor;
pub(crate) mod counter_files;
pub(crate) mod daemon;
pub(crate) mod discovery_driver;
mod dispatch;
mod endpoint;
pub(crate) mod heartbeats;
mod idle;
mod latch;
pub(crate) mod matches;
pub(crate) mod matching;
mod pacing;
pub(crate) mod patterns;
mod poller;
#[cfg(feature = "internals")]
pub(crate) mod probe;
pub(crate) mod publication;
mod reading;
pub(crate) mod request_processor;
mod resolver;
mod responses;
mod ring_endpoint;
pub(crate) mod ring_publication;
mod seen;
mod send_socket;
mod service;
pub(crate) mod sniffer;
mod start;
mod stopwatch;
mod tending;
mod topics;
mod trouble;
mod wakeups;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use self::conductor::{Command, ConductorLink};
use self::counter_files::OwnFile;
use self::patterns::Patterns;
use self::poller::PollerHandle;
use self::request_processor::RequestProcessor;
use self::responses::Responses;
use self::tending::Tending;
use self::topics::Topics;
use crate::config::Config;
use crate::counters::Counters;
use crate::id::InstanceId;
use crate::listener::{Peer, TopicAdvert};
use crate::time::Clock;
use crate::transport::shm::{Directory, ShmError};
use crate::transport::udp::{SocketOptions, UdpSocket};
use crate::wire::locator::Locator;

pub(crate) use self::idle::until_accepted;
pub(crate) use self::start::StartError;
pub(crate) use self::topics::{Published, PublisherLink, Subscribed, TopicError};

/// How often listeners of instances and daemons are told what was lost, refused or dropped.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(1);

/// One running instance.
pub(crate) struct Engine {
    pub(crate) id: InstanceId,
    pub(crate) name: Arc<str>,
    pub(crate) config: Config,
    pub(crate) counters: Arc<Counters>,
    /// Where others read them; removed when the instance stops.
    counter_file: Option<OwnFile>,
    pub(crate) requests: Arc<RequestProcessor>,
    /// Where this instance receives responses; every request carries it.
    pub(crate) responses_at: Locator,
    responses: Arc<Responses>,
    conductor: Arc<ConductorLink>,
    tending: Arc<Tending>,
    pollers: Vec<PollerHandle>,
    topics: Mutex<Topics>,
    patterns: Patterns,
    /// Shared memory, or why there is none.
    directory: Result<Directory, ShmError>,
    /// Wakes pollers of other processes that sleep on a ring.
    wake: Arc<UdpSocket>,
    /// For sockets on which this instance hears others.
    socket_options: SocketOptions,
    /// The set of receivers that this instance belongs to; zero is none.
    receiver_tag: u32,
    pub(crate) clock: Clock,
    closed: AtomicBool,
    threads: Mutex<Threads>,
}

/// The threads to wait for.
#[derive(Default)]
struct Threads {
    pollers: Vec<JoinHandle<()>>,
    requests: Option<JoinHandle<()>>,
    conductor: Option<JoinHandle<()>>,
}

impl Engine {
    /// Whether the instance was closed: nothing is sent or delivered any more.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The discovery daemons that answer, as they are configured.
    pub(crate) fn daemons_up(&self) -> Vec<String> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.conductor.submit(Command::Daemons(reply));
        let up = answer.recv().unwrap_or_default();
        let daemons = &self.config.discovery.daemons;
        up.into_iter().filter_map(|index| daemons.get(index)).map(ToString::to_string).collect()
    }

    /// The other instances that discovery knows.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.conductor.submit(Command::Peers(reply));
        answer.recv().unwrap_or_default()
    }

    /// What they publish and subscribe to.
    pub(crate) fn adverts(&self) -> Vec<TopicAdvert> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.conductor.submit(Command::Adverts(reply));
        answer.recv().unwrap_or_default()
    }

    /// Stops everything, and returns after the callbacks in flight. Not to be called from a thread
    /// that runs callbacks.
    pub(crate) fn close(&self) {
        self.stop();
        // Under the lock: who calls this at the same time returns not before that, either.
        let mut threads = self.threads.lock();
        let Threads { pollers, requests, conductor } = std::mem::take(&mut *threads);
        let patterns = self.patterns.take_thread();
        for thread in pollers.into_iter().chain(requests).chain(patterns).chain(conductor) {
            join(thread);
        }
    }

    /// Stops everything, and returns once the goodbye has been said: callbacks in flight are not
    /// waited for.
    pub(crate) fn stop(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // The conductor flushes publications before it says goodbye.
        self.conductor.submit(Command::Stop);
        self.responses.close();
        self.patterns.stop();
        for poller in &self.pollers {
            poller.submit(poller::Command::Stop);
        }
        self.requests.stop();
        let mut threads = self.threads.lock();
        if let Some(conductor) = threads.conductor.take() {
            join(conductor);
        }
        if let Some(file) = &self.counter_file {
            file.remove();
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the instance panicked");
    }
}

impl Drop for Engine {
    /// Also the way in which a start that fails half-way is undone.
    fn drop(&mut self) {
        self.stop();
    }
}
