//! One listener for several subscriptions. Layer: listener. Called by the pollers of all of them,
//! one call at a time.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Listener, Message, MessageLoss, Request};

/// A handle to a listener that several subscriptions, direct ones and patterns, can have. Cloning
/// gives another handle to the same listener.
///
/// A message that several subscriptions of one listener match is delivered to it once
/// ([`SharedListener::new`]) or as often as they match ([`SharedListener::every_match`]). Different
/// listeners get a copy each, always.
///
/// # Threads
///
/// Calls never overlap. That takes a lock for each call, and pollers that deliver to the same
/// listener at the same time wait for each other.
#[derive(Clone)]
pub struct SharedListener {
    shared: Arc<Shared>,
}

struct Shared {
    listener: Mutex<Box<dyn Listener>>,
    repeats: bool,
}

impl SharedListener {
    /// A listener that gets each message once, however many of its subscriptions match.
    #[must_use]
    pub fn new(listener: impl Listener) -> Self {
        Self::with(Box::new(listener), false)
    }

    /// A listener that gets a message once for each of its subscriptions that match.
    #[must_use]
    pub fn every_match(listener: impl Listener) -> Self {
        Self::with(Box::new(listener), true)
    }

    fn with(listener: Box<dyn Listener>, repeats: bool) -> Self {
        Self { shared: Arc::new(Shared { listener: Mutex::new(listener), repeats }) }
    }

    /// Whether one delivery is enough for both.
    pub(crate) fn is_served_with(&self, other: &Self) -> bool {
        !self.shared.repeats && Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Calls the listener, while nobody else does.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&mut dyn Listener) -> T) -> T {
        call(&mut **self.shared.listener.lock())
    }

    /// Returns after the call in flight, if there is one.
    pub(crate) fn wait(&self) {
        drop(self.shared.listener.lock());
    }
}

/// A listener as the engine keeps it: alone, or known to be shared.
pub(crate) enum ListenerHandle {
    Own(Box<dyn Listener>),
    Shared(SharedListener),
}

impl ListenerHandle {
    pub(crate) fn of<L: Listener>(listener: L) -> Self {
        let mut listener = Some(listener);
        let shared = (&mut listener as &mut dyn Any).downcast_mut::<Option<SharedListener>>();
        match (shared.and_then(Option::take), listener) {
            (Some(shared), _) => Self::Shared(shared),
            (None, Some(listener)) => Self::Own(Box::new(listener)),
            (None, None) => Self::Own(Box::new(|_: &Message<'_>| {})),
        }
    }

    /// For several topics, and so for several pollers.
    pub(crate) fn into_shared(self) -> SharedListener {
        match self {
            Self::Own(listener) => SharedListener::with(listener, false),
            Self::Shared(shared) => shared,
        }
    }
}

impl Listener for SharedListener {
    fn on_message(&mut self, message: &Message<'_>) {
        self.call(|listener| listener.on_message(message));
    }

    fn on_request(&mut self, request: &Request<'_>) {
        self.call(|listener| listener.on_request(request));
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.call(|listener| listener.on_message_lost(loss));
    }
}

impl fmt::Debug for SharedListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedListener")
            .field("every_match", &self.shared.repeats)
            .finish_non_exhaustive()
    }
}
