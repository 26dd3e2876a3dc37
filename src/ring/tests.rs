//! Append and read against each other: what goes in comes out, whatever the sizes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;

use super::Layout;
use super::append::{Appender, Entry, Full};
use super::fixture::empty_ring;
use super::read::{Reader, last_sequence};
use super::storage::Slots;
use crate::id::TopicHash;
use crate::transport::can_demote;
use crate::wire::frame::{
    FLAG_WHOLE, FRAME_HEADER_LENGTH, Frame, FrameHeader, FrameKind, Frames, HeaderWords,
};
use crate::wire::packet::{PACKET_HEADER_LENGTH, PacketHeader, Prefix};

const LAYOUT: Layout = Layout::packets(512, 8);
const CLAIM: FrameHeader = FrameHeader {
    kind: FrameKind::Message,
    flags: FLAG_WHOLE,
    publisher: 4,
    topic: TopicHash(5),
    sequence: 0,
};

/// The same sizes, read where they are.
const LINES: Layout = Layout::lines(512, 8);

fn ring() -> (Slots, Appender) {
    empty_ring(LAYOUT)
}

fn entry<'a>(sequence: u64, payload: &'a [u8]) -> Entry<'a> {
    Entry {
        kind: FrameKind::Message,
        publisher: 4,
        topic: TopicHash(5),
        sequence,
        prefix: b"",
        payload,
    }
}

/// All frames of all closed packets, as a receiver of the datagrams sees them.
fn received(appender: &Appender, first: u64) -> Vec<(u64, Vec<u8>)> {
    let mut messages = Vec::new();
    let mut next = first;
    while next < appender.open_packet() {
        let (run, count) = appender.closed_run(next, u64::MAX);
        for (index, packet) in run.chunks(LAYOUT.packet_bytes).enumerate() {
            let prefix = Prefix::decode(packet).unwrap();
            let header = PacketHeader::decode(packet).unwrap();
            assert_eq!(header.sequence, next + index as u64);
            for frame in Frames::new(&packet[PACKET_HEADER_LENGTH..prefix.length]) {
                let frame = frame.unwrap();
                if frame.header.kind == FrameKind::Message {
                    messages.push((frame.header.sequence, frame.body.to_vec()));
                }
            }
        }
        next += count;
    }
    messages
}

fn frame(header: HeaderWords, rest: &[u8]) -> Frame<'_> {
    Frame::behind(header.decode().unwrap(), rest).unwrap()
}

fn read_all(reader: &mut Reader) -> Vec<(u64, Vec<u8>)> {
    let mut messages = Vec::new();
    reader
        .poll(usize::MAX, |header, rest| {
            let frame = frame(header, rest);
            if frame.header.kind == FrameKind::Message {
                messages.push((frame.header.sequence, frame.body.to_vec()));
            }
            true
        })
        .unwrap();
    messages
}

#[test]
fn short_and_long_frames_end_with_a_line_and_those_between_do_not() {
    assert_eq!(LINES.first_frame(), 64);
    for (offset, length, next) in [
        (64, 24, 128),
        (64, 128, 192),
        (64, 129, 200),
        (200, 280, 480),
        (200, 56, 256),
        (64, 511, 576),
        (64, 512, 576),
        (72, 512, 640),
    ] {
        assert_eq!(LINES.next_frame(offset, length), next, "{offset} {length}");
    }
    assert_eq!(Layout::packets(512, 8).next_frame(40, 56), 96);
}

/// Short bodies are copied by their length; each of them has to arrive whole.
#[test]
fn bodies_of_every_short_length_are_read_as_they_were_written() {
    let body: Vec<u8> = (0..140).collect();
    for length in 0..=130 {
        for prefix in [0, 3] {
            let (slots, mut appender) = ring();
            let mut reader = Reader::new(slots, 0);
            let (prefix, payload) = body[..prefix + length].split_at(prefix);
            appender.append(&Entry { prefix, ..entry(1, payload) }).unwrap();
            appender.append(&entry(2, b"next")).unwrap();
            let expected = [(1, [prefix, payload].concat()), (2, b"next".to_vec())];
            assert_eq!(read_all(&mut reader), expected, "{length}");
        }
    }
}

/// At the end of the ring such a body lies where the memory ends.
#[test]
fn a_slot_may_end_with_a_message_without_a_body() {
    let (slots, mut appender) = ring();
    let mut reader = Reader::new(slots, 0);
    let payload = vec![7; LAYOUT.whole_body_bytes() - FRAME_HEADER_LENGTH];
    for sequence in (1..=2 * LAYOUT.slots as u64).step_by(2) {
        assert_eq!(appender.append(&entry(sequence, &payload)), Ok(()));
        assert_eq!(appender.append(&entry(sequence + 1, b"")), Ok(()));
        assert_eq!(appender.open_packet(), sequence / 2);
        let expected = [(sequence, payload.clone()), (sequence + 1, Vec::new())];
        assert_eq!(read_all(&mut reader), expected);
    }
}

