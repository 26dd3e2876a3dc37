//! The thread that does what the plan says. Layer: engine. It runs no callbacks, but drops
//! listeners.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::plan::{PatternId, Plan, Step};
use super::{News, PatternSubscribed, TopicWatch};
use crate::counters::{Counter, Counters};
use crate::engine::audience::Rank;
use crate::engine::callback::{self, CallbackThread};
use crate::engine::poller::Command;
use crate::engine::{Engine, Subscribed, TopicError};
use crate::id::TopicHash;
use crate::listener::Event;
use crate::time::Clock;

/// Steps until pollers have to have done what they were told. This thread drops listeners, so that it
/// does not wait for room in their queues: it must not fill them.
const STEPS_PER_PASS: usize = 256;
/// Without news and deadlines, the thread still looks around this often.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Starts the thread.
///
/// # Errors
///
/// What the operating system says when it gives no thread.
pub(super) fn start(engine: &Arc<Engine>) -> io::Result<JoinHandle<()>> {
    let worker = Worker {
        engine: Arc::downgrade(engine),
        watch: Arc::clone(&engine.patterns.watch),
        counters: Arc::clone(&engine.counters),
        clock: engine.clock,
        plan: Plan::default(),
        patterns: HashMap::new(),
        joined: HashMap::new(),
    };
    let instance = engine.id;
    thread::Builder::new().name("vega-patterns".to_owned()).spawn(move || {
        callback::adopt_thread(instance, CallbackThread::Patterns);
        worker.run();
    })
}

struct Worker {
    /// Whoever holds it could be the last: then the engine ends on this thread.
    engine: Weak<Engine>,
    watch: Arc<TopicWatch>,
    counters: Arc<Counters>,
    clock: Clock,
    plan: Plan,
    patterns: HashMap<PatternId, Arc<PatternSubscribed>>,
    joined: HashMap<(TopicHash, PatternId), Subscribed>,
}

/// The instance is closed, or about to be.
struct Stopped;

impl Worker {
    fn run(mut self) {
        while let Some(news) = self.wait() {
            self.take(news);
            self.plan.handle_timeout(self.clock.now());
            if self.carry_out().is_err() {
                break;
            }
        }
        for (_, subscribed) in std::mem::take(&mut self.patterns) {
            self.discard(subscribed);
        }
    }

    /// What has happened. `None` at the end.
    fn wait(&self) -> Option<News> {
        let mut news = self.watch.news.lock();
        if news.is_empty() && !news.is_stopping {
            let wait = self.plan.next_deadline().since(self.clock.now()).min(LONGEST_WAIT);
            self.watch.changed.wait_for(&mut news, wait);
        }
        if news.is_stopping { None } else { Some(std::mem::take(&mut *news)) }
    }

    fn take(&mut self, news: News) {
        for subscribed in news.added {
            self.plan.add_pattern(subscribed.id, Arc::clone(&subscribed.pattern));
            self.patterns.insert(subscribed.id, subscribed);
        }
        for id in news.ended {
            self.plan.remove_pattern(id);
            if let Some(subscribed) = self.patterns.remove(&id) {
                self.discard(subscribed);
            }
        }
        let now = self.clock.now();
        for (hash, published) in news.topics {
            match published {
                Some(name) => self.plan.handle_published(hash, &name),
                None => self.plan.handle_silent(hash, now),
            }
        }
    }

    fn carry_out(&mut self) -> Result<(), Stopped> {
        while let Some(first) = self.plan.poll_step() {
            let engine = self.engine.upgrade().filter(|engine| !engine.is_closed());
            let engine = engine.ok_or(Stopped)?;
            let (mut step, mut steps, mut joined) = (Some(first), 0, Vec::new());
            while let Some(next) = step {
                match next {
                    Step::Join { hash, topic, pattern } => {
                        if self.join(&engine, hash, &topic, pattern) {
                            joined.push((topic, pattern));
                        }
                    }
                    Step::Leave { hash, topic, pattern } => {
                        if !joined.is_empty() {
                            // In the order in which it happened.
                            self.tell_joined(&engine, &mut joined);
                        }
                        self.leave(&engine, hash, &topic, pattern);
                    }
                }
                steps += 1;
                step = if steps < STEPS_PER_PASS { self.plan.poll_step() } else { None };
            }
            self.tell_joined(&engine, &mut joined);
        }
        Ok(())
    }

    /// Says which topics have been joined, once their pollers deliver to the patterns: who hears of
    /// it may send at once.
    fn tell_joined(&self, engine: &Engine, joined: &mut Vec<(Arc<str>, PatternId)>) {
        wait_for_pollers(engine);
        for (topic, id) in joined.drain(..) {
            if let Some(subscribed) = self.patterns.get(&id) {
                subscribed.topics.add(Arc::clone(&topic));
                let pattern = Arc::clone(&subscribed.pattern);
                engine.requests.tell(Event::PatternMatched(pattern, topic));
            }
        }
    }

    /// True when the topic was subscribed to.
    fn join(&mut self, engine: &Engine, hash: TopicHash, topic: &Arc<str>, id: PatternId) -> bool {
        // Ended meanwhile: the plan follows with the next news.
        let Some(subscribed) = self.patterns.get(&id) else { return false };
        let PatternSubscribed { pattern, closed, listener, .. } = &**subscribed;
        match engine.join_topic(topic, Rank(id.0), closed, listener) {
            Ok(joined) => {
                self.joined.insert((hash, id), joined);
                self.counters.add(Counter::PatternMatches, 1);
                return true;
            }
            Err(TopicError::Closed) => {}
            Err(error) => {
                self.counters.add(Counter::PatternRefusals, 1);
                tracing::warn!(%pattern, %topic, %error, "a topic that matches is not subscribed to");
                let reason = error.to_string();
                engine.requests.tell(Event::PatternRefused(
                    Arc::clone(pattern),
                    Arc::clone(topic),
                    reason,
                ));
                // A route does not come into being later.
                if !matches!(error, TopicError::Route(_)) {
                    self.plan.handle_refused(hash, id, self.clock.now());
                }
            }
        }
        false
    }

    fn leave(&mut self, engine: &Engine, hash: TopicHash, topic: &Arc<str>, id: PatternId) {
        let Some(joined) = self.joined.remove(&(hash, id)) else { return };
        engine.unsubscribe(&joined, false);
        if let Some(subscribed) = self.patterns.get(&id) {
            subscribed.topics.remove(topic);
            let pattern = Arc::clone(&subscribed.pattern);
            engine.requests.tell(Event::PatternUnmatched(pattern, Arc::clone(topic)));
        }
    }

    /// This may be the last handle to the listener.
    fn discard(&self, subscribed: Arc<PatternSubscribed>) {
        let pattern = Arc::clone(&subscribed.pattern);
        callback::discard(&self.counters, pattern.as_str(), subscribed);
    }
}

/// Returns when all pollers have done what they were told so far.
fn wait_for_pollers(engine: &Engine) {
    for poller in &engine.pollers {
        let (done, passed) = crossbeam_channel::bounded(0);
        poller.submit(Command::Pass(done));
        let _ = passed.recv();
    }
}
