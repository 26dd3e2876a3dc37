//! The layout of a counter file: what an instance writes, and what readers make of the bytes they
//! find. Layer: counters. No thread owns it.
//!
//! Everything is a word of eight bytes in the byte order of the machine, or text in UTF-8, padded with
//! zeroes. The file names what it counts, so that a reader of another release understands what it knows
//! and passes over the rest.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic `VEGACNTR` |
//! | 8 | 8 | version of this layout |
//! | 16 | 8 | bytes of the file |
//! | 24 | 8 | edition: odd while rows come or go, and another one afterwards |
//! | 32 | 8 | process |
//! | 40 | 8 | start of the instance, in nanoseconds since 1970 |
//! | 48 | 16 | instance |
//! | 64 | 8 | number of counters |
//! | 72 | 8 | number of kinds of rows |
//! | 80 | 8 | number of rows |
//! | 88 | 8 | offset of the rows |
//! | 96 | 8 | bytes of the name of the instance |
//! | 104 | 256 | the name |
//! | 512 | 64 each | counters: value (8), shape (8), label (48) |
//! | then | 1088 each | kinds of rows: number of columns (8), label (56), and 16 columns of 64: shape (8), number of the counter that it is a part of plus one, or 0 (8), label (48) |
//! | offset of the rows | 512 each | rows: head (8), place (56), 16 values (8 each), name (320) |
//!
//! The head of a row is 0 while it is free; else its lowest byte is the number of its kind plus one,
//! the next one the bytes of its place, the next two the bytes of its name. Shapes are 0 for totals, 1
//! for levels, 2 for peaks. The value of a counter in the whole is its own, and those of all columns
//! that are a part of it.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thiserror::Error;

use super::Counter;
use super::rows::{Column, MAX_COLUMNS, RowKind, Shape};
use super::snapshot::{CounterRow, CounterSnapshot, Origin};
use super::words::{WORD, WORDS_PER_LINE, Words};
use crate::id::InstanceId;

const MAGIC: u64 = u64::from_ne_bytes(*b"VEGACNTR");
const VERSION: u64 = 1;

// Places of the header, in words.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 1;
const FILE_BYTES_AT: usize = 2;
pub(super) const EDITION_AT: usize = 3;
const PROCESS_AT: usize = 4;
const STARTED_AT: usize = 5;
const INSTANCE_AT: usize = 6;
const COUNTERS_COUNT_AT: usize = 8;
const KINDS_COUNT_AT: usize = 9;
const ROWS_COUNT_AT: usize = 10;
const ROWS_OFFSET_AT: usize = 11;
const NAME_BYTES_AT: usize = 12;
const NAME_AT: Range<usize> = 13..45;
const COUNTERS_AT: usize = 64;

/// Words of a counter, and of a column: a cache line, so that threads do not disturb each other.
const ENTRY: usize = WORDS_PER_LINE;
const ENTRY_SHAPE: usize = 1;
const COUNTER_LABEL: Range<usize> = 2..8;
const KIND_LABEL: Range<usize> = 1..8;
const COLUMN_TOTAL: usize = 1;
const COLUMN_LABEL: Range<usize> = 2..8;
const KIND: usize = ENTRY + MAX_COLUMNS * ENTRY;
const KINDS_AT: usize = COUNTERS_AT + Counter::ALL.len() * ENTRY;
/// Rows begin with a page.
const ROWS_AT: usize = (KINDS_AT + RowKind::ALL.len() * KIND).next_multiple_of(4096 / WORD);
const ROW: usize = 64;
const PLACE: Range<usize> = 1..8;
const VALUES: Range<usize> = 8..8 + MAX_COLUMNS;
const ROW_NAME: Range<usize> = 24..ROW;

/// More of either is not a counter file, whatever release has written it.
const MAX_ENTRIES: u64 = 4096;
/// Rows that a file can have at most.
pub(crate) const MAX_ROWS: usize = 65_536;
/// Bytes of the largest counter file.
pub(crate) const MAX_FILE_BYTES: usize = 64 << 20;

const _: () = {
    assert!(file_words(MAX_ROWS) * WORD <= MAX_FILE_BYTES);
    let mut at = 0;
    while at < Counter::ALL.len() {
        assert!(Counter::ALL[at].label().len() <= (COUNTER_LABEL.end - COUNTER_LABEL.start) * WORD);
        at += 1;
    }
};

