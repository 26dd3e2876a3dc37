//! What the sending side of an instance needs while nothing is sent: feedback read, repairs and
//! heartbeats. Layer: engine. Shared by the pollers that spin, who come by every few microseconds,
//! and the conductor, who wakes for it when no poller spins.

use std::sync::Arc;
use std::time::Duration;

use mio::{Registry, Token};
use parking_lot::{Mutex, RwLock};

use super::publication::{Publication, Urgency};
use super::send_socket::SendSocket;
use crate::id::InstanceId;
use crate::time::{Clock, Timestamp};

/// A publication that is not needed any more is kept this long to deliver what it still holds.
const LINGER: Duration = Duration::from_secs(1);

/// The sending side of one instance.
pub(crate) struct Tending {
    publications: RwLock<Vec<Arc<Publication>>>,
    sockets: RwLock<Sockets>,
    /// Until when each is kept, as soon as that is known.
    retired: Mutex<Vec<(Arc<Publication>, Option<Timestamp>)>>,
    /// Held by whoever is at it: one is enough.
    busy: Mutex<()>,
    /// Wakes the conductor when feedback arrives; none where pollers look for it.
    wakes: Option<Arc<(Registry, Token)>>,
}

/// Where feedback arrives.
#[derive(Default)]
struct Sockets {
    open: Vec<Arc<SendSocket>>,
    /// Feedback wakes nobody for the time being.
    are_muted: bool,
}

impl Tending {
    pub(super) fn new(wakes: Option<(Registry, Token)>) -> Self {
        Self {
            publications: RwLock::default(),
            sockets: RwLock::default(),
            retired: Mutex::default(),
            busy: Mutex::default(),
            wakes: wakes.map(Arc::new),
        }
    }

    /// Whether the conductor has to react by itself, because no poller comes by.
    pub(super) const fn is_left_to_conductor(&self) -> bool {
        self.wakes.is_some()
    }

    pub(super) fn add_publication(&self, publication: Arc<Publication>) {
        self.publications.write().push(publication);
    }

    /// Nobody publishes on it any more: it goes once it owes nothing, or after a while.
    pub(super) fn retire(&self, publication: &Arc<Publication>) {
        self.retired.lock().push((Arc::clone(publication), None));
    }

    /// Lets go of retired publications that are done.
    pub(super) fn release(&self, now: Timestamp) {
        self.retired.lock().retain_mut(|(publication, until)| {
            let until = *until.get_or_insert(now + LINGER);
            let stays = publication.owes() && now < until;
            if !stays {
                self.publications.write().retain(|known| !Arc::ptr_eq(known, publication));
            }
            stays
        });
    }

    pub(super) fn add_socket(&self, socket: Arc<SendSocket>) {
        let mut sockets = self.sockets.write();
        if !sockets.are_muted {
            socket.set_wakes(self.wakes.clone());
        }
        sockets.open.push(socket);
    }

    /// Lets feedback wake the conductor, unless a publication streams: whoever does reads feedback
    /// with every few transmissions, the conductor comes by with every tick, and to be woken by each
    /// status in between would take the processor away from both sides.
    pub(super) fn settle_wakes(&self) {
        let mute = self.urgency() == Urgency::Streaming;
        if self.wakes.is_none() || self.sockets.read().are_muted == mute {
            return;
        }
        let mut sockets = self.sockets.write();
        sockets.are_muted = mute;
        for socket in &sockets.open {
            socket.set_wakes(if mute { None } else { self.wakes.clone() });
        }
    }

    /// Whether something was sent, or waits to be sent, that a receiver has not confirmed.
    pub(super) fn owes(&self) -> bool {
        self.publications.read().iter().any(|publication| publication.owes())
    }

    /// Nothing is owed to this receiver any more.
    pub(super) fn forget(&self, receiver: InstanceId) {
        for publication in self.publications.read().iter() {
            publication.forget_receiver(receiver);
        }
    }

    /// Whether a socket has feedback that the kernel will not announce.
    pub(super) fn is_holding(&self) -> bool {
        self.sockets.read().open.iter().any(|socket| socket.is_holding())
    }

    /// The most urgent need of all publications.
    pub(super) fn urgency(&self) -> Urgency {
        let publications = self.publications.read();
        let all = publications.iter().map(|publication| publication.urgency());
        all.max().unwrap_or(Urgency::Settled)
    }

    /// Reads feedback and lets publications say what they have to. Costs little when all of them
    /// are settled, unless it is to be `thorough`: receivers may ask all the same.
    pub(super) fn attend(&self, clock: &Clock, thorough: bool) {
        if !thorough && self.urgency() == Urgency::Settled {
            return;
        }
        let Some(_busy) = self.busy.try_lock() else { return };
        self.read_feedback();
        let now = clock.now();
        for publication in self.publications.read().iter() {
            publication.attend(now);
        }
    }

    /// The same, and sends what waits for more to be sent. Returns when to come back, should nothing
    /// else happen.
    pub(super) fn service(&self, now: Timestamp) -> Timestamp {
        self.read_feedback();
        let publications = self.publications.read();
        let deadlines = publications.iter().map(|publication| publication.service(now));
        deadlines.min().unwrap_or(Timestamp::NEVER)
    }

    fn read_feedback(&self) {
        for socket in &self.sockets.read().open {
            socket.read_feedback();
        }
    }
}
