//! A process under torture: an instance, and ten threads that do with it whatever comes to their
//! minds. Tests. What a thread does next follows from the seed, its number and the number of the deed;
//! how deeds of different threads meet does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use vega::{
    Config, Instance, PatternSubscription, Publisher, SentRequest, SharedPublisher, Subscription,
};

use crate::recorder::{Findings, TOPIC_BITS};
use crate::support::{TRANSPORTS, payload};
use crate::watchdog::Post;

pub(crate) const THREADS: u64 = 10;
pub(crate) const TOPICS: usize = 80;
/// Of these topics, threads make publishers and subscriptions without a word to each other, and are
/// refused where another one has been first.
pub(crate) const CONTESTED: usize = 16;
pub(crate) const PATTERNS: [&str; 4] = ["*.1.>", "multicast.>", "ipc.*.*", "*.2.*"];

/// The name of a topic ends with its number; the word before it is for patterns.
pub(crate) fn topic(number: usize) -> String {
    format!("{}.{}.{number}", TRANSPORTS[number % TRANSPORTS.len()], number % 7)
}

/// Random numbers that a seed repeats.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(payload::mixed(seed))
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.draw() % limit as u64).unwrap()
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = payload::mixed(self.0);
        self.0
    }

    /// A time of up to so many milliseconds.
    pub(crate) fn up_to_millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.draw() % (most + 1))
    }
}

/// What the threads of a process have between them of one topic.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) publisher: Mutex<Option<Publisher>>,
    pub(crate) subscription: Mutex<Option<Listening<Subscription>>>,
    /// Only of contested topics.
    pub(crate) shared: Mutex<Option<SharedPublisher>>,
}

/// A subscription or pattern, and what its listener is told when it is over.
pub(crate) struct Listening<S> {
    pub(crate) handle: S,
    pub(crate) ended: Arc<AtomicBool>,
}

/// All that the threads of a process share.
pub(crate) struct Common {
    pub(crate) instance: Instance,
    pub(crate) config: Config,
    pub(crate) slots: Vec<Slot>,
    pub(crate) patterns: Vec<Mutex<Option<Listening<PatternSubscription>>>>,
    pub(crate) requests: Mutex<Vec<SentRequest>>,
    pub(crate) findings: Arc<Findings>,
    /// Instances beside the main one, now.
    pub(crate) extra: AtomicU64,
    /// Requests that were opened, and how they ended.
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) expired: AtomicU64,
    sent: AtomicU64,
    is_over: AtomicBool,
}

impl Common {
    pub(crate) fn new(instance: Instance, config: Config) -> Self {
        Self {
            instance,
            config,
            slots: (0..TOPICS).map(|_| Slot::default()).collect(),
            patterns: PATTERNS.iter().map(|_| Mutex::default()).collect(),
            requests: Mutex::default(),
            findings: Arc::default(),
            extra: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// A payload that proves to which topic it belongs.
    pub(crate) fn payload(&self, topic: usize, bytes: usize) -> Vec<u8> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed) << TOPIC_BITS | topic as u64;
        payload::numbered(number, bytes.max(8))
    }

    /// Gives up everything but the instance.
    pub(crate) fn let_go(&self) {
        for slot in &self.slots {
            slot.publisher.lock().take();
            slot.shared.lock().take();
            if let Some(Listening { handle, ended }) = slot.subscription.lock().take() {
                handle.unsubscribe();
                ended.store(true, Ordering::SeqCst);
            }
        }
        for pattern in &self.patterns {
            if let Some(Listening { handle, ended }) = pattern.lock().take() {
                handle.unsubscribe();
                ended.store(true, Ordering::SeqCst);
            }
        }
        for request in self.requests.lock().drain(..) {
            self.closed.fetch_add(u64::from(request.close()), Ordering::Relaxed);
        }
        self.findings.waiting.lock().clear();
    }
}

/// Lets all threads do what they like for a while. Returns how many deeds that were.
pub(crate) fn run(common: &Arc<Common>, seed: u64, time: Duration, posts: &[Arc<Post>]) -> u64 {
    common.is_over.store(false, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let work = |(thread, post): (u64, &Arc<Post>)| {
            let (common, post) = (Arc::clone(common), Arc::clone(post));
            let name = format!("thread-{thread}");
            let work = move || {
                let mut deeds = 0;
                while !common.is_over.load(Ordering::Relaxed) {
                    let dice = Dice::new(payload::mixed(seed ^ thread << 48) ^ deeds);
                    crate::deeds::one(&common, dice, &post);
                    deeds += 1;
                }
                post.end();
                deeds
            };
            std::thread::Builder::new().name(name).spawn_scoped(scope, work).unwrap()
        };
        let threads: Vec<_> = (0..THREADS).zip(posts).map(work).collect();
        std::thread::sleep(time);
        common.is_over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}