/// Why a file of counters cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CounterFileError {
    /// It is no counter file.
    #[error("it does not begin as a counter file does")]
    Foreign,
    /// Its instance is about to start, or was killed then.
    #[error("nothing is written to it yet")]
    Unwritten,
    /// It is from another release that lays out its files differently.
    #[error("its layout has version {found} (allowed: {VERSION})")]
    Version {
        /// The version of the layout.
        found: u64,
    },
    /// It is cut short, or its numbers contradict each other.
    #[error("its {what} contradicts its {bytes} bytes")]
    Inconsistent {
        /// The number that cannot be.
        what: &'static str,
        /// The bytes of the file that are there.
        bytes: usize,
    },
}

/// Words of a file with so many rows.
pub(super) const fn file_words(rows: usize) -> usize {
    ROWS_AT + rows * ROW
}

/// The rows that so many words have room for.
pub(super) const fn rows_in(words: usize) -> usize {
    words.saturating_sub(ROWS_AT) / ROW
}

/// Where the value of a counter is.
#[inline]
pub(super) const fn counter_at(counter: Counter) -> usize {
    COUNTERS_AT + counter as usize * ENTRY
}

/// Where the values of a row are.
pub(super) const fn values_of(row: usize) -> Range<usize> {
    let row = ROWS_AT + row * ROW;
    row + VALUES.start..row + VALUES.end
}

/// Writes everything but values and rows into zeroed words. The magic comes last.
pub(super) fn write_header(words: &Words, origin: &Origin) {
    let put = |at: usize, value: u64| words[at].store(value, Ordering::Relaxed);
    put(VERSION_AT, VERSION);
    put(FILE_BYTES_AT, (words.len() * WORD) as u64);
    put(PROCESS_AT, u64::from(origin.process));
    put(STARTED_AT, u64::try_from(origin.started.as_nanos()).unwrap_or(u64::MAX));
    let (first, second) = as_words(origin.instance.to_bytes());
    put(INSTANCE_AT, first);
    put(INSTANCE_AT + 1, second);
    put(COUNTERS_COUNT_AT, Counter::ALL.len() as u64);
    put(KINDS_COUNT_AT, RowKind::ALL.len() as u64);
    put(ROWS_COUNT_AT, rows_in(words.len()) as u64);
    put(ROWS_OFFSET_AT, (ROWS_AT * WORD) as u64);
    put(NAME_BYTES_AT, write_text(words, NAME_AT, &origin.name));
    for counter in Counter::ALL {
        let at = counter_at(*counter);
        put(at + ENTRY_SHAPE, counter.shape() as u64);
        write_text(words, moved(COUNTER_LABEL, at), counter.label());
    }
    for (number, kind) in RowKind::ALL.iter().enumerate() {
        let at = KINDS_AT + number * KIND;
        put(at, kind.columns().len() as u64);
        write_text(words, moved(KIND_LABEL, at), kind.label());
        for (number, column) in kind.columns().iter().enumerate() {
            let at = at + ENTRY + number * ENTRY;
            put(at, column.shape() as u64);
            put(at + COLUMN_TOTAL, column.total().map_or(0, |total| total as u64 + 1));
            write_text(words, moved(COLUMN_LABEL, at), column.label());
        }
    }
    words[MAGIC_AT].store(MAGIC, Ordering::Release);
}

/// Gives a free row to something. Its values are zeroes.
pub(super) fn write_row(words: &Words, row: usize, kind: RowKind, name: &str, place: &str) {
    let at = ROWS_AT + row * ROW;
    let place = write_text(words, moved(PLACE, at), place);
    let name = write_text(words, moved(ROW_NAME, at), name);
    words[at].store((kind as u64 + 1) | place << 8 | name << 16, Ordering::Relaxed);
}

/// Sets a row free, with all that it says.
pub(super) fn clear_row(words: &Words, row: usize) {
    let at = ROWS_AT + row * ROW;
    words[at..at + ROW].iter().for_each(|word| word.store(0, Ordering::Relaxed));
}

/// The kind of a row that is in use.
pub(super) fn kind_of(words: &Words, row: usize) -> Option<RowKind> {
    let head = words[ROWS_AT + row * ROW].load(Ordering::Relaxed);
    let number = usize::try_from((head & 0xff).checked_sub(1)?).ok()?;
    RowKind::ALL.get(number).copied()
}

