//! What discovery finds, in the words of those who listen. Layer: engine. Plain data; no thread owns it.

use std::sync::Arc;

use crate::discovery::Advert;
use crate::discovery::event::{self, PeerInfo};
use crate::engine::matching::ring_name;
use crate::id::InstanceId;
use crate::listener::{DownReason, Peer, Side, TopicAdvert};
use crate::wire::advert::AdvertKind;

/// An advert as users see it.
pub(super) fn topic_advert((instance, advert): (InstanceId, &Advert)) -> TopicAdvert {
    TopicAdvert {
        instance,
        topic: Arc::clone(&advert.topic),
        side: match advert.kind {
            AdvertKind::Publisher => Side::Publisher,
            AdvertKind::Subscriber => Side::Subscriber,
        },
        transport: advert.transport,
        place: advert.locator.map(|locator| (locator.address, locator.stream)),
        ring: advert.session.map(|session| ring_name(instance, session).into()),
    }
}

pub(super) fn peer(info: &PeerInfo) -> Peer {
    Peer {
        id: info.instance,
        name: Arc::clone(&info.name),
        control: info.control.address,
        responses: info.responses.address,
        refresh: info.interval,
        timeout: info.timeout,
        host: info.host,
    }
}

pub(super) const fn down_reason(reason: event::DownReason) -> DownReason {
    match reason {
        event::DownReason::Goodbye => DownReason::Goodbye,
        event::DownReason::Expired => DownReason::Expired,
    }
}
