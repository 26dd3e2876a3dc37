//! Pattern subscriptions: a thread that subscribes to the topics that patterns match, as they come
//! and go. Layer: engine. Started with the first pattern of an instance, because the conductor,
//! which knows what is published, must not open sockets or wait.
//!
//! Matching happens when a topic or a pattern appears. To the poller, a topic that a pattern has
//! found is one like any other.

mod plan;
mod worker;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use self::plan::PatternId;
use super::Engine;
use super::callback;
use super::conductor::Command as ConductorCommand;
use super::matches::Matches;
use crate::config::TopicPattern;
use crate::id::TopicHash;
use crate::listener::{ListenerHandle, SharedListener};

/// Pattern subscriptions of one instance. Each costs a match per topic that appears, and up to a
/// mebibyte.
const MAX_PATTERNS: usize = 1024;

/// Why a pattern cannot be subscribed to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum PatternSubscriptionError {
    #[error("pattern in use")]
    InUse,
    #[error("{limit} patterns are subscribed to already")]
    TooMany { limit: usize },
    #[error("the instance is closed")]
    Closed,
    #[error(transparent)]
    Thread(#[from] io::Error),
}

/// The pattern subscriptions of an instance.
#[derive(Default)]
pub(super) struct Patterns {
    registry: Mutex<Registry>,
    watch: Arc<TopicWatch>,
}

#[derive(Default)]
struct Registry {
    subscribed: Vec<Arc<PatternSubscribed>>,
    last_id: u64,
    /// Of the thread, until somebody waits for its end.
    thread: Option<JoinHandle<()>>,
    has_begun: bool,
}

/// A pattern that is subscribed to.
pub(crate) struct PatternSubscribed {
    id: PatternId,
    pub(crate) pattern: Arc<TopicPattern>,
    /// Those that it is subscribed to.
    pub(crate) topics: Matches<Arc<str>>,
    listener: SharedListener,
    /// Set by unsubscribe: nothing is delivered from then on.
    closed: Arc<AtomicBool>,
}

/// What the thread of patterns is told. Its lock is held for moments only, by the conductor, by
/// callers and by the thread itself.
#[derive(Default)]
pub(crate) struct TopicWatch {
    news: Mutex<News>,
    changed: Condvar,
}

/// What has changed since the thread looked last. Bounded: there is one entry per topic that
/// discovery knows or has just forgotten, and one per pattern.
#[derive(Default)]
struct News {
    /// The names of topics that are published, `None` for those that are not any more.
    topics: HashMap<TopicHash, Option<Arc<str>>>,
    added: Vec<Arc<PatternSubscribed>>,
    ended: Vec<PatternId>,
    is_stopping: bool,
}

impl News {
    fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.added.is_empty() && self.ended.is_empty()
    }
}

impl TopicWatch {
    /// Whether, and under which name, a topic is published.
    pub(super) fn tell(&self, hash: TopicHash, published: Option<&Arc<str>>) {
        self.change(|news| news.topics.insert(hash, published.cloned()));
    }

    fn change<T>(&self, change: impl FnOnce(&mut News) -> T) -> T {
        let changed = change(&mut self.news.lock());
        self.changed.notify_one();
        changed
    }
}

impl Patterns {
    pub(super) fn stop(&self) {
        self.watch.change(|news| news.is_stopping = true);
    }

    /// The thread, to be waited for. One that starts after this ends by itself.
    pub(super) fn take_thread(&self) -> Option<JoinHandle<()>> {
        self.registry.lock().thread.take()
    }
}

impl Engine {
    /// Listens to all topics that match, those that are published later included.
    ///
    /// # Errors
    ///
    /// [`PatternSubscriptionError`]; nothing has changed.
    pub(crate) fn subscribe_pattern(
        self: &Arc<Self>,
        pattern: TopicPattern,
        listener: ListenerHandle,
    ) -> Result<Arc<PatternSubscribed>, PatternSubscriptionError> {
        let mut registry = self.patterns.registry.lock();
        if self.is_closed() {
            return Err(PatternSubscriptionError::Closed);
        }
        if registry.subscribed.iter().any(|known| *known.pattern == pattern) {
            return Err(PatternSubscriptionError::InUse);
        }
        if registry.subscribed.len() >= MAX_PATTERNS {
            return Err(PatternSubscriptionError::TooMany { limit: MAX_PATTERNS });
        }
        if !registry.has_begun {
            registry.thread = Some(worker::start(self)?);
            registry.has_begun = true;
            self.conductor.submit(ConductorCommand::WatchTopics(Arc::clone(&self.patterns.watch)));
        }
        registry.last_id += 1;
        let subscribed = Arc::new(PatternSubscribed {
            id: PatternId(registry.last_id),
            pattern: Arc::new(pattern),
            topics: Matches::default(),
            listener: listener.into_shared(),
            closed: Arc::default(),
        });
        registry.subscribed.push(Arc::clone(&subscribed));
        self.patterns.watch.change(|news| news.added.push(Arc::clone(&subscribed)));
        Ok(subscribed)
    }

    /// Ends listening. Returns after the callback in flight, if `wait` is set and this is not a
    /// thread that runs callbacks.
    pub(crate) fn unsubscribe_pattern(&self, subscribed: &PatternSubscribed, wait: bool) {
        self.patterns.registry.lock().subscribed.retain(|known| known.id != subscribed.id);
        subscribed.closed.store(true, Ordering::SeqCst);
        self.patterns.watch.change(|news| news.ended.push(subscribed.id));
        if wait && callback::current_thread(self.id).is_none() {
            subscribed.listener.wait();
        }
    }
}
