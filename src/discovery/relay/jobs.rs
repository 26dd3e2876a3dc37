//! What a daemon has to send, one datagram at a time. Layer: discovery (sans-IO). Owned by the daemon's
//! thread, inside [`Relay`](super::Relay).
//!
//! A packet for all clients is one job, however many they are, so that what waits is bounded by
//! packets and not by clients. Who comes or goes meanwhile does no harm: a job remembers an address.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::clients::Clients;
use crate::id::InstanceId;
use crate::wire::advert::daemon::{MAX_HEARD, encode_heard};

/// Packets for all that wait, and as many answers: at most 1400 bytes each.
const MAX_JOBS: usize = 1024;
/// Of those that come first.
const MAX_FIRST: usize = 256;

/// Datagrams that belong together.
#[derive(Debug)]
pub(super) enum Job {
    /// A packet for all clients but one.
    Spread { packet: Arc<[u8]>, except: Option<SocketAddr>, after: Option<SocketAddr> },
    /// Everybody is named to one client.
    Introduce { to: SocketAddr, after: Option<SocketAddr> },
    /// A client gets the ANNOUNCEs of those that it asked about.
    Describe { to: SocketAddr, wanted: Vec<InstanceId> },
}

impl Job {
    /// Writes its next datagram; `None` when it is done.
    fn step(
        &mut self,
        id: InstanceId,
        clients: &Clients,
        buffer: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        match self {
            Self::Spread { packet, except, after } => {
                let next = clients
                    .beyond(*after)
                    .map(|client| client.info.address)
                    .find(|address| Some(*address) != *except)?;
                *after = Some(next);
                buffer.clear();
                buffer.extend_from_slice(packet);
                Some(next)
            }
            Self::Introduce { to, after } => {
                let page: Vec<_> = clients.beyond(*after).take(MAX_HEARD).collect();
                *after = Some(page.last()?.info.address);
                encode_heard(id, page.iter().map(|client| client.heard()), buffer);
                Some(*to)
            }
            Self::Describe { to, wanted } => {
                let announce = std::iter::from_fn(|| wanted.pop())
                    .find_map(|instance| clients.find(instance)?.announce())?;
                buffer.clear();
                buffer.extend_from_slice(announce);
                Some(*to)
            }
        }
    }
}

/// The jobs that wait.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// That clients are alive must not wait for what many of them have to tell.
    first: VecDeque<Job>,
    /// What goes to all clients, and what goes to one. They take turns: a thousand clients that start
    /// at once have a million datagrams passed on, and who asks must not wait for all of them.
    to_all: VecDeque<Job>,
    to_one: VecDeque<Job>,
    /// Whose turn it is.
    is_turn_of_one: bool,
}

impl Jobs {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.to_all.is_empty() && self.to_one.is_empty()
    }

    /// False, and nothing added, when too many wait.
    #[must_use]
    pub(super) fn add(&mut self, job: Job) -> bool {
        let queue = match job {
            Job::Spread { .. } => &mut self.to_all,
            Job::Introduce { .. } | Job::Describe { .. } => &mut self.to_one,
        };
        let has_room = queue.len() < MAX_JOBS;
        if has_room {
            queue.push_back(job);
        }
        has_room
    }

    /// As [`Jobs::add`], before all of those.
    #[must_use]
    pub(super) fn add_first(&mut self, job: Job) -> bool {
        let has_room = self.first.len() < MAX_FIRST;
        if has_room {
            self.first.push_back(job);
        }
        has_room
    }

    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        let held = |job: &Job| match job {
            Job::Spread { packet, .. } => packet.len(),
            Job::Introduce { .. } => 0,
            Job::Describe { wanted, .. } => wanted.capacity() * size_of::<InstanceId>(),
        };
        let queues = [&self.first, &self.to_all, &self.to_one];
        let jobs = queues.iter().map(|queue| queue.capacity()).sum::<usize>();
        jobs * size_of::<Job>() + queues.into_iter().flatten().map(held).sum::<usize>()
    }

    /// Writes the next datagram.
    pub(super) fn poll(
        &mut self,
        id: InstanceId,
        clients: &Clients,
        buffer: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let Self { first, to_all, to_one, is_turn_of_one } = self;
        *is_turn_of_one = !*is_turn_of_one;
        let (next, last) = if *is_turn_of_one { (to_one, to_all) } else { (to_all, to_one) };
        for queue in [first, next, last] {
            while let Some(job) = queue.front_mut() {
                if let Some(to) = job.step(id, clients, buffer) {
                    return Some(to);
                }
                queue.pop_front();
            }
        }
        None
    }
}
