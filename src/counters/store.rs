//! The counters of one instance while it runs. Layer: counters. Every thread adds to counters; each
//! column of a row has one writer at a time. Anybody reads.
//!
//! Each counter is one relaxed atomic on its own cache line: hot paths add to it once per packet or
//! batch, never per message. What happens with every message is counted in rows, with plain loads and
//! stores, since whoever sends or delivers is the only one to do so.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use parking_lot::Mutex;

use super::Counter;
use super::layout::{self, EDITION_AT};
use super::rows::{ColumnOf, MAX_COLUMNS, RowKind};
use super::snapshot::{CounterSnapshot, Origin};
use super::words::{WORD, Words};

/// Rows of counters that nobody outside is to see.
const PRIVATE_ROWS: usize = 64;

/// The counters of one instance.
#[derive(Debug)]
pub(crate) struct Counters {
    words: Words,
    rows: Mutex<Rows>,
    /// How many rows are not in the table; read without the lock.
    beyond: AtomicUsize,
}

/// A value for each counter, by its number.
pub(crate) type Totals = [u64; Counter::ALL.len()];

/// Which rows of the table are taken, and what did not find place there.
#[derive(Debug, Default)]
struct Rows {
    /// Rows that have been taken before and are free again.
    free: Vec<usize>,
    /// No row from here on has ever been taken.
    fresh: usize,
    beyond: Vec<Beyond>,
}

/// A row that is not in the table: what it counts reaches the totals now and then.
#[derive(Debug)]
struct Beyond {
    kind: RowKind,
    values: Words,
    /// What has reached the totals.
    settled: [u64; MAX_COLUMNS],
}

impl Counters {
    /// Bytes of memory for so many rows.
    pub(crate) const fn bytes(rows: usize) -> usize {
        layout::file_words(rows) * WORD
    }

    /// On the heap, for nobody in particular: for discovery daemons, tests and benchmarks.
    pub(crate) fn new() -> Self {
        Self::on_heap(PRIVATE_ROWS, &Origin::nobody())
    }

    /// On the heap, where only this process sees them.
    pub(crate) fn on_heap(rows: usize, origin: &Origin) -> Self {
        Self::on(Words::heap(layout::file_words(rows)), origin)
    }

    /// In zeroed words, as many as [`Counters::bytes`] says, of a file that others read.
    pub(crate) fn on(words: Words, origin: &Origin) -> Self {
        layout::write_header(&words, origin);
        Self { words, rows: Mutex::default(), beyond: AtomicUsize::new(0) }
    }