/// What the words are now, up to the last of `rows`.
pub(super) fn image(words: &Words, rows: usize) -> Vec<u8> {
    let used = &words[..file_words(rows)];
    used.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect()
}

fn moved(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

fn as_words(bytes: [u8; 16]) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    (u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p]))
}

/// Writes as much of the text as there is room for, and says how many bytes that is.
fn write_text(words: &Words, range: Range<usize>, text: &str) -> u64 {
    let mut end = text.len().min(range.len() * WORD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (word, bytes) in words[range].iter().zip(text.as_bytes()[..end].chunks(WORD)) {
        let mut padded = [0; WORD];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    end as u64
}

/// Reads a whole file. Believes nothing: whatever the bytes are, this ends, and allocates no more than
/// a small multiple of them.
///
/// # Errors
///
/// [`CounterFileError`].
pub(crate) fn decode(bytes: &[u8]) -> Result<CounterSnapshot, CounterFileError> {
    let read = read(bytes)?;
    let announced = Image { bytes }.word(FILE_BYTES_AT);
    if announced != Some(bytes.len() as u64) {
        return Err(CounterFileError::Inconsistent { what: "length", bytes: bytes.len() });
    }
    Ok(read)
}

/// The same of the first part of a file: rows that it does not reach are left out.
///
/// # Errors
///
/// [`CounterFileError`].
pub(super) fn read(bytes: &[u8]) -> Result<CounterSnapshot, CounterFileError> {
    let file = Image { bytes };
    match file.word(MAGIC_AT) {
        Some(MAGIC) => {}
        // It is written last.
        Some(0) => return Err(CounterFileError::Unwritten),
        _ => return Err(CounterFileError::Foreign),
    }
    let inconsistent = |what| CounterFileError::Inconsistent { what, bytes: bytes.len() };
    let header = |at| file.word(at).ok_or_else(|| inconsistent("header"));
    match header(VERSION_AT)? {
        VERSION => {}
        found => return Err(CounterFileError::Version { found }),
    }
    let count = |at, what, most: u64| {
        let count = header(at)?;
        let within = usize::try_from(count).ok().filter(|_| count <= most);
        within.ok_or_else(|| inconsistent(what))
    };
    let counters = count(COUNTERS_COUNT_AT, "number of counters", MAX_ENTRIES)?;
    let kinds = count(KINDS_COUNT_AT, "number of kinds", MAX_ENTRIES)?;
    let rows = count(ROWS_COUNT_AT, "number of rows", MAX_ROWS as u64)?;
    let rows_at = count(ROWS_OFFSET_AT, "offset of the rows", MAX_FILE_BYTES as u64)? / WORD;
    let (kinds_at, name_bytes) = (COUNTERS_AT + counters * ENTRY, header(NAME_BYTES_AT)?);
    if kinds_at + kinds * KIND > rows_at || file.word(rows_at.saturating_sub(1)).is_none() {
        return Err(inconsistent("offset of the rows"));
    }
    let mut instance = [0; 16];
    instance.copy_from_slice(
        file.bytes_of(INSTANCE_AT..INSTANCE_AT + 2).ok_or_else(|| inconsistent("header"))?,
    );
    let origin = Origin {
        instance: InstanceId::from_bytes(instance),
        name: file.text(NAME_AT, name_bytes).into(),
        process: u32::try_from(header(PROCESS_AT)?).unwrap_or_default(),
        started: Duration::from_nanos(header(STARTED_AT)?),
    };
    let known = Known::read(&file, counters, (kinds_at, kinds));
    let mut values = vec![0_u64; Counter::ALL.len()];
    for (number, counter) in known.counters.iter().enumerate() {
        if let Some(counter) = counter {
            let value = file.word(COUNTERS_AT + number * ENTRY).unwrap_or_default();
            values[*counter as usize] = value;
        }
    }
    let mut read = Vec::new();
    let whole = (bytes.len() / WORD).saturating_sub(rows_at) / ROW;
    for row in 0..rows.min(whole) {
        read.extend(known.row(&file, rows_at + row * ROW, &mut values));
    }
    Ok(CounterSnapshot::new(origin, values, read))
}

/// The bytes of a file.
struct Image<'a> {
    bytes: &'a [u8],
}

impl<'a> Image<'a> {
    fn word(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes_of(at..at.checked_add(1)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn bytes_of(&self, words: Range<usize>) -> Option<&'a [u8]> {
        self.bytes.get(words.start.checked_mul(WORD)?..words.end.checked_mul(WORD)?)
    }

    /// As much as is there and is text.
    fn text(&self, words: Range<usize>, bytes: u64) -> String {
        let all = self.bytes_of(words).unwrap_or_default();
        let length = usize::try_from(bytes).map_or(all.len(), |bytes| bytes.min(all.len()));
        String::from_utf8_lossy(&all[..length]).into_owned()
    }

    /// A label ends with its first zero.
    fn is_label(&self, words: Range<usize>, label: &str) -> bool {
        let found = self.bytes_of(words).and_then(|bytes| bytes.split(|byte| *byte == 0).next());
        found == Some(label.as_bytes())
    }
}

/// Which of what a file counts is known here, by the numbers that the file gives.
struct Known {
    counters: Vec<Option<Counter>>,
    kinds: Vec<Option<KnownKind>>,
}

struct KnownKind {
    kind: RowKind,
    /// Position here, and what it is a part of, by position in the file.
    columns: Vec<(Option<usize>, Option<Counter>)>,
}

impl Known {
    fn read(file: &Image<'_>, counters: usize, (kinds_at, kinds): (usize, usize)) -> Self {
        let counters: Vec<_> = (0..counters)
            .map(|number| {
                let at = COUNTERS_AT + number * ENTRY;
                let label = moved(COUNTER_LABEL, at);
                Counter::ALL
                    .iter()
                    .find(|counter| file.is_label(label.clone(), counter.label()))
                    .filter(|counter| file.has_shape(at + ENTRY_SHAPE, counter.shape()))
                    .copied()
            })
            .collect();
        let kind = |number| {
            let at: usize = kinds_at + number * KIND;
            let label = moved(KIND_LABEL, at);
            let mut kinds = RowKind::ALL.iter();
            let kind = *kinds.find(|kind| file.is_label(label.clone(), kind.label()))?;
            let count = usize::try_from(file.word(at)?).ok()?.min(MAX_COLUMNS);
            let column = |number| {
                let at = at + ENTRY + number * ENTRY;
                let known = |column: &Column| {
                    file.is_label(moved(COLUMN_LABEL, at), column.label())
                        && file.has_shape(at, column.shape())
                };
                let total = file.word(at + COLUMN_TOTAL).and_then(|total| total.checked_sub(1));
                let total = total.and_then(|total| usize::try_from(total).ok());
                let total = total.and_then(|total| *counters.get(total)?);
                (kind.columns().iter().position(known), total)
            };
            Some(KnownKind { kind, columns: (0..count).map(column).collect() })
        };
        let kinds = (0..kinds).map(kind).collect();
        Self { counters, kinds }
    }

    /// Reads a row, and adds it to the totals that it is a part of.
    fn row(&self, file: &Image<'_>, at: usize, totals: &mut [u64]) -> Option<CounterRow> {
        let head = file.word(at)?;
        let number = usize::try_from((head & 0xff).checked_sub(1)?).ok()?;
        let KnownKind { kind, columns } = self.kinds.get(number)?.as_ref()?;
        let mut values = vec![0; kind.columns().len()];
        for (number, (column, total)) in columns.iter().enumerate() {
            let value = file.word(at + VALUES.start + number)?;
            if let Some(column) = column {
                values[*column] = value;
            }
            if let Some(total) = total {
                let total = &mut totals[*total as usize];
                *total = total.wrapping_add(value);
            }
        }
        let place = file.text(moved(PLACE, at), head >> 8 & 0xff);
        let name = file.text(moved(ROW_NAME, at), head >> 16 & 0xffff);
        Some(CounterRow::new(*kind, name, place, values))
    }
}

impl Image<'_> {
    fn has_shape(&self, at: usize, shape: Shape) -> bool {
        self.word(at) == Some(shape as u64)
    }
}

/// Whether rows neither came nor went between two images of one file.
pub(crate) fn is_same_edition(before: &[u8], after: &[u8]) -> bool {
    let edition = |bytes| Image { bytes }.word(EDITION_AT);
    edition(before) == edition(after) && edition(before).is_none_or(|edition| edition % 2 == 0)
}
