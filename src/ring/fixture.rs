//! What tests and models of the ring begin with. Layer: ring; in tests only.

use super::Layout;
use super::append::Appender;
use super::storage::Slots;
use crate::id::{InstanceId, SessionId};
use crate::wire::packet::PacketHeader;

/// A ring on the heap that nothing has been written to, and its writer.
pub(super) fn empty_ring(layout: Layout) -> (Slots, Appender) {
    let slots = Slots::heap(layout);
    let header = PacketHeader {
        session: SessionId(1),
        sequence: 0,
        stream: 2,
        instance: InstanceId::from_bytes([3; 16]),
    };
    (slots.clone(), Appender::new(slots, &header))
}