    /// Adds without ordering: counters say how many, not when.
    #[inline]
    pub(crate) fn add(&self, counter: Counter, amount: u64) {
        if amount > 0 {
            self.words[layout::counter_at(counter)].fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Sets a level, of which the caller is the only writer.
    #[inline]
    pub(crate) fn set(&self, counter: Counter, level: u64) {
        self.words[layout::counter_at(counter)].store(level, Ordering::Relaxed);
    }

    /// A row for something that begins. When the table is full it counts in the totals only.
    pub(crate) fn row<C: ColumnOf>(self: &Arc<Self>, name: &str, place: &str) -> Row<C> {
        let mut rows = self.rows.lock();
        let capacity = layout::rows_in(self.words.len());
        let fresh = (rows.fresh < capacity).then_some(rows.fresh);
        let slot = rows.free.pop().or_else(|| {
            rows.fresh += usize::from(fresh.is_some());
            fresh
        });
        let values = match slot {
            Some(row) => {
                self.edit(|| layout::write_row(&self.words, row, C::KIND, name, place));
                self.words.part(layout::values_of(row))
            }
            None => {
                self.add(Counter::RowsRefused, 1);
                let values = Words::heap(MAX_COLUMNS);
                let settled = [0; MAX_COLUMNS];
                rows.beyond.push(Beyond { kind: C::KIND, values: values.clone(), settled });
                self.beyond.store(rows.beyond.len(), Ordering::Relaxed);
                values
            }
        };
        let lease =
            Lease { counters: Arc::clone(self), kind: C::KIND, slot, values: values.clone() };
        Row { values, lease: Arc::new(lease), columns: PhantomData }
    }

    /// Brings the totals up to date with the rows that are not in the table.
    pub(crate) fn settle(&self) {
        if self.beyond.load(Ordering::Relaxed) > 0 {
            self.rows.lock().beyond.iter_mut().for_each(|row| self.settle_row(row));
        }
    }

    fn settle_row(&self, row: &mut Beyond) {
        let values = row.values.iter().map(|value| value.load(Ordering::Relaxed));
        let settled = &mut row.settled;
        for ((column, value), settled) in row.kind.columns().iter().zip(values).zip(settled) {
            if let Some(total) = column.total() {
                self.add(total, value.wrapping_sub(*settled));
                *settled = value;
            }
        }
    }

    /// What has been counted up to now.
    pub(crate) fn snapshot(&self) -> CounterSnapshot {
        let mut rows = self.rows.lock();
        rows.beyond.iter_mut().for_each(|row| self.settle_row(row));
        let image = layout::image(&self.words, rows.fresh);
        drop(rows);
        // The words are private, or in a file that others of this user could damage: then the result
        // is damaged, too.
        layout::read(&image).unwrap_or_else(|_| CounterSnapshot::empty())
    }

    /// The counters alone, by their numbers, with what the rows have counted of those that are
    /// `wanted`. Allocates nothing.
    pub(crate) fn totals(&self, wanted: impl Fn(Counter) -> bool) -> Totals {
        let mut rows = self.rows.lock();
        rows.beyond.iter_mut().for_each(|row| self.settle_row(row));
        let mut totals = [0; Counter::ALL.len()];
        for (total, counter) in totals.iter_mut().zip(Counter::ALL) {
            *total = self.words[layout::counter_at(*counter)].load(Ordering::Relaxed);
        }
        for row in 0..rows.fresh {
            let Some(kind) = layout::kind_of(&self.words, row) else { continue };
            let values = &self.words[layout::values_of(row)];
            for (column, value) in kind.columns().iter().zip(values) {
                if let Some(total) = column.total().filter(|total| wanted(*total)) {
                    let total = &mut totals[total as usize];
                    *total = total.wrapping_add(value.load(Ordering::Relaxed));
                }
            }
        }
        totals
    }

    #[cfg(test)]
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.snapshot().get(counter)
    }

    /// Changes which rows there are, so that readers notice.
    fn edit(&self, change: impl FnOnce()) {
        let edition = self.words[EDITION_AT].load(Ordering::Relaxed);
        self.words[EDITION_AT].store(edition.wrapping_add(1) | 1, Ordering::Relaxed);
        // Readers in other processes copy the file in between two looks at the edition.
        fence(Ordering::Release);
        change();
        self.words[EDITION_AT].store((edition | 1).wrapping_add(1), Ordering::Release);
    }

    /// A row has ended: what it counted stays in the totals.
    fn release(&self, lease: &Lease) {
        let mut rows = self.rows.lock();
        match lease.slot {
            Some(row) => {
                self.edit(|| {
                    let values = lease.values.iter().map(|value| value.load(Ordering::Relaxed));
                    for (column, value) in lease.kind.columns().iter().zip(values) {
                        if let Some(total) = column.total() {
                            self.add(total, value);
                        }
                    }
                    layout::clear_row(&self.words, row);
                });
                rows.free.push(row);
            }
            None => {
                let is_it = |row: &mut Beyond| row.values.as_ptr() == lease.values.as_ptr();
                for mut row in rows.beyond.extract_if(.., is_it) {
                    self.settle_row(&mut row);
                }
                self.beyond.store(rows.beyond.len(), Ordering::Relaxed);
            }
        }
    }
}

/// The right to a row, until nobody holds it any more.
#[derive(Debug)]
struct Lease {
    counters: Arc<Counters>,
    kind: RowKind,
    /// `None` when it is not in the table.
    slot: Option<usize>,
    values: Words,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.counters.release(self);
    }
}

/// What is counted for one topic, publication, socket or poller: with plain loads and stores, because
/// whoever has the row is the only writer. It is added to the totals for good when it is dropped.
#[derive(Debug)]
pub(crate) struct Row<C> {
    values: Words,
    lease: Arc<Lease>,
    columns: PhantomData<fn(C)>,
}

impl<C: ColumnOf> Row<C> {
    #[inline]
    pub(crate) fn add(&mut self, column: C, amount: u64) {
        let value = &self.values[column.index()];
        value.store(value.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Sets a value of which this is the only writer.
    #[inline]
    pub(crate) fn set(&mut self, column: C, value: u64) {
        self.values[column.index()].store(value, Ordering::Relaxed);
    }

    /// Raises a peak.
    pub(crate) fn raise(&mut self, column: C, value: u64) {
        let peak = &self.values[column.index()];
        if peak.load(Ordering::Relaxed) < value {
            peak.store(value, Ordering::Relaxed);
        }
    }

    /// The same row for the same writer: whoever holds this one lets the other count.
    pub(crate) fn share(&self) -> Self {
        Self { values: self.values.clone(), lease: Arc::clone(&self.lease), columns: PhantomData }
    }

    /// One column for somebody else to set, who is then its only writer. Keeps the row.
    pub(crate) fn level(&self, column: C) -> Level {
        let at = column.index();
        Level { value: self.values.part(at..at + 1), _lease: Arc::clone(&self.lease) }
    }
}

/// One column of a row.
#[derive(Debug)]
pub(crate) struct Level {
    value: Words,
    _lease: Arc<Lease>,
}

impl Level {
    pub(crate) fn set(&self, level: usize) {
        let value: Option<&AtomicU64> = self.value.first();
        if let Some(value) = value {
            value.store(level as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
