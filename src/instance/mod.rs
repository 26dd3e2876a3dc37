//! The public API: an [`Instance`] and what it hands out. Layer: instance, the topmost of the
//! library. Holds no logic of its own: it validates, translates errors and calls the engine.

mod builder;
mod daemon;
mod error;
mod host;
mod pattern;
mod publisher;
mod sniffer;
mod subscription;

use std::fmt;
use std::sync::Arc;

pub use builder::InstanceBuilder;
pub use daemon::{DaemonBuilder, DaemonCounters, DiscoveryDaemon};
pub use error::{
    CloseError, PublishError, RequestError, StartError, SubscribeError, SubscribePatternError,
};
pub use host::{HostCounters, HostCountersError};
pub use pattern::PatternSubscription;
pub use publisher::{Claim, Publisher, SharedPublisher};
pub use sniffer::{Sniffer, SnifferBuilder};
pub use subscription::Subscription;

use crate::config::{Config, TopicPattern};
use crate::counters::CounterSnapshot;
use crate::engine::{Engine, callback};
use crate::id::InstanceId;
use crate::listener::{
    ChannelListener, Listener, ListenerHandle, Peer, TopicAdvert, TopicReceiver,
};

/// One engine in one process: its threads, its sockets, its identity.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use vega::{Config, Instance, Message};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::parse("[discovery]\nport = 35990")?;
/// let instance = Instance::builder().name("example").config(config).start()?;
/// let (arrived, arrivals) = std::sync::mpsc::channel();
/// let subscription = instance.subscribe("prices.EURUSD", move |message: &Message<'_>| {
///     let _ = arrived.send(message.payload().to_vec());
/// })?;
/// let mut publisher = instance.publisher("prices.EURUSD")?;
/// assert!(publisher.wait_for_subscribers(1, Duration::from_secs(5)));
/// publisher.send(b"1.0842")?;
/// assert_eq!(arrivals.recv_timeout(Duration::from_secs(5))?, b"1.0842");
/// subscription.unsubscribe();
/// instance.close()?;
/// # Ok(())
/// # }
/// ```
///
/// # Threads
///
/// All methods may be called from any thread, callbacks included, [`Instance::close`] excepted.
///
/// Dropping an instance does what [`Instance::close`] does, without waiting for callbacks in flight;
/// its publishers then refuse to send.
pub struct Instance {
    engine: Arc<Engine>,
}

impl Instance {
    /// Starts to describe an instance.
    pub fn builder() -> InstanceBuilder {
        InstanceBuilder::new()
    }