#[test]
fn a_full_ring_refuses_and_writes_nothing() {
    let (slots, mut appender) = ring();
    let payload = vec![7; LAYOUT.whole_body_bytes()];
    for sequence in 1..=8 {
        assert_eq!(appender.append(&entry(sequence, &payload)), Ok(()));
    }
    assert_eq!(appender.append(&entry(9, &payload)), Err(Full));
    assert_eq!(appender.free_packets(), 0);
    let mut reader = Reader::new(slots, 0);
    assert_eq!(read_all(&mut reader).len(), 8);
    appender.set_limit(9);
    assert_eq!(appender.append(&entry(9, &payload)), Ok(()));
    assert_eq!(read_all(&mut reader), vec![(9, payload)]);
}

#[test]
fn stale_bytes_of_an_earlier_lap_are_never_frames() {
    // Payloads that look like commit words at every offset.
    let payload = [9, 0, 0, 0, 1, 3, 0, 0].repeat(40);
    let ways = [(false, false), (true, false), (true, can_demote())];
    for (layout, (prepares, demotes)) in
        [LAYOUT, LINES].into_iter().flat_map(|layout| ways.map(|way| (layout, way)))
    {
        let (slots, mut appender) = empty_ring(layout);
        let mut reader = Reader::new(slots, 0);
        reader.set_demoting(demotes);
        for (sequence, bytes) in (1..100).zip((13..).step_by(13)) {
            appender.set_limit(reader.packet() + LAYOUT.slots as u64);
            appender.append(&entry(sequence, &payload[..bytes % 300])).unwrap();
            if prepares {
                appender.prepare_next();
            }
            assert_eq!(read_all(&mut reader).len(), 1);
            assert!(read_all(&mut reader).is_empty());
        }
    }
}

#[test]
fn frames_that_are_read_in_place_begin_with_a_line() {
    let (slots, mut appender) = empty_ring(LINES);
    let mut reader = Reader::new(slots, 0);
    for (sequence, bytes) in (1..).zip([0, 40, 41, 104, 105]) {
        appender.append(&entry(sequence, &vec![7; bytes])).unwrap();
        let mut body = 0;
        let read = reader.poll(usize::MAX, |_, rest| {
            body = rest.as_ptr().addr();
            true
        });
        assert_eq!((read, body % 64), (Ok(1), FRAME_HEADER_LENGTH));
    }
}

#[test]
fn the_next_slot_is_opened_ahead_where_that_wastes_little() {
    let room = LAYOUT.packet_bytes - PACKET_HEADER_LENGTH;
    for (bytes, opened) in [(0, true), (8, true), (9, false), (200, false)] {
        let (slots, mut appender) = ring();
        let mut reader = Reader::new(slots, 0);
        let fit = (room / (FRAME_HEADER_LENGTH + bytes).next_multiple_of(8)) as u64;
        let messages = fit * LAYOUT.slots as u64;
        for sequence in 1..=messages {
            assert_eq!(appender.append(&entry(sequence, &vec![7; bytes])), Ok(()));
            appender.prepare_next();
            let packet = if opened { sequence / fit } else { (sequence - 1) / fit };
            assert_eq!(appender.open_packet(), packet.min(LAYOUT.slots as u64 - 1), "{bytes}");
        }
        assert_eq!(appender.append(&entry(0, &vec![7; bytes])), Err(Full), "{bytes}");
        assert_eq!(read_all(&mut reader).len() as u64, messages, "{bytes}");
    }
}

/// The slot that comes next may still be read.
#[test]
fn nothing_is_prepared_beyond_the_open_slot() {
    let (slots, mut appender) = ring();
    let mut reader = Reader::new(slots, 0);
    appender.prepare_next();
    for sequence in 1..=8 {
        appender.append(&entry(sequence, &[7; 300])).unwrap();
        appender.prepare_next();
        appender.close();
        appender.prepare_next();
    }
    let whole: Vec<_> = (1..=8).map(|sequence| (sequence, vec![7; 300])).collect();
    assert_eq!(read_all(&mut reader), whole);
}

#[test]
fn a_claim_holds_readers_back_until_it_is_resolved() {
    let (slots, mut appender) = ring();
    let mut reader = Reader::new(slots, 0);
    let mut first = appender.claim(&CLAIM, 5).unwrap();
    let second = appender.claim(&CLAIM, 3).unwrap();
    appender.append(&entry(9, b"after")).unwrap();
    assert_eq!(appender.first_claimed(), Some(0));
    assert!(read_all(&mut reader).is_empty());
    first.body_mut().copy_from_slice(b"claim");
    appender.commit_claim(first, 1);
    assert_eq!(read_all(&mut reader), vec![(1, b"claim".to_vec())]);
    appender.abandon_claim(second);
    assert_eq!(read_all(&mut reader), vec![(9, b"after".to_vec())]);
    assert_eq!(appender.first_claimed(), None);
    appender.close();
    assert_eq!(received(&appender, 0), vec![(1, b"claim".to_vec()), (9, b"after".to_vec())]);
}

