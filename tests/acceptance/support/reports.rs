//! What the library reports, down to `info`, to whatever the application has installed. Tests. Written by
//! any thread of this process: all its tests share one collector, so each looks for words of its
//! own.

use std::fmt;
use std::sync::LazyLock;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

static TEXTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

static INSTALLED: LazyLock<()> = LazyLock::new(|| {
    tracing::subscriber::set_global_default(Collector).unwrap();
});

/// The reports since the first of these exists.
pub(crate) struct Reports(());

impl Reports {
    pub(crate) fn collect() -> Self {
        LazyLock::force(&INSTALLED);
        Self(())
    }

    /// How many reports have all of these parts.
    #[expect(clippy::unused_self, reason = "nothing is collected before one exists")]
    pub(crate) fn count(&self, parts: &[&str]) -> usize {
        let texts = TEXTS.lock();
        texts.iter().filter(|text| parts.iter().all(|part| text.contains(part))).count()
    }
}

struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        TEXTS.lock().push(text.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The fields of a report, as `name=value`.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        let _ = write!(self.0, "{field}={value:?} ");
    }
}