    /// Its identity, new at every start.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.engine.id
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.engine.name
    }

    /// The configuration it runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.engine.config
    }

    /// The UDP socket at which it receives responses.
    #[must_use]
    pub fn response_address(&self) -> std::net::SocketAddr {
        self.engine.responses_at.address
    }

    /// Begins to publish a topic. One publisher per topic and instance; after it is dropped, the
    /// topic can be published again.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; nothing was opened.
    pub fn publisher(&self, topic: &str) -> Result<Publisher, PublishError> {
        Publisher::open(Arc::clone(&self.engine), topic)
    }

    /// As [`Instance::publisher`], for use by several threads.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; nothing was opened.
    pub fn shared_publisher(&self, topic: &str) -> Result<SharedPublisher, PublishError> {
        self.publisher(topic).map(Publisher::into_shared)
    }

    /// Listens to a topic. One subscription per topic and instance; after it ended, the topic can
    /// be subscribed to again. Messages of this instance's own publisher are delivered, too.
    ///
    /// Delivery ends when the subscription is dropped.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]; nothing was opened.
    pub fn subscribe(
        &self,
        topic: &str,
        listener: impl Listener,
    ) -> Result<Subscription, SubscribeError> {
        Subscription::open(Arc::clone(&self.engine), topic, ListenerHandle::of(listener))
    }

    /// Listens to a topic through a channel of at most `capacity` deliveries. When it is full, new
    /// deliveries are discarded and counted by [`TopicReceiver::overflow`]: the poller does not
    /// wait for slow readers. The channel is disconnected when the subscription ends.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]; nothing was opened.
    pub fn subscribe_channel(
        &self,
        topic: &str,
        capacity: usize,
    ) -> Result<(Subscription, TopicReceiver), SubscribeError> {
        let (listener, receiver) = ChannelListener::new(capacity);
        Ok((self.subscribe(topic, listener)?, receiver))
    }

    /// The discovery daemons that answer now, each as `host:port`. Empty when discovery is by multicast.
    #[must_use]
    pub fn daemons_up(&self) -> Vec<String> {
        self.engine.daemons_up()
    }

    /// Listens to all topics that match a pattern and that somebody publishes, this instance
    /// included: those that are known, and those that appear later. A topic is left two seconds
    /// after its last publisher. Patterns, and direct subscriptions, may overlap: different
    /// listeners get a message each, and [`SharedListener`](crate::SharedListener) says how often
    /// one listener of several subscriptions does.
    ///
    /// The configuration here decides how a topic is carried, as for [`Instance::subscribe`]. What
    /// matches and cannot be subscribed to is counted and told to
    /// [`on_pattern_refused`](crate::InstanceListener::on_pattern_refused).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use vega::{Config, Instance, Message, TopicPattern};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = Config::parse("[discovery]\nport = 35992")?;
    /// # let instance = Instance::builder().config(config).start()?;
    /// let fx = TopicPattern::filter("fx.*")?;
    /// let subscription = instance.subscribe_pattern(fx, |message: &Message<'_>| {
    ///     println!("{}: {} bytes", message.topic(), message.payload().len());
    /// })?;
    /// let publisher = instance.publisher("fx.EURUSD")?;
    /// assert!(subscription.wait_for_topics(1, Duration::from_secs(5)));
    /// assert_eq!(subscription.topics(), ["fx.EURUSD"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SubscribePatternError`], when there is a subscription to the same pattern above all;
    /// nothing has changed.
    ///
    /// # Threads
    ///
    /// The listener is called by the pollers of all topics that match, one call at a time: see
    /// [`SharedListener`](crate::SharedListener).
    pub fn subscribe_pattern(
        &self,
        pattern: TopicPattern,
        listener: impl Listener,
    ) -> Result<PatternSubscription, SubscribePatternError> {
        let listener = ListenerHandle::of(listener);
        PatternSubscription::open(Arc::clone(&self.engine), pattern, listener)
    }

    /// Listens to all topics that match a pattern through a channel, as
    /// [`Instance::subscribe_channel`] does to one.
    ///
    /// # Errors
    ///
    /// As [`Instance::subscribe_pattern`].
    pub fn subscribe_pattern_channel(
        &self,
        pattern: TopicPattern,
        capacity: usize,
    ) -> Result<(PatternSubscription, TopicReceiver), SubscribePatternError> {
        let (listener, receiver) = ChannelListener::new(capacity);
        Ok((self.subscribe_pattern(pattern, listener)?, receiver))
    }

    /// The other instances that are known now.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.engine.peers()
    }

    /// What the other instances publish and subscribe to, all topics included that this one does not
    /// use. A snapshot, instance by instance, for tools that watch a system.
    #[must_use]
    pub fn adverts(&self) -> Vec<TopicAdvert> {
        self.engine.adverts()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> CounterSnapshot {
        self.engine.counters.snapshot()
    }

    /// Waits until subscribers have confirmed what publishers sent, half a second at most, says
    /// goodbye, and stops. Returns after the callbacks in flight. Open requests end without
    /// callbacks. Calling it again does nothing.
    ///
    /// # Errors
    ///
    /// [`CloseError::InCallback`] when called from a callback of this instance, where waiting for
    /// callbacks would never end. Nothing is closed then.
    pub fn close(&self) -> Result<(), CloseError> {
        if callback::current_thread(self.engine.id).is_some() {
            return Err(CloseError::InCallback);
        }
        self.engine.close();
        Ok(())
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.engine.is_closed()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.engine.id)
            .field("name", &self.engine.name)
            .field("closed", &self.engine.is_closed())
            .finish_non_exhaustive()
    }
}
