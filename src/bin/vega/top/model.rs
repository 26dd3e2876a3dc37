//! What `vega top` has seen and what it is to show. Layer: bin. Knows no terminal and reads no clock.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use vega::{Counter, CounterRow, CounterSnapshot, HostCounters};

use super::figures::Cell;
use super::pages::Page;

/// Two looks at the host, and how the newer one is shown.
pub(super) struct Model {
    now: HostCounters,
    before: HostCounters,
    looked_at: Instant,
    /// Between the two looks; zero until there were two.
    passed: Duration,
    page: Page,
    /// By page: which column it is sorted by, and whether the largest comes first.
    orders: [(usize, bool); Page::ALL.len()],
    first: usize,
    is_paused: bool,
}

/// An instance or a row of it, now and before.
pub(super) struct Change<'a> {
    pub(super) of: &'a CounterSnapshot,
    before: Option<&'a CounterSnapshot>,
    seconds: f64,
}

impl Model {
    pub(super) fn new(now: HostCounters, at: Instant) -> Self {
        Self {
            now,
            before: HostCounters::default(),
            looked_at: at,
            passed: Duration::ZERO,
            page: Page::Instances,
            orders: Page::ALL.map(|page| page.order()),
            first: 0,
            is_paused: false,
        }
    }

    /// Another look.
    pub(super) fn update(&mut self, now: HostCounters, at: Instant) {
        self.before = std::mem::replace(&mut self.now, now);
        self.passed = at.saturating_duration_since(self.looked_at);
        self.looked_at = at;
    }

    pub(super) const fn page(&self) -> Page {
        self.page
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) const fn pause(&mut self) {
        self.is_paused = !self.is_paused;
    }

    pub(super) const fn turn_to(&mut self, page: Page) {
        self.page = page;
        self.first = 0;
    }

    pub(super) fn turn_page(&mut self, by: usize) {
        self.turn_to(Page::ALL[(self.page as usize + by) % Page::ALL.len()]);
    }

    pub(super) fn choose_column(&mut self, by: usize) {
        let (column, _) = &mut self.orders[self.page as usize];
        *column = (*column + by) % self.page.columns().len();
    }

    pub(super) const fn turn_order(&mut self) {
        let (_, largest_first) = &mut self.orders[self.page as usize];
        *largest_first = !*largest_first;
    }

    /// The first line that is shown, of `count`.
    pub(super) fn first_line(&self, count: usize) -> usize {
        self.first.min(count.saturating_sub(1))
    }

    pub(super) fn scroll(&mut self, lines: isize) {
        let last = self.lines().len().saturating_sub(1);
        self.first = self.first_line(last + 1).saturating_add_signed(lines).min(last);
    }

    /// Which column the page is sorted by, and whether the largest comes first.
    pub(super) const fn order(&self) -> (usize, bool) {
        self.orders[self.page as usize]
    }

    /// How many instances live, and how many topics they publish or listen to.
    pub(super) fn summary(&self) -> (usize, usize) {
        let lives = self.now.instances().iter().filter(|counters| counters.is_alive());
        let topics =
            lives.clone().flat_map(CounterSnapshot::rows).filter(|row| Page::is_topic(row));
        let topics: std::collections::BTreeSet<_> = topics.map(CounterRow::name).collect();
        (lives.count(), topics.len())
    }

    /// The page, sorted.
    pub(super) fn lines(&self) -> Vec<Vec<Cell>> {
        let mut lines: Vec<_> =
            self.changes().flat_map(|change| self.page.lines_of(&change)).collect();
        let (column, largest_first) = self.order();
        lines.sort_by(|one, other| {
            let order = compare(&one[column], &other[column]);
            let order = if largest_first { order.reverse() } else { order };
            // Lines that are equal stay where they are from one look to the next.
            let rest = one.iter().zip(other).map(|(one, other)| one.key().1.cmp(other.key().1));
            rest.fold(order, Ordering::then)
        });
        lines
    }

    fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.now.instances().iter().map(|of| Change {
            of,
            before: self.before.instances().iter().find(|old| old.instance() == of.instance()),
            seconds: self.passed.as_secs_f64(),
        })
    }
}

fn compare(one: &Cell, other: &Cell) -> Ordering {
    let ((size, text), (other_size, other_text)) = (one.key(), other.key());
    size.total_cmp(&other_size).then_with(|| text.cmp(other_text))
}

impl Change<'_> {
    /// How fast a counter grows, per second.
    pub(super) fn rate(&self, counter: Counter) -> Cell {
        self.speed(self.of.get(counter), self.before.map(|before| before.get(counter)))
    }

    /// How much a counter has grown, as a part of the time that has passed.
    pub(super) fn share(&self, counter: Counter) -> Cell {
        share(self.rate(counter))
    }

    /// The same for a column of a row.
    pub(super) fn row_rate(&self, row: &CounterRow, column: &str) -> Cell {
        let before = self.earlier(row).and_then(|before| before.get(column));
        row.get(column).map_or(Cell::Nothing, |now| self.speed(now, before))
    }

    pub(super) fn row_share(&self, row: &CounterRow, column: &str) -> Cell {
        share(self.row_rate(row, column))
    }

    /// What one of `parts` took on average since the last look, or all in all if there was none.
    pub(super) fn mean(&self, row: &CounterRow, time: &str, parts: &str) -> Cell {
        let of = |row: &CounterRow, column: &str| row.get(column).unwrap_or_default();
        let before = |column| self.earlier(row).map_or(0, |before| of(before, column));
        let (took, count) = (of(row, time), of(row, parts));
        let (lately, times) =
            (took.saturating_sub(before(time)), count.saturating_sub(before(parts)));
        match (times, count) {
            (_, 0) => Cell::Nothing,
            (0, _) => Cell::Time(as_float(took) / as_float(count)),
            _ => Cell::Time(as_float(lately) / as_float(times)),
        }
    }

    fn earlier(&self, row: &CounterRow) -> Option<&CounterRow> {
        let same = |other: &&CounterRow| {
            (other.kind(), other.name(), other.place()) == (row.kind(), row.name(), row.place())
        };
        self.before?.rows().iter().find(same)
    }

    fn speed(&self, now: u64, before: Option<u64>) -> Cell {
        match before {
            Some(before) if self.seconds > 0.0 => {
                Cell::Number(as_float(now.saturating_sub(before)) / self.seconds)
            }
            _ => Cell::Nothing,
        }
    }
}

/// Of nanoseconds per second.
fn share(rate: Cell) -> Cell {
    match rate {
        Cell::Number(ns) => Cell::Share(ns / 1e9),
        other => other,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(super) const fn as_float(value: u64) -> f64 {
    value as f64
}
