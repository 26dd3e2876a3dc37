//! What is remembered of sessions whose instance was taken for gone. Layer: engine. Owned by one
//! endpoint.
//!
//! An instance that discovery has lost may only have been out of reach. When its session is heard
//! again, the next message tells how many were missed meanwhile, if somebody knows the last one.

use std::collections::VecDeque;

use crate::id::{InstanceId, SessionId};
use crate::protocol::delivery::Delivery;

/// Sessions that are remembered; one more takes the place of the one that parted first. More than
/// twice as many as the default port ranges have room for instances on one host.
const MAX_PARTED: usize = 256;

/// A session that was heard, and how far its publishers had come.
struct Parting {
    session: SessionId,
    instance: InstanceId,
    stream: u32,
    delivery: Delivery,
}

/// The sessions that may come back.
#[derive(Default)]
pub(super) struct Parted {
    partings: VecDeque<Parting>,
}

impl Parted {
    pub(super) fn keep(
        &mut self,
        session: SessionId,
        instance: InstanceId,
        stream: u32,
        mut delivery: Delivery,
    ) {
        if self.partings.len() >= MAX_PARTED {
            self.partings.pop_front();
        }
        delivery.drop_parts();
        self.partings.push_back(Parting { session, instance, stream, delivery });
    }

    /// What was known of a session that is heard again.
    pub(super) fn take(&mut self, session: SessionId, instance: InstanceId) -> Option<Delivery> {
        let is_it = |parting: &Parting| parting.session == session && parting.instance == instance;
        let at = self.partings.iter().position(is_it)?;
        self.partings.remove(at).map(|parting| parting.delivery)
    }

    /// Nobody listens to a stream any more: whoever does later begins anew.
    pub(super) fn forget_stream(&mut self, stream: u32) {
        self.partings.retain(|parting| parting.stream != stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(parted: &mut Parted, session: u64, stream: u32) {
        parted.keep(SessionId(session), InstanceId::from_bytes([1; 16]), stream, Delivery::new(9));
    }

    fn take(parted: &mut Parted, session: u64, instance: u8) -> bool {
        parted.take(SessionId(session), InstanceId::from_bytes([instance; 16])).is_some()
    }

    #[test]
    fn a_session_comes_back_once_to_the_instance_that_had_it() {
        let mut parted = Parted::default();
        keep(&mut parted, 7, 1);
        assert!(!take(&mut parted, 7, 2) && !take(&mut parted, 8, 1));
        assert!(take(&mut parted, 7, 1));
        assert!(!take(&mut parted, 7, 1));
    }

    #[test]
    fn the_first_to_part_is_forgotten_first_and_a_stream_with_its_last_listener() {
        let mut parted = Parted::default();
        for session in 0..=MAX_PARTED as u64 {
            keep(&mut parted, session, u32::from(session % 2 == 0));
        }
        assert!(!take(&mut parted, 0, 1) && take(&mut parted, 1, 1));
        parted.forget_stream(0);
        assert!(!take(&mut parted, 3, 1) && take(&mut parted, 4, 1));
    }
}
