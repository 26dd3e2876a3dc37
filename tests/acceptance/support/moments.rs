//! The moments at which an instance calls user code, each made to happen by another process. Tests.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};
use vega::{
    DownReason, Instance, InstanceId, InstanceListener, Listener, Message, Peer, Request, Response,
    ResponseListener, SentRequest,
};

use super::{Behaviour, Host, Place, TRANSPORTS, WAIT, next};

/// The moments at which user code is called; losses and conflicts have a test of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    PeerUp,
    PublisherMatched,
    Message,
    Request,
    SubscriberMatched,
    Response,
    Timeout,
    SubscriberUnmatched,
    PublisherUnmatched,
    PeerDown,
}

pub(crate) const MOMENTS: [Moment; 10] = [
    Moment::PeerUp,
    Moment::PublisherMatched,
    Moment::Message,
    Moment::Request,
    Moment::SubscriberMatched,
    Moment::Response,
    Moment::Timeout,
    Moment::SubscriberUnmatched,
    Moment::PublisherUnmatched,
    Moment::PeerDown,
];

/// The process that makes the moments happen. Others are not listened to.
const HOST: &str = "host";
/// What the topics begin with, after the transport, whose moments count.
pub(crate) const STAGED: &str = ".staged-";

/// Calls one function at every moment.
struct Everywhere<F>(Arc<F>);

impl<F> Clone for Everywhere<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Fn(Moment)> Everywhere<F> {
    fn peer(&self, peer: &Peer, moment: Moment) {
        if peer.name() == HOST {
            (self.0)(moment);
        }
    }

    fn topic(&self, topic: &str, moment: Moment) {
        if topic.contains(STAGED) {
            (self.0)(moment);
        }
    }
}

impl<F: Fn(Moment) + Send + Sync + 'static> InstanceListener for Everywhere<F> {
    fn on_instance_up(&mut self, peer: &Peer) {
        self.peer(peer, Moment::PeerUp);
    }

    fn on_instance_down(&mut self, peer: &Peer, _: DownReason) {
        self.peer(peer, Moment::PeerDown);
    }

    fn on_subscriber_matched(&mut self, topic: &str, _: InstanceId) {
        self.topic(topic, Moment::SubscriberMatched);
    }

    fn on_subscriber_unmatched(&mut self, topic: &str, _: InstanceId) {
        self.topic(topic, Moment::SubscriberUnmatched);
    }

    fn on_publisher_matched(&mut self, topic: &str, _: InstanceId) {
        self.topic(topic, Moment::PublisherMatched);
    }

    fn on_publisher_unmatched(&mut self, topic: &str, _: InstanceId) {
        self.topic(topic, Moment::PublisherUnmatched);
    }
}

impl<F: Fn(Moment) + Send + Sync + 'static> Listener for Everywhere<F> {
    fn on_message(&mut self, _: &Message<'_>) {
        (self.0)(Moment::Message);
    }

    fn on_request(&mut self, _: &Request<'_>) {
        (self.0)(Moment::Request);
    }
}

impl<F: Fn(Moment) + Send + Sync + 'static> ResponseListener for Everywhere<F> {
    fn on_response(&self, _: &SentRequest, _: &Response<'_>) {
        (self.0)(Moment::Response);
    }

    fn on_timeout(&self, _: &SentRequest) {
        (self.0)(Moment::Timeout);
    }
}

/// Starts an instance and has `act` called at every moment of it, once, between it and another
/// process, on each of the transports in turn. `prepare` comes before the first of them.
pub(crate) fn at_every_moment(
    place: &Place,
    prepare: impl FnOnce(&Instance),
    act: impl Fn(Moment, &Instance) + Send + Sync + 'static,
) -> Arc<Instance> {
    let cell = Arc::new(OnceLock::<Arc<Instance>>::new());
    let (moments, reached) = unbounded();
    let own = Arc::clone(&cell);
    let everywhere = Everywhere(Arc::new(move |moment: Moment| {
        // The test learns of the moment even when what is done there panics.
        let _told = OnDrop(Some(moment), moments.clone());
        act(moment, own.wait());
    }));
    let builder = Instance::builder().name("here").config(place.config());
    let instance = Arc::new(builder.listener(everywhere.clone()).start().unwrap());
    prepare(&instance);
    cell.set(Arc::clone(&instance)).unwrap();
    for transport in TRANSPORTS {
        let mut seen = Vec::new();
        play(place, transport, &instance, &everywhere, |moment| {
            while !seen.contains(&moment) {
                seen.push(next(&reached, &format!("{moment:?}, {transport}")));
            }
        });
        assert_eq!(seen.len(), MOMENTS.len(), "{transport}: {seen:?}");
    }
    assert!(reached.is_empty());
    instance
}

/// Makes all moments happen, one after the other.
fn play<F: Fn(Moment) + Send + Sync + 'static>(
    place: &Place,
    transport: &str,
    instance: &Instance,
    everywhere: &Everywhere<F>,
    mut wait_for: impl FnMut(Moment),
) {
    let (incoming, outgoing) =
        (format!("{transport}{STAGED}in"), format!("{transport}{STAGED}out"));
    let _subscription = instance.subscribe(&incoming, everywhere.clone()).unwrap();
    let mut host = Host::start(place, HOST);
    wait_for(Moment::PeerUp);
    host.publish(&incoming);
    host.wait_for_subscribers(&incoming, 1);
    wait_for(Moment::PublisherMatched);
    host.send(&incoming, 1, 10);
    wait_for(Moment::Message);
    host.request(&incoming, Duration::from_millis(1));
    wait_for(Moment::Request);

    host.subscribe(&outgoing, Behaviour::respond(1));
    let mut publisher = instance.publisher(&outgoing).unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    wait_for(Moment::SubscriberMatched);
    let answered = publisher.request(b"?", WAIT, everywhere.clone()).unwrap();
    wait_for(Moment::Response);
    answered.close();
    let mut unheard = instance.publisher(&format!("{transport}.nobody")).unwrap();
    unheard.request(b"?", Duration::from_millis(1), everywhere.clone()).unwrap();
    wait_for(Moment::Timeout);

    host.unsubscribe(&outgoing);
    wait_for(Moment::SubscriberUnmatched);
    host.unpublish(&incoming);
    wait_for(Moment::PublisherUnmatched);
    host.close();
    wait_for(Moment::PeerDown);
}

struct OnDrop<T>(Option<T>, Sender<T>);

impl<T> Drop for OnDrop<T> {
    fn drop(&mut self) {
        // Both ends may be gone when the test is over.
        let _ = self.0.take().map(|value| self.1.send(value));
    }
}