#[test]
fn the_number_of_the_last_message_is_found_while_its_packet_is_in_the_ring() {
    let (slots, mut appender) = ring();
    for sequence in 1..=16 {
        appender.set_limit(sequence);
        appender.append(&entry(sequence, &[7; 200])).unwrap();
        appender.append(&entry(100 + sequence, &[7; 200])).unwrap();
        appender.close();
        let closed = appender.open_packet() - 1;
        assert_eq!(last_sequence(slots.clone(), closed), Some(100 + sequence));
        let overwritten = closed.checked_sub(LAYOUT.slots as u64);
        assert_eq!(overwritten.and_then(|packet| last_sequence(slots.clone(), packet)), None);
    }
}

/// Moving lines out of the caches while another core writes to the ring changes no byte of it.
#[test]
fn a_reader_that_demotes_reads_what_another_thread_writes() {
    const MESSAGES: u64 = if cfg!(miri) { 100 } else { 50_000 };
    const LAYOUT: Layout = Layout::packets(4096, 8);
    fn body(sequence: u64) -> Vec<u8> {
        sequence.to_le_bytes().repeat(1 + usize::try_from(sequence % 90).unwrap())
    }
    let (slots, mut appender) = empty_ring(LAYOUT);
    let mut reader = Reader::new(slots, 0);
    reader.set_demoting(can_demote());
    let position = &AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(move || {
            for sequence in 0..MESSAGES {
                while appender.append(&entry(sequence, &body(sequence))).is_err() {
                    // Acquire: pairs with the Release of the reading thread.
                    appender.set_limit(position.load(Ordering::Acquire) + LAYOUT.slots as u64);
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < MESSAGES {
            for (sequence, read) in read_all(&mut reader) {
                assert_eq!((sequence, read), (expected, body(expected)));
                expected += 1;
            }
            position.store(reader.packet(), Ordering::Release);
        }
    });
}

#[test]
fn a_late_joiner_skips_what_was_committed_before() {
    let (slots, mut appender) = ring();
    appender.append(&entry(1, b"before")).unwrap();
    let mut late = Reader::new(slots, appender.open_packet());
    assert_eq!(late.skip_committed(), Some(1));
    assert_eq!(late.skip_committed(), None);
    let given_up = FrameHeader { sequence: 1, ..CLAIM };
    let claim = appender.claim(&given_up, 9).unwrap();
    appender.abandon_claim(claim);
    assert_eq!(late.skip_committed(), Some(1));
    appender.append(&entry(2, b"after")).unwrap();
    assert_eq!(read_all(&mut late), vec![(2, b"after".to_vec())]);
}

proptest! {
    #[test]
    fn every_message_comes_out_of_both_sides(
        sizes in proptest::collection::vec((0..2000_usize, any::<[bool; 2]>()), 1..60),
        layout in prop_oneof![Just(LAYOUT), Just(LINES)],
    ) {
        let (slots, mut appender) = empty_ring(layout);
        let mut reader = Reader::new(slots, 0);
        let mut assembled: Vec<Vec<u8>> = Vec::new();
        let mut sent = Vec::new();
        for (index, (size, [prepare, close])) in sizes.into_iter().enumerate() {
            let body: Vec<u8> = (0..=250).cycle().skip(index).step_by(31).take(size).collect();
            let (prefix, payload) = body.split_at(size / 3);
            let entry = Entry { prefix, payload, ..entry(index as u64, b"") };
            let mut offset = 0;
            let datagrams = appender.open_packet();
            appender.set_limit(reader.packet() + LAYOUT.slots as u64);
            if size <= layout.whole_body_bytes() {
                prop_assert_eq!(appender.append(&entry), Ok(()));
            } else {
                while offset < size {
                    offset += appender.append_fragment(&entry, offset).unwrap();
                }
            }
            if prepare {
                appender.prepare_next();
            }
            if close {
                appender.close();
            }
            let mut from_ring = Vec::new();
            reader.poll(usize::MAX, |header, rest| {
                let frame = frame(header, rest);
                match frame.fragment {
                    Some(fragment) if fragment.offset > 0 => {
                        let partial: &mut Vec<u8> = from_ring.last_mut().unwrap();
                        assert_eq!(partial.len(), fragment.offset as usize);
                        partial.extend_from_slice(frame.body);
                    }
                    _ => from_ring.push(frame.body.to_vec()),
                }
                true
            }).unwrap();
            prop_assert_eq!(&from_ring, &vec![body.clone()]);
            assembled.extend(from_ring);
            sent.push(body);
            prop_assert!(appender.open_packet() - datagrams <= layout.packets_for(size) as u64 + 1);
        }
        prop_assert_eq!(assembled, sent);
    }
}

#[test]
fn a_ring_that_is_closed_when_it_is_full_still_holds_all_its_packets() {
    let (_slots, mut appender) = ring();
    let payload = [7; 400];
    let mut sequence = 0;
    while appender.append(&entry(sequence, &payload)).is_ok() {
        sequence += 1;
    }
    appender.close();
    assert_eq!((sequence, appender.oldest_packet()), (8, 0));
    assert_eq!(received(&appender, 0).len(), 8);
    appender.set_limit(LAYOUT.slots as u64 + 1);
    appender.append(&entry(sequence, &payload)).unwrap();
    assert_eq!(appender.oldest_packet(), 1);
}
