//! The ring under loom: every order in which two threads can see each other's words. Model tests;
//! see "Model tests" in CONTRIBUTING.md.
//!
//! The real `Appender` and `Reader` run on words that loom controls, and the real `begin`, `settle`
//! and `look`. What only a mapped file has is reduced: one entry of the table of readers, no locks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::AtomicU64;
use loom::thread;

use super::Layout;
use super::append::{Appender, Entry};
use super::fixture::empty_ring;
use super::joining::{Word, begin, evict, is_in_place, look, position_of, settle};
use super::read::Reader;
use super::storage::Slots;
use crate::id::TopicHash;
use crate::wire::frame::{FLAG_WHOLE, FrameHeader, FrameKind};

/// Two messages of [`BODY`] bytes fit into a packet, with room for what ends it.
const LAYOUT: Layout = Layout::packets(128, 2);
const BODY: usize = 8;
/// How often a reader looks before it gives the writer time.
const POLLS: usize = 3;

impl Word for AtomicU64 {
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }

    fn exchange(&self, current: u64, new: u64) -> bool {
        self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Explores all executions with up to three forced switches, which is what finds errors of this
/// kind; without a bound the models take hours.
fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

fn ring() -> (Slots, Appender) {
    empty_ring(LAYOUT)
}

fn header(sequence: u64) -> FrameHeader {
    FrameHeader {
        kind: FrameKind::Message,
        flags: FLAG_WHOLE,
        publisher: 4,
        topic: TopicHash(5),
        sequence,
    }
}

fn append(appender: &mut Appender, sequence: u64) -> bool {
    append_body(appender, sequence, &[sequence.to_le_bytes()[0]; BODY])
}

fn append_body(appender: &mut Appender, sequence: u64, payload: &[u8]) -> bool {
    let FrameHeader { kind, publisher, topic, .. } = header(sequence);
    let entry = Entry { kind, publisher, topic, sequence, prefix: b"", payload };
    let appended = appender.append(&entry).is_ok();
    appender.prepare_next();
    appended
}

/// What there is to read.
fn read(reader: &mut Reader) -> Vec<u64> {
    let mut sequences = Vec::new();
    for _ in 0..POLLS {
        let polled = reader.poll(8, |header, body| {
            let sequence = header.decode().unwrap().sequence;
            assert_eq!(body, [sequence.to_le_bytes()[0]; BODY]);
            sequences.push(sequence);
            true
        });
        assert!(polled.is_ok());
        thread::yield_now();
    }
    sequences
}

fn are_the_first(sequences: &[u64]) -> bool {
    sequences.iter().copied().eq(1..=sequences.len() as u64)
}

#[test]
fn frames_are_read_whole_and_in_order_while_they_are_written() {
    model(|| {
        let (slots, mut appender) = ring();
        let reading = thread::spawn(move || read(&mut Reader::new(slots, 0)));
        for sequence in 1..=3 {
            assert!(append(&mut appender, sequence), "two packets are free");
        }
        assert!(are_the_first(&reading.join().unwrap()));
    });
}

#[test]
fn a_claim_is_read_when_it_is_committed() {
    model(|| {
        let (slots, mut appender) = ring();
        let reading = thread::spawn(move || read(&mut Reader::new(slots, 0)));
        let mut claim = appender.claim(&header(1), BODY).unwrap();
        assert!(append(&mut appender, 2));
        claim.body_mut().fill(1);
        appender.commit_claim(claim, 1);
        assert!(are_the_first(&reading.join().unwrap()));
    });
}

/// The reader may come to the end of a slot before the next one is open, or after.
#[test]
fn a_slot_that_is_opened_ahead_is_read_from_its_first_message_on() {
    model(|| {
        let (slots, mut appender) = empty_ring(Layout::lines(1024, 2));
        let mut reader = Reader::new(slots, 0);
        let mut sequence = 0;
        while sequence < 14 {
            sequence += 1;
            assert!(append(&mut appender, sequence));
        }
        let mut sequences = read(&mut reader);
        let reading = thread::spawn(move || read(&mut reader));
        assert_eq!(appender.open_packet(), 0);
        assert!(append(&mut appender, sequence + 1));
        assert_eq!(appender.open_packet(), 1, "opened ahead");
        assert!(append(&mut appender, sequence + 2));
        sequences.extend(reading.join().unwrap());
        assert!(are_the_first(&sequences) && sequences.len() >= 14, "{sequences:?}");
    });
}

/// A slot is used again for the packet of the next lap once the reader has let go of it.
#[test]
fn nothing_of_an_earlier_lap_is_read() {
    model(|| {
        let (slots, mut appender) = ring();
        for sequence in 1..=4 {
            assert!(append(&mut appender, sequence), "the first lap");
        }
        let done = Arc::new(AtomicU64::new(0));
        let position = Arc::clone(&done);
        let reading = thread::spawn(move || {
            let mut reader = Reader::new(slots, 0);
            let mut sequences = Vec::new();
            for _ in 0..2 {
                sequences.extend(read(&mut reader));
                // As `ReaderEntry::publish` does.
                position.store(reader.packet(), Ordering::Release);
            }
            sequences
        });
        // As `position_of` does.
        appender.set_limit(done.load(Ordering::Acquire) + LAYOUT.slots as u64);
        let is_written = append(&mut appender, 5);
        let sequences = reading.join().unwrap();
        assert!(are_the_first(&sequences) && sequences.len() >= 4, "{sequences:?}");
        assert!(is_written || sequences.len() == 4);
    });
}

/// The live edge, and the state and the position of the only entry.
type Words = Arc<[AtomicU64; 3]>;

/// A reader that is about to join a ring that nothing has been written to.
fn joining_reader() -> (Words, thread::JoinHandle<Option<u64>>) {
    let words = Words::default();
    let shared = Arc::clone(&words);
    let joining = thread::spawn(move || {
        let [edge, state, position] = &*shared;
        let start = begin(edge, state, position);
        settle(state).then_some(start)
    });
    (words, joining)
}

/// A reader that joins while the writer runs is where the writer does not overwrite it.
#[test]
fn who_joins_is_seen_or_safe() {
    model(|| {
        let (words, joining) = joining_reader();
        let [edge, state, position] = &*words;
        let slots = LAYOUT.slots as u64;
        let mut limit = slots;
        for _ in 0..3 {
            // The writer has filled the ring up to its limit: as in `SharedRing::limit`.
            let open = limit - 1;
            limit = limit_of(edge, open, state, position);
        }
        let start = joining.join().unwrap().expect("nobody is cut off");
        assert!(limit <= start + slots, "packet {start} is overwritten below {limit}");
    });
}

/// As `SharedRing::limit` does, with one reader.
fn limit_of(edge: &AtomicU64, open: u64, state: &AtomicU64, position: &AtomicU64) -> u64 {
    let slowest = look(edge, open, || position_of(state, position));
    slowest.map_or(open, |slowest| slowest.min(open)) + LAYOUT.slots as u64
}

/// What is sent once a reader counts as one is for that reader, and all that follows what it has passed.
#[test]
fn who_counts_takes_what_is_sent_from_then_on() {
    model(|| {
        let (slots, mut appender) = ring();
        let words = Words::default();
        let shared = Arc::clone(&words);
        let joining = thread::spawn(move || {
            let [edge, state, position] = &*shared;
            let mut reader = Reader::new(slots, begin(edge, state, position));
            let passed = reader.skip_committed().unwrap_or(0);
            assert!(settle(state), "nobody is cut off");
            (reader, passed)
        });
        assert!(append(&mut appender, 1));
        let counts = is_in_place(&words[1]);
        assert!(append(&mut appender, 2));
        let (mut reader, passed) = joining.join().unwrap();
        assert!(!counts || passed < 2, "it has passed what was meant for it");
        assert_eq!(read(&mut reader), (passed + 1..=2).collect::<Vec<_>>());
    });
}

/// A writer that has no more patience goes on whatever the reader is doing, joining included; a reader
/// that is not told that it has its place is not told where that is.
#[test]
fn who_is_cut_off_while_joining_does_not_join() {
    model(|| {
        let (words, joining) = joining_reader();
        let [edge, state, position] = &*words;
        let slots = LAYOUT.slots as u64;
        let mut limit = limit_of(edge, slots - 1, state, position);
        let is_cut_off = position_of(state, position).is_some() && evict(state, position, u64::MAX);
        if is_cut_off {
            limit = limit_of(edge, limit - 1, state, position);
            assert!(limit > slots, "nobody holds back the writer");
        }
        match joining.join().unwrap() {
            Some(start) => assert!(is_cut_off || limit <= start + slots),
            None => assert!(is_cut_off),
        }
    });
}

/// The writer gives up a reader and goes once around the ring while the reader reads. What the reader
/// takes is what was written for it, in order: it knows when it has looked at something else.
#[test]
fn who_is_cut_off_takes_nothing_that_was_written_over_it() {
    model(|| {
        let (slots, mut appender) = ring();
        let words = Words::default();
        let [edge, state, position] = &*words;
        assert_eq!(begin(edge, state, position), 0);
        assert!(settle(state));
        let mut sequence = 0;
        while append_body(&mut appender, sequence + 1, b"") {
            sequence += 1;
        }
        let shared = Arc::clone(&words);
        let reading = thread::spawn(move || {
            let mut reader = Reader::new(slots, 0);
            let mut sequences = Vec::new();
            let polled = reader.poll(8, |header, _| {
                // As `RingEndpoint::poll` does.
                if !is_in_place(&shared[1]) {
                    return false;
                }
                sequences.push(header.decode().unwrap().sequence);
                true
            });
            assert!(polled.is_ok() || !is_in_place(&shared[1]));
            sequences
        });
        assert!(evict(state, position, u64::MAX));
        appender.set_limit(limit_of(edge, appender.open_packet(), state, position));
        for _ in 0..3 {
            sequence += 1;
            assert!(append_body(&mut appender, sequence, b""), "nobody holds back the writer");
        }
        assert!(are_the_first(&reading.join().unwrap()));
    });
}
